"""Orders and prepaid rooms as one service of the hub: taken, delivered, charged, checked each hour."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from functools import cache

import httpx2

from hub.campus.alarms import Alarms
from hub.campus.alerts.service import Alerts
from hub.campus.batches.batches import Batches
from hub.campus.life.office import Office
from hub.campus.orders.delivery import Delivery
from hub.campus.orders.intake import Intake
from hub.campus.orders.outbox import Outbox
from hub.campus.orders.platform_list import PlatformList
from hub.campus.policies import Policies
from hub.campus.prepaid.bookkeeping import Bookkeeping
from hub.campus.prepaid.pace import REST_S, Pace
from hub.campus.prepaid.standing import Standings
from hub.campus.reconcile.reconciler import Reconciler
from hub.campus.sharing.sharing import Sharing
from hub.campus.supply.desk import SupplyDesk
from hub.campus.supply.service import Supplies
from hub.clock import Clock
from hub.commands import Commands
from hub.journal import Journal
from hub.ledger import Ledger
from hub.model import Reading
from hub.registry import Registry


@cache
def _trusted() -> ssl.SSLContext:
    """Whose certificates are believed; read once in a process, for that takes a while."""
    return httpx2.create_ssl_context(trust_env=False)


class Campus:
    """Made once for each run of the hub; `configure`, then `run`.

    What stands in the ledger goes its way everywhere: batches, orders (the desk needs no platform), jobs. The
    rest runs where something is paid, told or switched by a timetable.

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
        self._http = http = http or httpx2.AsyncClient(
            verify=_trusted(), trust_env=False, follow_redirects=False
        )
        self.delivery = Delivery(
            ledger=ledger,
            clock=clock,
            commands=commands,
            registry=registry,
            alarms=alarms,
            refresh=refresh,
            serving=lambda room: self.intake.serving(room),
            delivered=lambda order: self.supplies.wake(order.account),
        )
        self.intake = Intake(ledger=ledger, clock=clock, alarms=alarms, taken=self.delivery.take)
        self.office = Office(
            ledger=ledger,
            journal=journal,
            clock=clock,
            commands=commands,
            alarms=alarms,
            intake=self.intake,
            taken=self.delivery.take,
            refresh=refresh,
        )
        self.standings = Standings(ledger=ledger, journal=journal, clock=clock)
        pace = Pace(free_s=clock.monotonic_s() + REST_S)  # one for all who restore
        self.batches = Batches(
            ledger=ledger,
            journal=journal,
            clock=clock,
            commands=commands,
            registry=registry,
            refresh=refresh,
            alarms=alarms,
            standings=self.standings,
            pace=pace,
        )
        self.supplies = Supplies(
            ledger=ledger,
            journal=journal,
            clock=clock,
            commands=commands,
            registry=registry,
            standings=self.standings,
            alarms=alarms,
            pace=pace,
            bulk=self.batches,
            refresh=refresh,
        )
        self.batches.heed(self.supplies)
        self.supplies.call_back()
        self.supply_desk = SupplyDesk(ledger=ledger, clock=clock, supplies=self.supplies)
        self.sharing = Sharing(ledger=ledger, journal=journal, clock=clock)
        self.bookkeeping = Bookkeeping(ledger=ledger, journal=journal, clock=clock, alarms=alarms)
        self.outbox = Outbox(ledger=ledger, clock=clock, http=http, alarms=alarms)
        self.lists = PlatformList(ledger=ledger, clock=clock, intake=self.intake, http=http)
        self.alerts = Alerts(
            ledger=ledger,
            journal=journal,
            clock=clock,
            registry=registry,
            standings=self.standings,
            http=http,
            alarms=alarms,
        )
        self.reconciler = Reconciler(
            ledger=ledger, journal=journal, clock=clock, http=http, alarms=alarms
        )
        self._wanted = asyncio.Event()

    def configure(self, policies: Policies) -> None:
        """Go by this site and its policies from now on."""
        self.standings.configure(policies.site, policies.rules)
        self.sharing.configure(policies.site, policies.rules)
        self.bookkeeping.configure(policies.site, policies.rules)
        self.supplies.configure(policies.site, policies.rules, policies.schedules)
        self.batches.configure(policies.site, policies.rules)
        self.intake.configure(policies)
        self.office.configure(policies.site, policies.rules)
        self.outbox.configure(policies.platforms)
        self.alerts.configure(policies.site, policies.rules, policies.alerts)
        self.reconciler.configure(policies)
        if policies.wanted:
            self._wanted.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with self._http, asyncio.TaskGroup() as tasks:
            tasks.create_task(self.batches.run(), name="batches")
            tasks.create_task(self.delivery.run(), name="delivery")
            tasks.create_task(self.office.run(), name="office")
            await self._wanted.wait()
            tasks.create_task(self.outbox.run(), name="outbox")
            tasks.create_task(self.lists.run(), name="lists")
            tasks.create_task(self.bookkeeping.run(), name="books")
            tasks.create_task(self.alerts.run(), name="alerts")
            tasks.create_task(self.reconciler.run(), name="reconciliation")
            tasks.create_task(self.supplies.run(), name="supplies")

    def stored(self, readings: Sequence[Reading]) -> None:
        """New readings are on disk: what a meter counted after all, a relay that moved."""
        self.delivery.heard(readings)
        self.supplies.heard(readings)
        self.batches.heard(readings)
