"""What `dormhub plan` says: what would be added, changed, retired, and which rooms change meters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hub import SystemClock
from hub.inventory.installed import Installed
from hub.inventory.plan import Cell, Fate, Plan
from hub.ledger import open_ledger
from tests.provisioned import (
    METERS,
    SITE,
    apply,
    installed_in,
    plan_from,
    without,
    write_building,
)


async def after(tmp_path: Path, *steps: tuple[str, ...], site: str = SITE) -> Plan:
    """The plan of the last rows, when all rows before were applied one after the other."""
    folder = tmp_path / "config"
    (tmp_path / "data").mkdir(parents=True)
    async with open_ledger(tmp_path / "data" / "ledger.db", clock=SystemClock()) as ledger:
        for rows in steps[:-1]:
            await apply(ledger, write_building(folder, *rows), prune=True)
        write_building(folder, *steps[-1], site=site)
        return plan_from(await installed_in(ledger, folder), folder)


def planned(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hub.cli.main", "plan", "--config", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def test_before_the_first_start_everything_is_added(tmp_path: Path) -> None:
    plan = plan_from(Installed(), write_building(tmp_path))
    assert [row.id for row in plan.added] == list(METERS)
    assert (plan.changed, plan.returned, plan.retired, plan.rooms) == ((), (), (), ())
    assert {link.id: link.fate for link in plan.links} == {
        "bus-1": Fate.ADDED,
        "bus-2": Fate.ADDED,
    }
    assert (plan.number, plan.devices, plan.files) == (0, 3, ("devices.csv", "site.toml"))


async def test_what_was_applied_is_nothing_to_do(tmp_path: Path) -> None:
    plan = await after(tmp_path, (), ())
    assert plan.is_empty
    assert (plan.number, plan.links, plan.rooms) == (1, (), ())


CHANGES = [
    (METERS["m-2"].replace(",bus-1,2,", ",bus-1,22,"), "address", "2", "22"),
    (METERS["m-2"].replace(",102,", ",103,"), "room", "102", "103"),
    (
        METERS["m-2"].replace("eastron_sdm120", "chint_ddsu666"),
        "profile",
        "eastron_sdm120",
        "chint_ddsu666",
    ),
    (METERS["m-2"].replace(",bus-1,2,", ",bus-2,2,"), "link", "bus-1", "bus-2"),
    (METERS["m-2"] + "by the door", "note", "", "by the door"),
]


@pytest.mark.parametrize(("row", "column", "before", "now"), CHANGES)
async def test_a_changed_device_is_told_column_by_column(
    tmp_path: Path, row: str, column: str, before: str, now: str
) -> None:
    plan = await after(tmp_path, (), (METERS["m-1"], row, METERS["m-3"]))
    (change,) = plan.changed
    expected = Cell(column=column, before=before, after=now)
    assert (change.after.id, change.cells) == ("m-2", (expected,))
    assert (plan.added, plan.returned, plan.retired) == ((), (), ())


async def test_a_changed_setting_of_a_device_is_told(tmp_path: Path) -> None:
    row = "m-1,chint_ddsu666,bus-1,1,B1,1,101,socket,{},"
    plan = await after(tmp_path, (row.format(""),), (row.format("ct_ratio=10"),))
    (change,) = plan.changed
    assert change.cells == (Cell(column="settings", before="", after="ct_ratio=10"),)


async def test_only_the_links_whose_devices_or_settings_change_are_touched(tmp_path: Path) -> None:
    more = "m-4,eastron_sdm120,bus-2,4,B1,2,202,socket,,"
    plan = await after(tmp_path, (), (*METERS.values(), more))
    assert {link.id: link.fate for link in plan.links} == {"bus-2": Fate.CHANGED}


async def test_a_link_that_comes_and_one_that_goes_are_told(tmp_path: Path) -> None:
    site = SITE.replace("bus-2", "bus-3")
    rows = (METERS["m-1"], METERS["m-2"], METERS["m-3"].replace("bus-2", "bus-3"))
    plan = await after(tmp_path, (), rows, site=site)
    assert {link.id: link.fate for link in plan.links} == {
        "bus-2": Fate.REMOVED,
        "bus-3": Fate.ADDED,
    }
    assert plan.files == ("devices.csv", "site.toml")


async def test_a_comment_is_a_change_of_the_file_and_of_nothing_else(tmp_path: Path) -> None:
    plan = await after(tmp_path, (), (), site="# the first campus\n" + SITE)
    assert plan.files == ("site.toml",)
    assert not plan.is_empty
    assert (plan.changed, plan.links, plan.rooms) == ((), (), ())


async def test_a_device_that_is_gone_is_retired_and_one_that_returns_is_told_as_such(
    tmp_path: Path,
) -> None:
    moved = METERS["m-2"].replace(",102,", ",103,")
    gone = await after(tmp_path / "gone", (), tuple(without("m-2")))
    assert [row.id for row in gone.retired] == ["m-2"]
    back = await after(tmp_path / "back", (), tuple(without("m-2")), (*without("m-2"), moved))
    (change,) = back.returned
    assert change.cells == (Cell(column="room", before="102", after="103"),)
    assert (back.added, back.retired) == ((), ())


async def test_a_meter_swap_is_told_by_room_with_the_old_and_the_new(tmp_path: Path) -> None:
    new = METERS["m-2"].replace("m-2,", "m-9,").replace(",bus-1,2,", ",bus-1,9,")
    plan = await after(tmp_path, (), (*without("m-2"), new))
    (room,) = plan.rooms
    assert (room.building, room.room, room.circuit) == ("B1", "102", "socket")
    assert (room.before, room.after) == (("m-2",), ("m-9",))


async def test_a_room_that_loses_its_meter_is_told_and_one_that_gets_its_first_is_not(
    tmp_path: Path,
) -> None:
    plan = await after(
        tmp_path, (), (*without("m-2"), METERS["m-2"].replace(",102,socket", ",103,socket"))
    )
    assert [(room.room, room.before, room.after) for room in plan.rooms] == [("102", ("m-2",), ())]


async def test_a_floor_written_anew_moves_no_meter(tmp_path: Path) -> None:
    plan = await after(
        tmp_path, (), (*without("m-2"), METERS["m-2"].replace(",1,102", ",ground,102"))
    )
    assert len(plan.changed) == 1
    assert plan.rooms == ()


def test_the_command_says_it_with_signs_and_its_exit_code(tmp_path: Path) -> None:
    folder = write_building(tmp_path / "config")
    result = planned(folder)
    assert result.returncode == 3
    assert "+ m-1: eastron_sdm120 at 1 on bus-1, B1 1 101 socket" in result.stdout
    assert "3 to add, 0 to change" in result.stdout
    assert not (tmp_path / "data").exists()


async def test_the_command_shows_changes_and_rooms_against_the_ledger(tmp_path: Path) -> None:
    new = METERS["m-2"].replace("m-2,", "m-9,").replace(",bus-1,2,", ",bus-1,9,")
    changed = METERS["m-1"].replace(",bus-1,1,", ",bus-1,11,")
    await after(tmp_path, (), (changed, new, METERS["m-3"]))
    result = planned(tmp_path / "config")
    assert result.returncode == 3
    assert result.stdout.splitlines() == [
        "+ m-9: eastron_sdm120 at 9 on bus-1, B1 1 102 socket",
        "~ m-1: address 1 → 11",
        "- m-2: retired, its history and money stay; was eastron_sdm120 at 2 on bus-1, B1 1 102 socket",
        "rooms whose devices change:",
        "  ~ B1 102 socket: m-2 → m-9",
        "links that are touched, all others go on:",
        "  ~ bus-1",
        "files that changed:",
        "  devices.csv",
        "1 to add, 1 to change, 0 to come back, 1 to retire; 1 rooms change devices, "
        "1 links are touched; 3 devices then",
    ]


async def test_the_command_ends_with_0_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    await after(tmp_path, (), ())
    result = planned(tmp_path / "config")
    assert result.returncode == 0
    assert result.stdout.startswith("nothing to do: inventory 1 is what the files say")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("m-1,no_such,bus-1,1,,,,,,", "no profile 'no_such'"),
        ("m-1,eastron_sdm120,bus-1,300,,,,,,", "300"),
        (f"{'x' * 65_000},eastron_sdm120,bus-1,1,,,,,,", "65000 characters"),
    ],
)
def test_a_mistake_is_told_with_exit_code_2(tmp_path: Path, row: str, what: str) -> None:
    result = planned(write_building(tmp_path / "config", row))
    assert result.returncode == 2
    assert what in result.stderr
    assert len(result.stderr) < 2000


def test_a_plan_as_json_is_one_object(tmp_path: Path) -> None:
    result = planned(write_building(tmp_path / "config"), "--json")
    plan = msgspec.json.decode(result.stdout, type=Plan)
    assert [row.id for row in plan.added] == list(METERS)
    assert plan.number == 0
