from __future__ import annotations

import zipfile
from datetime import date, datetime
from pathlib import Path

import pytest
from openpyxl.worksheet.formula import ArrayFormula

from hub.sheets import csv_sheet, reading, xlsx_sheet
from tests.sheet_site import (
    CHINESE,
    ROW,
    campus,
    mistakes,
    run,
    take,
    workbook,
    write_csv,
    write_xlsx,
)

HEADER = [*CHINESE, "采集周期", "参数", "备注"]
GOOD = [*ROW, "", "", ""]
PLACES = dict(zip(HEADER, "ABCDEFGHIJK", strict=True))

WRONG_CELLS = [
    ("编号", "B1_103", "a-z, 0-9 and -"),
    ("编号", "", "a-z, 0-9 and -"),
    ("编号", "+", "a-z, 0-9 and -"),
    ("编号", "#", "a-z, 0-9 and -"),
    ("编号", "../x", "a-z, 0-9 and -"),
    ("编号", "x" * 65_000, "at most 200"),
    ("编号", "bus-1", "another id"),
    ("楼栋", "9号楼", "site.toml has: B1, 梅园"),
    ("房间", "999", "add it under [buildings.B1.floors]"),
    ("楼层", "2", "it is on '1'"),
    ("表型号", "DDSU66", "nearest: chint_ddsu666"),
    ("表型号", "washer 3000", "nearest: "),
    ("表型号", "", "known:"),
    ("表型号", "generic_washer", "another profile or link"),
    ("表地址", "", "device's address"),
    ("表地址", "300", "from 1 to 247"),
    ("表地址", "三号", "from 1 to 247"),
    ("表地址", "1", "one address, one device"),
    ("表地址", "01", "one unit number, one device"),
    ("链路", "bus-9", "site.toml has: bus-1, bus-2, broker"),
    ("采集周期", "soon", "0.1 to 86400"),
    ("采集周期", "0", "0.1 to 86400"),
    ("参数", "ct_ratio", "name=value"),
    ("参数", "ct_ratio=0", "from 1 to 10000"),
    ("参数", "colour=red", "it has: "),
    ("备注", "很" * 201, "at most 200"),
]


@pytest.mark.parametrize(("header", "text", "hint"), WRONG_CELLS)
@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_a_wrong_cell_is_told_with_sheet_row_column_and_remedy(
    tmp_path: Path, suffix: str, header: str, text: str, hint: str
) -> None:
    row = [text if name == header else cell for name, cell in zip(HEADER, GOOD, strict=True)]
    write, sheet = {"csv": (write_csv, ""), "xlsx": (write_xlsx, "sheet 房间, ")}[suffix]
    path = write(tmp_path / f"rooms.{suffix}", [["电表"], HEADER, row])
    config = campus(tmp_path)
    (found,) = mistakes(config, path)
    assert found.startswith(f"{sheet}row 3, column {PLACES[header]} ({header}): ")
    assert hint in found
    assert len(found) < 700


def test_an_address_of_a_broker_s_device_is_judged_by_its_driver(tmp_path: Path) -> None:
    rows = [
        ["编号", "表型号", "表地址", "链路"],
        ["w-1", "generic_washer", "a/+/b", "broker"],
        ["w-2", "generic_washer", "#", "broker"],
        ["w-3", "generic_washer", "washer-3", "broker"],
    ]
    found = mistakes(campus(tmp_path), write_csv(tmp_path / "rooms.csv", rows))
    assert [text.partition(":")[0] for text in found] == [
        *("row 2, column C (表地址)", "row 3, column C (表地址)")
    ]


