"""The journal as the hub's tasks see it: append and wait for the disk, follow by cursor, query."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar, cast

from hub.clock import Clock
from hub.errors import StoreError
from hub.journal.append import Appender
from hub.journal.followers import drop, move, register
from hub.journal.poison import keep_poison
from hub.journal.query import Queries, Sizes
from hub.journal.records import Appended, JournalOptions, Latest, Series, Stats, Stored
from hub.journal.room import Room
from hub.journal.schema import connect_reader
from hub.journal.writer import Job, Writer
from hub.model import Poison, Reading

Result = TypeVar("Result")
_READ_STEP = 500  # rows read at one go on the loop: about two milliseconds


class Journal:
    """One box's readings. Made by `open_journal`; every method belongs to the loop it was opened on.

    Appends of many tasks share one transaction, and each returns when that is on disk. Reading goes
    through a connection of its own, never waits for the writer, and sees all that was appended before.
    `query` answers what needs no waiting: roll-ups, followers, quarantine.
    """

    query: Queries

    def __init__(self, path: Path, clock: Clock, options: JournalOptions) -> None:
        self._options = options
        self.writer = Writer(path, clock, options, self.told)
        self._room = Room(options.queue_readings)
        self._committed = asyncio.Event()
        self._total = Appended()
        self._head = 0

    async def append(self, readings: Sequence[Reading]) -> Appended:
        """Store readings; returns when all of them are on disk.

        Waits while the queue is full. Raises StoreError when nothing of this call was stored (disk full, a
        reading that cannot be written), StoreDamaged when the file cannot be trusted; a later call may
        succeed by itself. A cancelled call may have been stored all the same.
        """
        held = tuple(readings)
        appended = await self._do(lambda appender: appender.add(held), len(held))
        self._total = Appended(
            stored=self._total.stored + appended.stored,
            repeated=self._total.repeated + appended.repeated,
            conflicts=self._total.conflicts + appended.conflicts,
        )
        return appended

    async def keep_poison(self, poison: Sequence[Poison]) -> None:
        """Keep messages that could not become readings; the oldest make room, the counts stay for ever.

        Returns when on disk; waits while the queue is full; raises StoreError.
        """
        held = tuple(poison)
        kept = self._options.poison_kept
        await self._do(lambda appender: keep_poison(appender.db, held, kept), len(held))

    async def read_after(self, cursor: int, limit: int) -> list[Stored]:
        """Up to `limit` readings committed after `cursor`, in the order of commits.

        What was sealed is not among them: sealing waits for every registered follower.
        """
        found: list[Stored] = []
        while len(found) < limit:
            step = self.query.read_after(cursor, min(_READ_STEP, limit - len(found)))
            if not step:
                break
            found += step
            cursor = step[-1].cursor
            await asyncio.sleep(0)
        return found

    async def wait_after(self, cursor: int) -> None:
        """Return when something newer than `cursor` is committed."""
        while self._head <= cursor:
            await self._committed.wait()

    async def cursor(self, name: str) -> int:
        """How far the follower of this name is; a new name is registered and begins at what is not sealed."""
        return await self._do(lambda appender: register(appender.db, name))

    async def move_cursor(self, name: str, cursor: int) -> None:
        """Remember, on disk, that a follower is done with everything up to `cursor`; registers it."""
        await self._do(lambda appender: move(appender.db, name, cursor))

    async def drop_cursor(self, name: str) -> None:
        """Forget a follower that will not come back, so that sealing need not wait for it."""
        await self._do(lambda appender: drop(appender.db, name))

    async def latest(self, devices: Iterable[str] | None = None) -> Mapping[str, Latest]:
        """The last word of the named devices that have one, or of all, by device."""
        if devices is not None:
            return self.query.latest(devices)
        found: dict[str, Latest] = {}
        for step in self.query.all_latest(_READ_STEP):
            found |= step
            await asyncio.sleep(0)
        return found

    async def history(
        self, device: str, point: str, start_ms: int, end_ms: int, limit: int = 1_000_000
    ) -> Series:
        """One point of one device from `start_ms` until before `end_ms`, at most the first `limit` values."""
        return self.query.history(device, point, start_ms, end_ms, limit)

    async def upkeep(self) -> None:
        """Run one whole pass of sealing and retention now; raises StoreError."""
        await self._do(None)

    def stats(self) -> Stats:
        """Health and figures, at once."""
        health = self.writer.health
        reason, sizes = health.reason or health.damage, Sizes()
        try:
            sizes = self.query.sizes()
        except StoreError as error:
            reason = reason or str(error)
        return Stats(
            healthy=not reason,
            reason=reason,
            head=self._head,
            waiting=self._room.taken,
            log_rows=sizes.log_rows,
            stored=self._total.stored,
            repeated=self._total.repeated,
            conflicts=self._total.conflicts,
            purged=sizes.purged,
            file_bytes=sizes.file_bytes,
            used_bytes=sizes.used_bytes,
            commit_s=max(health.commits_s),
            upkeep_s=max(health.steps_s),
        )

    async def _do(self, work: Callable[[Appender], Result] | None, weight: int = 0) -> Result:
        if weight:
            await self._room.take(weight)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.writer.submit(Job(work, weight, future))
        return cast(Result, await future)

    def told(self, jobs: list[Job], error: StoreError | None) -> None:
        """The writer's word that these jobs are done, or failed with `error`."""
        for job in jobs:
            job.settle(error)
        self._room.give(sum(job.weight for job in jobs))
        head = self.writer.health.head
        if head > self._head:
            self._head = head
            committed, self._committed = self._committed, asyncio.Event()
            committed.set()


@asynccontextmanager
async def open_journal(
    path: Path, *, clock: Clock, options: JournalOptions | None = None
) -> AsyncIterator[Journal]:
    """The journal of this box; made when there never was one. One process at a time may hold it.

    Raises StoreDamaged for a file that is damaged, foreign or gone (it is left as it is), StoreError when
    it cannot be used now. Leaving waits until everything queued is on disk.
    """
    journal = Journal(path, clock, options or JournalOptions())
    await journal.writer.start()
    try:
        with closing(connect_reader(path)) as db:
            journal.query = Queries(db)
            journal.told([], None)
            yield journal
    finally:
        journal.writer.stop()
