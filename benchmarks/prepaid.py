"""The books of 10,000 rooms on this machine's disk: allowance, charging, orders one by one, the hourly check.

Beside the allowance, in the same run: the same rows by bare SQLite, in groups as large.

    python -m benchmarks.prepaid [--short] [--folder DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy import Connection

from hub import Reading, Site, VirtualClock, load_site
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit, Utility, ensure, platform
from hub.campus.accounts.books import Kind, transfer
from hub.campus.accounts.prices import Price, enter_price
from hub.campus.prepaid.allowance import grant_month
from hub.campus.prepaid.charging import Charger
from hub.campus.prepaid.meters import open_rooms, room_meters
from hub.campus.prepaid.rules import read_rules
from hub.journal import open_journal
from hub.ledger import Ledger, open_ledger
from tests.provisioned import HEADER, apply
from tests.site_folder import write_site

START_MS = 1_793_577_600_000  # 2026-11-02 00:00 UTC
HOUR_S = 3_600
GROUP = 500
BUS_METERS = 200
PAYER = platform("campus")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    figure_s: float
    goal: str = ""
    bare_s: float | None = None


def write_campus(folder: Path, rooms: int) -> Path:
    """A site of so many rooms with a meter each."""
    buses = range(-(-rooms // BUS_METERS))
    links = [
        f'[links.bus-{bus}]\ndriver = "modbus"\nhost = "127.0.0.1"\nport = 9\n' for bus in buses
    ]
    policy = "[prepaid]\nallowance_wh = 5000\ncharge_step_fen = 0\n"
    rows = [
        f"m-{n},eastron_sdm120,bus-{n // BUS_METERS},{n % BUS_METERS + 1},B{n // 400},1,{n},,,"
        for n in range(rooms)
    ]
    return write_site(folder, site="\n".join((*links, policy)), devices="\n".join((HEADER, *rows)))


async def timed(work: Awaitable[object]) -> float:
    """How long this took, in seconds."""
    begun_s = time.perf_counter()
    await work
    return time.perf_counter() - begun_s


def pay(connection: Connection, *, room: Room, number: int) -> None:
    """An order is accepted."""
    books.post(
        connection,
        key=f"order/campus/{number}",
        kind=Kind.ACCEPTED,
        postings=transfer(PAYER, room.held, Unit.FEN, 5_000),
        actor="campus",
        cause="",
        time_ms=START_MS,
    )


async def one_by_one(ledger: Ledger, rooms: list[Room], number: int) -> list[float]:
    """Seconds of each payment booked and on disk, one after the other."""
    seconds = []
    for place in range(number):
        work = partial(pay, room=rooms[place % len(rooms)], number=place)
        seconds.append(await timed(ledger.run(work)))
    return sorted(seconds)


def readings(rooms: int, now_ms: int, counter: int) -> Iterator[Reading]:
    """What every meter says."""
    for place in range(rooms):
        yield Reading(
            device=f"m-{place}",
            time_ms=now_ms,
            received_ms=now_ms,
            values={"energy_import": counter + place},
        )


def bare(folder: Path, rooms: int) -> float:
    """The rows of one month's allowance by SQLite alone, in groups as large."""
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE t (number INTEGER PRIMARY KEY, key TEXT UNIQUE)")
    db.execute("CREATE TABLE p (number, place, account, amount, PRIMARY KEY (number, place))")
    begun_s = time.perf_counter()
    for begin in range(0, rooms, GROUP):
        group = range(begin, min(begin + GROUP, rooms))
        db.execute("BEGIN")
        db.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"allowance/{n}") for n in group])
        lines = [(n, place, f"room/{n}", 5_000) for n in group for place in range(2)]
        db.executemany("INSERT INTO p VALUES (?, ?, ?, ?)", lines)
        db.execute("COMMIT")
    passed_s = time.perf_counter() - begun_s
    db.close()
    return passed_s


async def charging(folder: Path, ledger: Ledger, site: Site, clock: VirtualClock) -> list[Row]:
    """An hour of readings, one a minute, charged to every room."""
    rooms = sum(1 for _ in site.devices())
    rules = read_rules(site)
    async with open_journal(folder / "journal.db", clock=clock) as journal:
        charger = Charger(ledger=ledger, journal=journal, clock=clock)
        await journal.append(list(readings(rooms, clock.now_ms(), 0)))
        first_s = await timed(charger.run(site, rules))
        for minute in range(60):
            clock.advance(60)
            await journal.append(list(readings(rooms, clock.now_ms(), minute * 20)))
        hour_s = await timed(charger.run(site, rules))
    return [
        Row(what="the first reading of every meter taken", figure_s=first_s),
        Row(what="an hour of readings charged to every room", figure_s=hour_s),
    ]


async def measure(folder: Path, rooms: int) -> tuple[list[Row], list[float]]:
    clock = VirtualClock(start_ms=START_MS)
    config = write_campus(folder / "config", rooms)
    site = load_site(config)
    rules = read_rules(site)
    async with open_ledger(folder / "ledger.db", clock=clock) as ledger:
        await apply(ledger, config, clock=clock)
        known = [meter.room for meter in room_meters(site, rules)]
        await ledger.run(partial(open_rooms, rooms=known, now_ms=START_MS))
        await ledger.run(lambda connection: ensure(connection, PAYER, now_ms=START_MS))
        await ledger.run(enter)
        grant = partial(grant_month, ledger, site, rules, clock=clock)
        rows = [
            Row(
                what="the month's allowance for every room",
                figure_s=await timed(grant()),
                goal="30 s",
                bare_s=bare(folder, rooms),
            ),
            Row(what="the same once more: nothing is given", figure_s=await timed(grant())),
        ]
        rows += await charging(folder, ledger, site, clock)
        clock.advance(31 * 24 * HOUR_S)
        what = "the next month's: what is left lapses"
        rows.append(Row(what=what, figure_s=await timed(grant()), goal="30 s"))
        payments = await one_by_one(ledger, known, min(rooms, 2_000))
        rows.append(Row(what="the check of every sum", figure_s=await timed(check(ledger))))
    return rows, payments


def enter(connection: Connection) -> None:
    """A price for all."""
    day = date(2026, 1, 1)
    item = Price(utility=Utility.ELECTRICITY, from_day=day, rate=54_830)
    enter_price(connection, item, today=day, actor="bench", time_ms=START_MS)


async def check(ledger: Ledger) -> None:
    found = await ledger.read(books.check)
    if found:
        raise SystemExit(f"the books are wrong: {found[:3]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="1,000 rooms instead of 10,000")
    parser.add_argument("--folder", type=Path, help="where the ledger is made; the disk to measure")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    rooms = 1_000 if options.short else 10_000
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows, payments = asyncio.run(measure(Path(folder), rooms))
    print(f"{f'{rooms:,} rooms':48} {'figure':>10} {'goal':>8} {'bare SQLite':>12}")
    for row in rows:
        beside = "" if row.bare_s is None else f"{row.bare_s:10.2f} s"
        print(f"{row.what:48} {row.figure_s:8.2f} s {row.goal:>8} {beside:>12}")
    median_ms = payments[len(payments) // 2] * 1000
    p99_ms = payments[int(len(payments) * 0.99)] * 1000
    print(f"{'a payment booked, on disk: median':48} {median_ms:7.2f} ms")
    print(f"{'a payment booked, on disk: p99':48} {p99_ms:7.2f} ms")


if __name__ == "__main__":
    main()
