"""Commands on this machine's disk: from the order to the driver, and a thousand at once.

Both rows, `queued` and `sent`, are on disk before the driver is called. The devices answer at once, so what
is measured is the hub. Beside it, in the same run: the same two rows by bare SQLite, one commit each.

    python -m benchmarks.commands [--short] [--folder DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path

import structlog

from hub import Answer, Command, Link, Outcome, Priority, Reading, SystemClock
from hub.commands import Order
from hub.control import Control
from hub.ledger import open_ledger
from hub.presence import PresenceBoard
from hub.safety_rules import SafetyRules
from tests.scripted_device import scripted

NAME = "light"  # confirmed by a reading; no safety rule holds it back


class Wire:
    """Drivers that answer at once and give the proof on being asked; notes when each was called."""

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock
        self.control: Control | None = None
        self.called_s: dict[str, float] = {}

    async def execute(self, link: str, command: Command) -> Outcome:
        self.called_s[command.id] = time.perf_counter()
        return Outcome(answer=Answer.ACKNOWLEDGED)

    async def lend(self, link: str) -> None:
        pass

    def take_back(self, link: str) -> None:
        pass

    def refresh(self, link: str, device: str) -> None:
        asyncio.get_running_loop().call_later(0.002, self._read, device)

    def _read(self, device: str) -> None:
        assert self.control is not None
        now_ms = self._clock.now_ms()
        reading = Reading(
            device=device,
            time_ms=now_ms,
            received_ms=now_ms,
            received_s=self._clock.monotonic_s(),
            values={"lane_light": True},
        )
        self.control.stored([reading])


def order(device: str, key: str) -> Order:
    return Order(device=device, name=NAME, actor="bench", key=key, priority=Priority.OPERATOR)


async def idle(control: Control, wire: Wire, devices: list[str], number: int) -> list[float]:
    """Seconds from the order to the driver, one command at a time."""
    seconds = []
    for place in range(number):
        begun_s = time.perf_counter()
        record = await control.commands.submit(order(devices[place % len(devices)], f"i-{place}"))
        await control.commands.wait(record.id, 10)
        seconds.append(wire.called_s[record.id] - begun_s)
    return sorted(seconds)


async def at_once(control: Control, wire: Wire, devices: list[str]) -> tuple[float, float]:
    """Seconds until one command to each device is accepted, and until each has reached its driver."""
    begun_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        calls = [
            tasks.create_task(control.commands.submit(order(device, f"a-{device}")))
            for device in devices
        ]
    accepted_s = time.perf_counter() - begun_s
    for call in calls:
        await control.commands.wait(call.result().id, 30)
    told_s = max(wire.called_s[call.result().id] for call in calls) - begun_s
    return accepted_s, told_s


def bare(folder: Path, number: int) -> list[float]:
    """Two commits of one row by SQLite alone: what the disk and the library cost."""
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE command (id INTEGER PRIMARY KEY, state TEXT)")
    seconds = []
    for place in range(number):
        begun_s = time.perf_counter()
        db.execute("INSERT INTO command VALUES (?, 'queued')", (place,))
        db.execute("UPDATE command SET state = 'sent' WHERE id = ?", (place,))
        seconds.append(time.perf_counter() - begun_s)
    db.close()
    return sorted(seconds)


def p99(seconds: list[float]) -> float:
    return seconds[int(len(seconds) * 0.99)] * 1000


async def measure(folder: Path, number: int) -> None:
    clock = SystemClock(seed=1)
    names = [f"gate-{place}" for place in range(1000)]
    link = Link(id="bus-1", driver="x", devices=tuple(scripted(name) for name in names))
    wire = Wire(clock)
    async with (
        open_ledger(folder / "ledger.db", clock=clock) as ledger,
        asyncio.TaskGroup() as tasks,
    ):
        control = Control(ledger=ledger, clock=clock, presence=PresenceBoard(), wire=wire)
        wire.control = control
        control.configure([link], SafetyRules(rate_per_minute=600))
        serving = await control.start(tasks)
        accepted_s, told_s = await at_once(control, wire, names)
        seconds = await idle(control, wire, names, number)
        for task in serving:
            task.cancel()
    alone = bare(folder, number)
    print(f"{'measured':48} {'figure':>12} {'goal':>12} {'bare SQLite':>12}")
    median_ms, bare_ms = seconds[number // 2] * 1000, alone[number // 2] * 1000
    print(
        f"{'order → driver called, idle, median':48} {median_ms:9.2f} ms {'':>12} {bare_ms:9.2f} ms"
    )
    print(
        f"{'order → driver called, idle, p99':48} {p99(seconds):9.2f} ms {'20 ms':>12} {p99(alone):9.2f} ms"
    )
    print(f"{'1,000 commands to 1,000 devices, accepted':48} {accepted_s:10.2f} s {'2 s':>12}")
    print(f"{'1,000 commands to 1,000 devices, all at the driver':48} {told_s:9.2f} s {'':>12}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="200 commands instead of 2,000")
    parser.add_argument("--folder", type=Path, help="where the ledger is made; the disk to measure")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        asyncio.run(measure(Path(folder), 200 if options.short else 2000))


if __name__ == "__main__":
    main()
