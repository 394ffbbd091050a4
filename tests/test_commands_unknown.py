"""Credits after one that ended unknown, and what a person finds out of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hub import State, audit
from hub.commands import CommandError, Order, Record, Refusal, Resolution
from tests.command_bench import Hub, Site, on_virtual_time, order
from tests.scripted_device import Behaviour

B = Behaviour
FIRST = replace(order("gate-1", "credit", "first", amount=500), deadline_s=5.0)
NEXT = replace(order("gate-1", "credit", "next", amount=700), deadline_s=120.0)


async def submitted(hub: Hub, wish: Order) -> Record:
    return await hub.control.commands.submit(wish)


async def refused(hub: Hub, wish: Order) -> CommandError:
    with pytest.raises(CommandError) as caught:
        await submitted(hub, wish)
    return caught.value


async def unknown_credit(site: Site, hub: Hub) -> Record:
    """A credit that its meter has heard and, silent from then on, says nothing of; the meter is back."""
    machine = site.machines["gate-1"]
    machine.script = [B.SILENT]
    record = await submitted(hub, FIRST)
    await hub.clock.sleep(0.5)
    machine.is_mute = True
    ended = await hub.end(record)
    machine.is_mute, machine.script = False, [B.WORKS]
    await hub.poll("gate-1")
    return ended


def test_after_an_unknown_credit_the_next_one_is_refused_until_it_is_resolved(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, machines=2)

    async def scene(hub: Hub) -> None:
        unknown = await unknown_credit(site, hub)
        assert unknown.state is State.UNKNOWN
        error = await refused(hub, NEXT)
        assert (error.kind, unknown.id in error.text) == (Refusal.UNRESOLVED, True)
        assert await submitted(hub, FIRST) == unknown
        assert (await hub.end(await hub.send("gate-1", "light"))).state is State.CONFIRMED
        assert (
            await hub.end(await hub.send("gate-2", "credit", amount=5))
        ).state is State.CONFIRMED
        await hub.control.commands.resolve(unknown.id, "fay", Resolution.NOT_DONE, "seen there")
        assert (await hub.end(await submitted(hub, NEXT))).state is State.CONFIRMED

    on_virtual_time(site, scene)


def test_a_credit_that_waited_behind_an_unknown_one_is_never_told(tmp_path: Path) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]

    async def scene(hub: Hub) -> None:
        machine.script = [B.SILENT]
        first = await submitted(hub, FIRST)
        behind = await submitted(hub, NEXT)
        await hub.clock.sleep(0.5)
        machine.is_mute = True
        assert (await hub.end(first)).state is State.UNKNOWN
        ended = await hub.end(behind)
        assert (ended.state, ended.attempts) == (State.REFUSED, 0)
        assert f"resolve it first: {first.id}" in ended.reason

    on_virtual_time(site, scene)
    assert {command.id for command, _ in machine.tries} == {machine.tries[0][0].id}


def test_what_is_resolved_stays_unknown_and_has_one_audit_row(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        resolve = hub.control.commands.resolve
        unknown = await unknown_credit(site, hub)
        found = await resolve(unknown.id, "fay", Resolution.DONE, "the display says 5 yuan")
        assert found == replace(unknown, resolution=Resolution.DONE)
        assert await resolve(unknown.id, "gus", Resolution.DONE) == found
        assert await hub.control.commands.get(unknown.id) == found
        subject = f"command/{unknown.id}"
        rows = await hub.ledger.read(lambda connection: audit.rows(connection, subject=subject))
        said = [(row.actor, row.cause) for row in rows if row.action == "resolved"]
        assert said == [("fay", "the display says 5 yuan")]
        assert await hub.ledger.read(audit.verify) is None

    on_virtual_time(site, scene)


def test_only_what_is_unknown_is_resolved_and_only_once(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scene(hub: Hub) -> None:
        resolve = hub.control.commands.resolve
        unknown = await unknown_credit(site, hub)
        await resolve(unknown.id, "fay", Resolution.DONE)
        done = await hub.end(await hub.send("gate-1", "light"))
        for command, words in ((unknown.id, "already, as done"), (done.id, "it is confirmed")):
            with pytest.raises(CommandError, match=words) as caught:
                await resolve(command, "fay", Resolution.NOT_DONE)
            assert caught.value.kind is Refusal.NOT_UNKNOWN
        with pytest.raises(CommandError, match="no command"):
            await resolve("0" * 26, "fay", Resolution.DONE)

    on_virtual_time(site, scene)
