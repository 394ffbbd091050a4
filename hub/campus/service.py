"""Orders and prepaid rooms as one service of the hub: taken, delivered, charged, checked each hour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import httpx2

from hub.campus.bookkeeping import Bookkeeping
from hub.campus.delivery import Delivery
from hub.campus.intake import Intake
from hub.campus.orders import Order
from hub.campus.outbox import Outbox
from hub.campus.platform_list import PlatformList
from hub.campus.platforms import Platform
from hub.campus.rules import read_rules
from hub.clock import Clock
from hub.commands import Commands
from hub.journal import Journal
from hub.ledger import Ledger
from hub.model import Reading
from hub.registry import Registry
from hub.site import Site


class Campus:
    """Made once for each run of the hub; `configure`, then `run`. Does nothing where nothing is paid."""

    def __init__(self, *, ledger: Ledger, journal: Journal, clock: Clock) -> None:
        self.intake = Intake(ledger=ledger, clock=clock, taken=self._taken)
        self.bookkeeping = Bookkeeping(
            ledger=ledger, journal=journal, clock=clock, alarms=self.intake.alarms
        )
        self.delivery: Delivery | None = None
        self._http = httpx2.AsyncClient(trust_env=False, follow_redirects=False)
        alarms = self.intake.alarms
        self.outbox = Outbox(ledger=ledger, clock=clock, http=self._http, alarms=alarms)
        self._lists = PlatformList(ledger=ledger, clock=clock, intake=self.intake, http=self._http)
        self._ledger = ledger
        self._clock = clock
        self._wanted = asyncio.Event()

    def configure(self, site: Site, platforms: Mapping[str, Platform]) -> None:
        """Go by this site and these platforms from now on. Raises ConfigError for the site's rules."""
        self.bookkeeping.configure(site, read_rules(site))
        self.intake.configure(site, platforms)
        self.outbox.configure(platforms)
        if platforms or "prepaid" in site.policies:
            self._wanted.set()

    async def run(
        self, commands: Commands, registry: Registry, refresh: Callable[[str, str], None]
    ) -> None:
        """Serve until cancelled, from the first moment that the site has platforms or prepaid rooms."""
        await self._wanted.wait()
        self.delivery = Delivery(
            ledger=self._ledger,
            clock=self._clock,
            commands=commands,
            registry=registry,
            alarms=self.intake.alarms,
            refresh=refresh,
        )
        async with self._http, asyncio.TaskGroup() as tasks:
            tasks.create_task(self.outbox.run(), name="outbox")
            tasks.create_task(self._lists.run(), name="lists")
            tasks.create_task(self.delivery.run(), name="delivery")
            tasks.create_task(self.bookkeeping.run(), name="books")

    def stored(self, readings: Sequence[Reading]) -> None:
        """New readings are on disk: what a meter counted after all."""
        if self.delivery is not None:
            self.delivery.heard(readings)

    def _taken(self, order: Order) -> None:
        if self.delivery is not None:
            self.delivery.take(order)
