"""Bookkeeping: what the books need by themselves, turn after turn, and what a person is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import update

from hub.campus.accounts.accounts import is_open
from hub.campus.alarms import Alarms
from hub.campus.prepaid.bookkeeping import CHECK_PERIOD_S, Bookkeeping
from hub.campus.prepaid.metering import release
from hub.ledger.tables import balances
from tests.campus_house import DAY_S, HOUR_S, OTHER, RATE, ROOM, House, open_house, price_of

POLICY = "[prepaid]\ncharge_step_fen = 0\nallowance_wh = 1000\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Office:
    """A house and who keeps its books."""

    house: House
    books: Bookkeeping
    alarms: Alarms

    def subjects(self) -> list[str]:
        return [alarm.subject for alarm in self.alarms.now()]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_house(tmp_path, policy=POLICY) as house:
        alarms = Alarms(house.clock)
        kept = Bookkeeping(
            ledger=house.ledger, journal=house.journal, clock=house.clock, alarms=alarms
        )
        kept.configure(house.site, house.rules)
        yield Office(house=house, books=kept, alarms=alarms)


async def test_a_turn_opens_rooms_gives_the_allowance_and_charges(office: Office) -> None:
    house = office.house
    await office.books.turn()
    assert await house.ask(lambda c: is_open(c, OTHER.held))
    assert await house.free() == 1_000
    await house.read(0)
    await office.books.turn()
    await house.read(3_000)
    await office.books.turn()
    assert (await house.free(), await house.fen()) == (0, -price_of({RATE: 2_000}))
    assert office.subjects() == []


async def test_both_databases_keep_the_same_books(tmp_path: Path, place: Path | str) -> None:
    async with open_house(tmp_path, policy=POLICY, place=place) as house:
        alarms = Alarms(house.clock)
        kept = Bookkeeping(
            ledger=house.ledger, journal=house.journal, clock=house.clock, alarms=alarms
        )
        kept.configure(house.site, house.rules)
        for counter in (0, 3_000, 5_000, 10):
            await kept.turn()
            await house.read(counter)
        await kept.turn()
        assert (await house.free(), await house.fen()) == (0, -price_of({RATE: 4_000}))
        assert [item.room for item in await house.held()] == [ROOM]
        assert await house.is_right()


async def test_a_month_ends_with_its_use_charged_before_the_allowance_lapses(
    office: Office,
) -> None:
    house = office.house
    await house.read(0)
    await office.books.turn()
    await house.read(700)
    await house.read(900, after_s=29 * DAY_S)
    await office.books.turn()
    assert (await house.free(), await house.fen()) == (1_000, 0)
    assert await house.is_right()


async def test_what_is_too_little_for_a_charge_is_used_of_the_allowance_of_its_own_month(
    office: Office,
) -> None:
    house = office.house
    await house.install(policy="[prepaid]\nallowance_wh = 1000\n")
    office.books.configure(house.site, house.rules)
    await house.read(0)
    await office.books.turn()
    await house.read(700, after_s=28 * DAY_S)
    await office.books.turn()
    await house.read(750, after_s=14 * HOUR_S)  # the last word of November
    house.clock.advance(2 * HOUR_S)
    await office.books.turn()
    assert await house.free() == 1_000
    await house.read(850)
    house.clock.advance(DAY_S)
    await office.books.turn()
    assert (await house.free(), await house.fen()) == (900, 0)


async def test_what_is_held_is_an_alarm_until_a_person_releases_it(office: Office) -> None:
    house = office.house
    for counter in (5_000, 10, 20):
        await house.read(counter)
        await office.books.turn()
    binding = await house.binding()
    assert office.subjects() == [f"metering/{binding}"]
    now_ms = house.clock.now_ms()
    await house.ledger.run(
        lambda c: release(c, binding, "staff", 20, reason="new meter", now_ms=now_ms)
    )
    await office.books.turn()
    assert office.subjects() == []


async def test_meters_without_a_price_are_an_alarm(tmp_path: Path) -> None:
    async with open_house(tmp_path, rate=None) as house:
        alarms = Alarms(house.clock)
        kept = Bookkeeping(
            ledger=house.ledger, journal=house.journal, clock=house.clock, alarms=alarms
        )
        kept.configure(house.site, house.rules)
        await kept.turn()
        assert [alarm.reason for alarm in alarms.now()] == ["3 meters wait for a price"]
        await house.enter()
        await kept.turn()
        assert alarms.now() == []


async def test_a_wrong_sum_is_found_within_the_hour(office: Office) -> None:
    house = office.house
    await office.books.turn()
    meddled = update(balances).where(balances.c.account == ROOM.account).values(amount=5)
    await house.ledger.run(lambda c: c.execute(meddled).close())
    await office.books.turn()
    assert office.subjects() == []
    house.clock.advance(CHECK_PERIOD_S)
    await office.books.turn()
    assert office.subjects() == ["books"]


async def test_before_it_is_configured_a_turn_does_nothing(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        alarms = Alarms(house.clock)
        kept = Bookkeeping(
            ledger=house.ledger, journal=house.journal, clock=house.clock, alarms=alarms
        )
        assert (await kept.turn()).charged == 0
        assert not await house.ask(lambda c: is_open(c, ROOM.account))
