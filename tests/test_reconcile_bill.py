"""A platform's bill against the orders, and orders against the books of rooms whose credit the hub holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select, update

from hub import Link, VirtualClock
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
    Link(
        id="bus-1", driver="modbus", devices=(device("meter-1", "eastron_sdm120", "bus-1", "B1"),)
    ),
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


async def test_a_bill_of_many_pages_is_taken_whole(office: Office) -> None:
    for fen in range(1, 121):
        await office.delivered(fen)
    office.at(NIGHT_MS)
    result = await office.compare()
    assert said(result)[Level.BILL, F.EQUAL] == (120, 7260)
    assert office.desk.platform.asked_days == ["2026-11-22"] * 3


async def test_a_line_without_an_order_is_paid_without_effect(office: Office) -> None:
    await office.delivered()
    office.desk.platform.pay("B1", "101", 700)
    office.at(NIGHT_MS)
    result = await office.compare()
    assert said(result)[Level.BILL, F.PAID_WITHOUT_EFFECT] == (1, 700)
    (one,) = await office.found()
    assert (one.item.subject, one.item.billed, one.item.ordered) == ("T00000002", 700, None)
    assert (one.owner, one.day, one.platform) == ("finance", "2026-11-22", PAY)


async def test_an_order_that_no_bill_has_is_effect_without_payment(office: Office) -> None:
    payment = await office.delivered()
    office.desk.platform.mistakes = Mistakes(missing=frozenset({payment.number}))
    office.at(NIGHT_MS)
    result = await office.compare()
    assert said(result) == {
        (Level.BILL, F.EFFECT_WITHOUT_PAYMENT): (1, 5000),
        (Level.DEVICE, F.EQUAL): (1, 5000),
    }
    (one,) = await office.found()
    assert (one.item.billed, one.item.ordered) == (None, 5000)


async def test_another_amount_on_the_bill_differs(office: Office) -> None:
    payment = await office.delivered()
    office.desk.platform.mistakes = Mistakes(amounts={payment.number: 4000})
    office.at(NIGHT_MS)
    assert said(await office.compare())[Level.BILL, F.AMOUNT_DIFFERS] == (1, 4000)
    (one,) = await office.found()
    assert (one.item.billed, one.item.ordered) == (4000, 5000)


async def test_what_the_platform_gave_back_after_delivery_is_effect_without_payment(
    office: Office,
) -> None:
    payment = await office.delivered()
    office.desk.platform.mistakes = Mistakes(refunded=frozenset({payment.number}))
    office.at(NIGHT_MS)
    result = await office.compare()
    assert said(result)[Level.BILL, F.EFFECT_WITHOUT_PAYMENT] == (1, 5000)


async def test_a_payment_that_never_came_and_was_given_back_is_equal(office: Office) -> None:
    payment = office.desk.platform.pay("B1", "101", 700)
    office.desk.platform.payments[payment.number] = replace(payment, state="refunded")
    office.at(NIGHT_MS)
    assert said(await office.compare()) == {(Level.BILL, F.EQUAL): (1, 700)}


async def test_a_refund_that_is_due_waits_some_days_and_is_then_a_difference(
    office: Office,
) -> None:
    payment = await office.paid()
    await office.desk.change(payment.number, "delivering", "refund_due")
    office.at(NIGHT_MS)
    early = await office.compare()
    assert said(early)[Level.BILL, F.PENDING] == (1, 5000)
    assert early.pending == 1
    office.clock.advance(3 * 86_400)
    late = await office.compare()
    assert said(late)[Level.BILL, F.PAID_WITHOUT_EFFECT] == (1, 5000)
    assert said(late)[Level.DEVICE, F.EQUAL] == (1, 5000)  # no effect, and none is owed


async def test_a_refund_on_the_bill_refunds_the_order_that_waits_for_it(office: Office) -> None:
    payment = await office.paid()
    await office.desk.change(payment.number, "delivering", "refund_due")
    office.desk.platform.payments[payment.number] = replace(payment, state="refunded")
    office.at(NIGHT_MS)
    result = await office.compare()
    assert said(result) == {(Level.BILL, F.EQUAL): (1, 5000), (Level.DEVICE, F.EQUAL): (1, 5000)}
    assert (await office.order(payment)).state is OrderState.REFUNDED
    assert await office.desk.balance("platform/campus-pay") == 0


async def test_a_refund_on_the_bill_ends_an_order_of_which_nothing_was_told(office: Office) -> None:
    payment = await office.paid()
    office.desk.platform.payments[payment.number] = replace(payment, state="refunded")
    office.at(NIGHT_MS)
    result = await office.compare()
    assert said(result) == {(Level.BILL, F.EQUAL): (1, 5000), (Level.DEVICE, F.EQUAL): (1, 5000)}
    assert (await office.order(payment)).state is OrderState.REFUNDED
    assert await office.desk.balance("platform/campus-pay") == 0


async def test_a_refund_that_only_the_hub_knows_is_paid_without_effect(office: Office) -> None:
    payment = await office.paid()
    await office.desk.change(payment.number, "delivering", "refund_due", "refunded")
    office.at(NIGHT_MS)
    result = await office.compare()
    assert said(result)[Level.BILL, F.PAID_WITHOUT_EFFECT] == (1, 5000)


async def test_an_order_that_nobody_knows_of_is_unknown(office: Office) -> None:
    payment = await office.paid()
    await office.desk.change(payment.number, "delivering", "unknown", reason="no word")
    office.at(NIGHT_MS)
    result = await office.compare()
    assert said(result)[Level.DEVICE, F.UNKNOWN] == (1, 5000)
    (one,) = await office.found()
    assert one.item.detail == "no word"


async def test_a_delivery_that_is_not_booked_is_paid_without_effect(office: Office) -> None:
    payment = await office.paid()
    await office.desk.change(payment.number, "delivered")
    office.at(NIGHT_MS)
    result = await office.compare()
    assert said(result)[Level.DEVICE, F.PAID_WITHOUT_EFFECT] == (1, 5000)


async def test_an_open_order_is_pending_until_its_deadline(office: Office) -> None:
    await office.paid()
    office.at(NIGHT_MS)
    assert said(await office.compare())[Level.DEVICE, F.PENDING] == (1, 5000)
    office.clock.advance(86_400)
    result = await office.compare()
    assert said(result)[Level.DEVICE, F.PAID_WITHOUT_EFFECT] == (1, 5000)


async def test_an_order_that_was_changed_in_the_ledger_differs_in_its_amount(
    office: Office,
) -> None:
    payment = await office.delivered()
    t = tables.orders
    changed = update(t).where(t.c.number == payment.number).values(amount_fen=50_000)
    await office.desk.ledger.run(lambda connection: connection.execute(changed) and None)
    office.at(NIGHT_MS)
    result = await office.compare()
    assert said(result) == {
        (Level.BILL, F.AMOUNT_DIFFERS): (1, 5000),
        (Level.DEVICE, F.AMOUNT_DIFFERS): (1, 50_000),
    }


async def test_what_is_paid_before_midnight_and_told_after_it_belongs_to_the_day_it_was_paid(
    office: Office,
) -> None:
    office.at(MIDNIGHT_MS - 1_000)
    payment = office.desk.platform.pay("B1", "101", 5000)
    office.at(MIDNIGHT_MS + 1_000)
    await office.told(payment)
    await office.deliver(payment)
    office.at(NIGHT_MS + 86_400_000)
    first, second = await office.compare(), await office.compare(DAY + timedelta(days=1))
    assert said(first) == {(Level.BILL, F.EQUAL): (1, 5000), (Level.DEVICE, F.EQUAL): (1, 5000)}
    assert said(second) == {}
    assert await office.found(is_open=None) == []


async def test_an_order_that_the_platforms_clock_puts_on_the_next_day_is_pending_until_its_bill(
    office: Office,
) -> None:
    office.at(MIDNIGHT_MS - 60_000)
    payment = await office.delivered()
    ahead = replace(payment, paid_ms=MIDNIGHT_MS + 30_000)
    office.desk.platform.payments[payment.number] = ahead
    office.at(NIGHT_MS)
    first = await office.compare()
    assert said(first)[Level.BILL, F.PENDING] == (1, 5000)
    office.at(NIGHT_MS + 86_400_000)
    second = await office.compare(DAY + timedelta(days=1))
    assert said(second)[Level.BILL, F.EQUAL] == (1, 5000)
    assert said(await office.compare()) == {}  # nothing is left of it on the day before
    assert await office.found(is_open=None) == []


async def test_an_order_of_the_last_minute_that_the_next_bill_has_not_either_is_a_difference(
    office: Office,
) -> None:
    office.at(MIDNIGHT_MS - 60_000)
    payment = await office.delivered()
    office.desk.platform.mistakes = Mistakes(missing=frozenset({payment.number}))
    office.at(NIGHT_MS + 86_400_000)
    await office.compare(DAY + timedelta(days=1))
    result = await office.compare()
    assert said(result)[Level.BILL, F.EFFECT_WITHOUT_PAYMENT] == (1, 5000)


async def test_the_same_day_again_changes_nothing(office: Office) -> None:
    await office.delivered()
    office.desk.platform.pay("B1", "101", 700)
    office.at(NIGHT_MS)
    first, rows = await office.compare(), await office.rows()
    office.clock.advance(3_600)
    assert await office.compare() == first
    assert await office.rows() == rows


async def test_with_new_facts_a_difference_ends_by_itself_and_says_so(office: Office) -> None:
    payment = office.desk.platform.pay("B1", "101", 700)
    office.at(NIGHT_MS)
    await office.compare()
    (one,) = await office.found()
    await office.told(payment)
    await office.deliver(payment)
    result = await office.compare()
    assert (result.number, said(result)[Level.BILL, F.EQUAL]) == (2, (1, 700))
    (ended,) = await office.found(is_open=None)
    assert (ended.id, ended.ended_by) == (one.id, "reconciliation")
    assert ended.resolution == "found equal"
    actions = [row.action for row in await office.desk.audit(f"difference/{one.id}")]
    assert actions == ["found", "ended"]


async def test_a_difference_that_comes_back_is_open_again(office: Office) -> None:
    payment = await office.delivered()
    wrong = Mistakes(missing=frozenset({payment.number}))
    office.at(NIGHT_MS)
    for mistakes in (wrong, Mistakes(), wrong):
        office.desk.platform.mistakes = mistakes
        await office.compare()
    (one,) = await office.found()
    actions = [row.action for row in await office.desk.audit(f"difference/{one.id}")]
    assert actions == ["found", "ended", "found again"]


async def test_what_a_person_has_ended_stays_ended_until_its_figures_change(
    office: Office,
) -> None:
    office.desk.platform.pay("B1", "101", 700)
    office.at(NIGHT_MS)
    await office.compare()
    (one,) = await office.found()
    ended = await office.reconciler.end(one.id, "paid back in cash", "key/ann")
    assert (ended.ended_by, ended.resolution) == ("key/ann", "paid back in cash")
    rows = await office.rows()
    await office.compare()
    assert await office.rows() == rows
    office.desk.platform.mistakes = Mistakes(amounts={one.item.subject: 900})
    await office.compare()
    (again,) = await office.found()
    assert (again.id, again.item.billed) == (one.id, 900)


async def test_a_difference_is_given_to_another_and_ended_once(office: Office) -> None:
    office.desk.platform.pay("B1", "101", 700)
    office.at(NIGHT_MS)
    await office.compare()
    (one,) = await office.found()
    assert (await office.reconciler.assign(one.id, "bo", "key/ann")).owner == "bo"
    await office.reconciler.end(one.id, "done", "key/bo")
    with pytest.raises(differences.DifferenceError, match="key/bo has ended it: done"):
        await office.reconciler.end(one.id, "again", "key/ann")
    actions = [row.action for row in await office.desk.audit(f"difference/{one.id}")]
    assert actions == ["found", "assigned", "ended"]


async def test_open_differences_are_one_alarm_with_their_number_and_sum(office: Office) -> None:
    for fen in (700, 550):
        office.desk.platform.pay("B1", "101", fen)
    office.at(NIGHT_MS)
    await office.compare()
    alarms = {one.subject: one.reason for one in office.desk.campus.alarms.now()}
    assert alarms["reconciliation"] == "2 differences are open, 12.50 yuan"
    for one in await office.found():
        await office.reconciler.end(one.id, "done", "key/ann")
    assert "reconciliation" not in {one.subject for one in office.desk.campus.alarms.now()}


async def test_a_day_that_is_not_over_is_not_compared(office: Office) -> None:
    with pytest.raises(BillError, match="2026-11-22 is not over"):
        await office.compare()


async def test_orders_of_the_desk_need_no_bill(office: Office) -> None:
    order = orders.Notice(platform="desk", number="1", room=(await _room(office)), amount_fen=900)
    taken = await office.desk.intake.take(order, cause="staff")
    act = Act(actor="delivery", now_ms=office.clock.now_ms())
    await office.desk.ledger.run(
        lambda connection: orders.deliver(connection, taken, act, in_meter=False)
    )
    office.at(NIGHT_MS)
    found = await office.reconciler.reconcile(DAY)
    (desk,) = [one for one in found if one.platform == "desk"]
    assert said(desk) == {(Level.DEVICE, F.EQUAL): (1, 900)}
    assert await office.found() == []


async def _room(office: Office) -> orders.Room:
    payment = await office.paid()
    return (await office.order(payment)).room