def test_every_wrong_cell_of_a_sheet_is_told_at_once_in_the_order_of_the_rows(
    tmp_path: Path,
) -> None:
    rows: list[list[object]] = [
        CHINESE,
        ["B1_1", "9号楼", "1", "101", "", "DDSU666", "9", "bus-1"],
        ["b1-110", "1号楼", "1", "110", "", "XYZ", 300, "bus-9"],
        ["b1-111", "1号楼", "1", "111", "", "DDSU666", 248, "bus-2"],
        ["b1-112", "1号楼", "1", "112", "", "DDSU666", 0, "bus-2"],
        ["b1-112", "1号楼", "1", "112", "", "DDSU666", "=G5+1", "bus-2"],
    ]
    found = mistakes(campus(tmp_path), write_xlsx(tmp_path / "rooms.xlsx", rows))
    assert [text.removeprefix("sheet 房间, ").partition(":")[0] for text in found] == [
        "row 2, column A (编号)",
        "row 2, column B (楼栋)",
        "row 3, column F (表型号)",
        "row 3, column H (链路)",
        "row 4, column G (表地址)",
        "row 5, column G (表地址)",
        "row 6, column G (表地址)",
        "row 6, column A (编号)",
    ]


def test_what_stands_twice_names_the_other_row_or_line(tmp_path: Path) -> None:
    rows = [
        CHINESE,
        ["b1-110", "B1", "1", "110", "", "DDSU666", "9", "bus-1"],
        ["b1-110", "B1", "1", "111", "", "DDSU666", "2", "bus-1"],
    ]
    config = campus(tmp_path)
    found = mistakes(config, write_csv(tmp_path / "rooms.csv", rows))
    assert found == [
        "row 3, column A (编号): 'b1-110' stands in row 2 too; give each device its own id",
        f"row 3, column G (表地址): '2' stands in line 3 of {config}/devices.csv too; "
        "one address, one device",
    ]


def test_made_ids_that_clash_are_told(tmp_path: Path) -> None:
    rows = [
        CHINESE[1:],
        ["B1", "1", "110", "", "DDSU666", "9", "bus-1"],
        ["1号楼", "1", "110室", "", "DDSU666", "10", "bus-1"],
    ]
    found = mistakes(campus(tmp_path), write_csv(tmp_path / "rooms.csv", rows))
    assert "row 3, no id: 'b1-110' stands in row 2 too; give each device its own id" in found


def test_a_place_of_which_no_id_can_be_made_is_told(tmp_path: Path) -> None:
    rows = [CHINESE[1:], ["B1", "1", "110", "厨房", "DDSU666", "9", "bus-1"]]
    (found,) = mistakes(campus(tmp_path), write_csv(tmp_path / "rooms.csv", rows))
    assert found.startswith("row 2, no id: no id can be made of 'B1, 110, 厨房'")


@pytest.mark.parametrize(
    ("value", "found", "hint"),
    [
        ("=F2&1", "a formula, '=F2&1'", "values"),
        (ArrayFormula("G2", "=SUM(A1:A3)"), "a formula, '=SUM(A1:A3)'", "values"),
        ("#N/A", "the error #N/A", "mend"),
        (date(2026, 3, 1), "a date, 2026-03-01", "as text"),
        (datetime(2026, 3, 1, 12), "a date, 2026-03-01 12:00:00", "as text"),
        (1.2345678e17, "last digits are lost", "as text"),
        (3.5, "'3.5'", "from 1 to 247"),
    ],
)
def test_a_cell_that_excel_made_of_something_else_is_told(
    tmp_path: Path, value: object, found: str, hint: str
) -> None:
    row = [*ROW[:6], value, ROW[7]]
    (text,) = mistakes(campus(tmp_path), write_xlsx(tmp_path / "rooms.xlsx", [CHINESE, row]))
    assert text.startswith("sheet 房间, row 2, column G (表地址): ")
    assert found in text
    assert hint in text


@pytest.mark.parametrize("text", ["1.01E+05", "=1+2", "2026/3/1", "3月1日", "1-Mar"])
def test_a_csv_s_cell_that_a_spreadsheet_made_is_told(tmp_path: Path, text: str) -> None:
    row = [*ROW[:6], text, ROW[7]]
    (found,) = mistakes(campus(tmp_path), write_csv(tmp_path / "rooms.csv", [CHINESE, row]))
    assert found.startswith("row 2, column G (表地址): ")


