"""A platform's bill against the orders, and orders against the books of rooms whose credit the hub holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select, update

from hub import Link, VirtualClock
from hub.audit import Entry  # noqa: F401
from hub.campus.orders import orders
from hub.campus.orders.orders import Act, Order, OrderState
from hub.campus.reconcile import differences
from hub.campus.reconcile.bill import BillError
from hub.campus.reconcile.differences import Chosen, Difference
from hub.campus.reconcile.reconciler import Reconciler
from hub.campus.reconcile.results import Finding, Level, Result
from hub.ledger import tables
from simulators.platform import Mistakes, Payment
from tests.api_site import device
from tests.order_site import OrderDesk, order_desk

ZONE = ZoneInfo("Asia/Shanghai")
DAY = date(2026, 11, 22)
NOON_MS = round(datetime(2026, 11, 22, 12, tzinfo=ZONE).timestamp() * 1000)
MIDNIGHT_MS = NOON_MS + 12 * 3_600_000
NIGHT_MS = MIDNIGHT_MS + 4 * 3_600_000
PAY = "campus-pay"
LINKS = (
    Link(id="bus-1", driver="modbus", devices=(device("meter-1", "eastron_sdm120", "bus-1", "B1"),)),
)
F = Finding


@dataclass(kw_only=True)
class Office:
    """A platform, the hub's orders, and the night in which they are compared."""

    desk: OrderDesk

    @property
    def reconciler(self) -> Reconciler:
        return self.desk.campus.reconciler

    @property
    def clock(self) -> VirtualClock:
        assert isinstance(self.desk.clock, VirtualClock)
        return self.desk.clock

    def at(self, time_ms: int) -> None:
        self.clock.advance((time_ms - self.clock.now_ms()) / 1000)

    async def paid(self, fen: int = 5000) -> Payment:
        """Somebody pays, and the hub is told."""
        payment = self.desk.platform.pay("B1", "101", fen)
        await self.told(payment)
        return payment

    async def told(self, payment: Payment) -> None:
        await self.desk.intake.standard(*self.desk.platform.notice(payment))

    async def order(self, payment: Payment) -> Order:
        order = await self.desk.order(payment.number)
        assert order is not None
        return order

    async def delivered(self, fen: int = 5000) -> Payment:
        """Paid, and in the room's account."""
        payment = await self.paid(fen)
        await self.deliver(payment)
        return payment

    async def deliver(self, payment: Payment) -> None:
        order, act = await self.order(payment), Act(actor="delivery", now_ms=self.clock.now_ms())
        await self.desk.ledger.run(
            lambda connection: orders.deliver(connection, order, act, in_meter=False)
        )

    async def compare(self, day: date = DAY) -> Result:
        """What the platform's day came to."""
        found = await self.reconciler.reconcile(day)
        return next(one for one in found if one.platform == PAY)

    async def found(self, *, is_open: bool | None = True) -> list[Difference]:
        chosen = Chosen(is_open=is_open)
        return await self.desk.ledger.read(lambda one: differences.find(one, chosen))

    async def rows(self) -> list[int]:
        """How many rows there are of everything that a run writes."""
        names = ("audit", "reconciliations", "differences", "bills", "bill_lines", "orders")

        def count(connection: object) -> list[int]:
            return [
                connection.scalar(select(func.count()).select_from(getattr(tables, name)))  # type: ignore[attr-defined]
                for name in names
            ]

        return await self.desk.ledger.read(count)


def said(result: Result) -> Mapping[tuple[Level, str], tuple[int, int]]:
    """Number and fen by level and finding."""
    return {(one.level, one.what): (one.count, one.amount) for one in result.tallies}


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with order_desk(tmp_path, VirtualClock(start_ms=NOON_MS), links=LINKS) as desk:
        yield Office(desk=desk)


async def test_what_was_paid_and_delivered_is_equal_at_both_levels(office: Office) -> None:
    for fen in (5000, 3000):
        await office.delivered(fen)
    office.at(NIGHT_MS)
    result = await office.compare()
    assert said(result) == {(Level.BILL, F.EQUAL): (2, 8000), (Level.DEVICE, F.EQUAL): (2, 8000)}
    assert (result.bill, result.number, result.pending) == ("asked", 1, 0)
    assert await office.found() == []
    assert office.desk.platform.asked_days == ["2026-11-22"]
