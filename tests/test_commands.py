"""The front door: what is taken, what is turned down and why, and what is known of it afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from hub import Link, State, audit
from hub.commands import CommandError, Order, Refusal
from hub.ledger import tables
from hub.points import Scalar
from hub.safety_rules import SafetyRules
from tests.command_bench import Hub, Site, on_virtual_time, order
from tests.scripted_device import Behaviour, scripted
from tests.virtual_loop import run_virtual

ORDER = order("gate-1", "credit", "k-1", amount=500)


async def refused(hub: Hub, wish: Order) -> CommandError:
    with pytest.raises(CommandError) as caught:
        await hub.control.commands.submit(wish)
    return caught.value


async def rows(hub: Hub) -> int:
    query = select(func.count()).select_from(tables.commands)
    return await hub.ledger.read(lambda connection: connection.execute(query).scalar_one())


@pytest.mark.parametrize(
    ("wish", "kind", "field"),
    [
        (replace(ORDER, device="gate-9"), Refusal.UNKNOWN_DEVICE, "device"),
        (replace(ORDER, name="fly"), Refusal.UNKNOWN_COMMAND, "name"),
        (replace(ORDER, arguments={}), Refusal.INVALID_ARGUMENT, "arguments.amount"),
        (replace(ORDER, arguments={"amount": 0}), Refusal.INVALID_ARGUMENT, "arguments.amount"),
        (replace(ORDER, arguments={"amount": 1.5}), Refusal.INVALID_ARGUMENT, "arguments.amount"),
        (replace(ORDER, arguments={"amount": True}), Refusal.INVALID_ARGUMENT, "arguments.amount"),
        (replace(ORDER, arguments={"amount": "5"}), Refusal.INVALID_ARGUMENT, "arguments.amount"),
        (
            replace(ORDER, arguments={"amount": float("nan")}),
            Refusal.INVALID_ARGUMENT,
            "arguments.amount",
        ),
        (
            replace(ORDER, arguments={"amount": 1, "volts": 2}),
            Refusal.INVALID_ARGUMENT,
            "arguments.volts",
        ),
        (
            replace(ORDER, arguments={"amount": 1, "count": 8}),
            Refusal.INVALID_ARGUMENT,
            "arguments.count",
        ),
        (replace(ORDER, key=""), Refusal.INVALID_ARGUMENT, "key"),
        (replace(ORDER, key="a\nb"), Refusal.INVALID_ARGUMENT, "key"),
        (replace(ORDER, actor=""), Refusal.INVALID_ARGUMENT, "actor"),
        (replace(ORDER, deadline_s=0.0), Refusal.INVALID_ARGUMENT, "deadline_s"),
        (replace(ORDER, deadline_s=float("nan")), Refusal.INVALID_ARGUMENT, "deadline_s"),
        (order("gate-1", "text", "k", words="a" * 21), Refusal.INVALID_ARGUMENT, "arguments.words"),
        (
            replace(order("gate-1", "open", "k"), deadline_s=6.0),
            Refusal.INVALID_ARGUMENT,
            "deadline_s",
        ),
    ],
)
def test_a_wrong_order_names_the_field_and_writes_no_row(
    tmp_path: Path, wish: Order, kind: Refusal, field: str
) -> None:
    async def scene(hub: Hub) -> None:
        error = await refused(hub, wish)
        assert (error.kind, error.field) == (kind, field)
        assert await rows(hub) == 0

    on_virtual_time(Site(tmp_path), scene)


@pytest.mark.parametrize(
    "other",
    [
        replace(ORDER, arguments={"amount": 501}),
        replace(ORDER, name="cut", arguments={}),
        replace(ORDER, device="gate-2"),
        replace(ORDER, cause="another reason"),
        replace(ORDER, arguments={"amount": -1}),
        replace(ORDER, device="gate-9"),
    ],
)
def test_the_same_key_for_another_body_is_a_conflict(tmp_path: Path, other: Order) -> None:
    async def scene(hub: Hub) -> None:
        await hub.control.commands.submit(ORDER)
        assert (await refused(hub, other)).kind is Refusal.CONFLICT
        assert await rows(hub) == 1

    on_virtual_time(Site(tmp_path, machines=2), scene)


def test_the_same_order_again_gives_the_first_record_even_when_it_would_be_refused_by_now(
    tmp_path: Path,
) -> None:
    async def scene(hub: Hub) -> None:
        first = await hub.end(await hub.control.commands.submit(ORDER))
        hub.control.registry.configure(())
        assert await hub.control.commands.submit(ORDER) == first

    on_virtual_time(Site(tmp_path), scene)


def test_keys_are_kept_over_restarts(tmp_path: Path) -> None:
    site = Site(tmp_path)
    ids: list[str] = []

    async def scene(hub: Hub) -> None:
        ids.append((await hub.end(await hub.control.commands.submit(ORDER))).id)

    async def main() -> None:
        async with site.hub() as hub:
            await scene(hub)
        async with site.hub() as hub:
            await scene(hub)

    run_virtual(main())
    assert len(set(ids)) == 1
    assert len(site.machines["gate-1"].effects) == 1


def test_a_link_that_only_observes_refuses_every_command(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.links = (Link(id="bus-1", driver="x", devices=(scripted("gate-1"),), observe_only=True),)

    async def scene(hub: Hub) -> None:
        assert (await refused(hub, ORDER)).kind is Refusal.OBSERVE_ONLY

    on_virtual_time(site, scene)
    assert site.machines["gate-1"].tries == []


def test_a_device_that_is_away_refuses_at_once_what_its_policy_says(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.machines["gate-1"].is_mute = True

    async def scene(hub: Hub) -> None:
        await hub.clock.sleep(100)
        hub.ingest.sweep()
        assert (await refused(hub, order("gate-1", "open", "k"))).kind is Refusal.OFFLINE
        queued = await hub.send("gate-1", "restore")
        assert queued.state is State.QUEUED
        assert (await hub.end(queued)).state is State.EXPIRED

    on_virtual_time(site, scene)


def test_what_waits_for_a_device_that_is_retired_is_refused_and_never_told(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2)
    site.machines["gate-1"].is_mute = True

    async def scene(hub: Hub) -> None:
        await hub.clock.sleep(100)
        hub.ingest.sweep()
        queued = await hub.send("gate-1", "restore")
        await hub.reload(Link(id="bus-1", driver="scripted", devices=(scripted("gate-2"),)))
        assert (await hub.end(queued)).state is State.REFUSED
        assert (await refused(hub, ORDER)).kind is Refusal.UNKNOWN_DEVICE

    on_virtual_time(site, scene)
    assert site.machines["gate-1"].tries == []


def test_an_owners_keys_are_their_own_and_outlive_the_key_they_come_with(tmp_path: Path) -> None:
    async def scene(hub: Hub) -> None:
        submit = hub.control.commands.submit
        mine = replace(ORDER, actor="key/1", owner="shop")
        first = await submit(mine)
        assert (await submit(replace(mine, actor="key/2"))).id == first.id
        other = await submit(replace(mine, actor="key/3", owner="squatter", cause="mine"))
        assert (other.id != first.id, other.key) == (True, first.key)

    on_virtual_time(Site(tmp_path), scene)


def test_a_deadline_may_be_shorter_than_the_profiles_and_never_longer(tmp_path: Path) -> None:
    async def scene(hub: Hub) -> None:
        late = replace(order("gate-1", "restore", "k"), deadline_s=61)
        refusal = await refused(hub, late)
        assert (refusal.kind, refusal.field) == (Refusal.INVALID_ARGUMENT, "deadline_s")
        soon = await hub.control.commands.submit(replace(late, deadline_s=59))
        assert soon.expires_ms - soon.created_ms == 59_000

    on_virtual_time(Site(tmp_path), scene)


def test_one_device_is_told_only_so_much_in_a_minute_and_repetitions_do_not_count(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, rules=SafetyRules(rate_per_minute=3, brake_percent=100))

    async def scene(hub: Hub) -> None:
        for key in ("a", "b", "b", "b", "c"):
            await hub.control.commands.submit(order("gate-1", "light", key))
        assert (await refused(hub, order("gate-1", "light", "d"))).kind is Refusal.TOO_MANY
        await hub.clock.sleep(61)
        await hub.control.commands.submit(order("gate-1", "light", "d"))

    on_virtual_time(site, scene)


def test_a_caller_that_goes_away_leaves_no_command_without_an_end(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(hub.control.commands.submit(order("gate-1", "cut", "k")))
            await asyncio.sleep(0)
            call.cancel()
        await hub.clock.sleep(30)
        assert [one.state for one in await hub.control.commands.recent()] == [State.CONFIRMED]

    on_virtual_time(site, scene)


def test_every_change_of_state_has_one_audit_row_and_the_chain_holds(tmp_path: Path) -> None:
    async def scene(hub: Hub) -> None:
        record = await hub.end(await hub.control.commands.submit(ORDER))
        subject = f"command/{record.id}"
        written = await hub.ledger.read(lambda connection: audit.rows(connection, subject=subject))
        actions = [(row.action, row.actor) for row in written]
        assert actions == [
            ("queued", "ann"),
            ("sent", "hub"),
            ("acknowledged", "hub"),
            ("confirmed", "hub"),
        ]
        assert await hub.ledger.read(audit.verify) is None

    on_virtual_time(Site(tmp_path), scene)


def test_waiting_ends_with_the_command_or_the_time_out(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.machines["gate-1"].script = [Behaviour.SILENT]

    async def scene(hub: Hub) -> None:
        record = await hub.send("gate-1", "cut")
        assert not (await hub.control.commands.wait(record.id, 2.0)).state.final
        assert (await hub.control.commands.wait(record.id, 600.0)).state is State.FAILED
        with pytest.raises(CommandError) as caught:
            await hub.control.commands.wait("nothing", 1.0)
        assert caught.value.kind is Refusal.UNKNOWN_ID

    on_virtual_time(site, scene)


def test_recent_gives_the_newest_first_and_can_be_narrowed(tmp_path: Path) -> None:
    async def scene(hub: Hub) -> None:
        for name in ("light", "cut"):
            await hub.end(await hub.send("gate-1", name))
            await hub.clock.sleep(1)
        await hub.end(await hub.send("gate-2", "light"))
        recent = hub.control.commands.recent
        assert [one.device for one in await recent()] == ["gate-2", "gate-1", "gate-1"]
        assert [one.name for one in await recent(device="gate-1")] == ["cut", "light"]
        assert await recent(state=State.FAILED) == []
        assert len(await recent(limit=1)) == 1

    on_virtual_time(Site(tmp_path, machines=2), scene)


def test_numbers_are_kept_as_their_type(tmp_path: Path) -> None:
    values: dict[str, Scalar] = {"amount": 100}

    async def scene(hub: Hub) -> None:
        record = await hub.control.commands.submit(replace(ORDER, arguments=values))
        assert record.arguments == {"amount": 100}
        assert isinstance(record.arguments["amount"], int)

    on_virtual_time(Site(tmp_path), scene)
