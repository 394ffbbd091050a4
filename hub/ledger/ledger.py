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

import structlog
from sqlalchemy import URL, Connection
from sqlalchemy.exc import SQLAlchemyError

from hub.clock import Clock
from hub.errors import StoreError
from hub.ledger.books import Books, file_of, open_books, place_of
from hub.ledger.faults import InDoubt, store_error, store_errors
from hub.ledger.lock import Lock

Result = TypeVar("Result")
Work = Callable[[Connection], Result]
_GROUP = 200  # works of one transaction
_WAITING = 2_000  # works that may wait before callers do
_READERS = 3  # so that one long query does not keep the others waiting
_LEAVE_S = 3.0  # patience at the end with a server that does not answer
_LOOK_S = 1.0  # a server that goes or comes back is noticed within this, also without a work

_log = structlog.get_logger("ledger")


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
    """Does works on the connection that writes; belongs to one thread.

    `reason` says why nothing can be written, empty when it can.
    """

    def __init__(self, books: Books, clock: Clock) -> None:
        self.reason = ""
        self.works = 0
        self.commits = 0
        self.commits_s: deque[float] = deque([0.0], maxlen=100)
        self._books = books
        self._clock = clock
        self._doubtful: list[Job] = []

    def commit(self, jobs: Sequence[Job]) -> list[Job]:
        """Do all works in one transaction, each in its own savepoint, and have them on disk.

        Returns those whose end is known now: these, unless the server went away while it committed, and
        those of an earlier transaction about which it has spoken at last.
        """
        begun_s = self._clock.monotonic_s()
        told: list[Job] = []
        try:
            told += self._resolve()
            with self._books.transaction() as connection:
                for job in jobs:
                    self._do(connection, job)
        except InDoubt as error:
            self.reason = str(error)
            self._doubtful = list(jobs)
            return told
        except (SQLAlchemyError, StoreError) as error:
            self.reject(jobs, error)
            return [*told, *jobs]
        self.reason = ""
        if jobs:
            self._count(len(jobs))
            self.commits_s.append(self._clock.monotonic_s() - begun_s)
        return [*told, *jobs]

    def reject(self, jobs: Sequence[Job], error: Exception) -> None:
        """None of these works was committed, because of `error`."""
        failure = error if isinstance(error, StoreError) else store_error(self._books.name, error)
        failure = failure or StoreError(f"{self._books.name}: {error}")
        self.reason = str(failure)
        for job in jobs:
            job.error = type(failure)(self.reason)

    def give_up(self) -> list[Job]:
        """Those whose end nobody will know before the next start."""
        jobs, self._doubtful = self._doubtful, []
        lost = f"{self._books.name}: only the next start will show whether this was stored"
        self.reject(jobs, StoreError(lost))
        return jobs

    def _resolve(self) -> list[Job]:
        if not self._doubtful:
            return []
        committed = self._books.committed()
        jobs, self._doubtful = self._doubtful, []
        if committed:
            self._count(len(jobs))
        else:
            self.reject(jobs, StoreError(f"{self._books.name}: lost while it was committed"))
        return jobs

    def _count(self, works: int) -> None:
        self.works += works
        self.commits += 1

    def _do(self, connection: Connection, job: Job) -> None:
        connection.exec_driver_sql("SAVEPOINT work")
        try:
            job.result = job.work(connection)
            connection.exec_driver_sql("RELEASE SAVEPOINT work")
        except Exception as error:  # handed to the caller, whatever it is
            failure = store_error(self._books.name, error)
            if failure:
                raise failure from error
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT work")
            connection.exec_driver_sql("RELEASE SAVEPOINT work")
            job.error = error


