"""Applying: one transaction of inventory, devices, bindings and audit, or nothing of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Row, Table, func, select

from hub import StoreDamaged, VirtualClock, audit, load_site, read_files
from hub.inventory.apply import KEPT, Application, Outdated, WouldRetire, check_plan
from hub.inventory.installed import find_installed, installed_site, running_site
from hub.ledger import Ledger, open_ledger
from hub.ledger.tables import audit as audit_table
from hub.ledger.tables import bindings, devices, inventories
from tests.provisioned import (
    METERS,
    SITE,
    apply,
    installed_in,
    plan_from,
    without,
    write_building,
)

START_MS = 1_700_000_000_000
MOVED = METERS["m-2"].replace(",102,", ",103,")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start_ms=START_MS)


@pytest.fixture
async def ledger(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Ledger]:
    async with open_ledger(tmp_path / "ledger.db", clock=clock) as opened:
        yield opened


async def all_of(ledger: Ledger, table: Table) -> list[Row[tuple[object, ...]]]:
    return await ledger.read(lambda connection: list(connection.execute(select(table))))


async def state(ledger: Ledger) -> list[object]:
    """Everything an apply may write."""
    return [await all_of(ledger, table) for table in (inventories, devices, bindings, audit_table)]


async def test_what_was_applied_is_the_site_of_the_files_byte_for_byte(
    ledger: Ledger, tmp_path: Path
) -> None:
    folder = write_building(tmp_path / "config")
    await apply(ledger, folder)
    installed = await installed_in(ledger, folder)
    assert installed.files == read_files(folder)
    assert installed_site(installed) == load_site(folder)
    assert (installed.number, set(installed.rows)) == (1, set(METERS))


async def test_a_second_apply_writes_nothing_at_all(ledger: Ledger, tmp_path: Path) -> None:
    folder = write_building(tmp_path / "config")
    await apply(ledger, folder)
    before = await state(ledger)
    assert (await apply(ledger, folder, prune=True)).is_empty
    assert await state(ledger) == before


async def test_a_device_gone_from_the_files_is_named_and_nothing_is_done(
    ledger: Ledger, tmp_path: Path
) -> None:
    await apply(ledger, write_building(tmp_path / "config"))
    before = await state(ledger)
    with pytest.raises(WouldRetire, match=r"m-2.*--prune"):
        await apply(ledger, write_building(tmp_path / "config", *without("m-2")))
    assert await state(ledger) == before


async def test_a_pruned_device_is_retired_and_never_deleted(
    ledger: Ledger, tmp_path: Path, clock: VirtualClock
) -> None:
    await apply(ledger, write_building(tmp_path / "config"), clock=clock)
    clock.advance(60)
    folder = write_building(tmp_path / "config", *without("m-2"))
    await apply(ledger, folder, prune=True, clock=clock)
    rows = {row.id: row for row in await all_of(ledger, devices)}
    assert rows["m-2"].retired_ms == START_MS + 60_000
    assert rows["m-2"].room == "102"
    assert rows["m-1"].retired_ms is None
    installed = await installed_in(ledger, folder)
    assert (set(installed.rows), set(installed.retired)) == ({"m-1", "m-3"}, {"m-2"})


async def test_a_device_that_returns_keeps_its_first_day(
    ledger: Ledger, tmp_path: Path, clock: VirtualClock
) -> None:
    await apply(ledger, write_building(tmp_path / "config"), clock=clock)
    for rows in (without("m-2"), (*without("m-2"), MOVED)):
        clock.advance(60)
        await apply(ledger, write_building(tmp_path / "config", *rows), prune=True, clock=clock)
    (row,) = [row for row in await all_of(ledger, devices) if row.id == "m-2"]
    assert (row.first_ms, row.retired_ms, row.room) == (START_MS, None, "103")


async def test_bindings_follow_the_rooms_and_leave_no_gap(
    ledger: Ledger, tmp_path: Path, clock: VirtualClock
) -> None:
    await apply(ledger, write_building(tmp_path / "config"), clock=clock)
    for rows in ((*without("m-2"), MOVED), without("m-2"), (*without("m-2"), MOVED)):
        clock.advance(60)
        await apply(ledger, write_building(tmp_path / "config", *rows), prune=True, clock=clock)
    of = [row for row in await all_of(ledger, bindings) if row.device == "m-2"]
    later = [None if row.to_ms is None else row.to_ms - START_MS for row in of]
    assert [(row.room, row.from_ms - START_MS) for row in of] == [
        ("102", 0),
        ("103", 60_000),
        ("103", 180_000),
    ]
    assert later == [60_000, 120_000, None]
    others = [row for row in await all_of(ledger, bindings) if row.device != "m-2"]
    assert [(row.device, row.to_ms) for row in others] == [("m-1", None), ("m-3", None)]


async def test_a_device_without_a_room_is_bound_to_none(ledger: Ledger, tmp_path: Path) -> None:
    folder = write_building(tmp_path / "config", "m-1,eastron_sdm120,bus-1,1,B1,,,,,")
    await apply(ledger, folder)
    assert await all_of(ledger, bindings) == []


async def test_a_changed_address_leaves_the_binding_alone(ledger: Ledger, tmp_path: Path) -> None:
    await apply(ledger, write_building(tmp_path / "config"))
    before = await all_of(ledger, bindings)
    changed = METERS["m-2"].replace(",bus-1,2,", ",bus-1,22,")
    await apply(ledger, write_building(tmp_path / "config", *without("m-2"), changed))
    assert await all_of(ledger, bindings) == before


async def test_every_changed_device_and_the_inventory_stand_in_the_audit(
    ledger: Ledger, tmp_path: Path
) -> None:
    await apply(ledger, write_building(tmp_path / "config"))
    rows = (METERS["m-1"], MOVED, "m-4,eastron_sdm120,bus-2,4,,,,,,")
    await apply(ledger, write_building(tmp_path / "config", *rows), prune=True)
    entries = await ledger.read(lambda connection: audit.rows(connection, after=4))
    assert [(entry.subject, entry.action) for entry in entries] == [
        ("device/m-4", "added"),
        ("device/m-2", "changed"),
        ("device/m-3", "retired"),
        ("inventory/2", "applied"),
    ]
    assert {entry.actor for entry in entries} == {"test"}
    before, after = json.loads(entries[1].before), json.loads(entries[1].after)
    assert (before["room"], after["room"]) == ("102", "103")
    assert await ledger.read(audit.verify) is None


async def test_only_the_last_twenty_inventories_keep_their_files(
    ledger: Ledger, tmp_path: Path
) -> None:
    for number in range(KEPT + 3):
        await apply(ledger, write_building(tmp_path / "config", site=f"# {number}\n{SITE}"))
    rows = await all_of(ledger, inventories)
    assert [row.number for row in rows] == list(range(1, KEPT + 4))
    assert [row.number for row in rows if row.files is None] == [1, 2, 3]


async def test_a_plan_that_is_not_the_one_shown_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    folder = write_building(tmp_path / "config")
    shown = plan_from(await installed_in(ledger, folder), folder)
    check_plan(shown, prune=False, expect=shown.digest())
    write_building(folder, *without("m-2"))
    changed = plan_from(await installed_in(ledger, folder), folder)
    with pytest.raises(Outdated):
        check_plan(changed, prune=False, expect=shown.digest())


async def test_a_plan_made_before_another_was_applied_is_refused_and_writes_nothing(
    ledger: Ledger, tmp_path: Path, clock: VirtualClock
) -> None:
    folder = write_building(tmp_path / "config")
    plan = plan_from(await installed_in(ledger, folder), folder)
    late = Application(plan, read_files(folder), actor="late", clock=clock)
    await apply(ledger, folder)
    before = await state(ledger)
    with pytest.raises(Outdated):
        await ledger.run(late.write)
    assert await state(ledger) == before


async def test_what_fails_half_way_leaves_nothing(
    ledger: Ledger, tmp_path: Path, clock: VirtualClock
) -> None:
    folder = write_building(tmp_path / "config")
    made = Application(
        plan_from(await installed_in(ledger, folder), folder),
        read_files(folder),
        actor="test",
        clock=clock,
    )

    def then_fail(connection: Connection) -> None:
        made.write(connection)
        raise KeyError("the last step")

    before = await state(ledger)
    with pytest.raises(KeyError):
        await ledger.run(then_fail)
    assert await state(ledger) == before
    assert len((await apply(ledger, folder)).added) == 3


async def test_a_clock_that_went_back_ends_no_binding_before_it_began(
    ledger: Ledger, tmp_path: Path, clock: VirtualClock
) -> None:
    await apply(ledger, write_building(tmp_path / "config"), clock=clock)
    back = VirtualClock(start_ms=START_MS - 3_600_000, seed=2)
    folder = write_building(tmp_path / "config", *without("m-2"))
    await apply(ledger, folder, prune=True, clock=back)
    of = [row for row in await all_of(ledger, bindings) if row.device == "m-2"]
    assert [(row.from_ms, row.to_ms) for row in of] == [(START_MS, START_MS)]


async def test_a_running_hub_s_site_is_the_applied_one_and_the_files_before_the_first_start(
    ledger: Ledger, tmp_path: Path
) -> None:
    folder = write_building(tmp_path / "config")
    applied = load_site(folder)
    assert running_site(tmp_path / "none.db", folder) == applied
    await apply(ledger, folder)
    (folder / "devices.csv").write_text("broken", "utf-8")
    assert running_site(tmp_path / "ledger.db", folder) == applied


async def test_a_last_inventory_without_its_files_is_damage(ledger: Ledger, tmp_path: Path) -> None:
    folder = write_building(tmp_path / "config")
    await apply(ledger, folder)
    emptied = inventories.update().values(files=None)
    await ledger.run(lambda connection: connection.execute(emptied).rowcount)
    with pytest.raises(StoreDamaged):
        find_installed(tmp_path / "ledger.db", folder)


async def test_many_audit_rows_at_once_are_one_chain(ledger: Ledger) -> None:
    entries = [
        audit.Entry(subject=f"device/{number}", action="added", before="", after="")
        for number in range(100)
    ]

    def write(connection: Connection) -> None:
        for part in (entries[:1], [], entries[1:]):
            audit.append_all(connection, part, actor="test", cause="", time_ms=1)

    await ledger.run(write)
    count = select(func.count()).select_from(audit_table)
    assert await ledger.read(lambda connection: connection.scalar(count)) == 100
    assert await ledger.read(audit.verify) is None
