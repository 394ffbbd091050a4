"""A process that writes to a ledger, for tests that kill it, cut its power or fill its disk.

python -m tests.ledger_child write PLACE             says each row's number once it is committed
python -m tests.ledger_child full PLACE BYTES        fills files of at most BYTES, then lifts the limit
python -m tests.ledger_child migrate PLACE NUMBER    opens it; killed before the statement of this number
python -m tests.ledger_child hold PLACE              says "open" and keeps it until the end of its input

PLACE is the folder of a file, or the URL of a database.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import signal
import sys
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, event, func, insert, select

from hub import StoreError, SystemClock, audit
from hub.ledger import Ledger, open_ledger
from hub.ledger.tables import latches

TASKS = 8


def add(connection: Connection, number: int) -> int:
    """A row and its audit row: two tables that must never be seen apart."""
    name = f"latch-{number}"
    row = {"name": name, "latched": True, "changed_ms": number, "actor": "test", "cause": "x" * 200}
    connection.execute(insert(latches).values(**row))
    audit.append(
        connection,
        actor="test",
        cause="",
        subject=name,
        action="latched",
        before="",
        after="x" * 200,
        time_ms=number,
    )
    return number


def numbers(connection: Connection) -> list[int]:
    """What has been added."""
    return list(connection.scalars(select(latches.c.changed_ms).order_by(latches.c.changed_ms)))


def audited(connection: Connection) -> int:
    """How many audit rows there are."""
    return connection.scalar(select(func.count()).select_from(audit.audit)) or 0


async def write(place: Path | str) -> None:
    async with open_ledger(place, clock=SystemClock()) as ledger:
        count = itertools.count(len(await ledger.read(numbers)))

        async def go_on() -> None:
            for number in count:
                print(await ledger.run(lambda connection, n=number: add(connection, n)), flush=True)

        async with asyncio.TaskGroup() as tasks:
            for writer in range(TASKS):
                tasks.create_task(go_on(), name=f"writer {writer}")


async def until_full(ledger: Ledger, first: int) -> int:
    for number in range(first, 1_000_000):
        try:
            await ledger.run(lambda connection, n=number: add(connection, n))
        except StoreError as error:
            print(f"refused {type(error).__name__} {error}", flush=True)
            return number
    return -1


async def full(place: Path | str, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with open_ledger(place, clock=SystemClock()) as ledger:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        refused = await until_full(ledger, 0)
        print(f"healthy {ledger.stats().healthy}", flush=True)
        print(f"readable {await ledger.read(numbers) == list(range(refused))}", flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await ledger.run(lambda connection: add(connection, refused))
        print(f"healthy {ledger.stats().healthy}", flush=True)
        print(f"stored {await ledger.read(numbers) == list(range(refused + 1))}", flush=True)


async def migrate(place: Path | str, last: int) -> None:
    seen = itertools.count(1)

    def die(*_: object) -> None:
        if next(seen) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", die)
    async with open_ledger(place, clock=SystemClock()):
        print("open", flush=True)


async def hold(place: Path | str) -> None:
    async with open_ledger(place, clock=SystemClock()):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    place = sys.argv[2] if "://" in sys.argv[2] else Path(sys.argv[2]) / "ledger.db"
    match sys.argv[1]:
        case "write":
            asyncio.run(write(place))
        case "full":
            asyncio.run(full(place, int(sys.argv[3])))
        case "migrate":
            asyncio.run(migrate(place, int(sys.argv[3])))
        case "hold":
            asyncio.run(hold(place))
