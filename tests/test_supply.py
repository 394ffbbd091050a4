"""Rooms that are cut in arrears and come back when they have paid; what must never happen to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from hub import Priority
from hub.campus.supply.desired import SupplyState
from hub.commands import CommandError, Order, Refusal
from hub.ledger import tables
from tests.scripted_device import Behaviour
from tests.supply_dorm import (
    PREPAID,
    UNARMED,
    ZONE,
    Dorm,
    DormHub,
    most_in_a_second,
    play,
    run_patient,
)

ARM = "[prepaid]\n"
LONG_S = 120.0
B = Behaviour


class Proposals:
    """Keeps what was proposed; a person decides by hand."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.ended: set[str] = set()
        self.refusal: CommandError | None = None

    async def propose(self, devices: Sequence[str], cause: str) -> str:
        assert cause
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(tuple(devices))
        return f"batch-{len(self.asked)}"

    async def is_open(self, batch: str) -> bool:
        return batch not in self.ended


def told_by(hub: DormHub, device: str, name: str, key: str, approver: str = "") -> Order:
    return Order(
        device=device,
        name=name,
        actor="key/ann",
        key=key,
        cause="by hand",
        priority=Priority.OPERATOR,
        approver=approver,
    )


def test_a_room_that_is_used_up_is_cut_and_comes_back_when_it_has_paid(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path)

    async def scene(hub: DormHub) -> None:
        await hub.clock.sleep(LONG_S)
        assert dorm.effects() == []
        await hub.give(-1_000)
        await hub.until(lambda: dorm.told() == ["cut"])
        await hub.clock.sleep(5)
        await hub.pay(500)
        assert await hub.until(lambda: dorm.told() == ["cut", "restore"]) < 5
        await hub.clock.sleep(LONG_S)
        assert dorm.effects() == dorm.machines["m-101"].effects
        assert dorm.told() == ["cut", "restore"]
        assert await hub.actions() == ["cut", "restored"]
        assert '"account": "room/B1/101/electricity"' in (await hub.audit())[0].after

    play(dorm, scene)


def test_a_correction_brings_it_back_within_a_minute_without_a_word(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, fen=0)

    async def scene(hub: DormHub) -> None:
        await hub.until(lambda: len(dorm.effects("cut")) == 3)
        await hub.clock.sleep(5)
        await hub.give(100, room=102)
        assert await hub.until(lambda: dorm.told(102) == ["cut", "restore"]) <= 60
        assert dorm.told(101) == ["cut"]

    play(dorm, scene)


def test_where_the_policy_says_arm_a_hand_closes_it(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, policy=ARM)

    async def scene(hub: DormHub) -> None:
        await hub.give(-1_000)
        await hub.until(lambda: dorm.told() == ["cut"])
        await hub.pay(500)
        await hub.until(lambda: dorm.told() == ["cut", "arm"])
        await hub.clock.sleep(LONG_S)
        assert dorm.told() == ["cut", "arm"]
        assert (await hub.row()).state is SupplyState.ARMED
        dorm.machines["m-101"].state |= {"relay_closed": True, "relay_armed": False}
        await hub.clock.sleep(LONG_S)
        assert (await hub.row()).state is SupplyState.ON
        assert await hub.actions() == ["cut", "armed", "restored"]

    play(dorm, scene)


def test_one_that_cannot_be_armed_is_left_to_a_person(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, policy=ARM, product=UNARMED)

    async def scene(hub: DormHub) -> None:
        await hub.give(-1_000)
        await hub.until(lambda: dorm.told() == ["cut"])
        await hub.pay(500)
        await hub.until(lambda: "cannot be armed" in hub.said("supply/m-101"))
        await hub.clock.sleep(LONG_S)
        assert dorm.told() == ["cut"]
        await hub.control.commands.submit(told_by(hub, "m-101", "restore", "k"))
        await hub.clock.sleep(LONG_S)
        assert (await hub.row()).state is SupplyState.ON

    play(dorm, scene)


