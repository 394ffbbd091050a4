from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest

from hub.sheets.columns import WORDS
from tests.sheet_site import (
    CHINESE,
    COLUMNS,
    DEVICES,
    ENGLISH,
    ROW,
    campus,
    devices,
    run,
    take,
    workbook,
    write_csv,
    write_xlsx,
)

DOCUMENT = Path("docs/spreadsheets.md").read_text("utf-8")
TAKEN = ("chint_ddsu666", "bus-1", "3", "B1", "1", "103", "插座", "")


@pytest.mark.parametrize("header", [CHINESE, ENGLISH], ids=["zh", "en"])
@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_a_sheet_adds_devices_and_says_what_comes_next(
    tmp_path: Path, header: list[str], suffix: str
) -> None:
    config = campus(tmp_path)
    write = {"csv": write_csv, "xlsx": write_xlsx}[suffix]
    result = take(config, write(tmp_path / f"rooms.{suffix}", [header, ROW]))
    assert "add b1-103" in result.stdout
    assert "1 added, 0 changed, 3 as they were, 0 removed" in result.stdout
    assert "dormhub plan" in result.stdout
    assert devices(config)["b1-103"] == TAKEN
    assert (config / "devices.csv").read_text("utf-8").startswith(DEVICES)


def test_the_first_import_needs_no_devices_csv(tmp_path: Path) -> None:
    config = campus(tmp_path, devices=None)
    take(config, write_csv(tmp_path / "rooms.csv", [CHINESE, ROW]))
    assert list(devices(config)) == ["b1-103"]


def test_case_width_and_spaces_of_headers_do_not_matter(tmp_path: Path) -> None:
    config = campus(tmp_path)
    header = [
        " 编 号",
        "楼栋：",
        "楼层",
        "房间（号）",
        "回路",
        "表 型号",
        "Meter ADDRESS",
        "ＢＵＳ",
    ]
    take(config, write_csv(tmp_path / "rooms.csv", [header, ROW]))
    assert devices(config)["b1-103"] == TAKEN


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_is_read_as_people_save_it(tmp_path: Path, encoding: str, separator: str) -> None:
    config = campus(tmp_path)
    sheet = write_csv(tmp_path / "rooms.csv", [CHINESE, ROW], encoding, separator)
    take(config, sheet)
    assert devices(config)["b1-103"] == TAKEN


@pytest.mark.parametrize("building", ["B1", "1号楼", "一号楼", "Building 1"])
def test_a_building_may_be_named_by_id_name_or_alias(tmp_path: Path, building: str) -> None:
    config = campus(tmp_path)
    row = [ROW[0], building, *ROW[2:]]
    take(config, write_csv(tmp_path / "rooms.csv", [CHINESE, row]))
    assert devices(config)["b1-103"] == TAKEN


@pytest.mark.parametrize(
    ("product", "profile"),
    [
        ("chint_ddsu666", "chint_ddsu666"),
        ("DDSU666", "chint_ddsu666"),
        ("CHINT DDSU666", "chint_ddsu666"),
        ("CHINT DDSU666 (single phase)", "chint_ddsu666"),
        ("正泰DDSU666单相电能表", "chint_ddsu666"),
        ("sdm120", "eastron_sdm120"),
        ("SDM120M", "eastron_sdm120"),
        ("Eastron SDM 630", "eastron_sdm630"),
        ("iem3155", "schneider_iem3155"),
        ("PZEM-016", "peacefair_pzem016"),
    ],
)
def test_a_product_may_be_named_by_profile_name_or_model(
    tmp_path: Path, product: str, profile: str
) -> None:
    config = campus(tmp_path)
    row = [*ROW[:5], product, *ROW[6:]]
    take(config, write_csv(tmp_path / "rooms.csv", [CHINESE, row]))
    assert devices(config)["b1-103"][0] == profile


def test_a_row_with_a_known_id_replaces_that_row_and_keeps_columns_the_sheet_has_not(
    tmp_path: Path,
) -> None:
    config = campus(tmp_path)
    sheet = write_csv(tmp_path / "rooms.csv", [["编号", "房间"], ["b1-101", "111"]])
    result = take(config, sheet)
    assert "change b1-101 (room)" in result.stdout
    lines = (config / "devices.csv").read_text("utf-8").splitlines()
    assert lines[1] == "b1-101,chint_ddsu666,bus-1,1,B1,1,111,socket,60,ct_ratio=10,first"
    assert lines[2:] == DEVICES.splitlines()[2:]


