"""The journal's one thread: takes jobs from a queue and has them committed together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

import apsw

from hub.clock import Clock
from hub.errors import StoreError
from hub.journal.records import JournalOptions
from hub.journal.schema import Lock, open_file
from hub.journal.store import Health, Outcome, Store, Work


class Job:
    """Something for the thread: work inside a transaction or, without `work`, one pass of upkeep.

    `weight` is its number of readings, `future` tells the loop what came of it.
    """

    __slots__ = ("future", "outcome", "weight")

    def __init__(self, work: Work | None, weight: int, future: asyncio.Future[object]) -> None:
        self.outcome = Outcome(work) if work else None
        self.weight = weight
        self.future = future

    def settle(self, error: StoreError | None) -> None:
        """Tell the waiting task; a task that went away is not told."""
        if self.future.done():
            return
        error = error or (self.outcome.error if self.outcome else None)
        if error:
            self.future.set_exception(error)
        else:
            self.future.set_result(self.outcome.result if self.outcome else None)


class Writer:
    """Runs jobs in the order they came; `tell` is called on the loop with those that are done.

    After the thread has ended every job fails with StoreError.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        options: JournalOptions,
        tell: Callable[[list[Job], StoreError | None], None],
    ) -> None:
        self.health = Health()
        self._path = path
        self._clock = clock
        self._options = options
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._upkeep: list[Job] = []
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    async def start(self) -> None:
        """Open the file in the thread; raises StoreError or StoreDamaged."""
        self._thread.start()
        try:
            await asyncio.shield(self._opened)
        except asyncio.CancelledError:
            self.stop()
            raise

    @property
    def alive(self) -> bool:
        """Whether the thread still takes jobs."""
        return self._thread.is_alive()

    def submit(self, job: Job) -> None:
        """Queue a job; the caller keeps the bound."""
        if not self.alive:
            self._tell([job], StoreError(f"{self._path}: the journal is closed"))
            return
        self._jobs.put(job)

    def stop(self) -> None:
        """Finish what is queued, close the file and end the thread; blocks until then."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        error = StoreError(f"{self._path}: the journal is closed")
        try:
            with Lock(self._path) as lock:
                db = open_file(self._path, lock, self._clock, self._options.start_check_s)
                self._serve(db)
        except StoreError as failure:
            error = failure
        finally:
            self._end(error)

    def _serve(self, db: apsw.Connection) -> None:
        store = Store(self._path, db, self._clock, self._options, self.health)
        try:
            self._loop.call_soon_threadsafe(self._say_opened, None)
            serving = True
            while serving:
                jobs, serving = self._gather(store)
                self._work(store, jobs)
        finally:
            store.close()

    def _gather(self, store: Store) -> tuple[list[Job], bool]:
        """The jobs of the next transaction, and whether the thread goes on after it."""
        jobs: list[Job] = []
        weight = 0
        pause_s = store.pause_s()
        try:
            job = self._jobs.get(timeout=pause_s) if pause_s > 0 else self._jobs.get_nowait()
            while job is not None:
                jobs.append(job)
                weight += job.weight
                if weight >= self._options.batch_readings:
                    return jobs, True
                job = self._jobs.get_nowait()
        except Empty:
            return jobs, True
        return jobs, False

    def _work(self, store: Store, jobs: list[Job]) -> None:
        outcomes = [job.outcome for job in jobs if job.outcome]
        if outcomes:
            store.commit(outcomes)
            self._finish([job for job in jobs if job.outcome], None)
        passes = [job for job in jobs if not job.outcome]
        if passes:
            self._upkeep.extend(passes)
            store.hurry()
        if store.step():
            reason = self.health.reason or self.health.damage
            self._finish(self._upkeep, StoreError(reason) if reason else None)
            self._upkeep = []

    def _finish(self, jobs: list[Job], error: StoreError | None) -> None:
        if jobs:
            self._loop.call_soon_threadsafe(self._tell, jobs, error)

    def _end(self, error: StoreError) -> None:
        """Nothing may wait for a thread that is no more."""
        self.health.reason = str(error)
        jobs, self._upkeep = self._upkeep, []
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job:
                jobs.append(job)
        self._loop.call_soon_threadsafe(self._say_opened, error)
        self._finish(jobs, error)

    def _say_opened(self, error: StoreError | None) -> None:
        if self._opened.done():
            return
        if error:
            self._opened.set_exception(error)
        else:
            self._opened.set_result(None)