@pytest.mark.parametrize(
    ("policy", "moment"),
    [
        (PREPAID, datetime(2026, 11, 2, 23, tzinfo=ZONE)),
        (PREPAID, datetime(2026, 11, 3, 6, 50, tzinfo=ZONE)),
        (PREPAID + 'holidays = ["2026-11-02"]\n', datetime(2026, 11, 2, 12, tzinfo=ZONE)),
        (PREPAID + 'protected_rooms = ["101"]\n', datetime(2026, 11, 2, 12, tzinfo=ZONE)),
        (PREPAID + 'unbilled_rooms = ["101"]\n', datetime(2026, 11, 2, 12, tzinfo=ZONE)),
        (PREPAID + "enabled = false\n", datetime(2026, 11, 2, 12, tzinfo=ZONE)),
        (PREPAID + "overdraft_fen = 5000\n", datetime(2026, 11, 2, 12, tzinfo=ZONE)),
    ],
    ids=["night", "morning", "holiday", "protected", "unbilled", "not prepaid", "overdraft"],
)
def test_who_is_protected_is_never_cut(tmp_path: Path, policy: str, moment: datetime) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1, policy=policy, start=moment)

    async def scene(hub: DormHub) -> None:
        await hub.give(-3_000)
        await hub.clock.sleep(LONG_S)
        assert dorm.effects() == []

    play(dorm, scene)


def test_the_cut_waits_for_the_end_of_the_night(tmp_path: Path) -> None:
    moment = datetime(2026, 11, 3, 6, 58, tzinfo=ZONE)
    dorm = Dorm(folder=tmp_path, rooms=1, start=moment, fen=0)

    async def scene(hub: DormHub) -> None:
        await hub.to(datetime(2026, 11, 3, 7, tzinfo=ZONE))
        assert dorm.effects() == []
        assert hub.supplies.hindrances() == {"protected": 1}
        await hub.until(lambda: dorm.told() == ["cut"])

    play(dorm, scene)


def test_a_stale_or_lying_meter_is_never_cut_by(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=3)

    async def scene(hub: DormHub) -> None:
        dorm.machines["m-101"].is_mute = True
        dorm.machines["m-102"].state["energy_import"] = 99_000  # it fell
        await hub.clock.sleep(LONG_S)
        for room in (101, 102):
            await hub.give(-3_000, room=room)
        await hub.clock.sleep(LONG_S)
        assert dorm.effects() == []
        assert hub.supplies.hindrances() == {"doubt": 2}
        await hub.give(-3_000, room=103)
        await hub.until(lambda: dorm.told(103) == ["cut"])

    play(dorm, scene)


def test_a_held_metering_is_never_cut_by(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1)

    async def scene(hub: DormHub) -> None:
        held = update(tables.meterings).values(held="it jumped")
        await hub.ledger.run(lambda connection: connection.execute(held) and None)
        await hub.give(-3_000)
        await hub.clock.sleep(LONG_S)
        assert dorm.effects() == []
        released = update(tables.meterings).values(held="")
        await hub.ledger.run(lambda connection: connection.execute(released) and None)
        await hub.until(lambda: dorm.told() == ["cut"])

    play(dorm, scene)


def test_a_cut_that_waits_is_called_off_by_a_payment(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1)
    machine = dorm.machines["m-101"]

    async def scene(hub: DormHub) -> None:
        machine.script = [B.AWAY]
        await hub.give(-1_000)
        await hub.until(lambda: hub.control.commands.open)
        await hub.pay(500)
        await hub.clock.sleep(2)
        assert not hub.control.commands.open
        machine.script = [B.WORKS]
        await hub.clock.sleep(LONG_S)
        assert dorm.effects() == []
        assert (await hub.row()).state is SupplyState.ON

    play(dorm, scene)


def test_a_cut_that_waits_does_not_reach_into_the_night(tmp_path: Path) -> None:
    moment = datetime(2026, 11, 2, 21, 58, 30, tzinfo=ZONE)
    dorm = Dorm(folder=tmp_path, rooms=1, start=moment, fen=0)
    machine = dorm.machines["m-101"]

    async def scene(hub: DormHub) -> None:
        machine.script = [B.AWAY]
        await hub.to(datetime(2026, 11, 2, 22, tzinfo=ZONE))
        machine.script = [B.WORKS]
        await hub.clock.sleep(LONG_S)
        assert dorm.effects() == []

    play(dorm, scene)


def test_a_room_that_cannot_be_reached_is_cut_when_it_can(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1)
    machine = dorm.machines["m-101"]

    async def scene(hub: DormHub) -> None:
        machine.script = [B.AWAY]
        await hub.give(-1_000)
        await hub.clock.sleep(LONG_S)
        machine.script = [B.WORKS]
        await hub.until(lambda: dorm.told() == ["cut"], timeout_s=600)
        row = await hub.row()
        assert row.episode == 1

    play(dorm, scene)


