"""Orders and prepaid rooms as one service of the hub: taken, delivered, charged, checked each hour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import httpx2

from hub.campus.alarms import Alarms
from hub.campus.orders.delivery import Delivery
from hub.campus.orders.intake import Intake
from hub.campus.orders.outbox import Outbox
from hub.campus.orders.platform_list import PlatformList
from hub.campus.policies import Policies
from hub.campus.prepaid.bookkeeping import Bookkeeping
from hub.campus.prepaid.standing import Standings
from hub.clock import Clock
from hub.commands import Commands
from hub.journal import Journal
from hub.ledger import Ledger
from hub.model import Reading
from hub.registry import Registry


class Campus:
    """Made once for each run of the hub; `configure`, then `run`. Does nothing where nothing is paid.

    `refresh(link, device)` has a device read as soon as its bus allows.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        clock: Clock,
        commands: Commands,
        registry: Registry,
        refresh: Callable[[str, str], None],
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self.alarms = alarms = Alarms(clock)
        self._http = http = http or httpx2.AsyncClient(trust_env=False, follow_redirects=False)
        self.delivery = Delivery(
            ledger=ledger,
            clock=clock,
            commands=commands,
            registry=registry,
            alarms=alarms,
            refresh=refresh,
        )
        self.intake = Intake(ledger=ledger, clock=clock, alarms=alarms, taken=self.delivery.take)
        self.standings = Standings(ledger=ledger, journal=journal, clock=clock)
        self.bookkeeping = Bookkeeping(ledger=ledger, journal=journal, clock=clock, alarms=alarms)
        self.outbox = Outbox(ledger=ledger, clock=clock, http=http, alarms=alarms)
        self.lists = PlatformList(ledger=ledger, clock=clock, intake=self.intake, http=http)
        self._wanted = asyncio.Event()

    def configure(self, policies: Policies) -> None:
        """Go by this site and its policies from now on."""
        self.standings.configure(policies.site, policies.rules)
        self.bookkeeping.configure(policies.site, policies.rules)
        self.intake.configure(policies)
        self.outbox.configure(policies.platforms)
        if policies.wanted:
            self._wanted.set()

    async def run(self) -> None:
        """Serve until cancelled, from the first moment that the site has platforms or prepaid rooms."""
        await self._wanted.wait()
        async with self._http, asyncio.TaskGroup() as tasks:
            tasks.create_task(self.outbox.run(), name="outbox")
            tasks.create_task(self.lists.run(), name="lists")
            tasks.create_task(self.delivery.run(), name="delivery")
            tasks.create_task(self.bookkeeping.run(), name="books")

    def stored(self, readings: Sequence[Reading]) -> None:
        """New readings are on disk: what a meter counted after all."""
        self.delivery.heard(readings)
