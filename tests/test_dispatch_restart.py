"""A start with commands that were open when the hub stopped, in every state; and clocks that were set."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from hub import State
from hub.commands import Record
from tests.command_bench import Hub, Site
from tests.scripted_device import Behaviour
from tests.virtual_loop import run_virtual

B = Behaviour
Scene = Callable[[Hub], Awaitable[Record]]


def over_a_restart(site: Site, first: Scene, *, down_s: float = 1.0, ahead_ms: int = 0) -> Record:
    """Kill the hub after the scene, wait, set the wall clock, start again; how the command ended."""

    async def main() -> Record:
        async with site.hub() as hub:
            record = await first(hub)
        await hub.clock.sleep(down_s)
        site.clock.ahead_ms += ahead_ms
        async with site.hub() as hub:
            return await hub.end(record)

    return run_virtual(main())


def waiting(name: str) -> Scene:
    """It was accepted and waited behind another, and the hub died before it was sent."""

    async def scene(hub: Hub) -> Record:
        await hub.send("gate-1", "text", words="wait")
        return await hub.send("gate-1", name)

    return scene


def after(name: str, seconds: float) -> Scene:
    """It was accepted, and the hub died so many seconds later."""

    async def scene(hub: Hub) -> Record:
        record = await hub.send("gate-1", name)
        await hub.clock.sleep(seconds)
        return record

    return scene


def test_what_was_never_sent_is_sent(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert over_a_restart(site, waiting("open")).state is State.CONFIRMED
    assert [effect.name for effect in site.machines["gate-1"].effects] == ["open"]


def test_what_was_never_sent_and_is_over_expires(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert over_a_restart(site, waiting("open"), down_s=6).state is State.EXPIRED
    assert site.machines["gate-1"].tries == []


def test_a_wall_clock_set_back_while_the_hub_was_down_brings_nothing_back_to_life(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    ended = over_a_restart(site, waiting("open"), down_s=60, ahead_ms=-59_000)
    assert ended.state is State.EXPIRED
    assert site.machines["gate-1"].tries == []


def test_a_wall_clock_set_forward_while_the_hub_was_down_expires_what_waited(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    ended = over_a_restart(site, waiting("cut"), ahead_ms=10_000)
    assert (ended.state, ended.attempts) == (State.EXPIRED, 0)


def test_a_wall_clock_set_while_the_hub_runs_moves_no_deadline(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.AWAY, B.WORKS]

    async def main() -> None:
        async with site.hub() as hub:
            record = await hub.send("gate-1", "cut")
            await hub.clock.sleep(0.1)
            site.clock.ahead_ms = 3_600_000
            assert (await hub.end(record)).state is State.CONFIRMED
            site.clock.ahead_ms = -3_600_000
            assert (await hub.end(await hub.send("gate-1", "open"))).state is State.CONFIRMED

    run_virtual(main())


def test_what_was_under_way_and_was_done_is_confirmed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.machines["gate-1"].script = [B.MUTE]
    assert over_a_restart(site, after("light", 0.5)).state is State.CONFIRMED
    assert len(site.machines["gate-1"].tries) == 1


def test_what_was_under_way_and_cannot_be_seen_is_unknown_and_never_told_again(
    tmp_path: Path,
) -> None:
    for name in ("open", "cut", "light"):
        folder = tmp_path / name
        folder.mkdir()
        site = Site(folder)
        site.machines["gate-1"].script = [B.SILENT]
        assert over_a_restart(site, after(name, 0.5)).state is State.UNKNOWN
        assert len(site.machines["gate-1"].tries) == 1


def test_what_was_acknowledged_is_looked_at(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.machines["gate-1"].script = [B.SLOW]
    assert over_a_restart(site, after("cut", 0.05), down_s=0.1).state is State.UNKNOWN
    other = tmp_path / "other"
    other.mkdir()
    site = Site(other)
    site.machines["gate-1"].script = [B.LIES]

    async def acknowledged(hub: Hub) -> Record:
        record = await after("cut", 1.0)(hub)
        site.machines["gate-1"].state["relay_closed"] = False
        return record

    assert over_a_restart(site, acknowledged, down_s=0.1).state is State.CONFIRMED


def test_what_certainly_did_not_go_is_tried_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.machines["gate-1"].script = [B.AWAY]

    async def scene(hub: Hub) -> Record:
        record = await after("open", 0.3)(hub)
        site.machines["gate-1"].script = [B.WORKS]
        return record

    ended = over_a_restart(site, scene)
    assert (ended.state, ended.attempts) == (State.CONFIRMED, 2)


def test_an_argument_the_device_fills_is_taken_anew_while_no_try_has_reached_it(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.AWAY]

    async def scene(hub: Hub) -> Record:
        record = await hub.send("gate-1", "credit", amount=100)
        await hub.clock.sleep(0.3)
        machine.script = [B.WORKS]
        machine.buy(250)  # somebody else
        return record

    ended = over_a_restart(site, scene)
    filled = {"amount": 100, "count": 9, "balance": 2_250, "energy": 5_000}
    assert (ended.state, ended.arguments) == (State.CONFIRMED, filled)
    assert len(machine.effects) == 1


def test_what_has_ended_stays_so(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> Record:
        return await hub.end(await hub.send("gate-1", "open"))

    assert over_a_restart(site, scene).state is State.CONFIRMED
    assert len(site.machines["gate-1"].tries) == 1


def test_a_command_of_a_device_that_is_gone_ends(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> Record:
        record = await waiting("open")(hub)
        site.links = ()
        return record

    assert over_a_restart(site, scene).state is State.EXPIRED
