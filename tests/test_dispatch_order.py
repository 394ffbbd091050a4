"""Who goes when: priorities, one in flight, deadlines, conditions, arguments the device fills."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hub import Answer, Frame, Outcome, Priority, State
from tests.command_bench import Hub, Site, on_virtual_time, order
from tests.scripted_device import Behaviour, Effect

B = Behaviour


def names(effects: list[Effect]) -> list[str]:
    return [effect.name for effect in effects]


def test_the_most_urgent_goes_first_and_equals_in_the_order_they_came(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]

    async def scene(hub: Hub) -> None:
        submit = hub.control.commands.submit
        await submit(order("gate-1", "light", "a", priority=Priority.BATCH))
        await submit(order("gate-1", "cut", "b", priority=Priority.BATCH))
        await submit(order("gate-1", "dim", "c", priority=Priority.BATCH))
        await submit(order("gate-1", "credit", "d", priority=Priority.PAID, amount=500))
        last = await submit(order("gate-1", "open", "e", priority=Priority.SAFETY))
        await hub.end(last)
        batch = await hub.control.commands.recent()
        for record in batch:
            await hub.end(record)

    on_virtual_time(site, scene)
    done = names(machine.effects)
    assert done[-2:] == ["cut", "dim"]
    assert done.index("open") < done.index("credit") < done.index("cut")


def test_a_device_has_one_command_in_flight_and_others_do_not_wait_for_it(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2)
    site.machines["gate-1"].script = [B.SILENT, B.WORKS]

    async def scene(hub: Hub) -> None:
        slow = await hub.send("gate-1", "cut")
        behind = await hub.send("gate-1", "light")
        other = await hub.send("gate-2", "cut")
        await hub.end(other)
        first = await hub.control.commands.get(slow.id)
        assert not first.state.final
        assert (await hub.end(slow)).state is State.CONFIRMED
        assert (await hub.end(behind)).state is State.CONFIRMED

    on_virtual_time(site, scene)
    assert names(site.machines["gate-1"].effects) == ["cut", "light"]


def test_something_more_urgent_ends_the_look_after_a_command(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.LIES, B.WORKS]

    async def scene(hub: Hub) -> None:
        cut = await hub.send("gate-1", "cut")
        await hub.clock.sleep(1)
        urgent = order("gate-1", "open", "fire", priority=Priority.SAFETY)
        opened = await hub.end(await hub.control.commands.submit(urgent))
        assert opened.state is State.CONFIRMED
        assert (await hub.end(cut)).state is State.UNKNOWN

    on_virtual_time(site, scene)
    assert names(machine.effects) == ["open"]


def test_what_waits_behind_another_expires_within_a_second_of_its_deadline(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.machines["gate-1"].script = [B.SILENT]

    async def scene(hub: Hub) -> None:
        await hub.send("gate-1", "cut")
        late = await hub.end(await hub.send("gate-1", "start"))
        assert late.state is State.EXPIRED
        assert late.finished_ms is not None
        assert 0 <= late.finished_ms - late.expires_ms <= 1000

    on_virtual_time(site, scene)
    assert names(site.machines["gate-1"].effects) == []


def test_what_does_not_get_through_is_tried_until_its_deadline_and_then_expires(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    site.machines["gate-1"].script = [B.AWAY]

    async def scene(hub: Hub) -> None:
        record = await hub.end(await hub.send("gate-1", "open"))
        assert record.state is State.EXPIRED
        assert record.attempts > 1
        assert record.finished_ms is not None
        assert 0 <= record.finished_ms - record.expires_ms <= 1000

    on_virtual_time(site, scene)


def test_never_is_told_again_when_it_certainly_did_not_go(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.AWAY, B.AWAY, B.WORKS]

    async def scene(hub: Hub) -> None:
        record = await hub.end(await hub.send("gate-1", "open"))
        assert (record.state, record.attempts) == (State.CONFIRMED, 3)

    on_virtual_time(site, scene)
    assert names(machine.effects) == ["open"]


def test_a_command_to_a_device_that_is_away_waits_for_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]

    async def scene(hub: Hub) -> None:
        machine.is_mute = True
        await hub.clock.sleep(100)
        hub.ingest.sweep()
        record = await hub.send("gate-1", "restore")
        await hub.clock.sleep(20)
        assert machine.tries == []
        machine.is_mute = False
        await hub.poll("gate-1")
        assert (await hub.end(record)).state is State.CONFIRMED

    on_virtual_time(site, scene)


def test_what_a_command_requires_is_looked_at_freshly_before_the_wire(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]

    async def scene(hub: Hub) -> None:
        await hub.poll("gate-1")
        machine.state["fire_alarm"] = False
        machine.state["lane_light"] = True
        record = await hub.end(await hub.send("gate-1", "dim"))
        assert record.state is State.CONFIRMED
        machine.state["loop_safety"] = True
        refused = await hub.end(await hub.send("gate-1", "dim"))
        assert (refused.state, refused.attempts) == (State.REFUSED, 0)
        assert "loop_safety is True" in refused.reason

    on_virtual_time(site, scene)


def test_a_required_point_that_gives_no_reading_lets_it_expire_unsent(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.is_mute = True

    async def scene(hub: Hub) -> None:
        record = await hub.end(await hub.send("gate-1", "dim"))
        assert (record.state, record.attempts) == (State.EXPIRED, 0)

    on_virtual_time(site, scene)
    assert machine.tries == []


def test_an_argument_the_device_fills_is_fixed_for_every_try(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.SILENT, B.SLOW, B.WORKS]

    async def scene(hub: Hub) -> None:
        record = await hub.end(await hub.send("gate-1", "credit", amount=500))
        filled = {"amount": 500, "count": 8, "balance": 2_000, "energy": 5_000}
        assert (record.state, record.arguments) == (State.CONFIRMED, filled)

    on_virtual_time(site, scene)
    assert {command.arguments["count"] for command, _ in machine.tries} == {8}
    assert len(machine.effects) == 1


def test_an_answer_that_names_another_device_or_nothing_open_changes_nothing(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, machines=2)
    site.machines["gate-1"].script = [B.SILENT]

    async def scene(hub: Hub) -> None:
        record = await hub.send("gate-1", "open")
        await hub.clock.sleep(2)
        late = Outcome(answer=Answer.REFUSED, reason="busy")
        dispatcher = hub.control.dispatcher
        dispatcher.answered_late("bus-1", "gate-2", record.id, late)
        dispatcher.answered_late("bus-2", "gate-1", record.id, late)
        assert (await hub.end(record)).state is State.UNKNOWN
        dispatcher.answered_late("bus-1", "gate-1", record.id, Outcome(answer=Answer.ACKNOWLEDGED))
        assert dispatcher.counters["late answer of another device"] == 2
        assert dispatcher.counters["late answer to nothing open"] == 1
        assert (await hub.control.commands.get(record.id)).state is State.UNKNOWN

    on_virtual_time(site, scene)


def test_a_late_refusal_closes_the_command_it_names(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.machines["gate-1"].script = [B.SILENT]

    async def scene(hub: Hub) -> None:
        record = await hub.send("gate-1", "open")
        await hub.clock.sleep(2)
        frame = Frame(time_ms=hub.clock.now_ms(), outgoing=False, data=b"too late")
        late = Outcome(answer=Answer.REFUSED, reason="busy", frames=(frame,))
        hub.control.dispatcher.answered_late("bus-1", "gate-1", record.id, late)
        assert (await hub.end(record)).state is State.REFUSED
        [(attempt, frames)] = await hub.control.commands.attempts(record.id)
        assert attempt.answer == "silent"
        assert [frame.data for frame in frames] == [record.id.encode(), b"too late"]

    on_virtual_time(site, scene)


def test_what_was_only_acknowledged_and_nothing_can_show_is_unknown(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        record = await hub.end(await hub.send("gate-1", "text", words="welcome"))
        assert (record.state, record.attempts) == (State.UNKNOWN, 1)

    on_virtual_time(site, scene)


def test_every_try_is_kept_with_its_frames(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.machines["gate-1"].script = [B.SILENT, B.WORKS]

    async def scene(hub: Hub) -> None:
        record = await hub.end(await hub.send("gate-1", "cut"))
        tries = await hub.control.commands.attempts(record.id)
        assert [attempt.answer for attempt, _ in tries] == ["silent", "acknowledged"]
        assert [frame.data for _, frames in tries for frame in frames] == [record.id.encode()] * 2
        assert '"relay_closed":false' in record.proof

    on_virtual_time(site, scene)


def test_many_callers_with_one_key_make_one_command(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]

    async def scene(hub: Hub) -> None:
        same = order("gate-1", "credit", "order-1", amount=500)
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(hub.control.commands.submit(same)) for _ in range(20)]
        assert len({call.result().id for call in calls}) == 1
        await hub.end(calls[0].result())

    on_virtual_time(site, scene)
    assert names(machine.effects) == ["credit"]
