"""What is taken as proof that a command was done, and what is not."""

from __future__ import annotations

from pathlib import Path

from hub import Reading, State
from hub.commands import Record
from tests.command_bench import Hub, Site, on_virtual_time
from tests.scripted_device import Behaviour, said

B = Behaviour


async def started(hub: Hub, site: Site) -> Record:
    """A start that its device has just seen, in the millisecond in which it was sent."""
    machine = site.machines["gate-1"]
    machine.is_mute, machine.latency_s = True, 0.0001
    record = await hub.send("gate-1", "start")
    while not machine.tries:
        await hub.clock.sleep(0.0001)
    assert hub.clock.now_ms() == record.created_ms
    return record


async def heard(hub: Hub, reading: Reading) -> None:
    await hub.ingest.publish("bus-1", [reading])


def test_a_proof_in_the_very_millisecond_of_the_send_is_believed(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        await hub.clock.sleep(1)
        record = await started(hub, site)
        await heard(hub, said("gate-1", hub.clock, relay_8=False))
        await hub.clock.sleep(0.0001)
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
        other = said("gate-1", hub.clock, relay_8=False)
        early = said("gate-1", hub.clock, relay_8=True)
        record = await started(hub, site)
        await heard(hub, other)
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
        other = said("gate-1", hub.clock, relay_8=False)
        early = said("gate-1", hub.clock, relay_8=True)
        site.clock.ahead_ms = -60_000
        record = await started(hub, site)
        await heard(hub, other)
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
