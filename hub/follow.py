"""The hub's side of every sink: cursor, batches, retry, back-off, and the search for a refused reading.

    journal ── read_after(cursor) ──▶ batch ──▶ sink.write ──▶ move_cursor ──▶ next batch
                                        │ refused: halve, down to the reading that is to blame ──▶ quarantine
                                        │ busy:    wait as long as the receiver asked
                                        └ away:    wait 1 s … 60 s, read the same readings again

The journal is the queue: nothing waits in memory but one batch, and a follower that is far behind costs
the hub nothing. The cursor moves, on disk, only after the receiver has taken what lies before it; a crash
in between sends the same readings once more, with the same values, which a sink must bear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog

from hub.clock import Clock
from hub.errors import HubError, LinkError, Rejected, SinkBusy
from hub.model import POISON_KEPT_BYTES, Poison, Reading
from hub.plugin import Sink
from hub.points import POINTS

_log = structlog.get_logger(__name__)

PAUSE_MIN_S, PAUSE_MAX_S = 1.0, 60.0
BUSY_MAX_S = 3600.0  # a receiver may ask for more; it is asked again after this
DOUBT_S = 3600.0
CLOSE_TIMEOUT_S = 5.0
_UNKNOWN = -1  # the cursor, until it was read
_SECRET = frozenset(point.name for point in POINTS.values() if point.secret)


class Stored(Protocol):
    """A reading as it lies in the log, with its place there."""

    @property
    def cursor(self) -> int:
        """Its place: greater than that of everything stored before."""

    @property
    def reading(self) -> Reading:
        """The reading."""


class ReadingLog(Protocol):
    """What a follower needs of the journal. Every method may raise StoreError."""

    async def read_after(self, cursor: int, limit: int) -> Sequence[Stored]:
        """The next readings after `cursor`, in the order they were stored, `limit` at most."""

    async def wait_after(self, cursor: int) -> None:
        """Return when a reading after `cursor` is stored."""

    async def cursor(self, name: str) -> int:
        """Where the follower of this name stands; 0 for a new one."""

    async def move_cursor(self, name: str, cursor: int) -> None:
        """Note on disk that the follower has done everything up to `cursor`."""

    async def keep_poison(self, poison: Sequence[Poison]) -> None:
        """Keep refused content for a person; returns when on disk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowerLimits:
    """Bounds of one follower.

    `batch_readings` at once; 128, because one refused reading among 128 is then found, and all others are
    delivered, within 10 requests. `write_timeout_s` for one write of the sink. `linger_s` is how long a
    follower that has caught up lets readings gather before it writes again.
    """

    batch_readings: int = 128
    write_timeout_s: float = 60.0
    linger_s: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowerStatus:
    """How one follower does, for health and metrics.

    `oldest_ms` is when the oldest reading not yet delivered was received; None when all are delivered.
    `last_error` is empty while the receiver takes what it is given. `delivered` counts readings the
    receiver took, `rejected` those it refused for good, `failures` the tries that came to nothing.
    """

    name: str
    cursor: int
    delivered: int
    rejected: int
    failures: int
    oldest_ms: int | None
    last_error: str


