"""Meters with a memory of their own, paid for by a simulated platform, and the night that compares it all.

The day is played on virtual time by one run of the hub; the night is another, on the ledger and the readings
that the day has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx2

from hub import Place, Reading, VirtualClock
from hub import Site as Installed
from hub.campus.alarms import Alarms
from hub.campus.orders import orders
from hub.campus.orders.delivery import Delivery
from hub.campus.orders.intake import Intake
from hub.campus.orders.orders import Order, OrderState
from hub.campus.orders.platforms import Platform
from hub.campus.policies import Policies
from hub.campus.prepaid.rules import Prepaid, Rules
from hub.campus.reconcile import differences
from hub.campus.reconcile.differences import Chosen, Difference
from hub.campus.reconcile.reconciler import Reconciler
from hub.campus.reconcile.results import Level, Result
from hub.journal import open_journal
from hub.ledger import open_ledger
from simulators.platform import Payment, PaymentPlatform
from tests.command_bench import Hub, Site
from tests.scripted_device import Machine
from tests.virtual_loop import run_virtual

DAY = date(2026, 11, 22)
START_MS = round(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp() * 1000)
MIDNIGHT_MS = START_MS + 12 * 3_600_000
NIGHT_MS = MIDNIGHT_MS + 4 * 3_600_000
PAY = "pay"
METER = "gate-1"  # what the bench calls its first device
_SECRET = bytes(range(32))
_ENDED = (OrderState.DELIVERED, OrderState.REFUND_DUE, OrderState.UNKNOWN)


class Street:
    """The hub's side of a day."""

    def __init__(self, hub: Hub, policies: Policies, platform: PaymentPlatform) -> None:
        self.hub = hub
        self.platform = platform
        self.alarms = Alarms(hub.clock)
        self.delivery = Delivery(
            ledger=hub.ledger,
            clock=hub.clock,
            commands=hub.control.commands,
            registry=hub.control.registry,
            alarms=self.alarms,
        )
        self.intake = Intake(
            ledger=hub.ledger, clock=hub.clock, alarms=self.alarms, taken=self.delivery.take
        )
        self.intake.configure(policies)

    async def paid(self, fen: int = 500, *, room: str = "101") -> Payment:
        """Somebody pays, and the hub is told."""
        payment = self.platform.pay("B1", room, fen)
        await self.intake.standard(*self.platform.notice(payment))
        return payment

    async def ended(self, payment: Payment) -> Order:
        """The order once it has come to rest."""
        async with asyncio.timeout(600):
            while True:
                order = await self.hub.ledger.read(
                    lambda connection: orders.find(connection, PAY, payment.number)
                )
                if order is not None and order.state in _ENDED:
                    return order
                await self.hub.clock.sleep(0.5)

    async def bought(self, fen: int = 500) -> Order:
        """Paid, and at rest."""
        return await self.ended(await self.paid(fen))


class Town:
    """Machines, platform and ledger that outlive every run of the hub."""

    def __init__(self, folder: Path, *, start_ms: int = START_MS, machines: int = 1) -> None:
        self.bench = Site(folder, machines=machines, start_ms=start_ms)
        self._folder = folder
        link = self.bench.links[0]
        rooms = (
            replace(device, place=Place(building="B1", room=str(101 + place)))
            for place, device in enumerate(link.devices)
        )
        self.bench.links = (replace(link, devices=tuple(rooms)),)
        self.policies = Policies(
            site=Installed(
                name="town",
                timezone=ZoneInfo("UTC"),
                links=tuple(self.bench.links),
                folder=folder,
            ),
            rules=Rules(everywhere=Prepaid(delivery_s=120)),
            platforms={
                PAY: Platform(
                    name=PAY,
                    secrets=(_SECRET,),
                    receiver="logistics",
                    bill_url="http://127.0.0.1/bill",
                )
            },
        )
        self.platform = PaymentPlatform(clock=VirtualClock(start_ms=start_ms), secret=_SECRET)
        self.readings: list[Reading] = []

    @property
    def meter(self) -> Machine:
        """The meter of room 101: its own memory of what it did."""
        return self.bench.machines[METER]

    def play(self, scene: Callable[[Street], Awaitable[None]]) -> None:
        """One run of the hub; every meter is read as it begins and as it ends."""

        async def main() -> None:
            async with self.bench.hub() as hub:
                self.platform.clock = hub.clock
                street = Street(hub, self.policies, self.platform)
                task = asyncio.create_task(street.delivery.run(), name="delivery")
                await hub.poll(*self.bench.machines)
                await scene(street)
                for _ in range(4):  # a counter that fell proves itself before it is believed
                    await hub.clock.sleep(30)
                    await hub.poll(*self.bench.machines)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                self.readings += hub.store.readings

        run_virtual(main())

    def night(
        self, *days: date, at_ms: int = NIGHT_MS, more: Sequence[Reading] = ()
    ) -> dict[str, Result]:
        """Compare these days, or the one; the last result of each platform, the meters' as ""."""
        return asyncio.run(self._night(days or (DAY,), at_ms, more))

    async def _night(
        self, days: Sequence[date], at_ms: int, more: Sequence[Reading]
    ) -> dict[str, Result]:
        clock = VirtualClock(start_ms=at_ms)
        self.platform.clock = clock
        transport = httpx2.ASGITransport(app=self.platform.app())
        found: dict[str, Result] = {}
        async with (
            open_ledger(self.bench.place, clock=clock) as ledger,
            open_journal(self._folder / "journal.db", clock=clock) as journal,
            httpx2.AsyncClient(transport=transport, trust_env=False) as http,
        ):
            await journal.append([*self.readings, *more])
            self.readings = []
            reconciler = Reconciler(
                ledger=ledger, journal=journal, clock=clock, http=http, alarms=Alarms(clock)
            )
            reconciler.configure(self.policies)
            for day in days:
                found |= {one.platform: one for one in await reconciler.reconcile(day)}
            self.differences: list[Difference] = await ledger.read(
                lambda one: differences.find(one, Chosen(is_open=True))
            )
        return found


def said(result: Result) -> dict[tuple[Level, str], tuple[int, int]]:
    """Number and sum by level and finding."""
    return {(one.level, one.what): (one.count, one.amount) for one in result.tallies}
