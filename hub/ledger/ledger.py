"""The ledger as the hub's tasks see it: works that run in a transaction and return when it is on disk."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from hub.clock import Clock
from hub.errors import StoreError
from hub.ledger.books import (
    file_of,
    open_books,
    place_of,
    reading_engine,
    store_error,
    store_errors,
)
from hub.ledger.lock import Lock

Result = TypeVar("Result")
Work = Callable[[Connection], Result]
_GROUP = 200  # works of one transaction
_WAITING = 2_000  # works that may wait before callers do
_READERS = 3  # so that one long query does not keep the others waiting


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerStats:
    """Health and figures since the start."""

    healthy: bool
    reason: str
    waiting: int
    works: int
    commits: int
    commit_s: float  # the longest of the last hundred


class Job:
    """A work, then what came of it; `future` tells its caller."""

    __slots__ = ("error", "future", "result", "work")

    def __init__(
        self, work: Callable[[Connection], object], future: asyncio.Future[object]
    ) -> None:
        self.work = work
        self.future = future
        self.result: object = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Tell the caller, unless it went away."""
        if self.future.done():
            return
        if self.error:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """The connection that writes; belongs to one thread. `reason` says why it cannot, empty when it can."""

    def __init__(self, name: str, engine: Engine, clock: Clock) -> None:
        self.reason = ""
        self.works = 0
        self.commits = 0
        self.commits_s: deque[float] = deque([0.0], maxlen=100)
        self._name = name
        self._engine = engine
        self._clock = clock

    def commit(self, jobs: Sequence[Job]) -> None:
        """Do all works in one transaction, each in its own savepoint, and have them on disk."""
        begun_s = self._clock.monotonic_s()
        try:
            with self._engine.connect() as connection, connection.begin():
                for job in jobs:
                    self._do(connection, job)
        except (SQLAlchemyError, StoreError) as error:
            self.reject(jobs, error)
            return
        self.reason = ""
        self.works += len(jobs)
        self.commits += 1
        self.commits_s.append(self._clock.monotonic_s() - begun_s)

    def reject(self, jobs: Sequence[Job], error: Exception) -> None:
        """None of these works was committed, because of `error`."""
        failure = error if isinstance(error, StoreError) else store_error(self._name, error)
        failure = failure or StoreError(f"{self._name}: {error}")
        self.reason = str(failure)
        for job in jobs:
            job.error = type(failure)(self.reason)

    def _do(self, connection: Connection, job: Job) -> None:
        savepoint = connection.begin_nested()
        try:
            job.result = job.work(connection)
            savepoint.commit()
        except Exception as error:  # handed to the caller, whatever it is
            failure = store_error(self._name, error)
            if failure:
                raise failure from error
            savepoint.rollback()
            job.error = error


class Ledger:
    """What must never be lost. Made by `open_ledger`; every method belongs to the loop it was opened on."""

    def __init__(self, writer: Writer, reader: Engine, thread: Executor, reading: Executor) -> None:
        self._writer = writer
        self._reader = reader
        self._thread = thread
        self._reading = reading
        self._room = asyncio.Semaphore(_WAITING)
        self._waiting: deque[Job] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    async def run(self, work: Work[Result]) -> Result:
        """Run `work` on the ledger's thread; returns what it returned when that is on disk.

        Works of many tasks share a transaction. A work that raises is undone alone and its exception is
        raised here. Raises StoreError when nothing could be committed; a later call may succeed by
        itself. A work must not commit, and must touch nothing but its connection. A cancelled call may
        have been committed all the same.
        """
        async with self._room:
            if self._closed:
                raise StoreError("the ledger is closed")
            job = Job(work, asyncio.get_running_loop().create_future())
            self._waiting.append(job)
            self._next()
            return cast(Result, await job.future)

    async def read(self, query: Work[Result]) -> Result:
        """Run `query` on a connection that only reads; it sees everything committed before.

        Never waits for writers. What it returns must not need the connection any more. Raises StoreError.
        """
        async with self._room:
            if self._closed:
                raise StoreError("the ledger is closed")
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._reading, self._query, query)

    def stats(self) -> LedgerStats:
        """Health and figures, at once."""
        return LedgerStats(
            healthy=not self._writer.reason,
            reason=self._writer.reason,
            waiting=len(self._waiting),
            works=self._writer.works,
            commits=self._writer.commits,
            commit_s=max(self._writer.commits_s),
        )

    async def close(self) -> None:
        """Finish what was begun; nothing new is taken."""
        self._closed = True
        while not self._idle.is_set():
            await self._idle.wait()

    def _query(self, query: Work[Result]) -> Result:
        with store_errors("ledger"), self._reader.connect() as connection, connection.begin():
            return query(connection)

    def _next(self) -> None:
        if not self._waiting or not self._idle.is_set():
            return
        count = min(_GROUP, len(self._waiting))
        jobs = [self._waiting.popleft() for _ in range(count)]
        self._idle.clear()
        done = asyncio.get_running_loop().run_in_executor(self._thread, self._writer.commit, jobs)
        done.add_done_callback(lambda done: self._settle(jobs, done))

    def _settle(self, jobs: Sequence[Job], done: asyncio.Future[None]) -> None:
        self._idle.set()
        failure = None if done.cancelled() else done.exception()
        if (
            failure or done.cancelled()
        ):  # a work that ended the thread's turn; nothing was committed
            self._writer.reject(jobs, StoreError(f"a work broke off the transaction: {failure!r}"))
        for job in jobs:
            job.settle()
        self._next()


@asynccontextmanager
async def open_ledger(
    place: Path | str, *, clock: Clock, executor: Executor | None = None
) -> AsyncIterator[Ledger]:
    """The ledger of this hub: a file of SQLite, or the URL of a database; made when there never was one.

    One process at a time may hold it. Raises StoreDamaged for a file that is damaged, foreign or gone (it
    is left as it is), StoreError when it cannot be used now. Leaving waits until everything begun is on
    disk. `executor` runs all works and reads, where given, instead of the ledger's own threads.
    """
    url = place_of(place)
    path = file_of(url)
    with ExitStack() as stack:
        lock = stack.enter_context(Lock(path)) if path else None
        thread = executor or stack.enter_context(ThreadPoolExecutor(1, "ledger"))
        reading = executor or stack.enter_context(ThreadPoolExecutor(_READERS, "ledger-read"))
        opening = thread.submit(open_books, url, lock, clock)
        stack.callback(_dispose, opening)
        engine = await asyncio.wrap_future(opening)
        reader = reading_engine(url)
        stack.callback(reader.dispose)
        ledger = Ledger(Writer(str(path or url), engine, clock), reader, thread, reading)
        try:
            yield ledger
        finally:
            await ledger.close()


def _dispose(opening: Future[Engine]) -> None:
    if not opening.cancelled() and not opening.exception():
        opening.result().dispose()
