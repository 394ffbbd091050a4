"""The fire latch and what is unproven, over the whole way of a command."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from hub import Clock, Command, ConfigError, Outcome, State, audit
from hub.commands import CommandError, Refusal
from hub.dispatch import Wire
from hub.safety import FireLatch, StillAlarm
from hub.safety_rules import SafetyRules, read_safety
from tests.command_bench import Hub, Site, fire_input, kind_of, on_virtual_time
from tests.scripted_device import Behaviour, said, scripted
from tests.virtual_loop import run_virtual


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
