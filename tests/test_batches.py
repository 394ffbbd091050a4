"""Batches: what each room is told, judged by the meters' own ledgers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hub import Place
from hub.audit import rows as audit_rows
from hub.campus.batches.batch import Asker, Batch, BatchState, ItemState
from hub.campus.batches.scope import Scope
from hub.campus.prepaid.rules import Hours
from hub.command import Priority
from hub.commands import CommandError, Refusal
from hub.safety_rules import SafetyRules
from tests.batch_bench import (
    ANN,
    BOB,
    FREE,
    OPEN_HOUSE,
    Office,
    cut_once,
    dorm,
    office,
    play,
    told,
)
from tests.scripted_device import Behaviour
from tests.test_ingest import NOW_MS
from tests.virtual_loop import run_virtual

DONE, SKIPPED = ItemState.DONE, ItemState.SKIPPED
BRAKED = SafetyRules()  # of so few devices, one goes without a second person


def test_every_room_of_the_scope_is_told_once_and_no_other(tmp_path: Path) -> None:
    site = dorm(tmp_path, rooms=8)

    async def scene(made: Office) -> None:
        batch = await made.until(await made.submit())
        assert (batch.state, await made.states(batch)) == (BatchState.DONE, [DONE] * 6)
        [record] = await made.hub.control.commands.recent(device="gate-1")
        assert (record.key, record.priority) == (f"batch/{batch.id}/gate-1", Priority.BATCH)
        assert (record.actor, record.owner) == ("key/ann", "ann")

    play(site, scene)
    assert cut_once(site, *[f"gate-{number}" for number in range(1, 7)])


def test_a_plan_writes_and_tells_nothing(tmp_path: Path) -> None:
    site = dorm(tmp_path)

    async def scene(made: Office) -> None:
        assert await made.plan() == dict.fromkeys(site.machines, "")
        await made.hub.clock.sleep(5)
        assert await made.hub.ledger.read(lambda c: audit_rows(c)) == []

    play(site, scene)
    assert set(told(site).values()) == {0}


def test_a_plan_says_why_a_room_is_left_out(tmp_path: Path) -> None:
    site = dorm(tmp_path)
    policy = replace(
        OPEN_HOUSE, protected_rooms=frozenset({"101"}), unbilled_rooms=frozenset({"102"})
    )
    site.machines["gate-3"].state["relay_closed"] = False

    async def scene(made: Office) -> None:
        await made.hub.poll("gate-3")
        assert await made.plan() == {
            "gate-1": "protected room",
            "gate-2": "not prepaid",
            "gate-3": "it is so already",
            **dict.fromkeys(["gate-4", "gate-5", "gate-6"], ""),
        }
        assert await made.plan("restore") == dict.fromkeys(site.machines, "")
        assert set((await made.plan("dose")).values()) == {
            "name: unproven command (the bytes are assumed): try it on one device, "
            "then name scripted.dose in allow_unproven"
        }
        assert set((await made.plan("credit", arguments={"amount": 5})).values()) == {
            "no batch does this: credit"
        }
        assert set((await made.plan("sing")).values()) == {"its product has no such command"}
        assert set((await made.plan("text")).values()) == {"arguments.words: is missing"}
        await made.hub.clock.sleep(600)
        made.hub.ingest.sweep()
        assert (await made.plan())["gate-4"] == "the device is away"

    play(site, scene, policy=policy)


def test_a_link_that_only_observes_is_left_out(tmp_path: Path) -> None:
    site = dorm(tmp_path)
    site.links = [replace(site.links[0], observe_only=True)]

    async def scene(made: Office) -> None:
        assert set((await made.plan()).values()) == {"device: link bus-1 only observes"}

    play(site, scene)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (replace(OPEN_HOUSE, protected_rooms=frozenset({"102"})), "protected room"),
        (replace(OPEN_HOUSE, unbilled_rooms=frozenset({"102"})), "not prepaid"),
    ],
)
def test_a_protected_room_is_never_touched_even_when_it_is_named(
    tmp_path: Path, policy: object, reason: str
) -> None:
    site = dorm(tmp_path, rules=BRAKED)
    named = Scope(rooms=(("B1", "102"),), devices=("gate-2", "gate-1"))

    async def scene(made: Office) -> None:
        with pytest.raises(CommandError, match=f"nothing to do: {reason}"):
            await made.submit(scope=Scope(rooms=(("B1", "102"),)))
        batch = await made.submit(scope=named, key="k2")
        assert [item.reason for item in await made.items(batch)] == ["", reason]
        await made.until(batch)

    play(site, scene, policy=policy)
    assert cut_once(site, "gate-1")


def test_a_room_that_became_protected_meanwhile_is_not_told_by_an_approved_batch(
    tmp_path: Path,
) -> None:
    site = dorm(tmp_path, rules=BRAKED)

    async def scene(made: Office) -> None:
        batch = await made.submit()
        made.go_by(replace(OPEN_HOUSE, protected_rooms=frozenset({"103"})))
        await made.batches.approve(batch.id, BOB)
        await made.until(batch)
        assert [item.reason for item in await made.items(batch) if item.state is SKIPPED] == [
            "protected room"
        ]

    play(site, scene)
    assert told(site)["gate-3"] == 0
    assert sum(told(site).values()) == 5


def test_a_device_that_was_moved_meanwhile_is_not_told(tmp_path: Path) -> None:
    site = dorm(tmp_path, rules=BRAKED)

    async def scene(made: Office) -> None:
        batch = await made.submit()
        first, *others = site.links[0].devices
        moved = replace(first, place=Place(building="B1", floor="1", room="103"))
        await made.hub.reload(replace(site.links[0], devices=(moved, *others)))
        await made.batches.approve(batch.id, BOB)
        await made.until(batch)
        assert (await made.items(batch))[0].reason == "it stands elsewhere by now"

    play(site, scene)
    assert cut_once(site, *[f"gate-{number}" for number in range(2, 7)])


def hours_from(seconds: float) -> Hours:
    """An hour that begins so long after the scene does."""
    begin = datetime.fromtimestamp(NOW_MS / 1000, UTC) + timedelta(seconds=seconds)
    return Hours(begin=begin.time(), end=(begin + timedelta(hours=1)).time())


def test_protected_hours_stop_a_batch_of_cuts_that_runs_into_them(tmp_path: Path) -> None:
    site = dorm(tmp_path)

    async def scene(made: Office) -> None:
        batch = await made.until(await made.submit(per_s=1.0))
        assert await made.states(batch) == [DONE] * 3 + [SKIPPED] * 3
        assert (await made.items(batch))[5].reason == "protected hours"
        assert set((await made.plan()).values()) == {"protected hours"}
        assert "protected hours" not in (await made.plan("restore")).values()

    play(site, scene, policy=replace(OPEN_HOUSE, protected_hours=(hours_from(32.5),)))
    assert cut_once(site, "gate-1", "gate-2", "gate-3")


def test_a_cut_of_a_batch_that_waits_does_not_reach_into_protected_hours(tmp_path: Path) -> None:
    site = dorm(tmp_path, rooms=1)
    site.machines["gate-1"].script = [Behaviour.AWAY]

    async def scene(made: Office) -> None:
        await made.submit()
        await made.hub.clock.sleep(31)
        site.machines["gate-1"].script = [Behaviour.WORKS]
        await made.hub.clock.sleep(60)

    play(site, scene, policy=replace(OPEN_HOUSE, protected_hours=(hours_from(31),)))
    assert not site.machines["gate-1"].effects


def test_nobody_is_cut_on_a_holiday(tmp_path: Path) -> None:
    site = dorm(tmp_path)
    today = datetime.fromtimestamp(NOW_MS / 1000, UTC).date()

    async def scene(made: Office) -> None:
        with pytest.raises(CommandError, match="nothing to do: holiday"):
            await made.submit()

    play(site, scene, policy=replace(OPEN_HOUSE, holidays=frozenset({today})))


def test_more_than_the_brake_lets_through_waits_for_a_second_person(tmp_path: Path) -> None:
    site = dorm(tmp_path, rules=BRAKED)

    async def scene(made: Office) -> None:
        batch = await made.submit()
        assert batch.state is BatchState.WAITS
        await made.hub.clock.sleep(700)
        assert set(told(site).values()) == {0}
        assert [alarm.subject for alarm in made.alarms.now()] == [f"batch/{batch.id}"]
        for asker in (ANN, Asker(actor="key/other", owner="ann")):
            with pytest.raises(CommandError) as caught:
                await made.batches.approve(batch.id, asker)
            assert caught.value.kind is Refusal.SAME_PERSON
        approved = await made.batches.approve(batch.id, BOB)
        assert (approved.state, approved.approver) == (BatchState.RUNNING, "key/bob")
        assert (await made.until(batch)).state is BatchState.DONE
        assert await made.states(batch) == [DONE] * 6
        assert made.alarms.now() == []
        [record] = await made.hub.control.commands.recent(device="gate-6")
        assert (record.approver, record.held) == ("key/bob", False)

    play(site, scene)
    assert cut_once(site, *site.machines)


def test_what_the_brake_has_counted_already_counts_for_a_batch(tmp_path: Path) -> None:
    site = dorm(tmp_path, rules=SafetyRules(brake_percent=100, brake_devices=4))
    three = Scope(devices=("gate-1", "gate-2", "gate-3"))

    async def scene(made: Office) -> None:
        await made.hub.send("gate-5", "cut")
        await made.hub.send("gate-6", "cut")
        assert (await made.submit(scope=three)).state is BatchState.WAITS
        assert (await made.submit("restore", key="r")).state is BatchState.RUNNING

    play(site, scene)


def test_a_small_batch_is_held_by_the_brake_like_any_command(tmp_path: Path) -> None:
    site = dorm(tmp_path, rules=BRAKED)

    async def main() -> None:
        async with site.hub() as hub:
            made = Office(hub)
            batch = await made.submit(scope=Scope(devices=("gate-1",)))
            assert batch.state is BatchState.RUNNING
            await hub.end(await hub.send("gate-2", "cut"))  # before it has begun
            async with made.open():
                await hub.clock.sleep(30)
                [item] = await made.items(batch)
                assert (item.state, item.reason) == (ItemState.SENT, "held for a second person")
                await hub.control.commands.approve(item.command, "key/bob", "bob")
                await made.until(batch)
                assert await made.states(batch) == [DONE]

    run_virtual(main())
    assert cut_once(site, "gate-1", "gate-2")


def test_a_batch_that_nobody_approves_expires_and_tells_nobody(tmp_path: Path) -> None:
    site = dorm(tmp_path, rules=BRAKED)

    async def main() -> None:
        async with office(site) as made:
            batch = await made.submit()
        await asyncio.sleep(4 * 3_600 + 2)
        async with office(site) as made:
            ended = await made.until(batch)
            assert (ended.state, set(await made.states(batch))) == (BatchState.EXPIRED, {SKIPPED})
            with pytest.raises(CommandError, match="waits for nobody"):
                await made.batches.approve(batch.id, BOB)

    run_virtual(main())
    assert set(told(site).values()) == {0}


def test_the_same_key_and_wish_is_the_same_batch(tmp_path: Path) -> None:
    site = dorm(tmp_path)

    async def scene(made: Office) -> None:
        first = await made.until(await made.submit())
        assert (await made.submit()).id == first.id
        with pytest.raises(CommandError) as caught:
            await made.submit(cause="other")
        assert caught.value.kind is Refusal.CONFLICT
        await made.hub.clock.sleep(5)

    play(site, scene)
    assert cut_once(site, *site.machines)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"scope": Scope(buildings=("B7",))}, "scope.buildings.0"),
        ({"scope": Scope(floors=(("B1", "9"),))}, "scope.floors.0"),
        ({"scope": Scope(rooms=(("B1", "101"), ("B1", "999")))}, "scope.rooms.1"),
        ({"scope": Scope(devices=("gate-77",))}, "scope.devices.0"),
        ({"scope": Scope()}, "scope"),
        ({"action": "sing"}, "scope"),
        ({"cause": ""}, "cause"),
        ({"cause": "a\nb"}, "cause"),
        ({"per_s": 0.0}, "per_s"),
        ({"per_s": 1000.0}, "per_s"),
        ({"action": "allowance"}, "arguments.amount"),
        ({"action": "allowance", "arguments": {"amount": 1.5}}, "arguments.amount"),
        ({"action": "allowance", "arguments": {"amount": 1_000_001}}, "arguments.amount"),
        (
            {"action": "allowance", "arguments": {"amount": 1, "utility": "gas"}},
            "arguments.utility",
        ),
    ],
)
def test_a_mistake_is_named_and_nothing_is_taken(
    tmp_path: Path, more: dict[str, object], field: str
) -> None:
    site = dorm(tmp_path)

    async def scene(made: Office) -> None:
        with pytest.raises(CommandError) as caught:
            await made.submit(**more)
        assert (caught.value.kind, caught.value.field) == (Refusal.INVALID_ARGUMENT, field)
        assert await made.hub.ledger.read(lambda c: audit_rows(c)) == []

    play(site, scene)


def test_who_is_good_for_one_building_neither_reaches_nor_learns_of_another(tmp_path: Path) -> None:
    site = dorm(tmp_path, rooms=12)
    here = Asker(actor="key/cy", owner="cy", building="B1")

    async def scene(made: Office) -> None:
        texts = set()
        for building in ("B2", "B7"):
            with pytest.raises(CommandError) as caught:
                await made.submit(scope=Scope(buildings=(building,)), asker=here)
            texts.add(str(caught.value))
        assert texts == {"scope.buildings.0: no device stands there"}
        with pytest.raises(CommandError, match="no device of a room"):
            await made.submit(scope=Scope(devices=("gate-1", "gate-12")), asker=here)
        await made.until(await made.submit(asker=here))

    play(site, scene)
    assert sum(told(site).values()) == 6


def test_a_proposal_of_the_hub_waits_for_one_person_however_small_it_is(tmp_path: Path) -> None:
    site = dorm(tmp_path)

    async def scene(made: Office) -> None:
        name = await made.batches.propose(["gate-2", "gate-1"], "overdraft")
        assert await made.batches.is_open(name)
        assert await made.batches.propose(["gate-1", "gate-2"], "overdraft") == name
        await made.hub.clock.sleep(60)
        assert set(told(site).values()) == {0}
        await made.batches.approve(name, ANN)
        batch: Batch = await made.until(await made.batches.get(name))
        assert not await made.batches.is_open(name)
        # Nobody knows how these rooms stand, so they are not cut after all.
        assert [item.reason for item in await made.items(batch)] == ["never heard"] * 2

    play(site, scene)
    assert set(told(site).values()) == {0}


def test_so_many_batches_may_be_open_and_no_more(tmp_path: Path) -> None:
    site = dorm(tmp_path, rules=BRAKED)

    async def scene(made: Office) -> None:
        for number in range(20):
            await made.submit(key=f"k{number}")
        with pytest.raises(CommandError) as caught:
            await made.submit(key="one more")
        assert caught.value.kind is Refusal.TOO_MANY

    play(site, scene)


def test_the_supply_of_each_room_stands_in_the_audit(tmp_path: Path) -> None:
    site = dorm(tmp_path, rooms=1, rules=FREE)

    async def scene(made: Office) -> None:
        batch = await made.until(await made.submit())
        await made.until(await made.submit("restore", key="r"))
        found = await made.hub.ledger.read(lambda c: audit_rows(c, subject="supply/gate-1"))
        assert [(row.action, row.actor) for row in found] == [
            ("cut", "key/ann"),
            ("restored", "key/ann"),
        ]
        assert found[0].after == (
            '{"account":"room/B1/101/electricity","reason":"batch/' + batch.id + ': drill"}'
        )

    play(site, scene)
