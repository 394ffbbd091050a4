"""Somebody leaves a room: nothing stands on it afterwards, however it is killed, whatever was under way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest
from argon2 import PasswordHasher
from sqlalchemy import Connection

from hub import Reading, audit
from hub.auth import Keys, Role, room_place
from hub.campus.accounts import books
from hub.campus.accounts.accounts import BookError, Room, Unit, Utility, debt, platform, revenue
from hub.campus.life.jobs import JobError, JobState, NoSuchRoom
from hub.campus.life.sheet import sheet_csv
from hub.campus.orders.intake import NoRoom
from hub.campus.orders.orders import Act, OrderState, advance, by_id
from hub.campus.orders.platforms import DESK
from hub.campus.prepaid.metering import release
from hub.ledger import Ledger
from tests.campus_house import HOUR_S, OTHER, RATE, ROOM, ZONE, price_of
from tests.provisioned import METERS
from tests.room_office import ACREL, Office, open_office

ALL_STEPS = ["opened", "orders", "read", "charged", "settled", "closed"]
ALLOWED = "[prepaid]\nallowance_wh = 1000\ncharge_step_fen = 500\n"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path) as made:
        yield made


async def test_what_is_left_becomes_a_payout_and_the_room_takes_nothing_more(
    office: Office,
) -> None:
    await office.pay(5_000)
    await office.used(1_000, 11_000)
    job = await office.settle()
    assert (
        await office.job(job)
    ).waits == "m-1 has not answered yet; read it and say what it shows"
    assert office.asked == ["m-1"]
    await office.house.read(12_000)
    await office.turn()
    left = 5_000 - price_of({RATE: 11_000})
    assert await office.names(job) == ALL_STEPS
    assert (await office.ended(job), await office.fen(), await office.payout(job)) == (
        JobState.DONE,
        0,
        left,
    )
    with pytest.raises(NoRoom):
        await office.take(100)
    with pytest.raises(BookError, match="is closed"):
        await office.house.ledger.run(
            lambda connection: books.correct(
                connection,
                key="c",
                account=ROOM.account,
                unit=Unit.FEN,
                amount=1,
                actor="t",
                reason="late",
                time_ms=1,
            )
        )
    assert await office.is_right()


async def test_the_keys_of_a_room_end_with_who_had_them(office: Office) -> None:
    keys = Keys(office.house.ledger, office.house.clock, QUICK)
    theirs, next_door = [
        await keys.add(name="script", role=Role.ROOM, actor="t", place=room_place("B1", name))
        for name in ("101", "102")
    ]
    await office.used(1_000)
    job = await office.settle()
    await office.house.read(1_000)
    assert await keys.check(theirs) is not None
    await office.turn()
    office.house.clock.advance(2)
    assert (await office.job(job)).state is JobState.DONE
    assert await keys.check(theirs) is None
    assert await keys.check(next_door) is not None


async def test_what_is_owed_becomes_a_debt_and_an_allowance_lapses(tmp_path: Path) -> None:
    async with open_office(tmp_path, policy=ALLOWED) as office:
        await office.used(0, 600)
        assert await office.free() == 1_000  # 600 Wh are less than is charged at once
        await office.pay(10)
        await office.house.read(1_900)
        job = await office.settle()
        await office.house.read(2_000, after_s=1)
        await office.turn()
        owed = price_of({RATE: 1_000}) - 10
        assert (await office.fen(), await office.free()) == (0, 0)
        assert await office.has(debt(job.id)) == -owed
        sheet = await office.sheet(job)
        assert (sheet.debt_fen, sheet.lapsed, sheet.used) == (owed, 0, 2_000)
        assert await office.is_right()


async def test_an_allowance_that_is_left_lapses(tmp_path: Path) -> None:
    async with open_office(tmp_path, policy=ALLOWED) as office:
        await office.used(0)
        job = await office.settle()
        await office.house.read(400)
        await office.turn()
        sheet = await office.sheet(job)
        assert (sheet.lapsed, sheet.payout_fen, sheet.debt_fen) == (600, 0, 0)
        assert (await office.free(), await office.is_right()) == (0, True)


async def test_orders_under_way_are_waited_for_and_what_they_bring_is_paid_out(
    office: Office,
) -> None:
    await office.used(0)
    order = await office.take(700, number="7")
    job = await office.settle()
    await office.turn()
    assert (await office.job(job)).waits == "order/pay/7 is accepted"
    late = await office.take(50)  # an order that comes meanwhile is an order like any other
    await office.deliver(order)
    await office.turn()
    await office.deliver(late)
    await office.turn()
    await office.house.read(0, after_s=1)
    await office.turn()
    assert await office.payout(job) == 750
    assert await office.is_right()


async def test_orders_of_which_nothing_was_told_are_given_back_when_so_wished(
    office: Office,
) -> None:
    await office.used(0)
    order = await office.take(700)
    job = await office.settle(give_back=True)
    await office.turn()
    found = await office.house.ask(lambda connection: by_id(connection, order.id))
    assert found is not None
    assert (found.state, found.reason) == (OrderState.REFUND_DUE, "the room's settlement")
    await office.house.read(0, after_s=1)
    await office.turn()
    assert (await office.ended(job), await office.payout(job)) == (JobState.DONE, 0)
    assert await office.has(ROOM.held) == 700  # the platform's, until it has given it back


async def test_an_unknown_order_holds_a_settlement_up_until_a_person_has_found_out(
    office: Office,
) -> None:
    order = await office.take(700, number="7")
    act = Act(actor="t", now_ms=office.house.clock.now_ms())
    unknown = await office.house.ledger.run(
        lambda connection: advance(connection, order, OrderState.UNKNOWN, act)
    )
    job = await office.settle(give_back=True)
    await office.turn()
    assert (await office.job(job)).waits == "order/pay/7 is unknown"
    await office.deliver(unknown)
    await office.turn()
    assert "orders" in await office.names(job)


@pytest.mark.parametrize("kills", range(7))
async def test_killed_at_any_step_the_next_start_goes_on_to_the_same_sheet(
    tmp_path: Path, kills: int
) -> None:
    async with open_office(tmp_path) as office:
        await office.pay(5_000, number="1")
        await office.used(1_000, 11_000)
        job = await office.begin()
        await office.house.read(12_000)
        await killed_after(office, kills)
        assert await office.is_right()
        again = office.again()
        await again.turn()
        await again.house.read(12_000, after_s=1)
        await again.turn()
        sheet = await again.sheet(job)
        assert await again.names(job) == ALL_STEPS
        assert (sheet.payout_fen, sheet.used) == (5_000 - price_of({RATE: 11_000}), 11_000)
        assert [figure.counter for figure in sheet.readings] == [12_000]
        assert await again.sheet(job) == await again.again().sheet(job)
        assert await again.is_right()


class Killed(BaseException):
    """The process is gone."""


async def killed_after(office: Office, works: int) -> None:
    """A turn of a run that is gone after so many works on its ledger."""
    house, ledger = office.house, office.house.ledger
    house.ledger = cast(Ledger, Dying(ledger, works))
    try:
        await office.again().turn()
    except* Killed:
        pass
    finally:
        house.ledger = ledger


class Dying:
    """A ledger that does a number of works; those after it are never done."""

    def __init__(self, ledger: Ledger, works: int, error: type[Exception] | None = None) -> None:
        self._ledger = ledger
        self._left = works
        self._error = error or Killed

    async def run(self, work: Callable[[Connection], object]) -> object:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return await self._ledger.run(work)

    async def read(self, query: Callable[[Connection], object]) -> object:
        return await self._ledger.read(query)


async def test_a_person_reads_a_meter_that_does_not_answer_and_says_why(office: Office) -> None:
    await office.pay(5_000)
    await office.used(1_000, 11_000)
    job = await office.settle()
    await office.turn()
    with pytest.raises(JobError, match="counter fell from 11000 to 10000"):
        await office.say(job, counter=10_000)
    office.house.clock.advance(HOUR_S)
    with pytest.raises(JobError, match="keeps no money"):
        await office.say(job, counter=12_000, credit_fen=1)
    await office.say(job, counter=12_000)
    await office.turn()
    sheet = await office.sheet(job)
    assert (sheet.readings[0].counter, sheet.readings[0].by) == (12_000, "key/ann")
    assert sheet.payout_fen == 5_000 - price_of({RATE: 11_000})
    assert await office.names(job) == ["opened", "orders", "word", *ALL_STEPS[2:]]


async def test_a_doubtful_reading_is_no_last_word(office: Office) -> None:
    await office.used(0)
    job = await office.settle()
    await office.turn()
    await office.house.read(500, uncertain="retained")
    await office.turn()
    waits = (await office.job(job)).waits
    assert waits == "m-1 is in doubt (retained); read it and say what it shows"


async def test_a_held_counter_waits_for_its_person_and_is_charged_as_he_says(
    office: Office,
) -> None:
    await office.pay(1_000)
    await office.used(5_000, 10)
    job = await office.settle()
    await office.house.read(20)
    await office.turn()
    assert (await office.job(job)).waits.startswith("m-1 is held (counter fell from 5000 to 10)")
    binding, now_ms = await office.house.binding(), office.house.clock.now_ms()
    await office.house.ledger.run(
        lambda connection: release(connection, binding, "ann", 20, reason="seen", now_ms=now_ms)
    )
    await office.house.read(1_020)
    await office.turn()
    assert await office.payout(job) == 1_000 - price_of({RATE: 1_000})


async def test_a_settlement_is_cancelled_before_it_books_and_not_after(office: Office) -> None:
    await office.used(0)
    first = await office.settle()
    with pytest.raises(JobError, match="has the settlement"):
        await office.settle()
    await office.life.cancel(first.id, "stays after all", "key/fin")
    assert await office.ended(first) is JobState.CANCELLED
    await office.pay(100)
    second = await office.settle()
    await office.house.read(0, after_s=1)
    await office.turn()
    with pytest.raises(JobError, match="too late"):
        await office.life.cancel(second.id, "no", "key/fin")
    with pytest.raises(JobError, match="is closed"):
        await office.settle()
    with pytest.raises(NoSuchRoom):
        await office.settle(Room(building="B1", room="999"))


async def test_a_reopened_room_begins_with_nothing_and_pays_for_nothing_before(
    office: Office,
) -> None:
    await office.pay(5_000)
    await office.used(0, 1_000)
    job = await office.settle()
    await office.house.read(2_000)
    await office.turn()
    before = await office.sheet(job)
    await office.used(9_000)
    await office.house.read(9_500)
    await office.life.reopen(ROOM, "new student", "key/fin")
    with pytest.raises(BookError, match="not closed"):
        await office.life.reopen(ROOM, "twice", "key/fin")
    assert await office.fen() == 0
    await office.pay(300)
    await office.used(10_500)
    assert await office.fen() == 300 - price_of({RATE: 1_000})
    again = await office.settle()
    await office.house.read(10_500, after_s=1)
    await office.turn()
    assert abs((await office.sheet(again)).payout_fen - (300 - price_of({RATE: 1_000}))) <= 1
    assert [item.amount for item in (await office.sheet(again)).items] == [300]
    assert await office.sheet(job) == before
    rows = await office.house.ask(
        lambda connection: audit.rows(connection, subject=f"account/{ROOM.account}")
    )
    assert [(row.action, row.cause) for row in rows] == [("reopened", "new student")]


async def test_a_payout_is_paid_once_and_a_debt_too(office: Office) -> None:
    await office.pay(500)
    await office.used(0)
    job = await office.settle()
    await office.house.read(0, after_s=1)
    await office.turn()
    await office.life.pay(job.id, "in cash", "key/fin")
    with pytest.raises(JobError, match="nothing to pay"):
        await office.life.pay(job.id, "in cash", "key/fin")
    assert (await office.payout(job), await office.has(platform(DESK))) == (0, 500)
    await office.used(0, device="m-2")
    await office.used(1_000, device="m-2")
    other = await office.settle(OTHER)
    await office.house.read(1_000, device="m-2", after_s=1)
    await office.turn()
    await office.life.pay(other.id, "in cash", "key/fin")
    assert await office.has(debt(other.id)) == 0
    assert (await office.sheet(other)).paid_ms is not None
    assert await office.is_right()


async def test_money_in_a_meter_is_paid_out_once_a_person_has_emptied_it(tmp_path: Path) -> None:
    async with open_office(tmp_path, ACREL, METERS["m-2"], METERS["m-3"]) as office:
        await office.deliver(await office.take(5_000), in_meter=True)
        job = await office.settle()
        await shows(office, credit_money=1_234, energy_import=9_000)
        await office.turn()
        assert (await office.job(job)).waits == (
            "m-1 shows 1234 fen; empty it and say what it showed"
        )
        with pytest.raises(JobError, match="in fen, before it was emptied"):
            await office.say(job, counter=9_000)
        for made_up_fen in (105_001, 10**9, -100_001):
            with pytest.raises(JobError, match="m-1 was told 5000 fen; it cannot have shown"):
                await office.say(job, credit_fen=made_up_fen)
        await office.say(job, credit_fen=1_230)
        await office.turn()
        sheet = await office.sheet(job)
        assert (sheet.payout_fen, sheet.used_fen, sheet.meter_fen) == (1_230, 3_770, 1_230)
        assert (await office.has(ROOM.meter), await office.fen()) == (0, 0)
        assert await office.has(revenue(Utility.ELECTRICITY)) == 3_770
        assert await office.is_right()


async def test_a_meter_that_shows_nothing_left_needs_no_person(tmp_path: Path) -> None:
    async with open_office(tmp_path, ACREL, METERS["m-2"], METERS["m-3"]) as office:
        await office.deliver(await office.take(5_000), in_meter=True)
        job = await office.settle()
        await shows(office, credit_money=0, energy_import=9_000)
        await office.turn()
        assert (await office.ended(job), await office.payout(job)) == (JobState.DONE, 0)
        assert await office.has(ROOM.meter) == 0


async def test_an_order_delivered_after_a_meter_was_emptied_makes_the_word_void(
    tmp_path: Path,
) -> None:
    async with open_office(tmp_path, ACREL, METERS["m-2"], METERS["m-3"]) as office:
        job = await office.settle()
        await office.turn()
        late = await office.take(800, number="8")
        await office.say(job, credit_fen=0)
        await office.turn()
        assert (await office.job(job)).waits == "order/pay/8 is accepted"
        await office.deliver(late, in_meter=True)
        await office.turn()
        await office.turn()
        assert (await office.job(job)).step == "orders"
        await office.say(job, credit_fen=800)
        await office.turn()
        assert await office.payout(job) == 800
        assert await office.is_right()


async def test_the_sheet_as_a_table_tells_the_same_and_runs_no_formula(office: Office) -> None:
    await office.pay(5_000, number="T1")
    await office.used(1_000, 11_000)
    job = await office.settle()
    await office.turn()
    await office.house.read(12_000)
    await office.turn()
    lines = sheet_csv(await office.sheet(job), ZONE).splitlines()
    assert lines[0] == "part,time,what,amount,unit,note"
    assert [line for line in lines if line.startswith(("reading", "delivered", "payout"))] == [
        "reading,2026-11-02T12:01:02+08:00,m-1,12000,Wh,meter",
        "delivered,2026-11-02T09:00:00+08:00,order/pay/T1/delivered,5000,fen,order/pay/T1",
        f"payout,2026-11-02T12:02:03+08:00,Li,{5_000 - price_of({RATE: 11_000})},fen,",
    ]
    assert f"price,2026-01-01,millionths of a fen,{RATE},per Wh," in lines


async def shows(office: Office, **values: int) -> None:
    """The meter says this, an hour later."""
    office.house.clock.advance(HOUR_S)
    now_ms = office.house.clock.now_ms()
    reading = Reading(device="m-1", time_ms=now_ms, received_ms=now_ms, values=values)
    await office.house.journal.append([reading])


async def test_both_databases_settle_alike(tmp_path: Path, place: Path | str) -> None:
    async with open_office(tmp_path, place=place) as office:
        await office.pay(5_000)
        await office.used(1_000, 11_000)
        job = await office.settle()
        assert ROOM in await office.campus.standings.of([ROOM])
        await office.house.read(12_000)
        await office.turn()
        assert (await office.sheet(job)).payout_fen == 5_000 - price_of({RATE: 11_000})
        assert await office.campus.standings.of([ROOM]) == {}
        await office.life.reopen(ROOM, "new student", "key/fin")
        assert await office.is_right()
