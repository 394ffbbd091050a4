"""The brake on bulk actions, the second person, and the rate of one device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hub import Device, Offline, State, load_profiles
from hub.commands import CommandError, Record, Refusal
from hub.safety_rules import SafetyRules
from tests.command_bench import Hub, Site, fire_input, kind_of, on_virtual_time, order
from tests.scripted_device import Behaviour, scripted
from tests.virtual_loop import run_virtual


def test_fire_holds_back_no_opening_however_many(tmp_path: Path) -> None:
    rules = SafetyRules(fire=fire_input().fire)
    site = Site(tmp_path, machines=30, rules=rules)
    site.machines["gate-1"].state["fire_alarm"] = True

    async def scene(hub: Hub) -> None:
        await hub.poll("gate-1")
        await hub.clock.sleep(1)
        opened = [await hub.send(name, "open") for name in site.machines]
        assert not any(record.held for record in opened)

    on_virtual_time(site, scene)


@pytest.mark.parametrize("name", ["cut", "open"])
def test_more_than_a_hundredth_of_the_devices_waits_for_a_second_person(
    tmp_path: Path, name: str
) -> None:
    site = Site(tmp_path, machines=300, rules=SafetyRules())

    async def scene(hub: Hub) -> None:
        commands = hub.control.commands
        records = [await hub.send(f"gate-{number}", name) for number in range(1, 6)]
        assert [record.held for record in records] == [False, False, False, True, True]
        with pytest.raises(CommandError) as caught:
            await commands.approve(records[3].id, "ann")
        assert caught.value.kind is Refusal.SAME_PERSON
        await commands.approve(records[3].id, "bob")
        assert (await hub.end(records[3])).state is State.CONFIRMED
        assert (await hub.end(records[4])).state is State.EXPIRED
        assert not (await hub.send("gate-1", name)).held
        await hub.clock.sleep(601)
        assert site.machines["gate-5"].tries == []
        assert not (await hub.send("gate-5", name)).held

    on_virtual_time(site, scene)


def test_more_than_twenty_devices_wait_for_a_second_person(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=25, rules=SafetyRules(brake_percent=100))

    async def scene(hub: Hub) -> None:
        records = [await hub.send(name, "cut") for name in site.machines]
        assert [record.held for record in records] == [False] * 20 + [True] * 5

    on_virtual_time(site, scene)


def test_what_went_late_counts_from_when_it_went(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=SafetyRules())
    site.machines["gate-1"].script = [Behaviour.AWAY]

    async def scene(hub: Hub) -> None:
        late = await hub.send("gate-1", "cut")
        await hub.clock.sleep(25)
        site.machines["gate-1"].script = [Behaviour.WORKS]
        assert (await hub.end(late)).state is State.CONFIRMED
        await hub.clock.sleep(575)
        assert hub.clock.now_ms() > late.created_ms + 600_000
        assert (await hub.send("gate-2", "cut")).held

    on_virtual_time(site, scene)


def patient(name: str) -> Device:
    """A device whose cuts wait for it, an hour long."""
    device = scripted(name)
    commands = dict(device.profile.commands)
    commands["cut"] = replace(commands["cut"], deadline_s=3600.0, offline=Offline.QUEUE)
    return replace(device, profile=replace(device.profile, commands=commands))


def test_when_a_dead_link_returns_what_is_too_much_at_once_waits_for_a_second_person(
    tmp_path: Path,
) -> None:
    rules = SafetyRules(brake_percent=100, brake_devices=3)
    site = Site(tmp_path, machines=12, rules=rules)
    site.links = [replace(site.links[0], devices=tuple(patient(name) for name in site.machines))]

    async def scene(hub: Hub) -> None:
        await hub.clock.sleep(100)
        hub.ingest.sweep()  # nobody was heard: all are away
        for number, name in enumerate(site.machines):
            assert not (await hub.send(name, "cut")).held
            await hub.clock.sleep(601 if number % 3 == 2 else 0)
        await hub.poll(*site.machines)
        await hub.clock.sleep(40)
        records = await hub.control.commands.recent()
        held = [record for record in records if record.held]
        assert len(held) == 9
        await hub.control.commands.approve(held[0].id, "bob")
        await hub.clock.sleep(40)

    on_virtual_time(site, scene)
    effects = [effect for machine in site.machines.values() for effect in machine.effects]
    assert len(effects) == 4


def test_each_channel_of_a_board_is_a_room_of_its_own(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=300, rules=SafetyRules())
    board = replace(scripted("gate-1"), profile=load_profiles().example("waveshare_relay8"))
    site.links = [replace(site.links[0], devices=(board, *site.links[0].devices[1:]))]

    async def scene(hub: Hub) -> None:
        held = [(await hub.send("gate-1", f"cut_{number}")).held for number in range(1, 9)]
        assert held == [False] * 3 + [True] * 5
        assert not (await hub.send("gate-1", "cut_1")).held

    on_virtual_time(site, scene)


ONE_AT_A_TIME = SafetyRules()  # of so few devices, one goes without a second person


async def held_open(hub: Hub) -> Record:
    """An opening that waits for a second person."""
    await hub.end(await hub.send("gate-1", "open"))
    record = await hub.send("gate-2", "open")
    assert record.held
    return record


def test_a_held_opening_may_be_approved_for_two_minutes_and_its_deadline_begins_then(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, machines=2, rules=ONE_AT_A_TIME)
    machine = site.machines["gate-2"]

    async def scene(hub: Hub) -> None:
        record = await held_open(hub)
        assert record.expires_ms - record.created_ms == 120_000
        await hub.clock.sleep(119)
        approved_s, now_ms = hub.clock.monotonic_s(), hub.clock.now_ms()
        approved = await hub.control.commands.approve(record.id, "bob")
        assert approved.expires_ms - now_ms == pytest.approx(5_000, abs=5)
        assert (await hub.end(record)).state is State.CONFIRMED
        assert [effect.at_s < approved_s + 5 for effect in machine.effects] == [True]

    on_virtual_time(site, scene)


async def stuck_for_two_seconds(site: Site, hub: Hub) -> Record:
    """An opening approved after a minute that did not get through for two seconds."""
    record = await held_open(hub)
    await hub.clock.sleep(60)
    site.machines["gate-2"].script = [Behaviour.AWAY]
    approved = await hub.control.commands.approve(record.id, "bob")
    await hub.clock.sleep(2)
    return approved


async def is_too_late(site: Site, hub: Hub, record: Record) -> bool:
    """Whether it is still tried until five seconds after its approval, and then never again."""
    await hub.clock.sleep(2.9)
    before = await hub.control.commands.get(record.id)
    site.machines["gate-2"].script = [Behaviour.AWAY, Behaviour.WORKS]
    ended = await hub.end(record)
    return (before.state, ended.state) == (State.QUEUED, State.EXPIRED)


def test_an_approved_opening_that_does_not_get_through_is_never_late(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=ONE_AT_A_TIME)

    async def scene(hub: Hub) -> None:
        assert await is_too_late(site, hub, await stuck_for_two_seconds(site, hub))

    on_virtual_time(site, scene)
    assert site.machines["gate-2"].effects == []


def test_an_approved_opening_is_never_late_over_a_restart(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=ONE_AT_A_TIME)

    async def main() -> None:
        async with site.hub() as hub:
            record = await stuck_for_two_seconds(site, hub)
        async with site.hub() as hub:
            assert await is_too_late(site, hub, record)

    run_virtual(main())
    assert site.machines["gate-2"].effects == []


@pytest.mark.parametrize(
    ("waits_s", "words"), [(121.0, "it has expired: held, and not approved in time"), (120.1, "")]
)
def test_approving_what_is_over_says_what_happened(
    tmp_path: Path, waits_s: float, words: str
) -> None:
    site = Site(tmp_path, machines=2, rules=ONE_AT_A_TIME)

    async def scene(hub: Hub) -> None:
        approve = hub.control.commands.approve
        record = await held_open(hub)
        await hub.clock.sleep(waits_s)
        with pytest.raises(CommandError, match=words or "it has expired") as caught:
            await approve(record.id, "bob")
        assert caught.value.kind is Refusal.ENDED
        [done] = await hub.control.commands.recent(device="gate-1")
        with pytest.raises(CommandError, match="it has ended, confirmed"):
            await approve(done.id, "bob")
        with pytest.raises(CommandError, match="no command") as caught:
            await approve("0" * 26, "bob")
        assert caught.value.kind is Refusal.UNKNOWN_ID

    on_virtual_time(site, scene)


@pytest.mark.parametrize("waits_s", [60, 119.9])
def test_an_approval_whose_caller_goes_away_is_not_left_half_done(
    tmp_path: Path, waits_s: float
) -> None:
    site = Site(tmp_path, machines=2, rules=ONE_AT_A_TIME)

    async def scene(hub: Hub) -> None:
        record = await held_open(hub)
        await hub.clock.sleep(waits_s)
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(hub.control.commands.approve(record.id, "bob"))
            await asyncio.sleep(0)
            call.cancel()
        ended = await hub.end(record, 5)
        assert (ended.state, ended.held) == (State.CONFIRMED, False)

    on_virtual_time(site, scene)


def test_the_same_owner_with_another_key_is_no_second_person(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=ONE_AT_A_TIME)

    async def scene(hub: Hub) -> None:
        await hub.end(await hub.send("gate-1", "open"))
        wish = replace(order("gate-2", "open", "k", actor="key/1"), owner="ann")
        held = await hub.control.commands.submit(wish)
        with pytest.raises(CommandError) as caught:
            await hub.control.commands.approve(held.id, "key/2", "ann")
        assert caught.value.kind is Refusal.SAME_PERSON

    on_virtual_time(site, scene)


def test_two_persons_approve_at_once_and_it_goes_once(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=ONE_AT_A_TIME)

    async def scene(hub: Hub) -> None:
        record = await held_open(hub)
        await hub.clock.sleep(60)
        approve = hub.control.commands.approve
        said = await asyncio.gather(
            *(approve(record.id, name) for name in ("bob", "eve")), return_exceptions=True
        )
        assert [type(one) for one in said] == [Record, CommandError]
        ended = await hub.end(record)
        assert (ended.state, ended.expires_ms - record.created_ms) == (State.CONFIRMED, 65_000)

    on_virtual_time(site, scene)
    assert len(site.machines["gate-2"].effects) == 1


def test_the_brake_remembers_over_a_restart(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=25, rules=SafetyRules(brake_percent=100))

    async def main() -> None:
        async with site.hub() as hub:
            for number in range(1, 21):
                await hub.end(await hub.send(f"gate-{number}", "cut"))
        async with site.hub() as hub:
            assert (await hub.send("gate-21", "cut")).held

    run_virtual(main())


def test_what_is_held_stays_held_over_a_restart(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=SafetyRules())

    async def main() -> None:
        async with site.hub() as hub:
            await hub.send("gate-1", "cut")
            held = await hub.send("gate-2", "cut")
            assert held.held
        async with site.hub() as hub:
            await hub.clock.sleep(5)
            assert (await hub.control.commands.get(held.id)).state is State.QUEUED
            await hub.control.commands.approve(held.id, "bob")
            assert (await hub.end(held)).state is State.CONFIRMED

    run_virtual(main())


LIMITS: list[tuple[int, int]] = [(3, 1), (100, 1), (300, 3), (2_000, 20), (20_000, 20)]


@pytest.mark.parametrize(("devices", "limit"), LIMITS)
def test_the_brake_allows_a_hundredth_at_least_one_and_at_most_twenty(
    devices: int, limit: int
) -> None:
    rule: Callable[[int], int] = SafetyRules().brake_limit
    assert rule(devices) == limit


def test_an_order_that_is_declined_or_repeated_does_not_use_up_the_brake(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=300, rules=SafetyRules(rate_per_minute=600))

    async def scene(hub: Hub) -> None:
        submit = hub.control.commands.submit
        await submit(order("gate-1", "light", "taken"))
        for number in range(2, 10):
            assert await kind_of(hub, f"gate-{number}", "cut", "taken") is Refusal.CONFLICT
        first = await submit(order("gate-1", "cut", "mine"))
        assert await submit(order("gate-1", "cut", "mine")) == first
        others = [await hub.send(f"gate-{number}", "cut") for number in (2, 3, 4)]
        assert [record.held for record in others] == [False, False, True]

    on_virtual_time(site, scene)


def test_a_repetition_does_not_count_for_the_rate_however_late_it_comes(tmp_path: Path) -> None:
    site = Site(tmp_path, rules=SafetyRules(rate_per_minute=1, brake_percent=100))

    async def scene(hub: Hub) -> None:
        first = await hub.end(await hub.control.commands.submit(order("gate-1", "light", "mine")))
        await hub.clock.sleep(61)
        assert await hub.control.commands.submit(order("gate-1", "light", "mine")) == first
        assert await kind_of(hub, "gate-1", "light", "another") is None

    on_virtual_time(site, scene)
