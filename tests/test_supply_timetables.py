"""Supply by timetable: approved by a second person, never against protected rooms, over by itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from hub.campus.supply import timetables
from hub.campus.supply.desired import SupplyState
from hub.campus.supply.desk import NoSupply, SupplyDesk
from hub.campus.supply.record import SupplyError
from hub.ledger import tables
from tests.supply_dorm import PREPAID, ZONE, Dorm, DormHub, most_in_a_second, play, run_patient

NIGHTS = """
[prepaid]
restore = "close"
protected_rooms = ["102"]
[schedules.nights]
buildings = ["B1"]
workday_hours = ["06:00-23:00"]
"""
LIMITS = """
[schedules.limits]
buildings = ["B1"]
power_limit_w = 1000
night_power_limit_w = 300
night_hours = ["23:00-06:00"]
"""
LATE = datetime(2026, 11, 2, 22, 58, 40, tzinfo=ZONE)
EARLY = datetime(2026, 11, 3, 5, 58, 40, tzinfo=ZONE)
LONG_S = 120.0


def desk_of(hub: DormHub) -> SupplyDesk:
    return SupplyDesk(ledger=hub.ledger, clock=hub.clock, supplies=hub.supplies)


async def applied_by(hub: DormHub, actor: str) -> None:
    """Some files were applied by this person."""
    values = {"number": 1, "time_ms": 1, "actor": actor, "digest": "d"}
    await hub.ledger.run(
        lambda connection: connection.execute(tables.inventories.insert().values(values)) and None
    )


def rooms_told(dorm: Dorm, name: str) -> Sequence[str]:
    return sorted(effect.device for effect in dorm.effects(name))


def test_a_timetable_switches_nothing_before_a_second_person_has_approved_it(
    tmp_path: Path,
) -> None:
    dorm = Dorm(folder=tmp_path, policy=NIGHTS, start=LATE)

    async def scene(hub: DormHub) -> None:
        await applied_by(hub, "key/ann")
        await hub.clock.sleep(LONG_S)
        assert dorm.effects() == []
        assert "second person" in hub.said("timetable/nights")
        with pytest.raises(SupplyError, match="second person"):
            await desk_of(hub).approve("nights", "key/ann")
        with pytest.raises(NoSupply):
            await desk_of(hub).approve("days", "key/bea")
        await desk_of(hub).approve("nights", "key/bea")
        await hub.until(lambda: rooms_told(dorm, "cut") == ["m-101", "m-103"])
        await hub.clock.sleep(5)
        assert hub.said("timetable/nights") == ""
        hub.configure(NIGHTS.replace("23:00", "22:30"))
        await hub.clock.sleep(LONG_S)
        assert "second person" in hub.said("timetable/nights")

    play(dorm, scene)


def test_the_night_ends_by_itself_also_when_the_hub_was_down(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=45, per_floor=45, policy=NIGHTS, start=LATE)
    others = [name for name in dorm.names if name != "m-102"]

    async def main() -> None:
        async with dorm.hub() as hub:
            await hub.clock.sleep(5)
            await desk_of(hub).approve("nights", "key/bea")
            await hub.to(datetime(2026, 11, 2, 22, 59, 59, tzinfo=ZONE))
            assert dorm.effects() == []
            await hub.until(lambda: rooms_told(dorm, "cut") == others)
            await hub.clock.sleep(60)
            row = await hub.row()
            assert (row.state, row.cause) == (SupplyState.CUT, "schedule")
            await hub.give(-1_000, room=103)
            clock = hub.clock
        await clock.sleep((EARLY.timestamp() * 1000 - clock.now_ms()) / 1000)
        async with dorm.hub() as hub:
            await hub.to(datetime(2026, 11, 3, 5, 59, 59, tzinfo=ZONE))
            assert dorm.effects("restore") == []
            await hub.until(lambda: rooms_told(dorm, "restore") == others)
            assert most_in_a_second(dorm.effects("restore")) <= 5

    run_patient(main())


def test_what_is_cut_in_arrears_no_timetable_restores(tmp_path: Path) -> None:
    early = datetime(2026, 11, 3, 5, 57, tzinfo=ZONE)
    policy = NIGHTS.replace('restore = "close"', 'restore = "close"\nprotected_hours = []')
    dorm = Dorm(folder=tmp_path, rooms=1, policy=policy, start=early, fen=0)

    async def scene(hub: DormHub) -> None:
        await hub.until(lambda: dorm.told() == ["cut"])
        await desk_of(hub).approve("nights", "key/bea")
        await hub.pay(100)
        await hub.clock.sleep(60)
        assert dorm.told() == ["cut"]  # it has paid, and it is night
        await hub.give(-500)
        await hub.to(datetime(2026, 11, 3, 6, 2, tzinfo=ZONE))
        assert dorm.told() == ["cut"]
        await hub.pay(1_000)
        await hub.until(lambda: dorm.told() == ["cut", "restore"])

    play(dorm, scene)


def test_what_tripped_or_was_opened_no_timetable_closes(tmp_path: Path) -> None:
    early = datetime(2026, 11, 3, 5, 58, tzinfo=ZONE)
    dorm = Dorm(folder=tmp_path, rooms=1, policy=NIGHTS, start=early)

    async def scene(hub: DormHub) -> None:
        dorm.machines["m-101"].state["relay_closed"] = False
        await hub.clock.sleep(40)
        await desk_of(hub).approve("nights", "key/bea")
        await hub.to(datetime(2026, 11, 3, 6, 3, tzinfo=ZONE))
        assert dorm.effects() == []

    play(dorm, scene)


def test_power_limits_go_by_day_and_night(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=2, policy=LIMITS, start=LATE)

    def limits() -> list[object]:
        return [machine.state["power_limit"] for machine in dorm.machines.values()]

    async def scene(hub: DormHub) -> None:
        await hub.clock.sleep(40)
        assert limits() == [0, 0]
        await desk_of(hub).approve("limits", "key/bea")
        await hub.until(lambda: limits() == [1000, 1000], timeout_s=30)
        await hub.to(datetime(2026, 11, 2, 23, 3, tzinfo=ZONE))
        assert limits() == [300, 300]
        told = len(dorm.effects("power_limit"))
        dorm.machines["m-101"].state["power_limit"] = 9000.0  # somebody was at it
        await hub.clock.sleep(LONG_S)
        assert limits() == [300, 300]
        assert len(dorm.effects("power_limit")) == told + 1

    play(dorm, scene)


def test_no_timetable_limits_a_protected_room(tmp_path: Path) -> None:
    policy = PREPAID + 'protected_rooms = ["102"]\n' + LIMITS
    dorm = Dorm(folder=tmp_path, rooms=2, policy=policy, start=LATE)

    async def scene(hub: DormHub) -> None:
        await desk_of(hub).approve("limits", "key/bea")
        await hub.clock.sleep(LONG_S)
        assert [machine.state["power_limit"] for machine in dorm.machines.values()] == [300, 0]
        assert rooms_told(dorm, "power_limit") == ["m-101", "m-101"]

    play(dorm, scene)


def test_an_approval_stands_in_the_audit_and_is_for_one_form_only(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1, policy=NIGHTS)

    async def scene(hub: DormHub) -> None:
        await desk_of(hub).approve("nights", "key/bea")
        again = await desk_of(hub).approve("nights", "key/carl")
        assert again.approver == "key/bea"
        hub.configure(NIGHTS.replace("06:00", "06:30"))
        other = await desk_of(hub).timetable("nights")
        assert other.approver == ""
        hub.configure(NIGHTS)
        known = await hub.ledger.read(
            lambda connection: timetables.find(connection, "nights", again.digest)
        )
        assert known == again

    play(dorm, scene)
