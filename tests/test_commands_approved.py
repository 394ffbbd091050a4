"""Commands that a second person has approved beforehand, with their whole batch: counted, and not held."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from hub import State
from hub.audit import rows
from hub.commands import CommandError, Order, Refusal
from hub.ledger.tables import approvals
from hub.safety_rules import SafetyRules
from tests.command_bench import Hub, Site, on_virtual_time, order
from tests.test_safety_brake import patient
from tests.virtual_loop import run_virtual

ONE_AT_A_TIME = SafetyRules()  # of so few devices, one goes without a second person


def approved(device: str, name: str = "cut", key: str = "") -> Order:
    """A wish of ann's that bob has approved beforehand."""
    return replace(order(device, name, key or f"{device}-{name}"), approver="bob")


def test_what_was_approved_beforehand_is_not_held_and_counts_for_others(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=4, rules=ONE_AT_A_TIME)

    async def scene(hub: Hub) -> None:
        submit = hub.control.commands.submit
        told = [await submit(approved(f"gate-{number}")) for number in (1, 2, 3)]
        assert not any(record.held for record in told)
        assert [(await hub.end(record)).state for record in told] == [State.CONFIRMED] * 3
        assert (await hub.send("gate-4", "cut")).held

    on_virtual_time(site, scene)


def test_who_approved_stands_with_the_command_and_in_the_audit(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=ONE_AT_A_TIME)

    async def scene(hub: Hub) -> None:
        record = await hub.control.commands.submit(approved("gate-1"))
        kept = await hub.control.commands.get(record.id)
        given = await hub.ledger.read(lambda c: c.execute(select(approvals)).all())
        [queued, *_] = await hub.ledger.read(lambda c: rows(c, subject=f"command/{record.id}"))
        assert (record.approver, kept.approver) == ("bob", "bob")
        assert [(row.command, row.actor) for row in given] == [(record.id, "bob")]
        assert '"approver":"bob"' in queued.after

    on_virtual_time(site, scene)


@pytest.mark.parametrize("owner", ["", "bob"])
def test_nobody_approves_his_own_beforehand(tmp_path: Path, owner: str) -> None:
    site = Site(tmp_path, machines=2, rules=ONE_AT_A_TIME)

    async def scene(hub: Hub) -> None:
        wish = replace(approved("gate-1"), actor="ann" if owner else "bob", owner=owner)
        with pytest.raises(CommandError) as caught:
            await hub.control.commands.submit(wish)
        assert caught.value.kind is Refusal.SAME_PERSON

    on_virtual_time(site, scene)


def test_an_approval_is_part_of_the_wish(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=2, rules=ONE_AT_A_TIME)

    async def scene(hub: Hub) -> None:
        submit = hub.control.commands.submit
        first = await submit(approved("gate-1", key="k"))
        assert (await submit(approved("gate-1", key="k"))).id == first.id
        with pytest.raises(CommandError) as caught:
            await submit(order("gate-1", "cut", "k"))
        assert caught.value.kind is Refusal.CONFLICT

    on_virtual_time(site, scene)


def patient_site(folder: Path) -> Site:
    """Two devices whose cuts wait for them for an hour, and one that may be cut without asking."""
    site = Site(folder, machines=3, rules=ONE_AT_A_TIME)
    site.links = [replace(site.links[0], devices=tuple(patient(name) for name in site.machines))]
    return site


async def two_wait(hub: Hub) -> None:
    """Two approved cuts wait for their devices, which are away."""
    await hub.clock.sleep(100)
    hub.ingest.sweep()  # nobody was heard
    for name in ("gate-1", "gate-2"):
        await hub.control.commands.submit(approved(name))


async def the_brake_is_used_up(hub: Hub) -> None:
    """A third device is cut meanwhile."""
    await hub.poll("gate-3")
    await hub.end(await hub.send("gate-3", "cut"))


async def both_are_told(hub: Hub, site: Site) -> None:
    await hub.poll("gate-1", "gate-2")
    await hub.clock.sleep(5)
    assert [len(site.machines[name].effects) for name in ("gate-1", "gate-2")] == [1, 1]


def test_what_was_approved_is_not_held_after_ten_minutes_of_waiting(tmp_path: Path) -> None:
    site = patient_site(tmp_path)

    async def scene(hub: Hub) -> None:
        await two_wait(hub)
        await hub.clock.sleep(900)
        await the_brake_is_used_up(hub)
        await both_are_told(hub, site)

    on_virtual_time(site, scene)


@pytest.mark.parametrize("seconds", [0, 900])
def test_what_was_approved_is_not_held_after_a_kill(tmp_path: Path, seconds: float) -> None:
    site = patient_site(tmp_path)

    async def main() -> None:
        async with site.hub() as hub:
            await two_wait(hub)
        async with site.hub() as hub:
            await hub.clock.sleep(seconds)
            await the_brake_is_used_up(hub)
            await both_are_told(hub, site)

    run_virtual(main())


def test_the_brake_remembers_what_was_approved_over_a_restart(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=3, rules=ONE_AT_A_TIME)

    async def main() -> None:
        async with site.hub() as hub:
            await hub.end(await hub.control.commands.submit(approved("gate-1")))
        async with site.hub() as hub:
            assert (await hub.send("gate-2", "cut")).held

    run_virtual(main())


def test_it_is_asked_beforehand_whether_so_many_want_a_second_person(tmp_path: Path) -> None:
    site = Site(tmp_path, machines=300, rules=SafetyRules())

    async def scene(hub: Hub) -> None:
        asks = hub.control.commands.needs_second_person
        cuts = [(f"gate-{number}", "cut") for number in range(1, 5)]
        assert [asks(cuts[:3]), asks(cuts), asks([(name, "restore") for name, _ in cuts])] == [
            False,
            True,
            False,
        ]
        await hub.send("gate-9", "cut")
        assert [asks(cuts[:2]), asks(cuts[:3]), asks([("gate-9", "cut")])] == [False, True, False]
        await hub.clock.sleep(601)
        assert not asks(cuts[:3])

    on_virtual_time(site, scene)


def test_what_is_withdrawn_before_it_was_sent_is_refused(tmp_path: Path) -> None:
    site = patient_site(tmp_path)

    async def scene(hub: Hub) -> None:
        await two_wait(hub)
        [record] = await hub.control.commands.recent(device="gate-1")
        hub.control.commands.withdraw(record.id, "stopped")
        ended = await hub.end(record, 5)
        assert (ended.state, ended.reason) == (State.REFUSED, "stopped")

    on_virtual_time(site, scene)
    assert site.machines["gate-1"].tries == []
