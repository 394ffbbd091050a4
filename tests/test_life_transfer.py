"""What a room has goes to another: in one transaction, or by an order of the desk into a meter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import func, select

from hub import audit
from hub.campus.accounts import books
from hub.campus.accounts.accounts import BookError, Room, platform
from hub.campus.accounts.reversals import reverse
from hub.campus.life.jobs import JobError, JobState
from hub.campus.orders import orders
from hub.campus.orders.desk import Credit, NoMeter, NumberUsed, Source
from hub.campus.orders.orders import Act, Order, OrderError, OrderState
from hub.campus.orders.platforms import DESK
from hub.errors import StoreError
from hub.ledger import Ledger
from hub.ledger.tables import outbox
from tests.campus_house import OTHER, RATE, ROOM, price_of
from tests.provisioned import METERS
from tests.room_office import ACREL, Office, open_office
from tests.test_life_settlement import Dying, killed_after

NOWHERE = Room(building="B1", room="9")
INTO = "m-2,acrel_ddsy1352,bus-1,2,B1,1,102,socket,,"


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path) as made:
        yield made


async def desk_order(office: Office, number: str) -> Order:
    found = await office.house.ask(lambda connection: orders.find(connection, DESK, number))
    assert found is not None
    return found


async def refuse(office: Office, order: Order) -> None:
    """No meter takes it."""
    act = Act(actor="delivery", now_ms=office.house.clock.now_ms())
    await office.house.ledger.run(
        lambda connection: orders.advance(
            connection, order, OrderState.REFUND_DUE, act, reason="m-2 is gone"
        )
    )


async def test_the_whole_balance_goes_over_once_both_are_charged(office: Office) -> None:
    await office.pay(5_000)
    await office.pay(300, OTHER)
    await office.used(1_000)
    await office.house.read(3_000)
    job = await office.transfer(ROOM, OTHER)
    await office.turn()
    moved = 5_000 - price_of({RATE: 2_000})
    assert (await office.fen(), await office.fen(OTHER)) == (0, 300 + moved)
    assert await office.names(job) == ["opened", "orders", "read", "moved"]
    assert (await office.ended(job), await office.is_right()) == (JobState.DONE, True)


async def test_a_debt_goes_over_too_and_two_rooms_change_what_they_have(office: Office) -> None:
    await office.used(0, 2_000)
    owed = price_of({RATE: 2_000})
    await office.pay(700, OTHER)
    await office.transfer(ROOM, OTHER, swap=True)
    await office.turn()
    assert (await office.fen(), await office.fen(OTHER)) == (700, -owed)
    await office.transfer(OTHER, ROOM)
    await office.turn()
    assert (await office.fen(), await office.fen(OTHER)) == (700 - owed, 0)
    assert await office.is_right()


@pytest.mark.parametrize(("policy", "left"), [("", 0), ("allowance_moves = true\n", 1_000)])
async def test_the_allowance_goes_along_where_the_policy_says_so(
    tmp_path: Path, policy: str, left: int
) -> None:
    rules = "[prepaid]\nallowance_wh = 1000\n" + policy
    async with open_office(tmp_path, policy=rules) as office:
        await office.transfer(ROOM, OTHER)
        await office.turn()
        assert (await office.free(ROOM), await office.free(OTHER)) == (1_000 - left, 1_000 + left)


@pytest.mark.parametrize("kills", range(5))
async def test_killed_at_any_step_it_is_moved_once(tmp_path: Path, kills: int) -> None:
    async with open_office(tmp_path) as office:
        await office.pay(900)
        job = await office.transfer(ROOM, OTHER)
        await killed_after(office, kills)
        assert await office.fen() + await office.fen(OTHER) == 900
        await office.again().turn()
        assert (await office.fen(), await office.fen(OTHER)) == (0, 900)
        assert (await office.ended(job), await office.is_right()) == (JobState.DONE, True)


async def test_into_a_meter_it_goes_as_an_order_of_the_desk(tmp_path: Path) -> None:
    async with open_office(tmp_path, METERS["m-1"], INTO, METERS["m-3"]) as office:
        await office.pay(900)
        job = await office.transfer(ROOM, OTHER)
        await office.turn()
        assert (await office.fen(), await office.has(OTHER.held)) == (0, 900)
        order = await desk_order(office, job.id)
        assert (order.device, order.state) == ("m-2", OrderState.ACCEPTED)
        await office.deliver(order, in_meter=True)
        await office.turn()
        assert await office.names(job) == ["opened", "orders", "read", "moved", "delivered"]
        assert (await office.ended(job), await office.has(OTHER.meter)) == (JobState.DONE, 900)
        assert await office.has(platform(DESK)) == 0
        assert await office.is_right()


async def test_what_no_meter_takes_goes_back_to_the_room_it_came_from(tmp_path: Path) -> None:
    async with open_office(tmp_path, METERS["m-1"], INTO, METERS["m-3"]) as office:
        await office.pay(900)
        job = await office.transfer(ROOM, OTHER)
        await office.turn()
        with pytest.raises(JobError, match="under way"):
            await office.settle()
        await refuse(office, await desk_order(office, job.id))
        await office.turn()
        assert (await office.fen(), await office.has(OTHER.held)) == (900, 0)
        assert await office.ended(job) is JobState.FAILED
        assert await office.is_right()


async def test_out_of_a_meter_comes_what_a_person_read_before_he_emptied_it(
    tmp_path: Path,
) -> None:
    async with open_office(tmp_path, ACREL, METERS["m-2"], METERS["m-3"]) as office:
        await office.deliver(await office.take(2_000), in_meter=True)
        job = await office.transfer(ROOM, OTHER)
        await office.turn()
        assert (await office.job(job)).waits.startswith("m-1 was never heard")
        await office.say(job, credit_fen=1_500)
        await office.turn()
        assert (await office.has(ROOM.meter), await office.fen(OTHER)) == (500, 1_500)
        assert (await office.ended(job), await office.is_right()) == (JobState.DONE, True)


async def test_a_debt_goes_into_no_meter_and_a_meter_is_not_swapped(tmp_path: Path) -> None:
    async with open_office(tmp_path, METERS["m-1"], INTO, METERS["m-3"]) as office:
        await office.used(0, 2_000)
        job = await office.transfer(ROOM, OTHER)
        await office.turn()
        assert "which no meter takes over" in (await office.job(job)).waits
        await office.life.cancel(job.id, "he pays", "key/fin")
        with pytest.raises(JobError, match="two transfers"):
            await office.transfer(ROOM, OTHER, swap=True)
        with pytest.raises(JobError, match="two rooms"):
            await office.transfer(ROOM, ROOM)


@pytest.mark.parametrize("works", range(5))
async def test_a_full_disk_at_any_moment_of_a_job_that_cannot_go_on_ends_no_round(
    tmp_path: Path, works: int
) -> None:
    async with open_office(tmp_path, METERS["m-1"], INTO, METERS["m-3"]) as office:
        await office.used(0, 2_000)
        job = await office.transfer(ROOM, OTHER)
        house, ledger = office.house, office.house.ledger
        house.ledger = cast(Ledger, Dying(ledger, works, StoreError))
        with suppress(StoreError):  # and no other: it is taken for what it is
            await office.again().turn()
        house.ledger = ledger
        await office.turn()
        assert "which no meter takes over" in (await office.job(job)).waits


async def test_credit_of_the_desk_is_given_once_and_told_to_nobody_outside(
    office: Office,
) -> None:
    desk = office.campus.office.desk
    gift = Credit(number="G1", room=ROOM, amount_fen=250, reason="meter stood still")
    first = await desk.give(gift, "key/fin")
    assert await desk.give(gift, "key/fin") == first
    with pytest.raises(NumberUsed):
        await desk.give(Credit(number="G1", room=ROOM, amount_fen=1, reason="x"), "key/fin")
    await office.deliver(first)
    assert (await office.fen(), await office.has(platform(DESK))) == (250, -250)
    assert dict(desk.counts) == {"taken": 1, "repeated": 1, "conflict": 1}
    assert office.campus.intake.counts.total() == 0
    told = select(func.count()).select_from(outbox)
    assert await office.house.ask(lambda connection: connection.scalar(told)) == 0


async def test_credit_of_the_desk_arrives_also_where_nothing_is_prepaid(tmp_path: Path) -> None:
    gift = Credit(number="G1", room=ROOM, amount_fen=250, reason="a rehearsal")
    async with open_office(tmp_path, policy="") as office:
        order = await office.campus.office.desk.give(gift, "key/fin")
        await office.serve(order, OrderState.DELIVERED)
        assert await office.fen() == 250


async def test_credit_of_the_desk_comes_from_what_there_is_and_goes_back_there(
    tmp_path: Path,
) -> None:
    async with open_office(tmp_path, ACREL, METERS["m-2"], METERS["m-3"]) as office:
        await office.deliver(await office.take(2_000), in_meter=True)
        desk = office.campus.office.desk
        old = Credit(
            number="S1", room=ROOM, amount_fen=1_200, source=Source.METER, reason="old display"
        )
        order = await desk.give(old, "key/ann")
        assert (await office.has(ROOM.meter), await office.has(ROOM.held)) == (800, 1_200)
        await refuse(office, order)
        await office.turn()
        assert (await office.has(ROOM.meter), await office.has(ROOM.held)) == (2_000, 0)
        more = Credit(
            number="S2", room=ROOM, amount_fen=2_001, source=Source.METER, reason="old display"
        )
        with pytest.raises(OrderError, match="has 2000 fen"):
            await desk.give(more, "key/ann")
        nowhere = Credit(number="S3", room=NOWHERE, amount_fen=1, reason="x")
        with pytest.raises(NoMeter):
            await desk.give(nowhere, "key/ann")


async def test_what_the_house_gives_is_bounded_for_each_credit_and_each_persons_day(
    office: Office,
) -> None:
    async def give(number: int, amount_fen: int, actor: str = "key/fin") -> Order:
        gift = Credit(number=f"G{number}", room=ROOM, amount_fen=amount_fen, reason="leak")
        return await office.campus.office.desk.give(gift, actor)

    with pytest.raises(OrderError, match="at most 100000 fen at once"):
        await give(0, 100_001)
    given = [await give(number, 100_000) for number in range(10)]
    with pytest.raises(OrderError, match="one person gives at most 1000000 fen in a day"):
        await give(10, 1)
    assert await give(9, 100_000) == given[9]  # said again it is not given again
    assert (await give(11, 1, "key/other")).amount_fen == 1
    office.house.clock.advance(24 * 3_600)
    assert (await give(10, 1)).amount_fen == 1


async def test_a_whole_transaction_is_taken_back_by_another_and_once(office: Office) -> None:
    await office.used(0, 2_000)
    (line,) = await office.house.ask(lambda c: books.statement(c, ROOM.account))

    async def back(number: int) -> tuple[int, bool]:
        return await office.house.ledger.run(
            lambda c: reverse(c, number, actor="fay", reason="wrong room", time_ms=1)
        )

    made, _ = await back(line.number)
    assert await back(line.number) == (line.number + 1, False)
    assert (await office.fen(), made) == (0, line.number + 1)
    newest = (await office.house.ask(lambda c: books.statement(c, ROOM.account)))[0]
    assert newest.cause == f"reverses {line.number}, {line.key}: wrong room"
    with pytest.raises(BookError, match="cannot be reversed"):
        await back(made)
    order = await office.pay(100)
    (paid, *_) = await office.house.ask(lambda c: books.statement(c, ROOM.account))
    with pytest.raises(BookError, match=f"delivered {order.key}"):
        await back(paid.number)
    with pytest.raises(BookError, match="there is no transaction 999"):
        await back(999)
    rows = await office.house.ask(lambda c: audit.rows(c, subject=f"transaction/{line.number}"))
    assert [(row.actor, row.action, row.cause) for row in rows] == [
        ("fay", "reversed", "wrong room")
    ]
    assert await office.is_right()


async def test_what_was_charged_to_people_who_have_left_is_not_given_to_the_next(
    office: Office,
) -> None:
    await office.used(0, 2_000)
    (line,) = await office.house.ask(lambda c: books.statement(c, ROOM.account))
    await office.settle()
    await office.house.read(2_000)
    await office.turn()
    await office.life.reopen(ROOM, "new people", "key/fin")
    with pytest.raises(BookError, match="another people's"):
        await office.house.ledger.run(
            lambda c: reverse(c, line.number, actor="fay", reason="late", time_ms=1)
        )
    assert await office.fen() == 0
