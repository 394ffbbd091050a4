"""The fire latch and the bulk brake, over the whole way of a command."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from hub import Clock, Command, ConfigError, Device, Offline, Outcome, State, audit, load_profiles
from hub.commands import CommandError, Record, Refusal
from hub.dispatch import Wire
from hub.safety import FireLatch, StillAlarm
from hub.safety_rules import SafetyRules, read_safety
from tests.command_bench import Hub, Site, fire_input, on_virtual_time, order
from tests.scripted_device import Behaviour, said, scripted
from tests.virtual_loop import run_virtual


async def kind_of(hub: Hub, device: str, name: str, key: str) -> Refusal | None:
    """Why it is refused; None when it is taken."""
    try:
        await hub.control.commands.submit(order(device, name, key))
    except CommandError as error:
        return error.kind
    return None


async def quiet(hub: Hub) -> None:
    """The fire input is seen without alarm, long enough."""
    await hub.poll("gate-1")
    await hub.clock.sleep(1)


def test_closing_is_refused_until_the_fire_input_was_seen_quiet(tmp_path: Path) -> None:
    site = Site(tmp_path, rules=fire_input())

    async def scene(hub: Hub) -> None:
        assert await kind_of(hub, "gate-1", "close", "a") is Refusal.UNSAFE
        assert await kind_of(hub, "gate-1", "open", "b") is None
        await quiet(hub)
        assert await kind_of(hub, "gate-1", "close", "a") is None

    on_virtual_time(site, scene)


def test_without_a_fire_input_nothing_may_close(tmp_path: Path) -> None:
    async def scene(hub: Hub) -> None:
        await quiet(hub)
        assert await kind_of(hub, "gate-1", "close", "a") is Refusal.UNSAFE

    on_virtual_time(Site(tmp_path), scene)


def test_an_alarm_latches_until_a_person_resets_it(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=fire_input())
    machine = site.machines["gate-1"]

    async def scene(hub: Hub) -> None:
        latch = hub.control.safety.latch
        machine.state["fire_alarm"] = True
        await quiet(hub)
        with pytest.raises(StillAlarm):
            await latch.reset("ann")
        machine.state["fire_alarm"] = False
        await hub.poll("gate-1")
        with pytest.raises(StillAlarm):
            await latch.reset("ann")
        await quiet(hub)
        assert latch.state().latched
        assert await kind_of(hub, "gate-2", "close", "a") is Refusal.UNSAFE
        assert await kind_of(hub, "gate-2", "open", "b") is None
        await latch.reset("ann", "drill over")
        assert await kind_of(hub, "gate-2", "close", "a") is None
        written = await hub.ledger.read(
            lambda connection: audit.rows(connection, subject="latch/fire")
        )
        assert [(row.action, row.actor) for row in written] == [
            ("latched", "hub"),
            ("reset", "ann"),
        ]

    on_virtual_time(site, scene)


def test_the_latch_survives_a_restart(tmp_path: Path) -> None:
    site = Site(tmp_path, rules=fire_input())
    machine = site.machines["gate-1"]

    async def main() -> None:
        machine.state["fire_alarm"] = True
        async with site.hub() as hub:
            await quiet(hub)
        machine.state["fire_alarm"] = False
        async with site.hub() as hub:
            await hub.clock.sleep(0.1)
            await quiet(hub)
            assert hub.control.safety.latch.state().latched
            assert await kind_of(hub, "gate-1", "close", "a") is Refusal.UNSAFE
            await hub.control.safety.latch.reset("ann")
        async with site.hub() as hub:
            await hub.clock.sleep(0.1)
            await quiet(hub)
            assert await kind_of(hub, "gate-1", "close", "a") is None

    run_virtual(main())


def test_an_input_that_goes_silent_counts_as_fire_while_it_lasts(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=fire_input())

    async def scene(hub: Hub) -> None:
        await quiet(hub)
        await hub.clock.sleep(3 * 30 + 1)
        assert await kind_of(hub, "gate-2", "close", "a") is Refusal.UNSAFE
        await quiet(hub)
        assert await kind_of(hub, "gate-2", "close", "a") is None

    on_virtual_time(site, scene)


HOUR_MS = 3_600_000
UNBELIEVABLE = [
    ({"fire_alarm": False}, {"fire_alarm": "clock is off"}, 0),
    ({"fire_alarm": False}, {}, 3 * 24 * HOUR_MS),  # three days old
    ({"fire_alarm": False}, {}, 60_000),  # said before the hub started
    ({"online": False, "fire_alarm": False}, {}, 0),
]


@pytest.mark.parametrize(("values", "uncertain", "age_ms"), UNBELIEVABLE)
def test_an_old_or_doubtful_word_is_never_taken_for_no_fire(
    tmp_path: Path, values: dict[str, bool], uncertain: dict[str, str], age_ms: int
) -> None:
    site = Site(tmp_path, machines=2, rules=fire_input())

    async def scene(hub: Hub) -> None:
        await hub.clock.sleep(10)
        word = said("gate-1", hub.clock, **values)
        word = msgspec.structs.replace(word, time_ms=word.time_ms - age_ms, uncertain=uncertain)
        await hub.ingest.publish("bus-1", [word])
        assert await kind_of(hub, "gate-2", "close", "a") is Refusal.UNSAFE

    on_virtual_time(site, scene)


def test_an_alarm_is_believed_however_old_and_doubtful(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=fire_input())

    async def scene(hub: Hub) -> None:
        await quiet(hub)
        word = said("gate-1", hub.clock, fire_alarm=True)
        old_ms, doubt = word.time_ms - 24 * HOUR_MS, {"fire_alarm": "clock is off"}
        await hub.ingest.publish(
            "bus-1", [msgspec.structs.replace(word, time_ms=old_ms, uncertain=doubt)]
        )
        assert hub.control.safety.latch.state().latched

    on_virtual_time(site, scene)


@pytest.mark.parametrize("stored_late", [False, True])
def test_what_was_said_before_the_alarm_does_not_end_it(tmp_path: Path, stored_late: bool) -> None:
    site = Site(tmp_path, machines=2, rules=fire_input())

    async def scene(hub: Hub) -> None:
        latch = hub.control.safety.latch
        await quiet(hub)
        early = said("gate-1", hub.clock, fire_alarm=False)
        await hub.clock.sleep(5)
        site.machines["gate-1"].state["fire_alarm"] = True
        await hub.poll("gate-1")
        now = said("gate-1", hub.clock, fire_alarm=False)
        buffered = msgspec.structs.replace(now, time_ms=early.time_ms)
        await hub.ingest.publish("bus-1", [early if stored_late else buffered])
        await hub.clock.sleep(1)
        with pytest.raises(StillAlarm):
            await latch.reset("ann")

    on_virtual_time(site, scene)


@pytest.mark.parametrize("returns", [False, True])
def test_a_fire_input_that_is_away_counts_as_fire_until_it_has_spoken_again(
    tmp_path: Path, returns: bool
) -> None:
    site = Site(tmp_path, machines=2, rules=fire_input())

    async def scene(hub: Hub) -> None:
        await quiet(hub)
        assert await kind_of(hub, "gate-2", "close", "a") is None
        await hub.ingest.publish("bus-1", [said("gate-1", hub.clock, online=False)])
        await hub.clock.sleep(1)
        back = [said("gate-1", hub.clock, lane_light=False)] if returns else []
        await hub.ingest.publish("bus-1", back)
        assert await kind_of(hub, "gate-2", "close", "b") is Refusal.UNSAFE
        await quiet(hub)
        assert await kind_of(hub, "gate-2", "close", "b") is None

    on_virtual_time(site, scene)


def test_an_alarm_is_not_reset_before_it_is_written_down(tmp_path: Path) -> None:
    site = Site(tmp_path, rules=fire_input())

    async def scene(hub: Hub) -> None:
        latch = FireLatch(ledger=hub.ledger, clock=hub.clock, is_away=lambda _: False)
        latch.configure(site.rules.fire, lambda _: 30.0)
        for value in (True, False):
            await hub.clock.sleep(1)
            latch.heard([said("gate-1", hub.clock, fire_alarm=value)])
        await hub.clock.sleep(1)
        with pytest.raises(StillAlarm, match="not yet written down"):
            await latch.reset("ann")
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(latch.run(), name="fire latch")
            await hub.clock.sleep(1)
            await latch.reset("ann")
            await hub.clock.sleep(5)
            writing.cancel()
        written = await hub.ledger.read(
            lambda connection: audit.rows(connection, subject="latch/fire")
        )
        assert [row.action for row in written] == ["latched", "reset"]
        assert not latch.state().latched

    on_virtual_time(site, scene)


def test_a_closing_that_waits_is_refused_when_fire_breaks_out(tmp_path: Path) -> None:
    site = Site(tmp_path, rules=fire_input())
    machine = site.machines["gate-1"]

    async def scene(hub: Hub) -> None:
        await quiet(hub)
        first = await hub.send("gate-1", "light")
        closing = await hub.send("gate-1", "close")
        machine.state["fire_alarm"] = True
        await hub.end(first)
        assert (await hub.end(closing)).state in (State.REFUSED, State.EXPIRED)

    on_virtual_time(site, scene)
    assert [effect.name for effect in machine.effects] == ["light"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BusyWire:
    """A wire on which closing waits for its turn this long."""

    wire: Wire
    busy_s: float
    clock: Clock

    async def execute(self, link: str, command: Command) -> Outcome:
        if command.spec.name == "close":
            await self.clock.sleep(self.busy_s)
        return await self.wire.execute(link, command)

    def refresh(self, link: str, device: str) -> None:
        self.wire.refresh(link, device)


def test_a_closing_that_waits_for_its_bus_is_called_off_when_fire_breaks_out(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, machines=2, rules=fire_input())
    site.wire = lambda wire: BusyWire(wire=wire, busy_s=4, clock=site.clock)

    async def scene(hub: Hub) -> None:
        await quiet(hub)
        site.machines["gate-2"].state.update(limit_open=True, limit_closed=False)
        closing = await hub.send("gate-2", "close")
        await hub.clock.sleep(1)
        site.machines["gate-1"].state["fire_alarm"] = True
        await hub.poll("gate-1")
        ended = await hub.end(closing)
        assert ended.state is State.UNKNOWN
        assert "fire" in ended.reason

    on_virtual_time(site, scene)
    assert site.machines["gate-2"].effects == []


def test_a_closing_whose_bus_is_busy_looks_again_at_what_it_requires(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=fire_input())
    site.wire = lambda wire: BusyWire(wire=wire, busy_s=6, clock=site.clock)

    async def scene(hub: Hub) -> None:
        await quiet(hub)
        closing = await hub.send("gate-2", "close")
        await hub.clock.sleep(1)
        site.machines["gate-2"].state["loop_safety"] = True  # somebody stands under the arm
        ended = await hub.end(closing)
        assert (ended.state, "loop_safety is True" in ended.reason) == (State.REFUSED, True)

    on_virtual_time(site, scene)
    assert site.machines["gate-2"].effects == []


def test_fire_holds_back_no_opening_however_many(tmp_path: Path) -> None:
    rules = SafetyRules(fire=fire_input().fire)
    site = Site(tmp_path, machines=30, rules=rules)
    site.machines["gate-1"].state["fire_alarm"] = True

    async def scene(hub: Hub) -> None:
        await quiet(hub)
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


def test_an_unproven_command_is_refused_with_its_reason(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        with pytest.raises(CommandError, match="unproven command") as caught:
            await hub.send("gate-1", "dose")
        assert (caught.value.kind, caught.value.field) == (Refusal.UNPROVEN, "name")
        assert "the bytes are assumed" in caught.value.text
        assert "scripted.dose" in caught.value.text

    on_virtual_time(site, scene)
    assert site.machines["gate-1"].tries == []


def test_an_unproven_command_goes_where_the_site_allows_it(tmp_path: Path) -> None:
    rules = read_safety("site.toml", {"allow_unproven": ["scripted.dose"]}, KNOWN)
    site = Site(tmp_path, rules=rules)

    async def scene(hub: Hub) -> None:
        await hub.end(await hub.send("gate-1", "dose"))

    on_virtual_time(site, scene)
    assert len(site.machines["gate-1"].tries) > 0


def test_an_unproven_command_that_waits_is_refused_when_the_site_allows_it_no_more(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, rules=SafetyRules(allow_unproven=("scripted.dose",)))
    site.machines["gate-1"].script = [Behaviour.AWAY]

    async def scene(hub: Hub) -> None:
        record = await hub.send("gate-1", "dose")
        await hub.clock.sleep(1)
        hub.control.configure(site.links, SafetyRules())
        assert (await hub.end(record)).state is State.REFUSED

    on_virtual_time(site, scene)


KNOWN = {"gate-1": scripted("gate-1")}


@pytest.mark.parametrize(
    ("entries", "key"),
    [
        ({"fire": ["gate-9.fire_alarm"]}, "safety.fire"),
        ({"fire": ["gate-1.nothing"]}, "safety.fire"),
        ({"fire": ["gate-1.purchase_count"]}, "safety.fire"),
        ({"brake_devices": 21}, "safety.brake_devices"),
        ({"brake_percent": 101}, "safety.brake_percent"),
        ({"rate_per_minute": 0}, "safety.rate_per_minute"),
        ({"approval_s": 3601}, "safety.approval_s"),
        ({"fires": []}, "safety.fires"),
        ({"allow_unproven": ["scripted"]}, "safety.allow_unproven"),
        ({"allow_unproven": ["scripted.fly"]}, "safety.allow_unproven"),
        ({"allow_unproven": ["unheard_of.dose"]}, "safety.allow_unproven"),
    ],
)
def test_a_mistake_in_the_rules_names_its_key(entries: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_safety("site.toml", entries, KNOWN)
    assert caught.value.key == key


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


def test_the_status_tells_the_latch_and_the_open_commands(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=SafetyRules(fire=fire_input().fire))

    async def scene(hub: Hub) -> None:
        status = hub.control.status()
        assert (status.fire_forbids, status.fire_latched, status.commands_open) == (True, False, 0)
        await quiet(hub)
        assert not hub.control.status().fire_forbids
        site.machines["gate-1"].script = [Behaviour.AWAY]
        await hub.send("gate-1", "cut")
        await hub.send("gate-2", "cut")
        site.machines["gate-1"].state["fire_alarm"] = True
        await quiet(hub)
        status = hub.control.status()
        assert (status.fire_latched, status.fire_reason) == (True, "gate-1 says fire_alarm")
        assert (status.commands_open, status.commands_held) == (2, 1)

    on_virtual_time(site, scene)