def test_merged_cells_are_told_once_with_their_range(tmp_path: Path) -> None:
    book = workbook([CHINESE, ROW, ["b1-104", *ROW[1:6], "4", "bus-1"]])
    book.active.merge_cells("B2:B3")
    book.save(tmp_path / "rooms.xlsx")
    assert mistakes(campus(tmp_path), tmp_path / "rooms.xlsx") == [
        "sheet 房间, row 2, column B (楼栋): merged cells B2:B3; undo the merging and fill each cell"
    ]


def test_a_mistake_in_what_was_there_before_names_its_line(tmp_path: Path) -> None:
    config = campus(tmp_path, "id,profile,link,address\nm-1,eastron_sdm120,bus-9,9\n")
    rows = [["id", "profile", "link", "address"], ["m-2", "SDM120", "bus-1", "1"]]
    sheet = write_csv(tmp_path / "rooms.csv", rows)
    assert mistakes(config, sheet) == [
        f"{config}/devices.csv: line 2, link: no link 'bus-9'; site.toml has: bus-1, bus-2, broker"
    ]


def test_a_whole_list_without_a_device_the_safety_rules_name_is_refused(tmp_path: Path) -> None:
    config = campus(tmp_path)
    with (config / "site.toml").open("a", encoding="utf-8") as site:
        site.write('[safety]\nfire = ["washer-1.fire_alarm"]\n')
    sheet = write_csv(tmp_path / "rooms.csv", [["id", "note"], ["b1-101", ""]])
    assert "washer-1" in str(mistakes(config, sheet, "--replace"))


@pytest.mark.parametrize(
    ("rows", "options", "key"),
    [
        ([["a", "b"], ["1", "2"]], (), "headers"),
        ([["编号", "楼栋"]], (), "rows"),
        ([["编号", "表地址", "地址"], ["a", "1", "1"]], (), "row 1"),
        ([["编号", "表型号", "表地址"], ["m-1", "SDM120", "1"]], (), "headers"),
        ([CHINESE, ROW], ("--map", "表号=address"), "--map"),
        ([CHINESE, ROW], ("--map", "表号"), "--map"),
        ([CHINESE, ROW], ("--map", "表号=colour"), "--map"),
        ([CHINESE, ROW], ("--sheet", "房间"), "file"),
    ],
)
def test_a_sheet_that_is_no_table_of_devices_is_told(
    tmp_path: Path, rows: list[list[str]], options: tuple[str, ...], key: str
) -> None:
    sheet = write_csv(tmp_path / "rooms.csv", rows)
    result = run(campus(tmp_path), "import", sheet, *options)
    assert result.exit_code == 2
    assert f" {key}: " in result.stderr
    assert result.stderr.endswith("1 to mend; nothing was written\n")


def test_mixed_encodings_are_told_with_the_line(tmp_path: Path) -> None:
    head = ",".join(CHINESE).encode() + b"\n"
    row = ",".join(ROW).encode("gbk") + b"\n"
    sheet = tmp_path / "rooms.csv"
    sheet.write_bytes(head + row)
    (found,) = mistakes(campus(tmp_path), sheet)
    assert found.startswith("line 2: line 1 is UTF-8, line 2 GBK: mixed encodings")
    sheet.write_bytes(head + b"\xff\xff\xff\n")
    (found,) = mistakes(campus(tmp_path), sheet)
    assert found.startswith("line 2: neither UTF-8 nor GBK")


@pytest.mark.parametrize("row", ['"b1-103,x,y', '"b1"-103,x', f'"{"x" * 140_000}"'])
def test_unbalanced_quotes_and_endless_cells_are_told_with_the_line(
    tmp_path: Path, row: str
) -> None:
    sheet = tmp_path / "rooms.csv"
    sheet.write_text(f"{','.join(CHINESE)}\n{','.join(ROW)}\n{row}\n" * 2, "utf-8")
    (found,) = mistakes(campus(tmp_path), sheet)
    assert found.startswith("line 3: ")


