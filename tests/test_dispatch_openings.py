"""An opening waits for nothing, and of two opposite wishes the newer is carried out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hub import Clock, Command, Outcome, Priority, State, load_profiles
from hub.commands import OpenCommand, Record
from hub.commands.life import Life
from hub.commands.opposites import undoes
from hub.dispatch import Wire
from hub.safety_rules import SafetyRules
from tests.command_bench import RULES, Hub, Site, fire_input, on_virtual_time, order
from tests.scripted_device import Behaviour, scripted

B = Behaviour


async def no_fire(hub: Hub) -> None:
    await hub.poll("gate-2")
    await hub.clock.sleep(1)


def names(site: Site) -> list[str]:
    return [effect.name for effect in site.machines["gate-1"].effects]


@pytest.mark.parametrize(
    ("behaviour", "name"),
    [(B.LIES, "close"), (B.LIES, "open"), (B.SILENT, "text"), (B.LIES, "cut"), (B.SILENT, "light")],
)
def test_an_opening_does_not_wait_for_the_proof_of_what_is_under_way(
    tmp_path: Path, behaviour: Behaviour, name: str
) -> None:
    site = Site(tmp_path, machines=2, rules=fire_input("gate-2"))
    machine = site.machines["gate-1"]
    machine.script = [behaviour, B.WORKS]
    machine.state["limit_closed"] = False

    async def scene(hub: Hub) -> None:
        await no_fire(hub)
        words = {"words": "hi"} if name == "text" else {}
        first = await hub.send("gate-1", name, **words)
        await hub.clock.sleep(0.5)
        opened = await hub.end(await hub.send("gate-1", "open"))
        assert opened.state is State.CONFIRMED
        assert opened.sent_ms is not None
        assert opened.sent_ms - opened.created_ms <= 1_500
        assert (await hub.end(first)).state is State.UNKNOWN

    on_virtual_time(site, scene)
    assert names(site) == ["open"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeafWire:
    """A wire on which whoever shows a text waits very long for an answer."""

    wire: Wire
    clock: Clock

    async def execute(self, link: str, command: Command) -> Outcome:
        if command.spec.name == "text":
            await self.clock.sleep(8)
        return await self.wire.execute(link, command)

    def refresh(self, link: str, device: str) -> None:
        self.wire.refresh(link, device)


def test_an_opening_waits_one_second_at_most_for_the_answer_to_another_try(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.wire = lambda wire: DeafWire(wire=wire, clock=site.clock)

    async def scene(hub: Hub) -> None:
        text = await hub.send("gate-1", "text", words="hi")
        await hub.clock.sleep(0.1)
        assert (await hub.end(await hub.send("gate-1", "open"))).state is State.CONFIRMED
        assert (await hub.end(text)).state is State.UNKNOWN

    on_virtual_time(site, scene)
    assert names(site) == ["open"]


def test_two_openings_at_once_are_both_proved(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        first, second = await hub.send("gate-1", "open"), await hub.send("gate-1", "open")
        assert (await hub.end(first)).state is State.CONFIRMED
        assert (await hub.end(second)).finished_ms is not None

    on_virtual_time(site, scene)
    assert names(site) == ["open", "open"]


@pytest.mark.parametrize(
    ("name", "arguments", "seen", "reason"),
    [
        ("open", {}, {"limit_open": True}, "never answered"),
        ("credit", {"amount": 50}, {"purchase_count": 8}, "balance has not risen"),
    ],
)
def test_what_somebody_else_did_does_not_prove_what_was_never_answered(
    tmp_path: Path, name: str, arguments: dict[str, int], seen: dict[str, bool | int], reason: str
) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [B.SILENT]

    async def scene(hub: Hub) -> None:
        record = await hub.send("gate-1", name, **arguments)
        await hub.clock.sleep(1.2)
        machine.state.update(seen)
        ended = await hub.end(record, 30)
        assert (ended.state, reason in ended.reason) == (State.UNKNOWN, True)

    on_virtual_time(site, scene)
    assert names(site) == []


@pytest.mark.parametrize("is_burning", [False, True])
def test_other_commands_use_up_no_opening(tmp_path: Path, is_burning: bool) -> None:
    fire = fire_input().fire
    site = Site(tmp_path, rules=SafetyRules(fire=fire, brake_percent=100, rate_per_minute=3))
    site.machines["gate-1"].state["fire_alarm"] = is_burning

    async def scene(hub: Hub) -> None:
        await hub.poll("gate-1")
        for _ in range(3):
            await hub.send("gate-1", "text", words="hi")
        for _ in range(9 if is_burning else 3):
            await hub.send("gate-1", "open")

    on_virtual_time(site, scene)


def test_what_waits_leaves_room_for_openings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.commands.judge.OPEN_MAX", 5)
    site = Site(tmp_path, machines=2)

    async def scene(hub: Hub) -> None:
        site.machines["gate-2"].script = [B.AWAY]
        for _ in range(5):
            await hub.send("gate-2", "light")
        assert (await hub.end(await hub.send("gate-1", "open"))).state is State.CONFIRMED

    on_virtual_time(site, scene)


def test_an_opening_goes_before_what_has_waited_longer_and_is_more_urgent(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        submit = hub.control.commands.submit
        await submit(order("gate-1", "light", "a"))
        cut = await submit(order("gate-1", "cut", "b", priority=Priority.SAFETY))
        await submit(order("gate-1", "open", "c", priority=Priority.BATCH))
        await hub.end(cut)

    on_virtual_time(site, scene)
    assert names(site)[-2:] == ["open", "cut"]


def test_a_closing_that_waits_is_refused_when_an_opening_comes(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=fire_input("gate-2"))
    site.machines["gate-1"].script = [B.AWAY]

    async def scene(hub: Hub) -> None:
        await no_fire(hub)
        closing = await hub.send("gate-1", "close")
        await hub.clock.sleep(1)
        opening = await hub.send("gate-1", "open")
        ended = await hub.end(closing, 1)
        assert (ended.state, ended.reason) == (State.REFUSED, f"overtaken by {opening.id}")

    on_virtual_time(site, scene)


def test_of_a_cut_that_waits_and_a_restore_the_newer_is_carried_out(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        submit = hub.control.commands.submit
        await submit(order("gate-1", "light", "a"))
        cut = await submit(order("gate-1", "cut", "b", priority=Priority.BATCH))
        restore = await submit(order("gate-1", "restore", "c"))
        first, second = await hub.end(cut), await hub.end(restore)
        assert (first.state, first.reason) == (State.REFUSED, f"overtaken by {restore.id}")
        assert second.state is State.CONFIRMED

    on_virtual_time(site, scene)
    assert names(site) == ["light", "restore"]


@pytest.mark.parametrize(
    ("behaviour", "state", "done"),
    [(B.AWAY, State.REFUSED, ["restore"]), (B.SILENT, State.UNKNOWN, ["restore"])],
)
def test_an_older_wish_is_not_told_again_after_a_newer_one(
    tmp_path: Path, behaviour: Behaviour, state: State, done: list[str]
) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [behaviour]

    async def scene(hub: Hub) -> None:
        cut = await hub.send("gate-1", "cut")
        await hub.clock.sleep(3)
        restore = await hub.send("gate-1", "restore")
        machine.script = [B.WORKS]
        assert (await hub.end(cut)).state is state
        assert (await hub.end(restore)).state is State.CONFIRMED

    on_virtual_time(site, scene)
    assert names(site) == done
    assert machine.state["relay_closed"] is True


def test_what_waits_for_a_second_person_overtakes_only_when_it_is_approved(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=replace(RULES, brake_devices=1))
    site.machines["gate-1"].script = [B.AWAY]

    async def scene(hub: Hub) -> None:
        await hub.end(await hub.send("gate-2", "cut"))
        restore = await hub.send("gate-1", "restore")
        cut = await hub.send("gate-1", "cut")
        assert cut.held
        await hub.clock.sleep(1)
        assert not (await hub.control.commands.get(restore.id)).state.final
        await hub.control.commands.approve(cut.id, "bob")
        ended = await hub.end(restore, 1)
        assert (ended.state, ended.reason) == (State.REFUSED, f"overtaken by {cut.id}")

    on_virtual_time(site, scene)


def open_command(product: str, name: str, number: int) -> OpenCommand:
    profile = load_profiles().example(product)
    record = Record(
        id=str(number),
        device="d",
        name=name,
        arguments={},
        actor="ann",
        cause="",
        owner="ann",
        key=name,
        priority=Priority.OPERATOR,
        state=State.QUEUED,
        reason="",
        held=False,
        created_ms=0,
        expires_ms=0,
        deadline_ms=0,
        sent_ms=None,
        finished_ms=None,
        attempts=0,
        nonce="",
        proof="",
    )
    return OpenCommand(
        record=record,
        device=replace(scripted("d"), profile=profile),
        spec=profile.commands[name],
        life=Life(),
        deadline_s=0.0,
        number=number,
    )


@pytest.mark.parametrize(
    ("product", "newer", "older", "expected"),
    [
        ("waveshare_relay8", "restore_1", "cut_1", True),
        ("waveshare_relay8", "restore_1", "cut_2", False),
        ("acrel_ddsy1352", "cut", "force_closed", True),
        ("acrel_ddsy1352", "restore", "cut", True),
        ("acrel_ddsy1352", "restore", "force_closed", False),
        ("generic_barrier", "hold_open", "close", True),
        ("generic_turnstile", "ask_cards", "hold_open", True),
        ("generic_meter", "restore", "power_limit", False),
        ("generic_washer", "start", "start", False),
        ("acrel_ddsy1352", "credit", "credit", False),
    ],
)
def test_opposites_are_found_in_the_profiles(
    product: str, newer: str, older: str, expected: bool
) -> None:
    first, second = open_command(product, older, 1), open_command(product, newer, 2)
    assert undoes(second, first) is expected
    assert not undoes(first, second)