class Follower:
    """Gives every reading of the log to one sink, in order, at least once, for ever.

    `name` is the sink's in the configuration, and the name of its cursor: a sink renamed starts anew.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        log: ReadingLog,
        clock: Clock,
        limits: FollowerLimits | None = None,
    ) -> None:
        self._name = name
        self._sink = sink
        self._log = log
        self._clock = clock
        self._limits = limits or FollowerLimits()
        self._batch_readings = self._limits.batch_readings
        self._cursor = _UNKNOWN
        self._delivered = self._rejected = self._failures = 0
        self._failures_in_a_row = 0
        self._oldest_ms: int | None = None
        self._last_error = ""
        self._doubt_since_s: float | None = None

    @property
    def status(self) -> FollowerStatus:
        """How it does now."""
        return FollowerStatus(
            name=self._name,
            cursor=max(self._cursor, 0),
            delivered=self._delivered,
            rejected=self._rejected,
            failures=self._failures,
            oldest_ms=self._oldest_ms,
            last_error=self._last_error,
        )

    async def run(self) -> None:
        """Follow until cancelled; then the sink is closed, and neither is used again. Called once.

        Raises nothing else: whatever a sink or the log raises is waited out and told in the status.
        """
        try:
            while True:
                await self._clock.sleep(await self._step())
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._sink.close()

    async def _step(self) -> float:
        """Deliver the next batch, or wait for one; returns the seconds to pause before the next step."""
        try:
            if self._cursor == _UNKNOWN:
                self._cursor = await self._log.cursor(self._name)
            batch = await self._log.read_after(self._cursor, self._batch_readings)
            if not batch:
                self._oldest_ms = None
                await self._log.wait_after(self._cursor)
                return 0.0
            self._oldest_ms = batch[0].reading.received_ms
            await self._deliver(batch)
        except SinkBusy as busy:
            return self._busy_s(busy)
        except (HubError, TimeoutError) as error:
            return self._pause_s(error)
        caught_up = len(batch) < self._batch_readings
        self._succeeded()
        return self._limits.linger_s if caught_up else 0.0

    async def _deliver(self, batch: Sequence[Stored]) -> None:
        """Have the whole batch taken or, reading by reading, refused; the cursor follows each part.

        A refusal is believed only of a receiver that takes something else of the same batch: one that
        takes nothing at all is a wrong address or a broken server rather than bad readings. After an
        hour without any success it is believed all the same, so that a backlog the receiver will never
        take (older than it keeps) cannot hold up what is new.
        """
        window = _Window(length=len(batch), step=len(batch))
        refused: list[Poison] = []
        taken = self._doubted_enough()
        while window.start < window.length:
            end = window.end()
            try:
                await self._write(batch[window.start : end])
            except Rejected as refusal:
                if end - window.start > 1:
                    window.narrow(end)
                    continue
                refused.append(self._poison(batch[window.start].reading, refusal))
                window.skip()
            else:
                window.taken(end)
                taken = True
                self._doubt_since_s = None
            if taken:
                await self._settle(refused, batch[window.start - 1].cursor)
                refused.clear()
        if refused:
            first = refused[0].payload.decode("utf-8", "replace").partition("\n")[0]
            raise _EverythingRefused(f"{self._name} refuses everything: {first}")

    async def _write(self, part: Sequence[Stored]) -> None:
        try:
            async with asyncio.timeout(self._limits.write_timeout_s):
                await self._sink.write([stored.reading for stored in part])
        except (HubError, TimeoutError):
            raise
        except Exception as error:
            # Of a sink the follower is the supervisor: a sink's mistake costs that sink, not the hub.
            if self._failures_in_a_row == 0:
                _log.exception("sink failed", sink=self._name)
            raise LinkError(f"{type(error).__name__}: {error}") from error
        self._delivered += len(part)

    async def _settle(self, refused: Sequence[Poison], cursor: int) -> None:
        if refused:
            await self._log.keep_poison(refused)
            self._rejected += len(refused)
        await self._log.move_cursor(self._name, cursor)
        self._cursor = cursor

    def _poison(self, reading: Reading, refusal: Rejected) -> Poison:
        """What a person needs to see why: the receiver's words, then the reading without its secrets."""
        shown = {name: v for name, v in reading.values.items() if name not in _SECRET}
        body = msgspec.json.encode(msgspec.structs.replace(reading, values=shown))
        return Poison(
            time_ms=self._clock.now_ms(),
            link=self._name,
            source=reading.device,
            reason="refused",
            payload=(f"{refusal}\n".encode(errors="replace") + body)[:POISON_KEPT_BYTES],
        )

    def _doubted_enough(self) -> bool:
        since_s = self._doubt_since_s
        return since_s is not None and self._clock.monotonic_s() - since_s >= DOUBT_S

    def _busy_s(self, busy: SinkBusy) -> float:
        pause_s = self._pause_s(busy)
        if busy.retry_after_s is None:
            return pause_s
        return min(max(busy.retry_after_s, PAUSE_MIN_S), BUSY_MAX_S)

    def _pause_s(self, error: Exception) -> float:
        """Note a failure; returns the pause: doubled each time, half of it left to chance.

        From the second failure in a row on, batches become smaller: a receiver or a line that is too slow
        for a large one, or cuts it off, may still take a small one. A refusal of everything is judged by a
        full batch, so that a bad reading finds others beside it.
        """
        if self._failures_in_a_row == 0:
            _log.warning("sink is away", sink=self._name, reason=str(error))
        if isinstance(error, _EverythingRefused):
            self._batch_readings = self._limits.batch_readings
            if self._doubt_since_s is None:
                self._doubt_since_s = self._clock.monotonic_s()
        elif self._failures_in_a_row > 0:
            self._batch_readings = max(1, self._batch_readings // 2)
        full_s = min(PAUSE_MIN_S * 2.0 ** min(self._failures_in_a_row + 1, 16), PAUSE_MAX_S)
        self._failures += 1
        self._failures_in_a_row += 1
        self._last_error = str(error) or "no answer in time"
        return full_s * (0.5 + 0.5 * self._clock.random())

    def _succeeded(self) -> None:
        if self._failures_in_a_row:
            _log.info("sink is back", sink=self._name, failures=self._failures_in_a_row)
        self._failures_in_a_row = 0
        self._last_error = ""
        self._batch_readings = min(self._batch_readings * 2, self._limits.batch_readings)


class _EverythingRefused(HubError):
    """Not one reading of a batch was taken."""


@dataclass(kw_only=True, slots=True)
class _Window:
    """Which part of a batch is sent next, so that few requests find a refused reading.

    While nothing was refused: `step` readings, at first all. After a refusal the half of what is known to
    hold the culprit, until that is one reading. After the first culprit all the rest is tried at once,
    because one is the usual number; after the next, steps grow from one, so that a batch of nothing but
    culprits costs little more than one request each.
    """

    length: int
    step: int
    start: int = 0
    suspect_end: int | None = None
    found: int = 0

    def end(self) -> int:
        """Where the part that begins at `start` ends."""
        if self.suspect_end is None:
            return min(self.start + self.step, self.length)
        return self.start + max(1, (self.suspect_end - self.start) // 2)

    def narrow(self, end: int) -> None:
        """From `start` to `end` was refused as a whole."""
        self.suspect_end = end

    def taken(self, end: int) -> None:
        """From `start` to `end` was taken."""
        self.start = end
        if self.suspect_end is None:
            self.step *= 2
        elif self.suspect_end == end:
            self.suspect_end = None  # taken after all, one by one

    def skip(self) -> None:
        """The reading at `start` was refused alone."""
        self.start += 1
        self.suspect_end = None
        self.found += 1
        self.step = self.length if self.found == 1 else 1
