"""When an alert is raised, and when it is not raised again: on the books, the journal and the audit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.campus.accounts.accounts import Room
from hub.campus.alerts.kinds import Kind
from tests.alert_site import PREPAID, Watched, watched
from tests.campus_house import DAY_S

QUARTER_S = 900

LOW = "B1 101: 20.00 yuan left"
VERY_LOW = "B1 101: 5.00 yuan left"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched(tmp_path) as made:
        await made.look(5_000)
        yield made


async def test_each_level_is_raised_once_as_the_balance_comes_down(site: Watched) -> None:
    assert await site.look(2_001) == []
    assert await site.look(2_000) == [LOW]
    assert await site.look(1_900) == []
    assert await site.look(500) == [VERY_LOW]
    assert await site.look(499) == []


async def test_a_balance_that_trembles_around_a_level_is_told_once(site: Watched) -> None:
    told = [await site.look(fen) for fen in (2_000, 2_150, 1_990, 2_199, 2_000)]
    assert told == [[LOW], [], [], [], []]
    assert await site.open() == [("low_balance", 1)]


async def test_a_payment_ends_an_alert_and_the_next_crossing_is_another(site: Watched) -> None:
    await site.look(2_000)
    assert await site.look(9_000) == []
    assert await site.open() == []
    assert await site.look(2_000) == [LOW]


async def test_a_fall_through_both_levels_tells_the_worse_one(site: Watched) -> None:
    assert len(await site.look(300)) == 2
    told = [(one.level, one.quiet) for one in await site.all()]
    assert told == [(1, "a worse one is told"), (2, "")]


async def test_a_room_that_is_used_up_is_in_arrears_until_it_is_paid(site: Watched) -> None:
    assert "B1 101: the credit is used up (-5.00 yuan)" in await site.look(-500)
    assert await site.look(-600) == []
    assert ("arrears", 1) in await site.open()
    await site.look(9_000)
    assert await site.open() == []


async def test_nothing_is_raised_on_a_word_that_is_old(site: Watched) -> None:
    await site.pay(-4_900)
    assert not [text for text in await site.turn(DAY_S) if "yuan" in text]
    site.house.clock.advance(300)
    await site.hear()
    assert "B1 101: 1.00 yuan left" in await site.turn(0)


async def test_a_restart_repeats_nothing_and_loses_nothing(site: Watched) -> None:
    await site.look(2_000)
    site.restart()
    assert await site.look(1_999) == []
    site.house.clock.advance(60)
    await site.stands_at(400)
    site.restart()
    assert await site.turn(0) == ["B1 101: 4.00 yuan left"]


async def test_what_is_told_says_how_long_it_lasts_by_the_days_before(site: Watched) -> None:
    for quarter in range(1, 6 * 96):
        site.house.clock.advance(QUARTER_S)
        await site.hear(quarter * 25)  # 2.4 kWh a day
    await site.house.charge()
    await site.pay(500 - await site.house.fen())
    assert "B1 101: 5.00 yuan left, about 3 days" in await site.turn(0)
    days = await site.alerts.watch.days.of(("B1", "101"))
    assert {one.used_wh for one in days if not one.estimated} == {2_400}


async def test_a_supply_that_is_cut_for_arrears_is_told_and_its_return_too(site: Watched) -> None:
    await site.supply("cut")
    assert await site.turn() == ["B1 101: power was cut, the credit is used up"]
    await site.supply("armed")
    assert await site.turn() == ["B1 101: power may be switched on again at the meter"]
    assert await site.open() == []


async def test_a_supply_that_a_timetable_cut_is_no_arrears(site: Watched) -> None:
    await site.supply("cut", reason="schedule")
    await site.supply("restored", reason="schedule")
    assert await site.turn() == []


async def test_trips_are_events_and_a_lock_lasts_until_staff_unlock_it(site: Watched) -> None:
    for action in ("tripped", "tripped", "locked"):
        await site.supply(action, reason="power")
    told = await site.turn()
    assert told.count("B1 101: the meter switched off: too much power") == 2
    assert await site.open() == [("trip", 2)]
    await site.supply("unlocked")
    await site.turn()
    assert await site.open() == []
    quiet = [one.quiet for one in await site.all(Kind.TRIP) if one.level == 1]
    assert quiet == ["", "told not long ago"]


async def test_audit_rows_are_followed_from_the_first_start_on_over_restarts(
    tmp_path: Path,
) -> None:
    async with watched(tmp_path) as made:
        await made.supply("cut")
        assert await made.turn() == []
        await made.supply("tripped")
        made.restart()
        assert await made.turn() == ["B1 101: the meter switched off: too much power"]
        made.restart()
        assert await made.turn() == []


async def test_a_broken_audit_row_stops_nothing(site: Watched) -> None:
    await site.supply("cut", reason="arrears")
    await site.supply("cut", room=Room(building="", room=""))
    assert len(await site.turn()) == 1
    assert site.alerts.watch.counts["audit rows of no room"] == 1


async def test_a_meter_that_is_away_is_told_after_its_time_and_once_more_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with watched(tmp_path) as made:
        for device in ("m-1", "m-2", "m-3"):
            await made.hear(device=device)
        assert await made.turn(60) == []
        await made.hear(device="m-1")
        await made.hear(device="m-3")
        told = []
        for _ in range(32):
            for device in ("m-1", "m-3"):
                await made.hear(device=device)
            told += await made.turn(60)
        assert told == ["B1 102: meter m-2 is silent for 0.5 h"]
        await made.hear(device="m-2")
        assert await made.turn(1) == ["B1 102: is there again"]


async def test_a_link_that_is_away_is_one_alert_and_its_rooms_are_none(tmp_path: Path) -> None:
    async with watched(tmp_path) as made:
        for device in ("m-1", "m-2", "m-3"):
            await made.hear(device=device)
        told = []
        for _ in range(40):
            await made.hear(device="m-3")
            told += await made.turn(60)
        assert told == ["link/bus-1: the whole link is silent for 0.5 h, 2 devices"]
        made.restart()
        assert await made.turn(1) == []
        await made.hear(device="m-1")
        assert await made.turn(1) == ["link/bus-1: is there again"]
        await made.hear(device="m-1")
        assert await made.turn(600) == []  # m-2 has its time from now on


async def test_a_meter_that_is_configured_no_more_is_missed_no_more(tmp_path: Path) -> None:
    async with watched(tmp_path) as made:
        await made.hear(device="m-3")
        await made.turn(1)
        await made.turn(7_200)
        assert ("offline", 1) in await made.open()
        await made.house.install(
            "m-1,eastron_sdm120,bus-1,1,B1,1,101,socket,,",
            policy=PREPAID,
            prune=True,
        )
        made.restart()
        await made.turn(1)
        assert ("offline", 2) not in await made.open()


async def test_a_day_of_far_more_use_than_usual_is_told_with_its_numbers(site: Watched) -> None:
    counter, told = 0, []
    for quarter in range(1, 11 * 96):
        site.house.clock.advance(QUARTER_S)
        counter += 175 if quarter > 10 * 96 - 32 else 25
        await site.hear(counter)
        told += await site.turn(0) if quarter % 96 == 70 else []
    usual = [text for text in told if "usually" in text]
    assert usual == ["B1 101: used 16.6 kWh on 2026-11-12, usually 2.4"]
    site.restart()
    assert [text for text in await site.turn(0) if "usually" in text] == []
