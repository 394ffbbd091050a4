"""Free energy given to many rooms, booked once; and proposals of the hub, which look at each room again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from hub import load_profiles
from hub.audit import rows as audit_rows
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit, Utility, grant
from hub.campus.batches.batch import BatchState, ItemState
from hub.campus.batches.scope import Scope
from hub.campus.prepaid.meters import open_rooms
from hub.campus.prepaid.pacing import Pacing
from hub.clock import VirtualClock
from hub.profile import Profile
from tests.batch_bench import ANN, OPEN_HOUSE, DyingLedger, Office, dorm, office
from tests.command_bench import Site
from tests.virtual_loop import run_virtual

ROOMS = [Room(building="B1", room=f"{floor}0{place}") for floor in (1, 2) for place in (1, 2, 3)]
DONE, SKIPPED = ItemState.DONE, ItemState.SKIPPED
GIFT = {"arguments": {"amount": 3_000}}


async def free(made: Office) -> list[int]:
    """What each room has free; with books that are right."""
    assert await made.hub.ledger.read(books.check) == []
    return [
        await made.hub.ledger.read(lambda c, of=room.account: books.balance(c, of, Unit.WH))
        for room in ROOMS
    ]


def charged(folder: Path) -> Site:
    """Rooms whose credit the hub holds: their meters take none."""
    site = dorm(folder)
    devices = [replace(one, profile=without_credit(one.profile)) for one in site.links[0].devices]
    site.links = [replace(site.links[0], devices=tuple(devices))]
    return site


def without_credit(profile: Profile) -> Profile:
    commands = {name: spec for name, spec in profile.commands.items() if name != "credit"}
    return replace(profile, commands=commands)


async def opened(made: Office, rooms: list[Room] = ROOMS) -> None:
    await made.hub.ledger.run(lambda c: open_rooms(c, rooms, now_ms=1))


def test_free_energy_is_given_once_to_each_room_that_pays(tmp_path: Path) -> None:
    policy = replace(OPEN_HOUSE, unbilled_rooms=frozenset({"102"}))

    async def main() -> None:
        async with office(charged(tmp_path), policy) as made:
            await opened(made, ROOMS[:5])
            batch = await made.until(await made.submit("allowance", **GIFT))
            assert await free(made) == [3_000, 0, 3_000, 3_000, 3_000, 0]
            assert [(item.state, item.reason) for item in await made.items(batch)] == [
                (DONE, ""),
                (SKIPPED, "not prepaid"),
                (DONE, ""),
                (DONE, ""),
                (DONE, ""),
                (SKIPPED, "the room has no such account"),
            ]
            [line] = await made.hub.ledger.read(lambda c: books.statement(c, ROOMS[0].account))
            assert line.key == f"batch/{batch.id}/room/B1/101/electricity"
            assert (line.actor, line.cause) == ("key/ann", "drill")
            given = grant(Utility.ELECTRICITY)
            assert await made.hub.ledger.read(lambda c: books.balance(c, given, Unit.WH)) == -12_000
            rows = await made.hub.ledger.read(lambda c: audit_rows(c, subject=f"batch/{batch.id}"))
            assert [row.action for row in rows] == ["submitted", "given", "done"]

    run_virtual(main())


def test_a_room_that_stopped_paying_meanwhile_is_given_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(charged(tmp_path)) as made:
            await opened(made)
            batch = await made.submit("allowance", **GIFT)
            made.go_by(replace(OPEN_HOUSE, unbilled_rooms=frozenset({"101"})))
            await made.until(batch)
            assert await free(made) == [0, *[3_000] * 5]

    run_virtual(main())


@pytest.mark.parametrize("done", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("works", range(1, 6))
def test_a_kill_at_any_step_gives_nobody_twice(tmp_path: Path, works: int, done: bool) -> None:
    site = charged(tmp_path)

    async def main() -> None:
        async with office(site, through=lambda one: DyingLedger(one, works, done=done)) as made:
            call = asyncio.create_task(given(made))
            await made.hub.clock.sleep(10)
            call.cancel()
        async with office(site) as made:
            await opened(made)
            batch = await made.until(await made.submit("allowance", **GIFT))
            assert (batch.state, await free(made)) == (BatchState.DONE, [3_000] * 6)

    run_virtual(main())


async def given(made: Office) -> None:
    await opened(made)
    await made.submit("allowance", **GIFT)


def paying(folder: Path) -> Site:
    """Two rooms whose meters hold the credit themselves, both used up."""
    site = dorm(folder, rooms=2)
    points = load_profiles().example("acrel_ddsy1352").points
    more = {name: points[name] for name in ("energy_import", "credit_money")}
    devices = [
        replace(one, profile=replace(one.profile, points={**one.profile.points, **more}))
        for one in site.links[0].devices
    ]
    site.links = [replace(site.links[0], devices=tuple(devices))]
    for machine in site.machines.values():
        machine.state |= {"energy_import": 5_000, "credit_money": -100}
    return site


def test_a_room_that_has_paid_since_is_not_cut_by_a_proposal_however_approved(
    tmp_path: Path,
) -> None:
    site = paying(tmp_path)

    async def main() -> None:
        async with office(site) as made:
            await made.hub.poll(*site.machines)
            name = await made.batches.propose([*site.machines], "overdraft is used up")
            await made.hub.clock.sleep(600)
            site.machines["gate-2"].state["credit_money"] = 5_000
            await made.hub.poll(*site.machines)
            await made.batches.approve(name, ANN)
            batch = await made.until(await made.batches.get(name))
            assert [(item.state, item.reason) for item in await made.items(batch)] == [
                (DONE, ""),
                (SKIPPED, "it is not used up any more"),
            ]
            assert batch.actor == "supply"

    run_virtual(main())
    assert [len(machine.effects) for machine in site.machines.values()] == [1, 0]


def test_free_energy_is_not_given_where_the_meter_holds_the_credit(tmp_path: Path) -> None:
    async def main() -> None:
        async with office(paying(tmp_path)) as made:
            await opened(made)
            left_out = await made.plan("allowance", **GIFT)
            assert set(left_out.values()) == {"its meter holds the credit, and asks no books"}

    run_virtual(main())


def test_ten_thousand_rooms_are_planned_and_taken(tmp_path: Path) -> None:
    site = dorm(tmp_path, rooms=10_000)
    everywhere = Scope(buildings=tuple(f"B{number}" for number in range(1, 1_668)))

    async def main() -> None:
        async with office(site) as made:
            plan = await made.plan("restore", everywhere)
            assert len(plan) == 10_000
            batch = await made.submit("restore", everywhere)
            counted = await made.states(batch)
            assert len(counted) == 10_000
            await made.batches.stop(batch.id, ANN)

    run_virtual(main())


def test_those_who_wait_in_one_line_go_at_its_pace_and_others_at_once() -> None:
    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        clock = VirtualClock(start_ms=0, loop=loop)
        pacing, went = Pacing(clock), []

        async def go(line: str) -> None:
            await pacing.turn(line, 5)
            went.append((line, round(clock.monotonic_s(), 3)))

        await asyncio.gather(*(go("a") for _ in range(3)), go("b"))
        await clock.sleep(10)
        await go("a")
        return went

    assert sorted(run_virtual(main())) == [
        ("a", 0.0),
        ("a", 0.2),
        ("a", 0.4),
        ("a", 10.4),
        ("b", 0.0),
    ]
