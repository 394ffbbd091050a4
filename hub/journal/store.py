"""The open file in the hands of the writer's thread: commits, health, and upkeep in short steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw

from hub.clock import Clock
from hub.errors import StoreDamaged, StoreError
from hub.journal.append import Appender
from hub.journal.records import JournalOptions
from hub.journal.schema import connect_writer
from hub.journal.upkeep import upkeep

_PROBE_BYTES = 256 * 1024
_PROBE_ID = -1  # no device has a negative number

Work = Callable[[Appender], object]


class Health:
    """How the store fares; written by the writer's thread, read by the loop.

    `reason` is why nothing can be written now; `damage` is what upkeep found that no try will mend.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.damage = ""
        self.head = 0
        self.commits_s: deque[float] = deque([0.0], maxlen=100)
        self.steps_s: deque[float] = deque([0.0], maxlen=100)


class Outcome:
    """Work to be done inside a transaction, and then what came of it."""

    __slots__ = ("error", "result", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.result: object = None
        self.error: StoreError | None = None


class Store:
    """One connection that writes. Every method belongs to the writer's thread."""

    def __init__(
        self,
        path: Path,
        db: apsw.Connection,
        clock: Clock,
        options: JournalOptions,
        health: Health,
    ) -> None:
        self.health = health
        self._path = path
        self._clock = clock
        self._options = options
        self._db = db
        self._appender = Appender(db)
        self.health.head = self._appender.head
        self._steps: Iterator[None] | None = None
        self._due_s = clock.monotonic_s() + options.upkeep_every_s

    def commit(self, outcomes: Sequence[Outcome]) -> None:
        """Do all work in one transaction and have it on disk.

        Work that raises StoreError fails alone and the rest is done again without it. When the file
        cannot be written everything fails, and `health` says why.
        """
        begun_s = self._clock.monotonic_s()
        changes = self._db.total_changes()
        left = list(outcomes)
        try:
            while left and (failed := self._transact(left)):
                left.remove(failed)
        except apsw.Error as error:
            failure = self._broken(error)
            for outcome in left:
                outcome.error = failure
            return
        if self._db.total_changes() != changes:  # what writes nothing says nothing of the disk
            self._mended()
        self.health.head = self._appender.head
        self.health.commits_s.append(self._clock.monotonic_s() - begun_s)

    def pause_s(self) -> float:
        """How long the thread may wait for jobs before it calls `step`."""
        if self.health.reason:
            return self._options.probe_every_s
        return max(0.0, self._due_s - self._clock.monotonic_s())

    def hurry(self) -> None:
        """Begin a pass of upkeep now, unless one is under way."""
        if self._steps is None:
            self._due_s = self._clock.monotonic_s()

    def step(self) -> bool:
        """Probe an unhealthy file, or do one step of upkeep when it is due; True when a pass ended."""
        if self.health.reason:
            self._probe()
            return False
        begun_s = self._clock.monotonic_s()
        if begun_s < self._due_s:
            return False
        if self._steps is None:
            self._steps = upkeep(self._db, self._appender, self._clock, self._options)
        try:
            next(self._steps)
        except StopIteration:
            self._end_pass(begun_s)
            return True
        except StoreDamaged as error:
            self.health.damage = f"{self._path}: {error}"
            self._end_pass(begun_s)
            return True
        except apsw.Error as error:
            self._broken(error)
            return True
        spent_s = self._clock.monotonic_s() - begun_s
        self.health.steps_s.append(spent_s)
        self._due_s = begun_s + spent_s / self._options.upkeep_share
        return False

    def close(self) -> None:
        """Give the file back; what was committed is on disk already."""
        self._db.close()

    def _end_pass(self, now_s: float) -> None:
        self._steps = None
        self._due_s = now_s + self._options.upkeep_every_s

    def _transact(self, outcomes: Sequence[Outcome]) -> Outcome | None:
        committed = False
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for outcome in outcomes:
                try:
                    outcome.result = outcome.work(self._appender)
                except StoreError as error:
                    outcome.error = error
                    return outcome
                except (ValueError, TypeError) as error:  # no encoding takes it, now or ever
                    outcome.error = StoreError(f"cannot be stored: {error}")
                    return outcome
            self._appender.flush()
            self._db.execute("COMMIT")
            committed = True
        finally:
            if not committed:
                self._undo()
        return None

    def _undo(self) -> None:
        if self._db.in_transaction:  # a full disk has sometimes ended it already
            self._db.execute("ROLLBACK")
        self._appender.undo()

    def _probe(self) -> None:
        """Write as much as a batch may need, so that health does not flicker while the disk is full."""
        try:
            self._reopen()
            self._db.execute(
                "INSERT OR REPLACE INTO chunk VALUES (?, randomblob(?))", (_PROBE_ID, _PROBE_BYTES)
            )
            self._db.execute("DELETE FROM chunk WHERE id = ?", (_PROBE_ID,))
        except (apsw.Error, StoreError) as error:
            self._broken(error)
        else:
            self._mended()

    def _reopen(self) -> None:
        """A new connection, because after an I/O error the old one may hold what the disk does not."""
        self._steps = None
        self._db.close()
        self._db = connect_writer(self._path)
        self._appender = Appender(self._db)

    def _broken(self, error: Exception) -> StoreError:
        self._steps = None
        self.health.reason = f"{self._path}: {error}"
        if isinstance(error, apsw.CorruptError | apsw.NotADBError):
            return StoreDamaged(self.health.reason)
        return StoreError(self.health.reason)

    def _mended(self) -> None:
        self.health.reason = ""
