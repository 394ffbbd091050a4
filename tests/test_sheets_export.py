from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from hub.sheets.device_import import csv_bytes
from hub.sheets.text_cells import protected, unprotected
from tests.sheet_site import (
    DEVICES,
    campus,
    devices,
    run,
    take,
    write_csv,
    write_xlsx,
)

FORMS = [("csv", "zh"), ("csv", "en"), ("xlsx", "zh"), ("xlsx", "en")]
ODD = st.sampled_from(
    [
        *("=1+2", "+86", "-1", "@x", "'", "'=a", "''", "101.0", "1.01E+05", "3月1日", "2026-03-01"),
        *(
            "#N/A",
            "TRUE",
            "a,b",
            'a"b',
            "a;b",
            "a\tb",
            "两\n行",
            "a\r\nb",
            "=1\n2",
            "0012",
            "_x0041_",
        ),
    ]
)
LETTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co"))
TEXTS = (ODD | st.text(LETTERS, max_size=20)).map(str.strip)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "address": st.integers(1, 247).map(str),
            "profile": st.sampled_from(["chint_ddsu666", "eastron_sdm120"]),
            "floor": TEXTS,
            "room": TEXTS,
            "circuit": TEXTS,
            "period_s": st.sampled_from(["", "60", "0.5", "1e3", "60.0"]),
            "note": TEXTS,
        }
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda row: row["address"],
)


@pytest.mark.parametrize(("suffix", "language"), FORMS)
def test_an_exported_sheet_changes_nothing_when_it_is_imported(
    tmp_path: Path, suffix: str, language: str
) -> None:
    config, sheet = campus(tmp_path), tmp_path / f"rooms.{suffix}"
    result = run(config, "export", sheet, "--language", language)
    assert result.exit_code == 0
    assert "3 devices" in result.stdout
    for options in ((), ("--replace",)):
        assert "nothing new" in take(config, sheet, *options).stdout
    assert (config / "devices.csv").read_text("utf-8") == DEVICES


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_an_exported_sheet_makes_the_same_devices_where_there_are_none(
    tmp_path: Path, suffix: str
) -> None:
    config, sheet = campus(tmp_path), tmp_path / f"rooms.{suffix}"
    run(config, "export", sheet)
    empty = campus(tmp_path / "other", devices=None)
    take(empty, sheet)
    assert devices(empty) == devices(config)


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, form=st.sampled_from(FORMS))
def test_whatever_devices_csv_says_survives_export_and_import(
    rows: list[dict[str, str]], form: tuple[str, str]
) -> None:
    suffix, language = form
    full = [
        {"id": f"m-{row['address']}", "link": "bus-1", "building": "梅园", "settings": "", **row}
        for row in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = campus(Path(folder), csv_bytes(full).decode())
        sheet = Path(folder) / f"rooms.{suffix}"
        assert run(config, "export", sheet, "--language", language).exit_code == 0
        expected = devices(config)
        assert "nothing new" in take(config, sheet, "--replace").stdout
        (config / "devices.csv").unlink()
        take(config, sheet)
        assert devices(config) == expected


@given(text=ODD | st.text())
def test_a_protected_text_is_the_text_again_and_begins_with_nothing_a_program_runs(
    text: str,
) -> None:
    assert unprotected(protected(text)) == text
    assert not protected(text).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_a_note_that_looks_like_a_formula_is_text_in_both_forms(tmp_path: Path) -> None:
    note = "=HYPERLINK(1)"
    config = campus(tmp_path, DEVICES.replace("first", note))
    run(config, "export", tmp_path / "a.csv")
    run(config, "export", tmp_path / "a.xlsx")
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file))[1][-1] == "'" + note
    cell = load_workbook(tmp_path / "a.xlsx").active["K2"]
    assert (cell.value, cell.data_type, cell.quotePrefix) == (note, "s", True)


