"""What is taken as proof that a command was done, and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hub import Reading, State
from hub.commands import Before, Record
from tests.command_bench import Hub, Site, on_virtual_time
from tests.scripted_device import Behaviour, Machine, said
from tests.virtual_loop import run_virtual

B = Behaviour


async def started(hub: Hub, site: Site) -> Record:
    """A start that its device has just seen, in the millisecond in which it was sent."""
    machine = site.machines["gate-1"]
    machine.is_mute, machine.latency_s = True, 0.0001
    await heard(hub, said("gate-1", hub.clock, relay_8=False))
    record = await hub.send("gate-1", "start")
    await hub.until(lambda: machine.tries)
    assert hub.clock.now_ms() == record.created_ms
    return record


async def heard(hub: Hub, reading: Reading) -> None:
    await hub.ingest.publish("bus-1", [reading])


def test_a_proof_in_the_very_millisecond_of_the_send_is_believed(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        await hub.clock.sleep(1)
        record = await started(hub, site)
        await heard(hub, said("gate-1", hub.clock, relay_8=True))
        assert hub.clock.now_ms() == record.created_ms
        assert (await hub.end(record)).state is State.CONFIRMED

    on_virtual_time(site, scene)


def test_what_was_said_before_the_send_is_never_believed_however_late_it_is_stored(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        await hub.clock.sleep(1)
        early = said("gate-1", hub.clock, relay_8=True)
        record = await started(hub, site)
        await heard(hub, early)
        assert early.received_ms == record.created_ms
        assert (await hub.end(record)).state is State.UNKNOWN

    on_virtual_time(site, scene)


def test_what_was_said_before_the_send_is_not_believed_though_the_wall_clock_was_set_back(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        await hub.clock.sleep(1)
        early = said("gate-1", hub.clock, relay_8=True)
        site.clock.ahead_ms = -60_000
        record = await started(hub, site)
        await heard(hub, early)
        assert (await hub.end(record)).state is State.UNKNOWN

    on_virtual_time(site, scene)


def test_a_wall_clock_set_back_after_the_send_hides_no_proof(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        await hub.clock.sleep(1)
        record = await hub.send("gate-1", "light")
        await hub.clock.sleep(0.001)
        site.clock.ahead_ms = -60_000
        assert (await hub.end(record, 5)).state is State.CONFIRMED

    on_virtual_time(site, scene)


async def befores(hub: Hub, record: Record) -> list[Before]:
    """How the device was before each try."""
    return [attempt.before for attempt, _ in await hub.control.commands.attempts(record.id)]


def test_a_relay_that_was_so_already_is_confirmed_and_the_record_says_so(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.machines["gate-1"].state["relay_closed"] = False
    site.machines["gate-1"].script = [B.LIES]

    async def scene(hub: Hub) -> None:
        await hub.poll("gate-1")
        record = await hub.end(await hub.send("gate-1", "cut"))
        assert (record.state, record.reason) == (State.CONFIRMED, "it was already so")
        assert await befores(hub, record) == [Before.SO]

    on_virtual_time(site, scene)


def test_a_relay_that_was_otherwise_is_confirmed_without_a_remark(tmp_path: Path) -> None:
    async def scene(hub: Hub) -> None:
        await hub.poll("gate-1")
        record = await hub.end(await hub.send("gate-1", "cut"))
        assert (record.state, record.reason) == (State.CONFIRMED, "")
        assert await befores(hub, record) == [Before.OTHERWISE]

    on_virtual_time(Site(tmp_path), scene)


def opened(site: Site) -> Machine:
    """A gate that stands open already, and does nothing it is told."""
    machine = site.machines["gate-1"]
    machine.state.update(limit_open=True, limit_closed=False)
    machine.script = [B.LIES]
    return machine


def test_a_gate_that_stood_open_already_does_not_prove_an_opening(tmp_path: Path) -> None:
    site = Site(tmp_path)
    opened(site)

    async def scene(hub: Hub) -> None:
        await hub.poll("gate-1")
        record = await hub.end(await hub.send("gate-1", "open"))
        assert record.state is State.UNKNOWN
        assert "it was not seen otherwise before" in record.reason
        assert await befores(hub, record) == [Before.SO]

    on_virtual_time(site, scene)


def test_a_gate_nobody_has_seen_is_looked_at_before_it_is_told_to_open(tmp_path: Path) -> None:
    site = Site(tmp_path)
    opened(site)

    async def scene(hub: Hub) -> None:
        record = await hub.end(await hub.send("gate-1", "open"))
        assert record.state is State.UNKNOWN
        assert await befores(hub, record) == [Before.SO]

    on_virtual_time(site, scene)


def test_a_gate_that_says_nothing_is_told_to_open_all_the_same(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.is_mute = True

    async def scene(hub: Hub) -> None:
        record = await hub.end(await hub.send("gate-1", "open"))
        assert await befores(hub, record) == [Before.UNSEEN]
        assert machine.effects[0].at_s < 0.5

    on_virtual_time(site, scene)


def test_a_gate_that_closed_after_the_send_and_opened_then_proves_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = opened(site)

    async def scene(hub: Hub) -> None:
        await hub.poll("gate-1")
        record = await hub.send("gate-1", "open")
        await hub.clock.sleep(0.5)
        machine.state["limit_open"] = False
        await hub.poll("gate-1")
        machine.state["limit_open"] = True
        assert (await hub.end(record)).state is State.CONFIRMED

    on_virtual_time(site, scene)


def test_a_word_from_before_a_long_silence_says_nothing_of_how_it_was(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = opened(site)

    async def scene(hub: Hub) -> None:
        machine.state["limit_open"] = False
        await hub.poll("gate-1")
        machine.is_mute = True
        await hub.clock.sleep(3 * 30 + 1)
        record = await hub.send("gate-1", "open")
        await hub.clock.sleep(1)
        machine.is_mute, machine.state["limit_open"] = False, True
        assert (await hub.end(record)).state is State.UNKNOWN

    on_virtual_time(site, scene)


def test_over_a_restart_a_gate_that_stood_open_already_proves_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    opened(site)

    async def main() -> None:
        async with site.hub() as hub:
            await hub.poll("gate-1")
            record = await hub.send("gate-1", "open")
            await hub.clock.sleep(0.5)
        async with site.hub() as hub:
            assert (await hub.end(record)).state is State.UNKNOWN

    run_virtual(main())


async def credited(hub: Hub, site: Site, meanwhile: Callable[[Machine], object]) -> Record:
    """A credit that its meter has taken without a word, and what it shows then."""
    machine = site.machines["gate-1"]
    machine.script = [B.MUTE]
    record = await hub.send("gate-1", "credit", amount=500)
    await hub.until(lambda: machine.effects)
    meanwhile(machine)
    return await hub.end(record)


@pytest.mark.parametrize(
    ("meanwhile", "state", "reason"),
    [
        (lambda machine: machine.use(0, 0), State.CONFIRMED, ""),
        (lambda machine: machine.use(10, 5), State.CONFIRMED, ""),
        (lambda machine: machine.use(10, 200), State.UNKNOWN, "not risen by this amount"),
        (lambda machine: machine.use(0, 500), State.UNKNOWN, "its balance has not risen"),
        (lambda machine: machine.buy(300), State.UNKNOWN, "neither the one before nor the next"),
    ],
)
def test_a_credit_that_nobody_answered_is_done_when_count_and_balance_show_it(
    tmp_path: Path, meanwhile: Callable[[Machine], object], state: State, reason: str
) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        record = await credited(hub, site, meanwhile)
        assert record.state is state
        assert reason in record.reason

    on_virtual_time(site, scene)


def test_what_proved_a_credit_and_what_it_is_compared_with_stand_beside_it(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        record = await credited(hub, site, lambda machine: machine.use(10, 5))
        assert record.arguments == {"amount": 500, "balance": 2_000, "count": 8, "energy": 5_000}
        proof = json.loads(record.proof)
        assert proof.pop("voltage_l1") > 0
        assert proof == {"credit_money": 2_495, "energy_import": 5_010, "purchase_count": 8}

    on_virtual_time(site, scene)


def test_a_credit_of_no_more_than_may_have_been_used_is_a_person_s(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]

    async def scene(hub: Hub) -> None:
        machine.script = [B.MUTE]
        record = await hub.send("gate-1", "credit", amount=1)
        await hub.until(lambda: machine.effects)
        machine.use(10, 1)
        found = await hub.end(record)
        assert (found.state, "so much may have been used" in found.reason) == (State.UNKNOWN, True)

    on_virtual_time(site, scene)


def test_over_a_restart_count_and_balance_prove_a_credit_that_nobody_answered(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.MUTE]

    async def main() -> None:
        async with site.hub() as hub:
            record = await hub.send("gate-1", "credit", amount=500)
            await hub.until(lambda: machine.effects)
        machine.use(20, 9)
        async with site.hub() as hub:
            assert (await hub.end(record)).state is State.CONFIRMED

    run_virtual(main())


def test_over_a_restart_another_s_money_is_not_taken_for_a_credit(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.SILENT]

    async def main() -> None:
        async with site.hub() as hub:
            record = await hub.send("gate-1", "credit", amount=500)
            await hub.until(lambda: machine.tries)
        machine.buy(450)
        async with site.hub() as hub:
            assert (await hub.end(record)).state is State.UNKNOWN

    run_virtual(main())
