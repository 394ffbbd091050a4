"""A small campus for spreadsheets: two buses, a broker, two buildings, and sheets made of rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from openpyxl import Workbook
from typer.testing import CliRunner, Result

from hub.site import load_site
from tests.command_line import app
from tests.site_folder import write_site

SITE = """
name = "Test campus"
[buildings.B1]
name = "1号楼"
aliases = ["一号楼", "Building 1"]
floors = { 1 = ["101-140"], 2 = ["201-240"] }
[buildings."梅园"]
aliases = ["plum-court"]
[links.bus-1]
driver = "modbus"
host = "127.0.0.1"
[links.bus-2]
driver = "modbus"
host = "127.0.0.1"
port = 503
[links.broker]
driver = "mqtt"
host = "127.0.0.1"
"""
COLUMNS = "id,profile,link,address,building,floor,room,circuit,period_s,settings,note"
DEVICES = f"""{COLUMNS}
b1-101,chint_ddsu666,bus-1,1,B1,1,101,socket,60,ct_ratio=10,first
b1-102,chint_ddsu666,bus-1,2,B1,1,102,socket,,,
washer-1,generic_washer,broker,washer-1,B1,1,103,,,,
"""
CHINESE = ["编号", "楼栋", "楼层", "房间", "回路", "表型号", "表地址", "链路"]
ENGLISH = ["ID", "Building", "Floor", "Room", "Circuit", "Meter Model", "Meter address", "Bus"]
ROW = ["b1-103", "1号楼", "1", "103", "插座", "DDSU666", "3", "bus-1"]


def campus(folder: Path, devices: str | None = DEVICES) -> Path:
    """The configuration folder; without `devices`, as before the first import."""
    config = write_site(folder / "config", site=SITE, devices=devices or "")
    if devices is None:
        (config / "devices.csv").unlink()
    return config


def write_csv(
    path: Path, rows: Iterable[Sequence[str]], encoding: str = "utf-8", separator: str = ","
) -> Path:
    """A CSV of these rows."""
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=separator).writerows(rows)
    path.write_bytes(out.getvalue().encode(encoding))
    return path


def workbook(rows: Iterable[Sequence[object]], title: str = "房间") -> Workbook:
    """A workbook of one sheet."""
    book = Workbook()
    page = book.active
    assert page is not None
    page.title = title
    for row in rows:
        page.append(row)
    return book


def write_xlsx(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    """An XLSX of these rows."""
    workbook(rows).save(path)
    return path


def run(config: Path, *words: str | Path) -> Result:
    """`dormhub …` with this configuration."""
    return CliRunner().invoke(app, [*map(str, words), "--config", str(config)])


def take(config: Path, sheet: Path, *options: str) -> Result:
    """`dormhub import`, which must succeed."""
    result = run(config, "import", sheet, *options)
    assert result.exit_code == 0, result.output
    return result


def mistakes(config: Path, sheet: Path, *options: str) -> list[str]:
    """What an import refuses; nothing must have been written."""
    before = sorted((path.name, path.read_bytes()) for path in config.iterdir())
    result = run(config, "import", sheet, "--json", *options)
    assert result.exit_code == 2, result.output
    assert sorted((path.name, path.read_bytes()) for path in config.iterdir()) == before
    found: list[str] = json.loads(result.stdout)["mistakes"]
    return [text.removeprefix(f"{sheet}: ") for text in found]


def devices(config: Path) -> dict[str, tuple[str, ...]]:
    """Every device of the configuration: profile, link, address, building, floor, room, circuit, note."""
    return {
        device.id: (
            *(device.profile.id, device.link, device.address, device.place.building),
            *(device.place.floor, device.place.room, device.place.circuit, device.note),
        )
        for device in load_site(config).devices()
    }