def test_replace_makes_the_sheet_the_whole_list(tmp_path: Path) -> None:
    config = campus(tmp_path)
    sheet = write_csv(tmp_path / "rooms.csv", [["id", "note"], ["b1-101", "kept"]])
    result = take(config, sheet, "--replace")
    assert "remove washer-1" in result.stdout
    assert devices(config) == {
        "b1-101": ("chint_ddsu666", "bus-1", "1", "B1", "1", "101", "socket", "kept")
    }


def test_link_and_profile_of_the_command_stand_for_empty_cells_only(tmp_path: Path) -> None:
    config = campus(tmp_path)
    rows = [
        ["编号", "链路", "表地址"],
        ["m-1", "", "10"],
        ["m-2", "bus-2", "10"],
    ]
    sheet = write_csv(tmp_path / "rooms.csv", rows)
    take(config, sheet, "--link", "bus-1", "--profile", "SDM120")
    found = devices(config)
    assert found["m-1"][:3] == ("eastron_sdm120", "bus-1", "10")
    assert found["m-2"][:3] == ("eastron_sdm120", "bus-2", "10")


def test_ids_are_made_of_building_room_and_circuit_and_are_the_same_every_time(
    tmp_path: Path,
) -> None:
    config = campus(tmp_path)
    rows = [
        CHINESE[1:],
        ["1号楼", "1", "104", "照明", "DDSU666", "4", "bus-1"],
        ["1号楼", "1", "105", "", "DDSU666", "5", "bus-1"],
        ["plum-court", "1", "301室", "Socket 2", "DDSU666", "6", "bus-1"],
    ]
    sheet = write_csv(tmp_path / "rooms.csv", rows)
    take(config, sheet)
    assert list(devices(config)) == [
        *("b1-101", "b1-102", "b1-104-light", "b1-105", "plum-court-301-socket-2", "washer-1")
    ]
    assert "nothing new" in take(config, sheet).stdout


def test_a_title_over_the_headers_and_columns_nobody_knows_do_no_harm(tmp_path: Path) -> None:
    config = campus(tmp_path)
    book = workbook([["1号楼电表清单"], [], ["序号", *CHINESE], ["=ROW()", *ROW]])
    book.active.merge_cells("A1:H1")
    book.save(tmp_path / "rooms.xlsx")
    result = take(config, tmp_path / "rooms.xlsx")
    assert "columns not read: 序号" in result.stdout
    assert devices(config)["b1-103"] == TAKEN


def test_hidden_rows_and_other_sheets_are_said(tmp_path: Path) -> None:
    config = campus(tmp_path)
    other = [*ROW[:6], "4", "bus-1"]
    book = workbook([CHINESE, ROW, ["b1-104", *other[1:]]])
    book.active.row_dimensions[3].hidden = True
    book.create_sheet("旧表")
    book.save(tmp_path / "rooms.xlsx")
    result = take(config, tmp_path / "rooms.xlsx")
    assert "hidden rows were read too: 3" in result.stdout
    assert "only sheet 房间 was read, not: 旧表" in result.stdout
    assert {"b1-103", "b1-104"} <= set(devices(config))


def test_a_sheet_may_be_chosen(tmp_path: Path) -> None:
    config = campus(tmp_path)
    book = workbook([["nothing here"]])
    page = book.create_sheet("二")
    page.append(CHINESE)
    page.append(ROW)
    book.save(tmp_path / "rooms.xlsx")
    take(config, tmp_path / "rooms.xlsx", "--sheet", "二")
    assert devices(config)["b1-103"] == TAKEN


def test_numbers_that_excel_made_of_texts_are_what_a_person_sees(tmp_path: Path) -> None:
    config = campus(tmp_path)
    book = workbook([CHINESE, ["103", "1号楼", 1.0, 103.0, "插座", "DDSU666", 3, "bus-1"]])
    book.active["A2"] = 7
    book.active["A2"].number_format = "000"
    book.save(tmp_path / "rooms.xlsx")
    take(config, tmp_path / "rooms.xlsx")
    assert devices(config)["007"] == TAKEN
    rows = [CHINESE, ["104", "1号楼", "1.0", "104.0", "插座", "DDSU666", "4.0", "bus-1"]]
    take(config, write_csv(tmp_path / "rooms.csv", rows))
    assert devices(config)["104"][2:6] == ("4", "B1", "1", "104")