def test_what_ended_unknown_is_an_alarm_until_a_reading_shows_it(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1)
    machine = dorm.machines["m-101"]

    async def scene(hub: DormHub) -> None:
        machine.script = [B.MUTE]
        await hub.clock.sleep(20)
        machine.is_mute = True
        await hub.give(-1_000)
        await hub.until(lambda: "unknown" in hub.said("supply/m-101"), timeout_s=300)
        assert machine.effects
        await hub.until(lambda: "m-101" in hub.asked, timeout_s=1)
        machine.is_mute = False
        await hub.clock.sleep(LONG_S)
        assert (await hub.row()).state is SupplyState.CUT
        assert hub.said("supply/m-101") == ""

    play(dorm, scene)


def test_more_cuts_than_the_brake_lets_through_are_one_proposal(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=25, fen=0)
    bulk = Proposals()

    async def scene(hub: DormHub) -> None:
        await hub.clock.sleep(LONG_S)
        assert dorm.effects() == []
        assert [len(devices) for devices in bulk.asked] == [25]
        assert hub.said("supply") == "25 cuts are due and wait for a second person"
        await hub.clock.sleep(660)
        assert len(bulk.asked) == 1
        for name in dorm.names[:24]:
            order = replace(
                told_by(hub, name, "cut", f"batch/batch-1/{name}", approver="key/bea"),
                actor="supply",
            )
            await hub.control.commands.submit(order)
        bulk.ended.add("batch-1")
        await hub.until(lambda: len(dorm.effects("cut")) == 24)
        await hub.clock.sleep(LONG_S)
        assert (await hub.row()).state is SupplyState.CUT
        await hub.pay(500)
        await hub.until(lambda: dorm.told() == ["cut", "restore"])
        await hub.clock.sleep(LONG_S)
        assert len(dorm.effects("cut")) == 24

    play(dorm, scene, bulk=bulk)


def test_without_anybody_to_ask_many_cuts_wait_with_an_alarm(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=25, fen=0)

    async def scene(hub: DormHub) -> None:
        await hub.clock.sleep(660)
        assert dorm.effects() == []
        assert "25 cuts" in hub.said("supply")

    play(dorm, scene)


def test_few_by_few_no_more_are_cut_than_the_brake_lets_through(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=30)

    async def scene(hub: DormHub) -> None:
        for number in range(30):
            await hub.give(-1_000, room=dorm.number(number))
            await hub.clock.sleep(15)
        await hub.clock.sleep(LONG_S)
        assert 15 <= len(dorm.effects("cut")) <= 20
        assert "wait for a second person" in hub.said("supply")

    play(dorm, scene)


def test_many_come_back_at_so_many_a_second_of_a_floor_and_within_a_minute(tmp_path: Path) -> None:
    safety = replace(Dorm(folder=tmp_path).safety, brake_devices=20)
    dorm = Dorm(folder=tmp_path, rooms=40, per_floor=20, fen=0, safety=safety)
    bulk = Proposals()

    async def scene(hub: DormHub) -> None:
        await hub.until(lambda: bulk.asked)
        for name in dorm.names:
            await hub.control.commands.submit(told_by(hub, name, "cut", name, "key/bea"))
        await hub.until(lambda: len(dorm.effects("cut")) == 40)
        await hub.clock.sleep(60)
        await asyncio.gather(*(hub.pay(500, room=dorm.number(n)) for n in range(40)))
        assert await hub.until(lambda: len(dorm.effects("restore")) == 40) < 60
        for floor in "12":
            moved = [one for one in dorm.effects("restore") if one.device[2] == floor]
            assert len(moved) == 20
            assert most_in_a_second(moved) <= 5

    play(dorm, scene, bulk=bulk)


def test_what_a_hand_opens_is_written_down_and_left_alone(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1)

    async def scene(hub: DormHub) -> None:
        await hub.clock.sleep(40)
        dorm.machines["m-101"].state["relay_closed"] = False
        await hub.clock.sleep(LONG_S)
        assert (await hub.row()).state is SupplyState.OPENED
        await hub.pay(500)
        await hub.give(-3_000)
        await hub.clock.sleep(LONG_S)
        await hub.pay(5_000)
        await hub.clock.sleep(LONG_S)
        assert dorm.effects() == []
        dorm.machines["m-101"].state["relay_closed"] = True
        await hub.clock.sleep(LONG_S)
        assert await hub.actions() == ["opened", "restored"]

    play(dorm, scene)


