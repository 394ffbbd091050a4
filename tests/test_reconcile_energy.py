"""What rooms were charged by the hub, against their counters in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import httpx2
from sqlalchemy import update

from hub import Reading
from hub.campus.accounts.accounts import Room, Unit, Utility
from hub.campus.accounts.prices import Price, enter_price
from hub.campus.alarms import Alarms
from hub.campus.policies import Policies
from hub.campus.prepaid.allowance import grant_month
from hub.campus.prepaid.metering import release
from hub.campus.reconcile.reconciler import Reconciler
from hub.campus.reconcile.results import Finding, Level, Result
from hub.ledger.tables import meterings
from tests.campus_house import DAY_S, HOUR_S, PREPAID, House, open_house
from tests.provisioned import METERS

F = Finding
BROKER = '[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = 9\n'
DAY = date(2026, 11, 2)


async def compared(house: House, day: date = DAY) -> Result:
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
    return meters


async def compare(house: House, day: date = DAY) -> Mapping[tuple[Level, str], tuple[int, int]]:
    """The same in numbers and sums."""
    tallies = (await compared(house, day)).tallies
    return {(one.level, one.what): (one.count, one.amount) for one in tallies}


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


async def test_each_utility_of_a_building_is_reckoned_by_its_own_price(tmp_path: Path) -> None:
    water = "w-1,generic_hot_water_meter,broker,w-1,B1,1,102,,,"
    hot = Room(building="B1", room="102", utility=Utility.HOT_WATER)
    async with open_house(tmp_path) as house:
        await house.install(METERS["m-1"], water, policy=BROKER + PREPAID, prune=True)
        price = Price(utility=Utility.HOT_WATER, from_day=date(2026, 1, 1), rate=2_500)
        await house.ledger.run(
            lambda connection: enter_price(connection, price, today=DAY, actor="t", time_ms=1)
        )
        for counters in ((1_000, 0), (4_000, 500_000)):
            await house.read(counters[0])
            now_ms = house.clock.now_ms()
            volume = {"hot_water_volume": counters[1]}
            await house.journal.append(
                [Reading(device="w-1", time_ms=now_ms, received_ms=now_ms, values=volume)]
            )
            await house.charge()
        assert await house.fen(hot) == -1_250
        house.clock.advance(DAY_S)
        meters = await compared(house)
    tallies = {(one.what, one.unit): (one.count, one.amount) for one in meters.tallies}
    assert tallies == {(F.EQUAL, Unit.WH): (1, 3_000), (F.EQUAL, Unit.ML): (1, 500_000)}
