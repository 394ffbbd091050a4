"""A process that appends to a journal, for tests that kill it or let its disk fill up.

python -m tests.journal_child append PATH       says the number of each reading once it is stored
python -m tests.journal_child full PATH BYTES   fills files of at most BYTES, then lifts the limit
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from pathlib import Path

from hub import Reading, StoreError, SystemClock
from hub.journal import Journal, JournalOptions, open_journal


def reading(number: int) -> Reading:
    return Reading(
        device=f"meter-{number % 7}",
        time_ms=1_700_000_000_000 + number * 86_400 * 100,
        received_ms=1_700_000_000_000 + number * 86_400 * 100,
        values={"energy_import": number, "meter_number": "x" * 100},
    )


async def append(path: Path) -> None:
    options = JournalOptions(upkeep_every_s=0, upkeep_share=1.0, keep_days=30_000)
    async with open_journal(path, clock=SystemClock(), options=options) as journal:
        number = 0
        while True:
            batch = [reading(number + place) for place in range(10)]
            await journal.append(batch)
            number += 10
            print(number, flush=True)


async def until_full(journal: Journal, first: int) -> int:
    for number in range(first, 1_000_000):
        try:
            await journal.append([reading(number)])
        except StoreError as error:
            print(f"refused {number} {type(error).__name__} {error}", flush=True)
            return number
    return -1


async def full(path: Path, limit: int) -> None:
    """Appends until refused, twice; the second reading refused is stored once there is space."""
    options = JournalOptions(probe_every_s=0.05)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with open_journal(path, clock=SystemClock(), options=options) as journal:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        refused = await until_full(journal, 0)
        await journal.keep_poison(())  # what writes nothing says nothing of the disk
        print(f"healthy {journal.stats().healthy}", flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        async with asyncio.timeout(30):
            while not journal.stats().healthy:
                await asyncio.sleep(0.02)
        print(f"healthy {journal.stats().healthy}", flush=True)
        await journal.append([reading(refused)])
        stored = await journal.read_after(0, 1_000_000)
        print(f"stored {[s.reading for s in stored] == [reading(n) for n in range(refused + 1)]}")


if __name__ == "__main__":
    if sys.argv[1] == "append":
        asyncio.run(append(Path(sys.argv[2])))
    else:
        asyncio.run(full(Path(sys.argv[2]), int(sys.argv[3])))