def test_what_a_person_cut_no_payment_restores(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1)

    async def scene(hub: DormHub) -> None:
        await hub.clock.sleep(5)
        await hub.control.commands.submit(told_by(hub, "m-101", "cut", "water"))
        await hub.until(lambda: dorm.told() == ["cut"])
        await hub.clock.sleep(60)
        await hub.pay(500)
        await hub.clock.sleep(LONG_S)
        assert dorm.told() == ["cut"]
        assert (await hub.audit())[0].actor == "key/ann"

    play(dorm, scene)


def test_what_a_person_restores_is_not_cut_again_for_a_day(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1, fen=0)

    async def scene(hub: DormHub) -> None:
        await hub.until(lambda: dorm.told() == ["cut"])
        await hub.clock.sleep(5)
        await hub.control.commands.submit(told_by(hub, "m-101", "restore", "mercy"))
        await hub.clock.sleep(660)
        assert dorm.told() == ["cut", "restore"]
        assert hub.supplies.hindrances() == {"kept": 1}

    play(dorm, scene)


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.03, 0.05, 0.5, 1.1, 2.5])
def test_a_kill_at_any_step_leaves_one_cut_and_one_restore(tmp_path: Path, after_s: float) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1)

    async def main() -> None:
        async with dorm.hub() as hub:
            await hub.give(-1_000)
            hub.supplies.look_at("m-101")
            await hub.clock.sleep(after_s)
        async with dorm.hub() as hub:
            await hub.until(lambda: dorm.machines["m-101"].state["relay_closed"] is False)
            await hub.clock.sleep(60)
            assert (await hub.row()).state is SupplyState.CUT
            await hub.pay(500)
            await hub.clock.sleep(after_s)
        async with dorm.hub() as hub:
            await hub.until(lambda: dorm.machines["m-101"].state["relay_closed"] is True)
            await hub.clock.sleep(60)
            assert (await hub.row()).state is SupplyState.ON
            assert await hub.actions() == ["cut", "restored"]
        assert dorm.told() == ["cut", "restore"]

    run_patient(main())


def test_a_cut_that_waited_for_a_hub_that_was_killed_is_decided_upon_anew(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=1)
    machine = dorm.machines["m-101"]

    async def main() -> None:
        async with dorm.hub() as hub:
            machine.script = [B.AWAY]
            await hub.give(-1_000)
            await hub.until(lambda: hub.control.commands.open)
            await hub.clock.sleep(1)
            await hub.give(2_000)  # paid, and killed before anybody has looked
        machine.script = [B.WORKS]
        async with dorm.hub() as hub:
            await hub.clock.sleep(LONG_S)
            assert (await hub.row()).state is SupplyState.ON
            assert (await hub.row()).wish == ""
        assert machine.tries == []

    run_patient(main())


def test_what_cannot_be_proposed_is_an_alarm_and_proposed_later(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=25, fen=0)
    bulk = Proposals()
    bulk.refusal = CommandError(Refusal.TOO_MANY, "", "20 batches are open")

    async def scene(hub: DormHub) -> None:
        await hub.until(lambda: "20 batches are open" in hub.said("supply proposal"))
        bulk.refusal = None
        await hub.until(lambda: bulk.asked)
        await hub.clock.sleep(1)
        assert hub.said("supply proposal") == ""

    play(dorm, scene, bulk=bulk)


@pytest.mark.parametrize("steps", [5, 7, 9, 11])
def test_rooms_that_are_gone_from_the_site_in_the_midst_of_a_turn_break_nothing(
    tmp_path: Path, steps: int
) -> None:
    dorm = Dorm(folder=tmp_path, rooms=2)

    async def scene(hub: DormHub) -> None:
        policies = hub.policies
        none = replace(policies.site, links=())
        await hub.clock.sleep(1)
        hub.supplies.refresh()
        turning = asyncio.ensure_future(hub.supplies.turn())
        for _ in range(steps):
            await asyncio.sleep(0)
        hub.standings.configure(none, policies.rules)
        hub.supplies.configure(none, policies.rules, ())
        await turning
        assert await hub.supplies.all() == []

    play(dorm, scene)
