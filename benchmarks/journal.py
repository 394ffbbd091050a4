"""The journal on this machine's disk: durable values per second, bytes per value, stalls, queries.

A campus of meters, 12 points each minute with jitter, for one day: in full 10,000 x 120 = 14.4 million
values (833 devices). Beside it, in the same run, SQLite with one row per value, one commit per batch.

    python -m benchmarks.journal [--short] [--folder DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import shutil
import sqlite3
import tempfile
import time
from array import array
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from hub import Reading, SystemClock
from hub.journal import Journal, JournalOptions, open_journal

DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS
BATCH = 100  # readings of one append: what a driver has at one time
DRIVERS = 8


def single(value: float) -> float:
    return array("f", [value])[0]


def meter_day(device: str, seed: int, polls: int) -> Iterator[Reading]:
    """A three-phase meter that answers in single precision: noise on everything, counters in Wh."""
    chance = random.Random(seed)
    energy, load_w = chance.randrange(10_000_000), 200.0
    for poll in range(polls):
        at = START_MS + poll * 60_000 + seed % 60_000 + chance.randrange(-250, 250)
        load_w = max(0.0, load_w + chance.gauss(0, 40) + (200 - load_w) * 0.02)
        energy += round(load_w / 60 + chance.random())
        volts = [single(230 + chance.gauss(0, 1.2)) for _ in range(3)]
        amps = [single(load_w / 3 / volt) for volt in volts]
        yield Reading(
            device=device,
            time_ms=at,
            received_ms=at,
            values={
                "voltage_l1": volts[0],
                "voltage_l2": volts[1],
                "voltage_l3": volts[2],
                "current_l1": amps[0],
                "current_l2": amps[1],
                "current_l3": amps[2],
                "active_power_total": single(load_w),
                "reactive_power_total": single(load_w * 0.2 + chance.gauss(0, 2)),
                "power_factor_total": single(round(0.96 + chance.gauss(0, 0.01), 3)),
                "frequency": single(round(50 + chance.gauss(0, 0.015), 2)),
                "energy_import": energy,
                "energy_export": 0,
            },
        )


def minutes(devices: int, polls: int) -> Iterator[list[Reading]]:
    """Batches as they come: every device's poll of one minute, then the next minute's."""
    meters = [meter_day(f"meter-{n:05d}", n * 37, polls) for n in range(devices)]
    for _ in range(polls):
        now = [next(meter) for meter in meters]
        for begin in range(0, devices, BATCH):
            yield now[begin : begin + BATCH]


def line(what: str, figure: str, goal: str) -> None:
    print(f"{what:58} {figure:>16}   {goal}")


async def fill(journal: Journal, devices: int, polls: int) -> None:
    """Append everything; only the appends are timed, not the making of readings."""
    spent_s = cpu_s = 0.0
    values = 0
    batches = minutes(devices, polls)
    while piece := [batch for _, batch in zip(range(400), batches, strict=False)]:
        waiting = iter(piece)

        async def drive(waiting: Iterator[list[Reading]]) -> None:
            for batch in waiting:
                await journal.append(batch)

        begun_s, cpu_begun_s = time.perf_counter(), time.process_time()
        await asyncio.gather(*(drive(waiting) for _ in range(DRIVERS)))
        spent_s += time.perf_counter() - begun_s
        cpu_s += time.process_time() - cpu_begun_s
        values += 12 * sum(map(len, piece))
    line(
        f"append, {values:,} values, {DRIVERS} tasks x {BATCH} readings",
        f"{values / spent_s:,.0f}/s",
        ">= 100,000/s",
    )
    line("  per CPU-second, whole process", f"{values / cpu_s:,.0f}", "")


class Evening(SystemClock):
    """The machine's clock, but the wall says two days after the campus' day, so that it may be sealed."""

    def now_ms(self) -> int:
        return START_MS + 2 * DAY_MS


def at_share(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def seal(journal: Journal, values: int) -> None:
    """Seal the day while a driver keeps appending one reading at a time."""
    steps_s: deque[float] = deque()
    journal.writer.health.steps_s = steps_s
    waits_s: list[float] = []
    sealed = asyncio.create_task(journal.upkeep(), name="upkeep")
    begun_s, cpu_begun_s = time.perf_counter(), time.process_time()
    number = 0
    while not sealed.done():
        number += 1
        one = Reading(
            device="washer-1",
            time_ms=START_MS + 2 * DAY_MS + number,
            received_ms=START_MS + 2 * DAY_MS + number,
            values={"remaining": number},
        )
        append_s = time.perf_counter()
        await journal.append([one])
        waits_s.append(time.perf_counter() - append_s)
        await asyncio.sleep(0.005)
    spent_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_begun_s
    stats = journal.stats()
    line(
        "bytes per value, sealed, tables, keys and roll-ups",
        f"{stats.used_bytes / values:.2f}",
        "<= 6",
    )
    line("  file, with room that the next day reuses", f"{stats.file_bytes / values:.2f}", "")
    line("sealing, values per second", f"{values / spent_s:,.0f}/s", "")
    line("  per CPU-second, whole process", f"{values / cpu_s:,.0f}", "")
    held = list(steps_s)
    line("sealing holds the writer, p50", f"{at_share(held, 0.5) * 1000:.1f} ms", "")
    line("  p99", f"{at_share(held, 0.99) * 1000:.1f} ms", "")
    line(f"  longest of {len(held)} steps", f"{max(held) * 1000:.1f} ms", "<= 50 ms")
    line("an append meanwhile, p99", f"{at_share(waits_s, 0.99) * 1000:.1f} ms", "")
    line("  longest", f"{max(waits_s) * 1000:.1f} ms", "")


async def day_of_one_point(journal: Journal, devices: int, what: str, values: int) -> None:
    spent_s = []
    for device in range(0, devices, max(1, devices // 50)):
        begun_s = time.perf_counter()
        await journal.history(
            f"meter-{device:05d}", "voltage_l2", START_MS, START_MS + DAY_MS + 60_000
        )
        spent_s.append(time.perf_counter() - begun_s)
    line(
        f"24 h of one point of {values / 1e6:.1f} M values, {what}, median",
        f"{at_share(spent_s, 0.5) * 1000:.2f} ms",
        "<= 5 ms",
    )
    line("  longest of 50 devices", f"{max(spent_s) * 1000:.2f} ms", "")


async def many_devices(folder: Path, count: int) -> None:
    """Devices never seen before, and the latest of all of them."""
    async with open_journal(folder / "many.db", clock=SystemClock()) as journal:
        first = [next(meter_day(f"meter-{n:05d}", n, 1)) for n in range(count)]
        gc.collect()
        begun_s = time.perf_counter()
        await asyncio.gather(
            *(journal.append(first[at : at + BATCH]) for at in range(0, count, BATCH))
        )
        line(
            f"{count:,} devices never seen before",
            f"{time.perf_counter() - begun_s:.2f} s",
            "<= 5 s",
        )
        spent_s = []
        for _ in range(5):
            begun_s = time.perf_counter()
            found = await journal.latest()
            spent_s.append(time.perf_counter() - begun_s)
        line(
            f"latest of {len(found):,} devices, median of 5",
            f"{at_share(spent_s, 0.5) * 1000:.1f} ms",
            "<= 50 ms",
        )


def peer(folder: Path, devices: int, polls: int) -> None:
    """SQLite as one would write it at first: one row per value, one commit per batch of readings."""
    db = sqlite3.connect(folder / "peer.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(
        "CREATE TABLE value (series INTEGER, time_ms INTEGER, value, PRIMARY KEY (series, time_ms)) "
        "WITHOUT ROWID"
    )
    series: dict[tuple[str, str], int] = {}
    spent_s, values = 0.0, 0
    for batch in minutes(devices, polls):
        begun_s = time.perf_counter()
        rows = [
            (series.setdefault((reading.device, point), len(series)), reading.time_ms, value)
            for reading in batch
            for point, value in reading.values.items()
        ]
        db.execute("BEGIN")
        db.executemany("INSERT OR IGNORE INTO value VALUES (?, ?, ?)", rows)
        db.execute("COMMIT")
        spent_s += time.perf_counter() - begun_s
        values += len(rows)
    pages = db.execute("PRAGMA page_count").fetchone()[0] * 4096
    line(f"peer: SQLite, one row per value, {values:,} values", f"{values / spent_s:,.0f}/s", "")
    line("  bytes per value", f"{pages / values:.1f}", "")
    begun_s = time.perf_counter()
    db.execute("SELECT time_ms, value FROM value WHERE series = 7").fetchall()
    line("  24 h of one point", f"{(time.perf_counter() - begun_s) * 1000:.2f} ms", "")
    db.close()


async def measure(folder: Path, devices: int) -> None:
    options = JournalOptions(upkeep_share=0.5, upkeep_every_s=86_400)
    values = devices * 1440 * 12
    async with open_journal(folder / "journal.db", clock=Evening(), options=options) as journal:
        await fill(journal, devices, 1440)
        stats = journal.stats()
        line("  bytes per value, not yet sealed", f"{stats.used_bytes / values:.2f}", "")
        await day_of_one_point(journal, devices, "unsealed", values)
        await seal(journal, values)
        await day_of_one_point(journal, devices, "sealed", values)
    begun_s = time.perf_counter()
    async with open_journal(folder / "journal.db", clock=Evening(), options=options):
        line("opening it again", f"{time.perf_counter() - begun_s:.2f} s", "<= 5 s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="a tenth of the campus")
    parser.add_argument("--folder", type=Path, help="where to write; default a temporary folder")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="journal-", dir=arguments.folder))
    devices = 83 if arguments.short else 833
    line("what", "measured", "goal")
    try:
        asyncio.run(measure(folder, devices))
        asyncio.run(many_devices(folder, 10_000))
        peer(folder, devices // 8, 1440)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