def test_one_building_may_be_exported_by_any_of_its_names(tmp_path: Path) -> None:
    more = "p-1,eastron_sdm120,bus-2,1,梅园,,,,,,\n"
    config, sheet = campus(tmp_path, DEVICES + more), tmp_path / "a.csv"
    assert "1 devices" in run(config, "export", sheet, "--building", "plum-court").stdout
    assert "3 devices" in run(config, "export", sheet, "--building", "1号楼").stdout
    result = run(config, "export", sheet, "--building", "B7")
    assert "there are devices in B1, 梅园" in str(result.exception)


def test_a_name_that_is_no_sheet_s_and_a_text_no_workbook_can_hold_are_refused(
    tmp_path: Path,
) -> None:
    config = campus(tmp_path, DEVICES.replace("first", "a\x07b"))
    assert "ends in .csv or .xlsx" in str(run(config, "export", tmp_path / "a.ods").exception)
    assert "export to a CSV" in str(run(config, "export", tmp_path / "a.xlsx").exception)
    sheet = tmp_path / "a.csv"
    run(config, "export", sheet)
    assert "nothing new" in take(config, sheet).stdout


def test_an_export_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    config = campus(tmp_path)
    result = run(config, "export", tmp_path / "none" / "a.csv")
    assert "a place that this user may write" in str(result.exception)


def test_a_text_cell_that_says_101_0_stays_so_in_a_workbook(tmp_path: Path) -> None:
    config = campus(tmp_path)
    rows = [["id", "note"], ["b1-101", "101.0"]]
    take(config, write_xlsx(tmp_path / "a.xlsx", rows))
    assert devices(config)["b1-101"][-1] == "101.0"
    take(config, write_csv(tmp_path / "a.csv", rows))
    assert devices(config)["b1-101"][-1] == "101"


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        ("export", (), "devices.csv"),
        ("export", (), "profiles/rooms.csv"),
        ("labels", ("--out",), "labels.pdf"),
        ("verify", ("--seconds", "1", "--link", "broker", "--out"), "devices.csv"),
    ],
)
def test_nothing_is_written_into_the_configuration_folder(
    tmp_path: Path, command: str, option: tuple[str, ...], name: str
) -> None:
    config = campus(tmp_path)
    (config / "profiles").mkdir()
    before = (config / "devices.csv").read_bytes()
    result = run(config, command, *option, config / "profiles" / ".." / name)
    assert "is in the configuration folder" in str(result.exception)
    assert (config / "devices.csv").read_bytes() == before
    assert sorted(path.name for path in config.iterdir()) == [
        "devices.csv",
        "profiles",
        "site.toml",
    ]


def test_no_cell_of_a_report_is_a_formula(tmp_path: Path) -> None:
    config = campus(tmp_path, DEVICES.replace("broker,washer-1", "broker,=1+1"))
    out = tmp_path / "report.csv"
    assert run(config, "verify", "--link", "broker", "--seconds", "1", "--out", out).exit_code == 1
    assert ",'=1+1," in out.read_text("utf-8")


def test_a_report_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    config, out = campus(tmp_path), tmp_path / "there" / "report.csv"
    out.mkdir(parents=True)
    result = run(config, "verify", "--link", "broker", "--seconds", "1", "--out", out)
    assert "name a place that this user may write" in str(result.exception)
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize(
    ("command", "option", "name"), [("export", (), "a.csv"), ("labels", ("--out",), "a.svg")]
)
def test_a_machine_is_told_what_was_written(
    tmp_path: Path, command: str, option: tuple[str, ...], name: str
) -> None:
    out = tmp_path / name
    said = run(campus(tmp_path), command, "--json", *option, out).stdout
    assert json.loads(said) == {"devices": 3, "files": [str(out)]}


def test_a_verification_of_a_building_takes_its_name_or_an_alias(tmp_path: Path) -> None:
    row = "washer-2,generic_washer,broker,washer-2,梅园,1,103,,,,\n"
    config = campus(tmp_path, DEVICES + row)
    said = run(config, "verify", "--building", "plum-court", "--seconds", "1", "--json").stdout
    assert [json.loads(line)["id"] for line in said.splitlines()] == ["washer-2"]
