"""Where new secrets are kept: private, whole, and harmless to whoever opens them in a spreadsheet."""

from __future__ import annotations

import csv
from pathlib import Path

from hub.broker import Kind, Why
from hub.cli.secrets_out import LeftRow, SecretRow, open_out


def secret(device: str, number: str) -> SecretRow:
    return SecretRow(
        id=number,
        device=device,
        username=device,
        kind=Kind.PASSWORD,
        expires_ms=None,
        password="abc",
        certificate="",
        key="",
    )


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    with open_out(tmp_path / "out.csv", Kind.PASSWORD, single=False) as out:
        out.keep([secret("-1", "a1"), secret("w-1", "a2"), secret("007", "a3")], "")
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [(row["device"], row["username"]) for row in rows] == [
        ("'-1", "'-1"),
        ("w-1", "w-1"),
        ("007", "007"),
    ]


def test_half_a_row_is_no_secret_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with open_out(path, Kind.PASSWORD, single=False) as out:
        out.keep([secret("w-1", "a1"), secret("w-2", "a2")], "")
    path.write_bytes(path.read_bytes()[:-4])
    with open_out(path, Kind.PASSWORD, single=False) as out:
        out.keep([secret("w-3", "a3")], "")
    left = [
        LeftRow(device=name, why=Why.HAS_ONE, credential=number, serial="")
        for name, number in (("w-1", "a1"), ("w-2", "a2"), ("w-3", "a3"))
    ]
    with open_out(path, Kind.PASSWORD, single=False) as out:
        assert [out.holds(one) for one in left] == [True, False, True]
