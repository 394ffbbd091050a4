"""What rooms were charged by the hub, against their counters in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import httpx2
from sqlalchemy import update

from hub.campus.alarms import Alarms
from hub.campus.policies import Policies
from hub.campus.prepaid.allowance import grant_month
from hub.campus.prepaid.metering import release
from hub.campus.reconcile.reconciler import Reconciler
from hub.campus.reconcile.results import Finding, Level
from hub.ledger.tables import meterings
from tests.campus_house import DAY_S, HOUR_S, House, open_house

F = Finding
DAY = date(2026, 11, 2)


async def compare(house: House, day: date = DAY) -> Mapping[tuple[Level, str], tuple[int, int]]:
    """What the meters' day came to."""
    async with httpx2.AsyncClient() as http:
        reconciler = Reconciler(
            ledger=house.ledger,
            journal=house.journal,
            clock=house.clock,
            http=http,
            alarms=Alarms(house.clock),
        )
        reconciler.configure(Policies(site=house.site, rules=house.rules))
        (meters,) = await reconciler.reconcile(day)
    return {(one.level, one.what): (one.count, one.amount) for one in meters.tallies}


async def a_day(house: House) -> None:
    """Room 101 uses 3,000 Wh on Monday and some more on Tuesday morning."""
    await house.used(1_000, 2_000, 4_000)
    house.clock.advance(DAY_S)
    await house.used(4_500)


async def test_what_was_charged_is_what_the_counter_counted(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await a_day(house)
        found = await compare(house)
    assert found == {(Level.COUNTER, F.EQUAL): (1, 3_500)}  # with the step over midnight


async def test_a_charge_that_was_taken_too_far_is_found(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await a_day(house)
        # As if a charge of 9,000 Wh more had been forgotten: the counter went on without it.
        await house.read(14_000, after_s=HOUR_S)
        moved = update(meterings).values(time_ms=house.clock.now_ms(), counter=14_000)
        await house.ledger.run(lambda connection: connection.execute(moved) and None)
        found = await compare(house)
    assert found[Level.COUNTER, F.EFFECT_WITHOUT_PAYMENT][0] == 1


async def test_use_that_is_not_charged_by_the_next_night_is_found(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.used(1_000, 2_000)
        await house.read(9_000)
        house.clock.advance(DAY_S)
        found = await compare(house)
    assert found == {(Level.COUNTER, F.EFFECT_WITHOUT_PAYMENT): (1, 1_000)}


async def test_a_held_metering_is_unknown_until_it_is_released(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.used(1_000, 2_000, 5)
        house.clock.advance(DAY_S)
        assert await compare(house) == {(Level.COUNTER, F.UNKNOWN): (1, 0)}
        name, now_ms = await house.binding(), house.clock.now_ms()
        await house.ledger.run(
            lambda one: release(one, name, "ann", 5, reason="a new register", now_ms=now_ms)
        )
        await house.used(1_005)
        found = await compare(house)
    assert found[Level.COUNTER, F.EQUAL] == (1, 1_000)


async def test_an_allowance_is_an_entry_of_its_own(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        policy = "[prepaid]\nallowance_wh = 5000\ncharge_step_fen = 0\n"
        await house.install(policy=policy)
        await house.used(1_000)  # which opens the room
        await grant_month(house.ledger, house.site, house.rules, clock=house.clock)
        await house.used(2_000, 4_000)
        house.clock.advance(DAY_S)
        await house.used(4_500)
        found = await compare(house)
    assert found[Level.HOUSE, "grant"] == (1, 5_000)
    assert found[Level.COUNTER, F.EQUAL] == (1, 3_500)