class Ledger:
    """What must never be lost. Made by `open_ledger`; every method belongs to the loop it was opened on."""

    def __init__(self, books: Books, writer: Writer, thread: Executor, reading: Executor) -> None:
        self._books = books
        self._writer = writer
        self._thread = thread
        self._reading = reading
        self._room = asyncio.Semaphore(_WAITING)
        self._waiting: deque[Job] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._answers: set[Future[object]] = set()
        self._due = False
        self._look: asyncio.TimerHandle | None = None
        self._said = ""
        self._closed = False

    async def run(self, work: Work[Result]) -> Result:
        """Run `work` on the ledger's thread; returns what it returned when that is on disk.

        Works of many tasks share a transaction. A work that raises is undone alone and its exception is
        raised here. Raises StoreError when nothing could be committed; a later call may succeed by
        itself. A work must not commit, and must touch nothing but its connection; a statement that it
        lets fail stands in a savepoint of its own. A cancelled call may have been committed all the same.
        When a server goes away while it commits, the call waits until it says whether it did.
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
            answer = self._reading.submit(self._query, query)
            self._answers.add(cast(Future[object], answer))
            answer.add_done_callback(self._answers.discard)
            try:
                return await asyncio.wait_for(asyncio.wrap_future(answer), self._books.answer_s)
            except TimeoutError:
                self._books.hang_up()
                raise StoreError(f"{self._books.name}: no answer") from None

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

    def watch(self) -> None:
        """Ask a server now and again whether it is there; what it left in doubt is settled by this too."""
        self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._ask)

    async def close(self) -> None:
        """Finish what was begun; nothing new is taken."""
        self._closed = True
        if self._look:
            self._look.cancel()
        overdue = asyncio.get_running_loop().call_later(_LEAVE_S, self._books.hang_up)
        while not self._idle.is_set():
            await self._idle.wait()
        reads = [asyncio.wrap_future(answer) for answer in tuple(self._answers)]
        await asyncio.gather(*reads, return_exceptions=True)
        overdue.cancel()
        for job in self._writer.give_up():
            job.settle()

    def _query(self, query: Work[Result]) -> Result:
        with (
            store_errors(self._books.name),
            self._books.reader.connect() as connection,
            connection.begin(),
        ):
            return query(connection)

    def _ask(self) -> None:
        self._due = True
        self._next()
        self.watch()

    def _next(self) -> None:
        if not (self._waiting or self._due) or not self._idle.is_set():
            return
        self._due = False
        count = min(_GROUP, len(self._waiting))
        jobs = [self._waiting.popleft() for _ in range(count)]
        self._idle.clear()
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._thread, self._writer.commit, jobs)
        done.add_done_callback(lambda done: self._settle(jobs, done))
        if self._books.answer_s is not None:
            patience = loop.call_later(self._books.answer_s, self._books.hang_up)
            done.add_done_callback(lambda _: patience.cancel())

    def _settle(self, jobs: Sequence[Job], done: asyncio.Future[list[Job]]) -> None:
        self._idle.set()
        failure = None if done.cancelled() else done.exception()
        if (
            failure or done.cancelled()
        ):  # a work that ended the thread's turn; nothing was committed
            self._writer.reject(jobs, StoreError(f"a work broke off the transaction: {failure!r}"))
            told = jobs
        else:
            told = done.result()
        for job in told:
            job.settle()
        self._say()
        self._next()

    def _say(self) -> None:
        """One line when it begins to refuse, and one when it stores again."""
        reason = self._writer.reason
        if reason and not self._said:
            _log.error("ledger refuses", reason=reason)
        elif self._said and not reason:
            _log.info("ledger stores again")
        self._said = reason


@asynccontextmanager
async def open_ledger(
    place: Path | URL | str, *, clock: Clock, executor: Executor | None = None
) -> AsyncIterator[Ledger]:
    """The ledger of this hub: a file of SQLite, or a database of PostgreSQL by its URL; made when there
    never was one.

    One process at a time may hold it. Raises StoreDamaged for one that is damaged, foreign or gone (it
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
        stack.callback(_close, opening)
        books = await asyncio.wrap_future(opening)
        ledger = Ledger(books, Writer(books, clock), thread, reading)
        if books.answer_s is not None:
            ledger.watch()
        try:
            yield ledger
        finally:
            await ledger.close()


def _close(opening: Future[Books]) -> None:
    if not opening.cancelled() and not opening.exception():
        opening.result().close()
