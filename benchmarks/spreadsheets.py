"""Spreadsheets of 10,000 rooms: import, import again, export, and labels.

Each is the command as a person calls it. Beside the imports stands openpyxl alone, reading the same workbook
in this process.

    python -m benchmarks.spreadsheets [--short]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from openpyxl import Workbook, load_workbook
from rich.console import Console
from rich.table import Table

ROWS, SHORT_ROWS = 10_000, 1_000
ON_A_BUS = 200
HEADER = ["楼栋", "楼层", "房间", "回路", "表型号", "表地址", "链路", "采集周期", "参数", "备注"]


def write_campus(config: Path, sheet: Path, rows: int) -> None:
    """A site of buildings with a bus each, and the workbook of its rooms."""
    config.mkdir()
    buildings = range((rows + ON_A_BUS - 1) // ON_A_BUS)
    site = [f'[buildings.B{number}]\nname = "{number}号楼"\n' for number in buildings]
    site += [
        f'[links.b{number}]\ndriver = "modbus"\nhost = "192.0.2.1"\nport = {5000 + number}\n'
        for number in buildings
    ]
    (config / "site.toml").write_text("".join(site), "utf-8")
    book = Workbook(write_only=True)
    page = book.create_sheet("房间")
    page.append(HEADER)
    for number in range(rows):
        building, meter = divmod(number, ON_A_BUS)
        floor, room = divmod(meter, 20)
        place = [f"{building}号楼", floor + 1, (floor + 1) * 100 + room + 1, "插座"]
        product = [("DDSU666", "SDM120")[number % 2], meter + 1, f"b{building}", 60]
        page.append([*place, *product, None if number % 2 else "ct_ratio=10", f"第{number}号"])
    book.save(sheet)


def dormhub(config: Path, *arguments: str) -> float:
    """Seconds of a command from its call to its end."""
    words = [sys.executable, "-m", "hub.cli.main", *arguments, "--config", str(config)]
    begun_s = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout.strip().splitlines()[-1])
    return time.perf_counter() - begun_s


def bare_s(sheet: Path) -> float:
    """openpyxl alone: every cell of the workbook."""
    begun_s = time.perf_counter()
    cells = sum(len(row) for row in load_workbook(sheet)["房间"].iter_rows())
    assert cells > 0
    return time.perf_counter() - begun_s


def measure(folder: Path, rows: int) -> list[tuple[str, float, str]]:
    """The rows of the table."""
    config, sheet = folder / "config", folder / "rooms.xlsx"
    write_campus(config, sheet, rows)
    table = str(folder / "out.csv")
    return [
        (f"import of {rows} rows, XLSX", dormhub(config, "import", str(sheet)), "20 s"),
        ("the same again, nothing new", dormhub(config, "import", str(sheet)), "20 s"),
        ("openpyxl alone, reading it", bare_s(sheet), ""),
        ("export to XLSX", dormhub(config, "export", str(folder / "out.xlsx")), ""),
        ("export to CSV", dormhub(config, "export", table), ""),
        ("import of that CSV", dormhub(config, "import", table), "20 s"),
        (f"labels of {rows} devices, PDF", labels_s(config, folder), ""),
    ]


def labels_s(config: Path, folder: Path) -> float:
    return dormhub(config, "labels", "--out", str(folder / "labels.pdf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a tenth of the rows")
    rows = SHORT_ROWS if parser.parse_args().short else ROWS
    with tempfile.TemporaryDirectory() as name:
        measured = measure(Path(name), rows)
    table = Table(title="Spreadsheets")
    for column in ("figure", "measured", "goal"):
        table.add_column(column)
    for figure, seconds, goal in measured:
        table.add_row(figure, f"{seconds:.1f} s", goal)
    Console().print(table)


if __name__ == "__main__":
    main()
