"""Batches on their way: paced, stopped, expired, killed at any step."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from hub import Reading, State
from hub.audit import rows as audit_rows
from hub.campus.batches.batch import BatchState, ItemState
from hub.campus.batches.batches import Batches
from hub.campus.batches.scope import Scope
from hub.safety_rules import SafetyRules
from tests.batch_bench import (
    ANN,
    BOB,
    OPEN_HOUSE,
    DyingLedger,
    Office,
    cut_once,
    dorm,
    office,
    play,
    told,
)
from tests.scripted_device import Behaviour
from tests.virtual_loop import run_virtual

DONE, SKIPPED = ItemState.DONE, ItemState.SKIPPED
BRAKED = SafetyRules()  # of so few devices, one goes without a second person


def test_stop_tells_nobody_anything_new(tmp_path: Path) -> None:
    site = dorm(tmp_path)
    site.machines["gate-3"].latency_s = 5

    async def scene(made: Office) -> None:
        batch = await made.submit(per_s=1.0)
        await made.hub.until(lambda: len(site.machines["gate-2"].effects), 30)
        await made.hub.clock.sleep(1)
        stopped = await made.batches.stop(batch.id, BOB)
        assert (stopped.state, stopped.finished_ms) == (BatchState.STOPPED, None)
        await made.until(batch)
        assert await made.states(batch) == [DONE] * 3 + [SKIPPED] * 3
        assert [item.reason for item in await made.items(batch)][3:] == ["stopped by key/bob"] * 3
        assert (await made.batches.stop(batch.id, BOB)).state is BatchState.STOPPED
        actions = [
            (row.actor, row.action)
            for row in await made.hub.ledger.read(
                lambda c: audit_rows(c, subject=f"batch/{batch.id}")
            )
        ]
        assert actions == [("key/ann", "submitted"), ("key/bob", "stopped")]

    play(site, scene)
    assert cut_once(site, "gate-1", "gate-2", "gate-3")


def test_stop_calls_back_what_was_never_sent(tmp_path: Path) -> None:
    site = dorm(tmp_path)
    site.machines["gate-1"].script = [Behaviour.AWAY]

    async def scene(made: Office) -> None:
        batch = await made.submit(scope=Scope(devices=("gate-1",)))
        await made.hub.clock.sleep(2)
        await made.batches.stop(batch.id, ANN)
        site.machines["gate-1"].script = [Behaviour.WORKS]
        await made.until(batch, timeout_s=20)
        assert [(item.state, item.reason) for item in await made.items(batch)] == [
            (ItemState.REFUSED, "stopped by key/ann")
        ]

    play(site, scene)
    assert told(site)["gate-1"] == 0


ONCE_A_MINUTE = SafetyRules(brake_percent=100, rate_per_minute=1)


@pytest.mark.parametrize("is_stopped", [False, True], ids=["goes on", "stopped"])
def test_who_is_told_too_much_just_now_is_told_later_unless_it_is_stopped(
    tmp_path: Path, is_stopped: bool
) -> None:
    site = dorm(tmp_path, rooms=1, rules=ONCE_A_MINUTE)
    stops = [Batches.stop] if is_stopped else []

    async def scene(made: Office) -> None:
        await made.hub.end(await made.hub.send("gate-1", "light"))
        batch = await made.submit()
        await made.hub.clock.sleep(7)
        for stop in stops:
            await stop(made.batches, batch.id, ANN)
        await made.until(batch)
        assert await made.states(batch) == [SKIPPED if is_stopped else DONE]

    play(site, scene)
    told_of = [one.name for one in site.machines["gate-1"].effects]
    assert told_of == (["light"] if is_stopped else ["light", "cut"])


def test_each_end_of_a_command_is_an_end_of_its_room(tmp_path: Path) -> None:
    site = dorm(tmp_path)
    ways = [
        (Behaviour.WORKS, ItemState.DONE),
        (Behaviour.REFUSES, ItemState.REFUSED),
        (Behaviour.LIES, ItemState.FAILED),
        (Behaviour.AWAY, ItemState.FAILED),
        (Behaviour.MUTE, ItemState.DONE),
        (Behaviour.SILENT, ItemState.UNKNOWN),
    ]
    for machine, (behaviour, _) in zip(site.machines.values(), ways, strict=True):
        machine.script = [behaviour]
    site.machines["gate-6"].is_mute = True

    async def scene(made: Office) -> None:
        batch = await made.until(await made.submit())
        assert await made.states(batch) == [state for _, state in ways]
        assert [item.command != "" for item in await made.items(batch)] == [True] * 6
        assert batch.state is BatchState.DONE

    play(site, scene)


def test_a_newer_wish_for_the_opposite_is_not_undone_by_an_older_batch(tmp_path: Path) -> None:
    site = dorm(tmp_path)

    async def scene(made: Office) -> None:
        batch = await made.submit(per_s=1.0)
        await made.hub.clock.sleep(1.5)
        newer = await made.hub.end(await made.hub.send("gate-6", "restore"))
        await made.until(batch)
        assert newer.state is State.CONFIRMED
        assert (await made.items(batch))[5].reason == f"overtaken by {newer.id}"

    play(site, scene)
    assert [one.name for one in site.machines["gate-6"].effects] == ["restore"]


def test_power_comes_back_floor_by_floor_at_the_pace_of_the_policy(tmp_path: Path) -> None:
    site = dorm(tmp_path, rooms=12)
    for machine in site.machines.values():
        machine.state["relay_closed"] = False

    async def scene(made: Office) -> None:
        both = Scope(buildings=("B1", "B2"))
        await made.until(await made.submit("restore", both))

    play(site, scene, policy=replace(OPEN_HOUSE, restores_per_s=2))
    for floor in range(4):
        names = [f"gate-{number}" for number in range(3 * floor + 1, 3 * floor + 4)]
        times = sorted(site.machines[name].effects[0].at_s for name in names)
        assert times[2] - times[0] >= 0.99


def test_power_is_not_brought_back_to_what_says_that_it_is_broken(tmp_path: Path) -> None:
    site = dorm(tmp_path)

    async def scene(made: Office) -> None:
        device = made.hub.control.registry.device("gate-1")
        assert device is not None
        now_ms = made.hub.clock.now_ms()
        values = {"over_limit": True, "relay_closed": False}
        said = Reading(device=device.id, time_ms=now_ms, received_ms=now_ms, values=values)
        await made.hub.store.append([said])
        assert (await made.plan("restore"))["gate-1"] == "the device says over_limit"

    play(site, scene)


def test_every_meter_is_read_and_who_is_silent_is_named(tmp_path: Path) -> None:
    site = dorm(tmp_path)
    site.machines["gate-2"].is_mute = True

    async def scene(made: Office) -> None:
        batch = await made.until(await made.submit("read"))
        assert [(item.state, item.reason) for item in await made.items(batch)] == [
            (DONE, ""),
            (ItemState.FAILED, "it says nothing"),
            *[(DONE, "")] * 4,
        ]

    play(site, scene)
    assert set(told(site).values()) == {0}


def test_what_is_not_told_within_six_hours_is_told_never(tmp_path: Path) -> None:
    site = dorm(tmp_path)

    async def main() -> None:
        async with office(site) as made:
            batch = await made.submit(per_s=1.0)
            await made.hub.clock.sleep(1.5)
        await asyncio.sleep(7 * 3_600)
        async with office(site) as made:
            ended = await made.until(batch)
            assert ended.state is BatchState.EXPIRED
            assert await made.states(batch) == [DONE] * 2 + [SKIPPED] * 4

    run_virtual(main())
    assert cut_once(site, "gate-1", "gate-2")


def test_an_approved_batch_goes_on_after_a_kill_though_the_brake_is_used_up(tmp_path: Path) -> None:
    site = dorm(tmp_path, rules=BRAKED)

    async def main() -> None:
        async with office(site) as made:
            batch = await made.submit(per_s=1.0)
            await made.batches.approve(batch.id, BOB)
            await made.hub.clock.sleep(2.5)
        async with office(site) as made:
            assert (await made.until(batch)).state is BatchState.DONE
            assert await made.states(batch) == [DONE] * 6

    run_virtual(main())
    assert cut_once(site, *site.machines)


def test_what_was_begun_and_not_made_is_told_no_more_when_its_time_is_over(tmp_path: Path) -> None:
    site = dorm(tmp_path, rooms=1)

    async def main() -> None:
        # The second work takes the room up, the third would make its command.
        async with office(site, through=lambda one: DyingLedger(one, 2, done=True)) as made:
            batch = await made.submit()
            await made.hub.clock.sleep(3)
        await asyncio.sleep(7 * 3_600)
        async with office(site) as made:
            ended = await made.until(batch)
            assert (ended.state, await made.states(batch)) == (BatchState.EXPIRED, [SKIPPED])

    run_virtual(main())
    assert told(site) == {"gate-1": 0}


def test_a_batch_that_was_stopped_stays_so_after_a_kill(tmp_path: Path) -> None:
    site = dorm(tmp_path)
    site.machines["gate-2"].script = [Behaviour.AWAY]

    async def main() -> None:
        async with office(site) as made:
            batch = await made.submit(per_s=1.0)
            await made.hub.clock.sleep(1.5)
            await made.batches.stop(batch.id, ANN)
        site.machines["gate-2"].script = [Behaviour.WORKS]
        async with office(site) as made:
            ended = await made.until(batch)
            assert ended.state is BatchState.STOPPED

    run_virtual(main())
    assert cut_once(site, "gate-1")


# Two rooms take some fifteen works of the ledger: each is once the last one of the hub's life.
@pytest.mark.parametrize("done", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("works", range(1, 18))
def test_a_kill_at_any_step_tells_nobody_twice_and_leaves_nothing_open(
    tmp_path: Path, works: int, done: bool
) -> None:
    site = dorm(tmp_path, rooms=2)

    async def main() -> None:
        async with office(site, through=lambda one: DyingLedger(one, works, done=done)) as made:
            call = asyncio.create_task(made.submit())
            await made.hub.clock.sleep(3)
            call.cancel()
        async with office(site) as made:
            batch = await made.until(await made.submit())
            effects = [len(machine.effects) for machine in site.machines.values()]
            shown = [state is DONE for state in await made.states(batch)]
            assert shown == [bool(number) for number in effects]
            assert batch.state is BatchState.DONE

    run_virtual(main())
    assert all(number <= 1 for number in told(site).values())
