"""Charging: what the counters say is charged once, to the fen, and what cannot be believed is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from hub import audit
from hub.campus.accounts import books
from hub.campus.accounts.accounts import BookError, Room, Unit, Utility, grant, revenue
from hub.campus.accounts.books import Kind, transfer
from hub.campus.prepaid.charging import Charger
from hub.campus.prepaid.metering import release
from hub.ledger.tables import bindings
from tests.campus_house import (
    DAY_S,
    HOUR_S,
    OTHER,
    RATE,
    ROOM,
    House,
    open_house,
    price_of,
)
from tests.provisioned import METERS

POWER = Utility.ELECTRICITY


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


async def give(house: House, amount: int, room: Room = ROOM) -> None:
    """So much of an allowance."""
    said = transfer(grant(POWER), room.account, Unit.WH, amount)
    await house.ledger.run(
        lambda connection: books.post(
            connection, key="g", kind=Kind.GRANT, postings=said, actor="t", cause="", time_ms=1
        )
    )


async def let_go(house: House, counter: int, at_ms: int | None = None) -> None:
    binding, now_ms = await house.binding(), house.clock.now_ms()
    await house.ledger.run(
        lambda connection: release(
            connection, binding, "staff", counter, reason="seen", now_ms=now_ms, at_ms=at_ms
        )
    )


async def test_use_is_charged_from_the_first_reading_on(house: House) -> None:
    await house.used(700_000, 701_000, 703_500)
    assert await house.fen() == -price_of({RATE: 3_500})
    earned = await house.ask(lambda connection: books.balance(connection, revenue(POWER)))
    assert earned == price_of({RATE: 3_500})
    assert await house.is_right()


async def test_a_run_over_the_same_readings_charges_nothing_more(house: House) -> None:
    await house.used(0, 1_000)
    again = await house.charge(flush=True)
    assert (again.charged, again.waiting, again.fen) == (0, 3, 0)
    assert await house.fen() == -price_of({RATE: 1_000})


async def test_runs_at_the_same_time_charge_once(house: House) -> None:
    await house.used(0)
    await house.read(2_000)
    others = [
        Charger(ledger=house.ledger, journal=house.journal, clock=house.clock) for _ in range(5)
    ]
    runs = await asyncio.gather(*(other.run(house.site, house.rules) for other in others))
    assert sorted(run.fen for run in runs) == [0, 0, 0, 0, price_of({RATE: 2_000})]
    assert await house.fen() == -price_of({RATE: 2_000})


async def test_runs_at_the_same_time_begin_once_with_a_counter_that_is_held_at_once(
    house: House,
) -> None:
    await house.read(2_000)
    await house.read(100)
    chargers = [
        Charger(ledger=house.ledger, journal=house.journal, clock=house.clock) for _ in range(3)
    ]
    runs = await asyncio.gather(*(one.run(house.site, house.rules) for one in chargers))
    assert [len(run.stopped) for run in runs] == [1, 0, 0]
    assert len(await house.held()) == 1


async def test_a_month_in_small_steps_costs_what_it_costs_at_once_within_a_fen(
    house: House,
) -> None:
    steps = [(7 * place) % 13 for place in range(31 * 24)]
    counter = 0
    await house.used(0)
    for step in steps:
        counter += step
        await house.used(counter)
    assert abs(await house.fen() + price_of({RATE: sum(steps)})) <= 1
    assert await house.is_right()


async def test_a_new_price_holds_from_its_local_midnight(house: House) -> None:
    await house.enter(100_000, date(2026, 11, 3))
    await house.read(0)
    await house.read(4_000, after_s=15 * HOUR_S)  # midnight
    await house.read(9_000, after_s=HOUR_S)
    await house.charge()
    assert await house.fen() == -price_of({RATE: 4_000, 100_000: 5_000})


async def test_a_step_over_midnight_is_shared_by_its_time(house: House) -> None:
    await house.enter(100_000, date(2026, 11, 3))
    await house.read(0, after_s=12 * HOUR_S)  # 20:00
    await house.read(1_001, after_s=16 * HOUR_S)  # 12:00
    await house.charge()
    assert await house.fen() == -price_of({RATE: 250, 100_000: 751})


async def test_the_allowance_is_used_first(house: House) -> None:
    await house.used(0)
    await give(house, 1_500)
    await house.used(1_000)
    assert (await house.free(), await house.fen()) == (500, 0)
    await house.used(3_000)
    assert (await house.free(), await house.fen()) == (0, -price_of({RATE: 1_500}))
    assert await house.is_right()


async def test_two_meters_of_a_room_share_its_allowance(house: House) -> None:
    await house.install(METERS["m-1"], METERS["m-2"].replace(",102,", ",101,"), METERS["m-3"])
    await house.read(0)
    await house.read(0, device="m-2", after_s=0)
    await house.charge()
    await give(house, 1_500)
    await house.read(1_000)
    await house.read(1_000, device="m-2", after_s=0)
    await house.charge()
    assert (await house.free(), await house.fen()) == (0, -price_of({RATE: 500}))


@pytest.mark.parametrize(("shown", "word"), [(500, "fell"), (90_000, "jumped")])
async def test_a_counter_that_cannot_be_believed_is_held_and_never_charged(
    house: House, shown: int, word: str
) -> None:
    await house.used(1_000, 2_000)
    before = await house.fen()
    await house.read(shown)
    run = await house.charge()
    assert [held.reason for held in run.stopped] == [f"counter {word} from 2000 to {shown}"]
    await house.used(shown + 1_000, shown + 2_000)
    assert await house.fen() == before
    assert [held.room for held in await house.held()] == [ROOM]
    assert (await house.charge()).held == 1
    rows = await house.ask(lambda connection: audit.rows(connection))
    assert [row.action for row in rows].count("held") == 1


async def test_what_was_sure_before_a_fall_is_charged(house: House) -> None:
    await house.used(1_000)
    for counter in (2_000, 3_000, 5):
        await house.read(counter)
    await house.charge()
    assert await house.fen() == -price_of({RATE: 2_000})


async def test_one_that_is_held_stops_no_other(house: House) -> None:
    for counter in (5_000, 100):
        await house.read(counter)
        await house.read(6_000 - counter, device="m-2", after_s=0)
        await house.charge()
    assert (await house.fen(), await house.fen(OTHER)) == (0, -price_of({RATE: 4_900}))


async def test_what_the_books_refuse_stops_no_other(house: House) -> None:
    await house.read(0)
    await house.read(0, device="m-2", after_s=0)
    await house.charge()
    key = f"use/{await house.binding()}/{house.clock.now_ms()}"
    said = transfer(ROOM.account, revenue(POWER), Unit.FEN, 1)
    await house.ledger.run(
        lambda connection: books.post(
            connection, key=key, kind=Kind.USE, postings=said, actor="t", cause="", time_ms=1
        )
    )
    await house.read(1_000)
    await house.read(2_000, device="m-2", after_s=0)
    run = await house.charge()
    assert (run.refused, run.charged) == (1, 1)
    assert (await house.fen(), await house.fen(OTHER)) == (-1, -price_of({RATE: 2_000}))


async def test_a_released_counter_is_charged_from_where_a_person_says(house: House) -> None:
    await house.used(1_000, 2_000, 10, 50)
    await let_go(house, 60)
    await house.used(1_060)
    assert await house.fen() == -price_of({RATE: 2_000})
    assert await house.held() == []
    rows = await house.ask(lambda connection: audit.rows(connection))
    said = [(row.actor, row.cause) for row in rows if row.action == "released"]
    assert said == [("staff", "seen")]


async def test_what_flowed_since_a_reset_is_charged_when_a_person_says_since_when(
    house: House,
) -> None:
    await house.used(1_000, 2_000)
    since_ms = house.clock.now_ms()
    await house.used(10, 500)
    await let_go(house, 0, since_ms)
    await house.charge()
    assert await house.fen() == -price_of({RATE: 1_500})


@pytest.mark.parametrize("counter", [-1, 1.5, True, 2**53])
async def test_only_a_held_metering_is_released_and_only_to_a_counter(
    house: House, counter: int
) -> None:
    await house.used(1_000, 2_000)
    with pytest.raises(BookError, match="not held"):
        await let_go(house, 0)
    await house.used(10)
    with pytest.raises(BookError, match="counter"):
        await let_go(house, counter)
    with pytest.raises(BookError, match="time after"):
        await let_go(house, 10, at_ms=0)


async def test_a_counter_that_rolled_over_as_its_product_does_is_charged(house: House) -> None:
    pzem = "m-1,peacefair_pzem016,bus-1,1,B1,1,101,socket,,"
    await house.install(pzem, METERS["m-2"], METERS["m-3"])
    await house.used(9_999_500)
    await house.read(600, uncertain="counter rolled over")
    await house.charge()
    assert await house.fen() == -price_of({RATE: 1_090})
    assert await house.held() == []


async def test_a_doubtful_reading_waits_for_a_sure_one(house: House) -> None:
    await house.used(1_000)
    await house.read(2_000, uncertain="retained")
    assert (await house.charge()).charged == 0
    assert await house.fen() == 0
    await house.used(2_500)
    assert await house.fen() == -price_of({RATE: 1_500})


async def test_two_meters_one_after_the_other_are_two_meterings(house: House) -> None:
    await house.used(80_000, 81_000)
    await house.read(81_250, after_s=60)
    await house.install(
        METERS["m-1"].replace("m-1", "m-9"), METERS["m-2"], METERS["m-3"], prune=True
    )
    await house.read(5, device="m-9", after_s=60)
    await house.read(1_005, device="m-9")
    await house.charge()
    assert abs(await house.fen() + price_of({RATE: 2_250})) <= 1  # each has a rest of its own
    assert (await house.held(), await house.is_right()) == ([], True)


async def test_what_a_person_read_at_a_swap_counts(house: House) -> None:
    await house.used(80_000, 81_000)
    old = await house.binding()
    house.clock.advance(HOUR_S)
    await house.install(
        METERS["m-1"].replace("m-1", "m-9"), METERS["m-2"], METERS["m-3"], prune=True
    )
    new = await house.binding("m-9")

    def note(connection: Connection) -> None:
        connection.execute(update(bindings).where(bindings.c.id == old).values(last_value=81_700))
        connection.execute(update(bindings).where(bindings.c.id == new).values(first_value=3))

    await house.ledger.run(note)
    await house.read(1_003, device="m-9")
    await house.charge()
    assert abs(await house.fen() + price_of({RATE: 2_700})) <= 1  # each has a rest of its own


async def test_small_sums_wait_until_the_day_is_over(tmp_path: Path) -> None:
    async with open_house(tmp_path, policy="[prepaid]\ncharge_step_fen = 50\n") as house:
        await house.used(0, 400, 800)
        assert await house.fen() == 0
        await house.used(1_000)
        assert await house.fen() == -54
        await house.used(1_200)
        await house.read(1_300, after_s=DAY_S)
        await house.charge()
        assert await house.fen() == -price_of({RATE: 1_300})


async def test_a_settlement_charges_also_small_sums(tmp_path: Path) -> None:
    async with open_house(tmp_path, policy="[prepaid]\n") as house:
        await house.used(0, 400)
        await house.charge(flush=True)
        assert await house.fen() == -price_of({RATE: 400})


async def test_without_a_price_nothing_is_charged_and_it_is_counted(tmp_path: Path) -> None:
    async with open_house(tmp_path, rate=None) as house:
        await house.used(0, 1_000)
        assert (await house.charge()).unpriced == 3
        await house.enter(RATE, date(2026, 11, 2))
        await house.used(2_000)
        assert await house.fen() == -price_of({RATE: 2_000})


async def test_what_was_used_before_the_first_priced_day_is_free(tmp_path: Path) -> None:
    async with open_house(tmp_path, rate=None) as house:
        await house.enter(RATE, date(2026, 11, 3))
        await house.used(0, 1_000)
        await house.read(5_000, after_s=15 * HOUR_S)
        await house.used(6_000)
        assert await house.fen() == -price_of({RATE: 1_000})


async def test_a_building_that_is_not_prepaid_is_not_charged_and_not_afterwards(
    house: House,
) -> None:
    await house.used(0, 1_000)
    off = "[prepaid]\ncharge_step_fen = 0\n[prepaid.buildings.B1]\nenabled = false\n"
    await house.install(policy=off)
    await house.used(9_000)
    await house.install()
    await house.used(10_000)
    assert await house.fen() == -price_of({RATE: 2_000})


async def test_a_meter_that_holds_its_credit_is_not_charged(house: House) -> None:
    acrel = "m-1,acrel_ddsy1352,bus-1,1,B1,1,101,socket,,"
    await house.install(acrel, METERS["m-2"], METERS["m-3"])
    await house.used(0, 1_000)
    assert await house.ask(lambda c: books.statement(c, ROOM.account)) == []