def test_cells_that_do_not_say_where_they_are_stand_beside_each_other(tmp_path: Path) -> None:
    config, sheet = campus(tmp_path), tmp_path / "rooms.xlsx"
    good = write_xlsx(tmp_path / "good.xlsx", [CHINESE, ROW])
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(sheet, "w") as target:
        for name in source.namelist():
            target.writestr(name, re.sub(rb'<c r="[A-Z]+\d+"', b"<c", source.read(name)))
    take(config, sheet)
    assert devices(config)["b1-103"] == TAKEN


def test_a_date_in_a_note_is_a_note(tmp_path: Path) -> None:
    config = campus(tmp_path)
    rows = [[*CHINESE, "备注"], [*ROW, "2026/3/1"]]
    take(config, write_csv(tmp_path / "rooms.csv", rows))
    assert devices(config)["b1-103"][-1] == "2026/3/1"


def test_an_explained_header_is_remembered_for_the_next_sheet(tmp_path: Path) -> None:
    config = campus(tmp_path)
    header = [*CHINESE[:6], "表号", "链路"]
    sheet = write_csv(tmp_path / "rooms.csv", [header, ROW])
    assert run(config, "import", sheet).exit_code == 2
    assert not (config / "import.toml").exists()
    take(config, sheet, "--map", "表号=address", "--dry-run")
    assert not (config / "import.toml").exists()
    take(config, sheet, "--map", "表号=address")
    assert '"表号" = "address"' in (config / "import.toml").read_text("utf-8")
    again = write_csv(tmp_path / "more.csv", [header, ["b1-104", *ROW[1:6], "4", "bus-1"]])
    take(config, again)
    assert devices(config)["b1-104"][2] == "4"


def test_an_explained_header_wins_over_one_that_seems_to_mean_the_same(tmp_path: Path) -> None:
    config = campus(tmp_path)
    rows = [[*CHINESE, "表号"], [*ROW[:6], "东门外大街", "bus-1", "3"]]
    result = take(config, write_csv(tmp_path / "rooms.csv", rows), "--map", "表号=address")
    assert "columns not read: 表地址" in result.stdout
    assert devices(config)["b1-103"] == TAKEN


def test_a_dry_run_says_everything_and_writes_nothing(tmp_path: Path) -> None:
    config = campus(tmp_path)
    result = take(config, write_csv(tmp_path / "rooms.csv", [CHINESE, ROW]), "--dry-run")
    assert "add b1-103" in result.stdout
    assert "nothing was written" in result.stdout
    assert (config / "devices.csv").read_text("utf-8") == DEVICES


def test_a_machine_reads_the_same(tmp_path: Path) -> None:
    config = campus(tmp_path)
    rows = [["编号", "备注"], ["b1-101", "new"], ["b1-102", ""]]
    result = take(config, write_csv(tmp_path / "rooms.csv", rows), "--json")
    report = json.loads(result.stdout)
    assert report["changed"] == {"b1-101": ["note"]}
    assert (report["unchanged"], report["written"], report["mistakes"]) == (2, True, [])


def test_a_devices_csv_of_few_columns_gets_those_the_sheet_needs(tmp_path: Path) -> None:
    config = campus(tmp_path, "id,profile,link,address\nm-1,eastron_sdm120,bus-1,9\n")
    take(config, write_csv(tmp_path / "rooms.csv", [["id", "room"], ["m-1", "101"]]))
    assert (config / "devices.csv").read_text("utf-8") == (
        "id,profile,link,address,room\nm-1,eastron_sdm120,bus-1,9,101\n"
    )


def test_the_example_sheet_fits_the_example_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    for name in ("site.toml", "hub.toml", "devices.csv"):
        (config / name).write_bytes((Path("config") / name).read_bytes())
    result = take(config, Path("config/rooms-example.csv"))
    assert "0 removed" in result.stdout
    assert COLUMNS in (config / "devices.csv").read_text("utf-8")


@pytest.mark.parametrize(
    "header", [header for words in WORDS.values() for one in words.values() for header in one]
)
def test_every_header_that_is_known_is_in_the_document(header: str) -> None:
    assert re.search(rf"[|、,] ?{re.escape(header)} ?[|、,]", DOCUMENT)
