"""Trips by too much power: written down, closed by no payment, locked after so many, unlocked by staff."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.campus.supply import trips
from hub.campus.supply.desired import SupplyState
from hub.campus.supply.desk import SupplyDesk
from hub.campus.supply.record import SupplyError
from tests.scripted_device import Behaviour
from tests.supply_dorm import PREPAID, Dorm, DormHub, play

LONG_S = 120.0


def desk_of(hub: DormHub) -> SupplyDesk:
    return SupplyDesk(ledger=hub.ledger, clock=hub.clock, supplies=hub.supplies)


async def trip(hub: DormHub, *, watts: float = 3_200.0) -> None:
    """The meter of 101 cuts by itself: power before, none after, and its own count."""
    machine = hub.dorm.machines["m-101"]
    machine.state["active_power_total"] = watts
    await hub.clock.sleep(40)
    count = int(machine.state["overload_count"]) + 1
    machine.state |= {
        "relay_closed": False,
        "over_limit": True,
        "overload_count": count,
        "active_power_total": 0.0,
    }
    await hub.clock.sleep(40)


async def close(hub: DormHub) -> None:
    """A hand at the meter."""
    machine = hub.dorm.machines["m-101"]
    machine.state |= {"relay_closed": True, "over_limit": False, "active_power_total": 100.0}
    await hub.clock.sleep(40)


def test_a_trip_is_written_down_with_the_power_around_it_and_no_payment_closes_it(
    tmp_path: Path,
) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1)

    async def scene(hub: DormHub) -> None:
        await trip(hub)
        assert (await hub.row()).state is SupplyState.TRIPPED
        await hub.give(-3_000)
        await hub.clock.sleep(LONG_S)
        await hub.pay(5_000)
        await hub.clock.sleep(LONG_S)
        assert dorm.effects() == []
        found = await hub.ledger.read(lambda connection: trips.newest(connection, "m-101", 9))
        assert [(one.kind, one.number) for one in found] == [("overload_count", 1)]
        assert (found[0].power_before_w, found[0].power_after_w) == (3_200, 0)
        await close(hub)
        assert (await hub.row()).state is SupplyState.ON
        assert await hub.actions() == ["tripped", "restored"]

    play(dorm, scene)


def test_after_so_many_trips_it_stays_off_until_staff_unlock_it(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1, policy=PREPAID + "trips_max = 2\n")

    async def scene(hub: DormHub) -> None:
        await trip(hub)
        await close(hub)
        await trip(hub)
        await hub.clock.sleep(LONG_S)
        assert (await hub.row()).locked == "2 trips by power"
        assert dorm.told() == ["cut"]  # so that no hand closes it
        await hub.pay(5_000)
        await hub.clock.sleep(LONG_S)
        await close(hub)  # the device does so by itself
        await hub.until(lambda: dorm.told() == ["cut", "cut"])
        await hub.clock.sleep(LONG_S)
        with pytest.raises(SupplyError, match="say why"):
            await desk_of(hub).unlock("m-101", "key/ann", " ")
        await desk_of(hub).unlock("m-101", "key/ann", "the heater is gone")
        await hub.until(lambda: dorm.told() == ["cut", "cut", "restore"])
        await hub.clock.sleep(5)
        row = await hub.row()
        assert (row.state, row.locked, row.trips) == (SupplyState.ON, "", 0)
        words = await hub.actions()
        assert words[:4] == ["tripped", "restored", "tripped", "locked"]
        assert words[-2:] == ["unlocked", "restored"]
        with pytest.raises(SupplyError, match="nothing to unlock"):
            await desk_of(hub).unlock("m-101", "key/ann", "again")

    play(dorm, scene)


def test_trips_while_the_hub_was_down_are_counted(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1)

    async def scene(hub: DormHub) -> None:
        await hub.clock.sleep(40)
        dorm.machines["m-101"].state["overload_count"] = 3
        await hub.clock.sleep(LONG_S)
        row = await hub.row()
        assert (row.trips, row.locked) == (3, "3 trips by power")

    play(dorm, scene)


def test_a_room_in_arrears_that_tripped_and_was_unlocked_stays_off_until_it_pays(
    tmp_path: Path,
) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1, policy=PREPAID + "trips_max = 1\n")

    async def scene(hub: DormHub) -> None:
        await trip(hub)
        await hub.give(-3_000)
        await hub.clock.sleep(LONG_S)
        await desk_of(hub).unlock("m-101", "key/ann", "looked at")
        await hub.clock.sleep(LONG_S)
        assert "restore" not in dorm.told()
        await hub.pay(5_000)
        await hub.until(lambda: dorm.told()[-1] == "restore")

    play(dorm, scene)


def test_a_held_room_is_not_cut_before_its_time_and_comes_back_where_it_was(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1, fen=0)

    async def scene(hub: DormHub) -> None:
        await hub.until(lambda: dorm.told() == ["cut"])
        await hub.clock.sleep(5)
        until_ms = hub.clock.now_ms() + 300_000
        await desk_of(hub).keep("m-101", until_ms, "key/ann", "exams")
        await hub.until(lambda: dorm.told() == ["cut", "restore"])
        await hub.clock.sleep(200)
        assert dorm.told() == ["cut", "restore"]
        await hub.until(lambda: dorm.told() == ["cut", "restore", "cut"], timeout_s=300)
        assert hub.clock.now_ms() >= until_ms
        with pytest.raises(SupplyError, match="30 days"):
            await desk_of(hub).keep("m-101", until_ms + 10**10, "key/ann", "for ever")

    play(dorm, scene)


@pytest.mark.parametrize("said", [{"overload_count": 1}, {"over_limit": True}])
def test_what_trips_while_it_is_restored_is_not_closed_again(
    tmp_path: Path, said: dict[str, int]
) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1, fen=0)
    machine = dorm.machines["m-101"]

    async def scene(hub: DormHub) -> None:
        await hub.until(lambda: dorm.told() == ["cut"])
        await hub.clock.sleep(5)
        machine.script = [Behaviour.REFUSES, Behaviour.WORKS]
        await hub.pay(500)
        await hub.until(lambda: len(machine.tries) == 2)
        machine.state |= said  # it closed, and opened again at once
        await hub.poll()
        await hub.clock.sleep(LONG_S)
        assert dorm.told() == ["cut"]
        assert (await hub.row()).state is SupplyState.TRIPPED
        assert await hub.actions() == ["cut", "tripped"]

    play(dorm, scene)


def test_a_restore_that_trips_is_not_repeated_by_the_same_command(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1, fen=0)
    machine = dorm.machines["m-101"]

    async def scene(hub: DormHub) -> None:
        await hub.until(lambda: dorm.told() == ["cut"])
        await hub.clock.sleep(5)
        machine.script = [Behaviour.LIES]
        await hub.pay(500)
        await hub.until(lambda: len(machine.tries) == 2)
        machine.state |= {"overload_count": 1}
        await hub.clock.sleep(LONG_S)
        assert len(machine.tries) == 2
        assert (await hub.row()).state is SupplyState.TRIPPED

    play(dorm, scene)


def test_a_trip_just_before_the_cut_is_a_trip_that_no_payment_closes(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1, fen=0)
    machine = dorm.machines["m-101"]

    async def scene(hub: DormHub) -> None:
        await hub.until(lambda: dorm.told() == ["cut"])
        machine.state |= {"overload_count": 1}
        await hub.clock.sleep(40)
        assert (await hub.row()).state is SupplyState.TRIPPED
        await hub.pay(500)
        await hub.clock.sleep(LONG_S)
        assert dorm.told() == ["cut"]
        await desk_of(hub).unlock("m-101", "key/ann", "looked at")
        await hub.until(lambda: dorm.told() == ["cut", "restore"])

    play(dorm, scene)