def test_a_protected_or_old_workbook_is_told_in_clear_words(tmp_path: Path) -> None:
    config, sheet = campus(tmp_path), tmp_path / "rooms.xlsx"
    compound = bytes.fromhex("D0CF11E0A1B11AE1") + bytes(600)
    sheet.write_bytes(compound)
    assert mistakes(config, sheet) == ["file: an old workbook (.xls); save it as XLSX or CSV"]
    sheet.write_bytes(compound + "EncryptedPackage".encode("utf-16-le"))
    assert mistakes(config, sheet) == ["file: protected by a password; save it without a password"]


@pytest.mark.parametrize("content", [b"", b"  \n", b"PK\x03\x04 no archive"])
def test_a_file_that_is_no_sheet_is_told(tmp_path: Path, content: bytes) -> None:
    sheet = tmp_path / "rooms.xlsx"
    sheet.write_bytes(content)
    (found,) = mistakes(campus(tmp_path), sheet)
    assert found.startswith("file: ")


def test_a_file_that_is_not_there_and_a_folder_are_told(tmp_path: Path) -> None:
    config = campus(tmp_path)
    assert mistakes(config, tmp_path / "none.csv")[0].startswith("file: it does not exist")
    assert mistakes(config, tmp_path)[0].startswith("file: Is a directory")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    sheet = write_xlsx(tmp_path / "rooms.xlsx", [CHINESE, ROW])
    with zipfile.ZipFile(sheet, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet9.xml", bytes(xlsx_sheet.UNPACKED_MAX_BYTES))
    assert sheet.stat().st_size < 1_000_000
    (found,) = mistakes(campus(tmp_path), sheet)
    assert "unpack to 160 MB" in found


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (b'<row r="2"', b'<row r="99999999"', "rows"),
        (b'<c r="A2"', b'<c r="ZZ2"', "columns"),
        (b"<worksheet ", b'<!DOCTYPE x [<!ENTITY a "b">]><worksheet ', "file"),
        (b"</worksheet>", b"", "file"),
    ],
)
def test_a_workbook_that_would_not_end_is_refused(
    tmp_path: Path, old: bytes, new: bytes, key: str
) -> None:
    good = write_xlsx(tmp_path / "good.xlsx", [CHINESE, ROW])
    bad = tmp_path / "rooms.xlsx"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(old, new))
    (found,) = mistakes(campus(tmp_path), bad)
    assert found.startswith(f"{key}: ")


def test_too_many_rows_or_bytes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [CHINESE, *([ROW] * 20)]
    sheets = [write_csv(tmp_path / "a.csv", rows), write_xlsx(tmp_path / "a.xlsx", rows)]
    config = campus(tmp_path)
    monkeypatch.setattr(csv_sheet, "ROWS_MAX", 20)
    monkeypatch.setattr(xlsx_sheet, "ROWS_MAX", 20)
    assert [mistakes(config, sheet)[0].partition(";")[0] for sheet in sheets] == [
        "rows: more than 20 rows"
    ] * 2
    monkeypatch.setattr(reading, "FILE_MAX_BYTES", 100)
    assert [mistakes(config, sheet)[0].partition(":")[0] for sheet in sheets] == ["file"] * 2


def test_a_broken_memory_of_headers_is_told(tmp_path: Path) -> None:
    config = campus(tmp_path)
    (config / "import.toml").write_text('[columns]\n"表号" = "colour"\n', "utf-8")
    sheet = write_csv(tmp_path / "rooms.csv", [CHINESE, ROW])
    (found,) = mistakes(config, sheet)
    assert "import.toml: columns.表号: no column 'colour'" in found
    (config / "import.toml").unlink()
    take(config, sheet)
