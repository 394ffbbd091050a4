"""Provisioning a campus of 10,000 meters: plan, apply, apply again, a hub's start, and its memory.

The hub, the commands and the simulated campus are processes of their own. A bare SQLite that writes as many
rows in one transaction stands beside the applies: what the disk and the library cost alone.

    python -m benchmarks.provisioning [--short]
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
from rich.console import Console
from rich.table import Table

from benchmarks.campus import process, resident_mb
from hub.config import load_config
from hub.status import read_status
from simulators.site_files import REFERENCE, Size, write_site
from tests.servers import free_port, mosquitto_server, running, wait_until

START_TIMEOUT_S = 120.0
HUB = (sys.executable, "-m", "hub.cli.main")
SHORT = replace(REFERENCE, buses=32, meters=1000, washers=100)


@dataclass(frozen=True, kw_only=True, slots=True)
class Took:
    """Seconds from the call of a command to its end, and how many of them its own processor time."""

    passed_s: float
    busy_s: float


def dormhub(config: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> Took:
    """Run a command, print its last line, and tell what it took."""
    begun_s, busy_s = time.perf_counter(), _busy_s()
    done = subprocess.run(
        [*HUB, *arguments, "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode in codes, done.stderr
    print(f"{arguments[0]}: {done.stdout.strip().splitlines()[-1]}", flush=True)
    return Took(passed_s=time.perf_counter() - begun_s, busy_s=_busy_s() - busy_s)


def _busy_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row_of(figure: str, took: Took, goal: str) -> tuple[str, str, str, str]:
    return figure, f"{took.passed_s:.1f} s", f"{took.busy_s:.1f} s", goal


def without_meters(table: str) -> str:
    """The campus before its meters are installed: washers and gates."""
    return "".join(row for row in table.splitlines(keepends=True) if ",socket," not in row)


def moved(table: str) -> str:
    """Every meter's room written anew: each is bound to another one."""
    return table.replace(",socket,", ",socket-a,")


def bare_s(folder: Path, rows: int) -> float:
    """SQLite alone: as many devices, bindings and audit rows in one transaction."""
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    for name in ("devices", "bindings", "audit"):
        db.execute(f"CREATE TABLE {name} (id TEXT PRIMARY KEY, said TEXT)")
    begun_s = time.perf_counter()
    db.execute("BEGIN IMMEDIATE")
    for name in ("devices", "bindings", "audit"):
        said = ((f"{name}-{number}", "x" * 200) for number in range(rows))
        db.executemany(f"INSERT INTO {name} VALUES (?, ?)", said)
    db.execute("COMMIT")
    took_s = time.perf_counter() - begun_s
    db.close()
    return took_s


def start_hub(config: Path, log: Path) -> tuple[float, float]:
    """Seconds from the start of a hub to its first reading, and its resident memory a while later, in MB."""
    data = load_config(config).data
    begun_s = time.monotonic()
    with process(*HUB, "run", "--config", str(config), log=log) as hub:
        before = _readings(data)
        wait_until(lambda: _readings(data) > before, timeout_s=START_TIMEOUT_S)
        first_s = time.monotonic() - begun_s
        time.sleep(30)
        return first_s, resident_mb(hub.pid)[0]


def _readings(data: Path) -> int:
    status = read_status(data)
    return status.store.readings if status else 0


def measure(folder: Path, config: Path) -> list[tuple[str, str, str, str]]:
    """Install washers and gates, then all; the rows of the table."""
    table = (config / "devices.csv").read_text("utf-8")
    devices = table.count(",socket,")
    (config / "devices.csv").write_text(without_meters(table), "utf-8")
    log, rows = folder / "hub.log", []
    with process(*HUB, "run", "--config", str(config), log=log):
        wait_until(lambda: _answers(config), timeout_s=START_TIMEOUT_S)
        (config / "devices.csv").write_text(table, "utf-8")
        plan = dormhub(config, "plan", codes=(3,))
        apply = dormhub(config, "apply", "--yes")
        again = dormhub(config, "apply", "--yes")
        (config / "devices.csv").write_text(moved(table), "utf-8")
        move = dormhub(config, "apply", "--yes")
    rows.append(row_of(f"plan, {devices} meters to add", plan, "10 s"))
    rows.append(row_of(f"apply, {devices} meters added", apply, "60 s"))
    rows.append(row_of("apply again, nothing to do", again, "5 s"))
    rows.append(row_of("apply, every meter bound to another room", move, "60 s"))
    rows.append((f"bare SQLite, {3 * devices} rows", f"{bare_s(folder, devices):.1f} s", "", ""))
    first_s, memory_mb = start_hub(config, log)
    rows.append(("start to first reading", f"{first_s:.1f} s", "", "5 s"))
    rows.append(("resident memory", f"{memory_mb:.0f} MB", "", "300 MB"))
    return rows


def _answers(config: Path) -> bool:
    url = f"http://{load_config(config).api.listen}/health"
    try:
        return httpx2.get(url, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def run(size: Size) -> None:
    """Write the campus, let it live, and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        config = folder / "config"
        write_site(config, size, name="Benchmark campus", broker_port=port)
        os.environ["DORMHUB_API__LISTEN"] = f"127.0.0.1:{free_port()}"
        campus = (sys.executable, "-m", "simulators.command", "--config", str(config))
        ready = folder / "campus.log"
        with (
            running(mosquitto_server(folder / "broker", port=port)),
            process(*campus, "--speed", "0", log=ready),
        ):
            wait_until(lambda: "ready" in ready.read_text("utf-8"), timeout_s=START_TIMEOUT_S)
            rows = measure(folder, config)
    table = Table(title="Provisioning")
    for column in ("figure", "measured", "of it the command's processor time", "goal"):
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a tenth of the campus")
    run(SHORT if parser.parse_args().short else REFERENCE)


if __name__ == "__main__":
    main()
