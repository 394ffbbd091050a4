"""A night's reconciliation: bill, orders, credits and counts of one day, on this machine's disk.

Every order is delivered into one of the meters, with its command and its postings, and stands on a bill of
many pages. Measured are the first run of that day, and the same once more. Beside it: how long one order had
to wait that came in meanwhile.

    python -m benchmarks.reconcile [--short] [--folder DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx2
import structlog
from sqlalchemy import Connection

from hub import Device, Link, Place, Priority, Reading, Site, State, VirtualClock, load_profiles
from hub.campus.accounts.accounts import Room
from hub.campus.alarms import Alarms
from hub.campus.orders import orders
from hub.campus.orders.orders import Act, Notice, OrderState
from hub.campus.orders.platforms import Platform
from hub.campus.policies import Policies
from hub.campus.reconcile.reconciler import Reconciler
from hub.commands import Record, rows
from hub.commands.life import Life
from hub.journal import Journal, open_journal
from hub.ledger import Ledger, open_ledger
from simulators.platform import PaymentPlatform

DAY = date(2026, 11, 22)
START_MS = round(datetime(2026, 11, 22, tzinfo=UTC).timestamp() * 1000)
NIGHT_MS = START_MS + 27 * 3_600_000
PAY = "pay"
SECRET = bytes(32)
METERS = 200
GROUP = 200
BEGUN = 7  # purchases that each meter had before
FEN = 5_000


def site_of(folder: Path) -> Site:
    """A site of so many meters that keep their credit."""
    profile = load_profiles().get("acrel_ddsy1352", {}, place="benchmark")
    devices = tuple(
        Device(
            id=f"m-{n}",
            profile=profile,
            link="bus",
            address=str(n),
            place=Place(building="B1", room=str(n)),
            period_s=60.0,
        )
        for n in range(METERS)
    )
    link = Link(id="bus", driver="modbus", devices=devices)
    return Site(name="bench", timezone=ZoneInfo("UTC"), links=(link,), folder=folder)


def credit(connection: Connection, order: orders.Order, count: int, now_ms: int) -> None:
    """The command of an order, confirmed, and its order delivered."""
    record = Record(
        id=f"c{order.id}",
        device=order.device,
        name="credit",
        arguments={"amount": order.amount_fen, "count": count},
        actor="delivery",
        cause="",
        owner="delivery",
        key=order.key,
        priority=Priority.PAID,
        state=State.QUEUED,
        reason="",
        held=False,
        created_ms=now_ms,
        expires_ms=now_ms + 60_000,
        deadline_ms=60_000,
        sent_ms=None,
        finished_ms=None,
        attempts=0,
        nonce="",
        proof="",
    )
    rows.add(connection, record, "", 0)
    life = Life(state=State.CONFIRMED, reason="", attempts=1, doubts=0)
    rows.move(connection, record, life, now_ms + 1, {"sent_ms": now_ms})
    act = Act(actor="delivery", now_ms=now_ms + 1)
    moving = orders.advance(connection, order, OrderState.DELIVERING, act)
    orders.deliver(connection, moving, act, in_meter=True)


def pay(connection: Connection, numbers: Sequence[int], clock: VirtualClock, step_ms: int) -> None:
    """Orders of a day, in turn over all meters."""
    for number in numbers:
        now_ms = START_MS + (number + 1) * step_ms
        room = Room(building="B1", room=str(number % METERS))
        notice = Notice(platform=PAY, number=f"T{number + 1:08}", room=room, amount_fen=FEN)
        act = Act(actor=PAY, now_ms=now_ms)
        device, deadline_ms = f"m-{number % METERS}", now_ms + 86_400_000
        taken = orders.receive(
            connection, notice, act, id=f"{number:026}", device=device, deadline_ms=deadline_ms
        )
        assert taken.order is not None
        credit(connection, taken.order, BEGUN + 1 + number // METERS, now_ms)


async def read_meters(journal: Journal, orders_of_day: int) -> None:
    """What every meter says: each hour of the day, as its purchases come in."""
    for hour in range(25):
        time_ms = START_MS + hour * 3_600_000 - 60_000
        readings = []
        for n in range(METERS):
            bought = len(range(n, orders_of_day * hour // 24, METERS))
            values = {
                "purchase_count": BEGUN + bought,
                "credit_money": 1_000 + bought * FEN - hour * 5,
                "energy_import": 1_000_000 + hour * 100,
            }
            readings.append(
                Reading(device=f"m-{n}", time_ms=time_ms, received_ms=time_ms, values=values)
            )
        await journal.append(readings)


async def fill(ledger: Ledger, platform: PaymentPlatform, number: int) -> None:
    """The day's orders, and the platform's own ledger of them."""
    clock = VirtualClock(start_ms=START_MS)
    step_ms = 23 * 3_600_000 // number
    for begin in range(0, number, GROUP):
        some = range(begin, min(begin + GROUP, number))
        await ledger.run(partial(pay, numbers=some, clock=clock, step_ms=step_ms))
    platform.clock = clock
    for _ in range(number):
        clock.advance(step_ms / 1000)
        platform.pay("B1", "1", FEN)


async def waits(ledger: Ledger, gaps: list[float]) -> None:
    """How long each small write has to wait, until cancelled."""
    while True:
        begun_s = time.perf_counter()
        await ledger.run(lambda connection: connection.exec_driver_sql("SELECT 1") and None)
        gaps.append(time.perf_counter() - begun_s)
        await asyncio.sleep(0.02)


async def measure(folder: Path, number: int) -> list[tuple[str, float, str]]:
    clock = VirtualClock(start_ms=NIGHT_MS)
    platform = PaymentPlatform(clock=clock, secret=SECRET, page=1_000)
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=platform.app()))
    agreed = Platform(
        name=PAY, secrets=(SECRET,), receiver="logistics", bill_url="http://127.0.0.1/bill"
    )
    async with (
        http,
        open_ledger(folder / "ledger.db", clock=clock) as ledger,
        open_journal(folder / "journal.db", clock=clock) as journal,
    ):
        await fill(ledger, platform, number)
        await read_meters(journal, number)
        platform.clock = clock
        reconciler = Reconciler(
            ledger=ledger, journal=journal, clock=clock, http=http, alarms=Alarms(clock)
        )
        reconciler.configure(Policies(site=site_of(folder), platforms={PAY: agreed}))
        gaps: list[float] = []
        other = asyncio.create_task(waits(ledger, gaps), name="waits")
        found = []
        for what in (f"a day of {number:,} orders compared", "the same once more"):
            begun_s, worked_s = time.perf_counter(), time.process_time()
            results = await reconciler.reconcile(DAY)
            found.append((what, time.perf_counter() - begun_s, "10 s"))
            found.append(("  of it this process worked", time.process_time() - worked_s, ""))
            wrong = [one for row in results for one in row.tallies if one.what != "equal"]
            assert not wrong, wrong
        other.cancel()
    found.append(("a write that came meanwhile waited at most", max(gaps), ""))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="1,000 orders instead of 10,000")
    parser.add_argument("--folder", type=Path, help="where the ledger is made; the disk to measure")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = asyncio.run(measure(Path(folder), 1_000 if options.short else 10_000))
    for what, figure_s, goal in found:
        print(f"{what:48} {figure_s:8.2f} s {goal:>8}")
    print(f"load average meanwhile: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
