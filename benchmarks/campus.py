"""The reference campus: 10,000 meters x 12 points a minute on 320 buses, 1,000 washers each 10 s, 50 gates.

Broker, campus and hub are processes of their own on this machine; only the hub's process is measured.
The journal is then read through: every meter in every minute, every washer's message number once.

    python -m benchmarks.campus [--short] [--seconds N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hub.config import load_config
from hub.journal import JournalReader
from hub.model import Reading
from hub.status import Status, read_status
from tests.servers import free_port, mosquitto_server, running, wait_until

START_TIMEOUT_S = 120.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def resident_mb(pid: int) -> tuple[float, float]:
    """Resident memory now, and its peak."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return int(found["VmRSS"].split()[0]) / 1024, int(found["VmHWM"].split()[0]) / 1024


@contextmanager
def process(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs as long as the block."""
    with log.open("wb") as output:
        running_process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield running_process
    finally:
        running_process.terminate()
        running_process.wait(30)


def need_status(data: Path) -> Status:
    """The hub's status; fails when it does not answer."""
    status = read_status(data)
    assert status is not None, "the hub does not answer"
    return status


def first_reading_s(data: Path, began_s: float) -> float:
    """Seconds from the start of the process until its journal has a reading."""

    def stored() -> bool:
        status = read_status(data)
        return bool(status and status.store.readings)

    wait_until(stored, timeout_s=START_TIMEOUT_S)
    return time.monotonic() - began_s


def stored_readings(data: Path) -> Iterator[Reading]:
    """Everything in the journal, in the order of commits."""
    cursor = 0
    with JournalReader(data / "journal.db") as reader:
        while batch := reader.query.read_after(cursor, 5000):
            yield from (item.reading for item in batch)
            cursor = batch[-1].cursor


def main() -> None:
    """Run once and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.0)
    options = parser.parse_args()
    seconds = options.seconds or (120.0 if options.short else 600.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_port()
        sim = [sys.executable, "-m", "simulators.command"]
        config = folder / "config"
        write = [*sim, "--write-reference", str(config), "--broker-port", str(port)]
        subprocess.run(write, check=True)
        campus = [*sim, "--config", str(config), "--speed", "0"]
        with (
            running(mosquitto_server(folder / "broker", port=port)),
            process(*campus, log=folder / "campus.log"),
        ):
            ready = folder / "campus.log"
            wait_until(lambda: "ready" in ready.read_text("utf-8"), timeout_s=START_TIMEOUT_S)
            print(ready.read_text("utf-8").strip(), flush=True)
            measure(config, folder / "hub.log", seconds)


def measure(config: Path, log: Path, seconds: float) -> None:
    """Run the hub for so long and print what it took and what it stored."""
    data = load_config(config).data
    began_s = time.monotonic()
    os.environ["DORMHUB_API__LISTEN"] = ""
    command = [sys.executable, "-m", "hub.cli.main", "run", "--config", str(config)]
    with process(*command, log=log) as hub:
        first_s = first_reading_s(data, began_s)
        time.sleep(60)  # one round of every meter, so that what follows is the steady state
        steady_s, steady_cpu_s = time.monotonic(), cpu_s(hub.pid)
        steady_readings = need_status(data).store.readings
        time.sleep(seconds)
        status = need_status(data)
        passed_s = time.monotonic() - steady_s
        cores = (cpu_s(hub.pid) - steady_cpu_s) / passed_s
        rate = (status.store.readings - steady_readings) / passed_s
        now_mb, peak_mb = resident_mb(hub.pid)
    report(first_s, cores, rate, now_mb, peak_mb, status, data, passed_s)


def report(
    first_s: float,
    cores: float,
    rate: float,
    now_mb: float,
    peak_mb: float,
    status: Status,
    data: Path,
    passed_s: float,
) -> None:
    """The table: what was measured beside what was promised."""
    seen: Counter[tuple[str, int]] = Counter()
    meters: Counter[str] = Counter()
    numbers: dict[str, list[int]] = {}
    for reading in stored_readings(data):
        seen[reading.device, reading.time_ms] += 1
        if "energy_import" in reading.values:
            meters[reading.device] += 1
        if reading.device.startswith("washer") and "sequence" in reading.values:
            numbers.setdefault(reading.device, []).append(int(reading.values["sequence"]))
    minutes = int(passed_s // 60)
    gaps = sum(max(all_) - min(all_) + 1 - len(set(all_)) for all_ in numbers.values())
    doubled = sum(len(all_) - len(set(all_)) for all_ in numbers.values())
    table = Table(title="Reference campus")
    for column in ("figure", "measured", "goal"):
        table.add_column(column)
    rows = [
        ("cores in the steady state", f"{cores:.2f}", "<= 1"),
        ("resident memory, now / peak", f"{now_mb:.0f} / {peak_mb:.0f} MB", "<= 300 MB"),
        ("start to first reading", f"{first_s:.1f} s", "<= 5 s"),
        ("readings a second", f"{rate:.0f}", "10,000 / 60 + 1,000 / 10 + gates"),
        (
            "devices online",
            f"{status.online} of {status.online + status.offline + status.unknown}",
            "all",
        ),
        ("meters heard in every minute", f"{sum(n >= minutes for n in meters.values())}", "10000"),
        ("device and time stored twice", f"{sum(n > 1 for n in seen.values())}", "0"),
        ("washer messages missing", f"{gaps}", "0"),
        ("washer messages doubled", f"{doubled}", "0"),
    ]
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
