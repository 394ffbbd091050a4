"""Orders in the ledger, on both databases: taken once, moved by the rules, booked to the fen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, Table, func, select

from hub import SystemClock
from hub.audit import verify
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, platform
from hub.campus.orders import listing, orders
from hub.campus.orders.orders import Act, Notice, Order, OrderError, OrderState, Verdict
from hub.ledger import Ledger, open_ledger, tables

CLOCK = SystemClock(seed=5)
ROOM = Room(building="B1", room="1/01")
ACT = Act(actor="platform/pay", now_ms=1_800_000_000_000)
ALL = list(OrderState)


@pytest.fixture
async def ledger(place: Path | str) -> AsyncIterator[Ledger]:
    async with open_ledger(place, clock=CLOCK) as opened:
        yield opened


def taking(
    amount_fen: int = 5000, *, number: str = "T1", device: str = "m"
) -> Callable[[Connection], orders.Received]:
    notice = Notice(platform="pay", number=number, room=ROOM, amount_fen=amount_fen)
    id = CLOCK.new_id()
    return lambda connection: orders.receive(
        connection, notice, ACT, id=id, device=device, deadline_ms=ACT.now_ms + 1
    )


async def taken(ledger: Ledger) -> Order:
    order = (await ledger.run(taking())).order
    assert order is not None
    return order


async def moved(ledger: Ledger, order: Order, *states: OrderState) -> Order:
    for state in states:
        order = await ledger.run(_to(order, state))
    return order


def _to(order: Order, state: OrderState) -> Callable[[Connection], Order]:
    return lambda connection: orders.advance(connection, order, state, ACT)


def _counting(table: Table) -> Callable[[Connection], int]:
    return lambda connection: connection.scalar(select(func.count()).select_from(table)) or 0


async def balance(ledger: Ledger, account: str) -> int:
    return await ledger.read(lambda connection: books.balance(connection, account))


async def test_a_number_is_taken_once_and_other_content_is_a_conflict(ledger: Ledger) -> None:
    found = [await ledger.run(taking()), await ledger.run(taking()), await ledger.run(taking(1))]
    assert [one.verdict for one in found] == [Verdict.TAKEN, Verdict.REPEATED, Verdict.CONFLICT]
    assert {one.order for one in found} == {found[0].order}
    assert await balance(ledger, ROOM.held) == 5000
    assert await ledger.read(verify) is None
    assert await ledger.read(books.check) == []


async def test_a_room_without_a_meter_leaves_nothing(ledger: Ledger) -> None:
    assert (await ledger.run(taking(device=""))).verdict is Verdict.NO_ROOM
    for table in (tables.orders, tables.accounts, tables.outbox, tables.transactions):
        assert await ledger.read(_counting(table)) == 0


@pytest.mark.parametrize(
    ("in_meter", "account"), [(True, ROOM.meter), (False, ROOM.account)], ids=["meter", "hub"]
)
async def test_what_was_held_goes_where_the_credit_stands(
    ledger: Ledger, in_meter: bool, account: str
) -> None:
    order = await moved(ledger, await taken(ledger), OrderState.DELIVERING)
    await ledger.run(lambda c: orders.deliver(c, order, ACT, in_meter=in_meter))
    assert await balance(ledger, account) == 5000
    assert await balance(ledger, ROOM.held) == 0
    assert await ledger.read(books.check) == []


async def test_a_refund_takes_everything_back(ledger: Ledger) -> None:
    order = await moved(ledger, await taken(ledger), OrderState.DELIVERING, OrderState.REFUND_DUE)
    await ledger.run(lambda connection: orders.refund(connection, order, ACT))
    assert await balance(ledger, ROOM.held) == 0
    assert await balance(ledger, platform("pay")) == 0
    assert await ledger.read(books.check) == []


@pytest.mark.parametrize("state", ALL)
async def test_what_has_ended_stays_as_it_is(ledger: Ledger, state: OrderState) -> None:
    order = await moved(ledger, await taken(ledger), OrderState.DELIVERED)
    with pytest.raises(OrderError):
        await moved(ledger, order, state)


async def test_one_who_is_late_changes_nothing(ledger: Ledger) -> None:
    order = await taken(ledger)
    await moved(ledger, order, OrderState.DELIVERING)
    with pytest.raises(OrderError, match="not accepted any more"):
        await moved(ledger, order, OrderState.REFUND_DUE)
    found = await ledger.read(lambda connection: orders.find(connection, "pay", "T1"))
    assert found is not None
    assert found.state is OrderState.DELIVERING


async def test_orders_are_found_by_state_account_and_platform(ledger: Ledger) -> None:
    for place in range(5):
        await ledger.run(taking(number=f"T{place}"))
    first = await ledger.read(lambda c: listing.in_states(c, [OrderState.ACCEPTED], limit=2))
    rest = await ledger.read(
        lambda c: listing.in_states(c, [OrderState.ACCEPTED], after=first[-1].id)
    )
    newest = await ledger.read(lambda c: listing.recent(c, account=ROOM.account, limit=2))
    none = await ledger.read(lambda c: listing.recent(c, platform="other"))
    assert [order.number for order in (*first, *rest)] == ["T0", "T1", "T2", "T3", "T4"]
    assert [order.number for order in newest] == ["T4", "T3"]
    assert none == []
    assert newest[0].room == ROOM
