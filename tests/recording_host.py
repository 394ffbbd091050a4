"""A host that keeps what a driver says, for tests: no disk, no supervisor."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from hub import Clock, Outcome, Poison, Reading, StoreError, SystemClock, Trace


class RecordingHost:
    """A Host that records everything in lists, in the order it came.

    While `disk` is cleared, publish waits as on a slow disk; while `refuses` is true it raises StoreError.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock(seed=1)
        self._changed = asyncio.Condition()
        self.readings: list[Reading] = []
        self.poison: list[Poison] = []
        self.misses: list[tuple[str, str]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.link_events: list[str] = []
        self.late_answers: list[tuple[str, str, Outcome]] = []
        self.looks_at: set[str] = set()
        self.traces: list[Trace] = []
        self.batches = 0
        self.refuses = False
        self.disk = asyncio.Event()
        self.disk.set()

    @property
    def clock(self) -> Clock:
        return self._clock

    async def publish(self, readings: Sequence[Reading]) -> None:
        await self.disk.wait()
        if self.refuses:
            raise StoreError("the test's disk is full")
        self.batches += 1
        self.readings.extend(readings)
        async with self._changed:
            self._changed.notify_all()

    async def quarantine(self, poison: Sequence[Poison]) -> None:
        if self.refuses:
            raise StoreError("the test's disk is full")
        self.poison.extend(poison)
        async with self._changed:
            self._changed.notify_all()

    def missed(self, device: str, reason: str) -> None:
        self.misses.append((device, reason))

    def link_up(self) -> None:
        self.link_events.append("up")

    def link_down(self, reason: str) -> None:
        self.link_events.append(f"down: {reason}")

    def answered_late(self, device: str, command: str, outcome: Outcome) -> None:
        self.late_answers.append((device, command, outcome))

    def tapped(self, device: str = "") -> bool:
        return device in self.looks_at if device else bool(self.looks_at)

    def tap(self, trace: Trace) -> None:
        self.traces.append(trace)

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        self.counts[name, reason] += number

    def of(self, device: str) -> list[Reading]:
        """The readings of one device, oldest first."""
        return [reading for reading in self.readings if reading.device == device]

    async def wait_for(self, number: int, timeout_s: float = 10.0) -> list[Reading]:
        """All readings, as soon as there are `number`; fails the test when they do not come."""
        await self.wait_until(lambda: len(self.readings) >= number, timeout_s)
        return self.readings

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Return when the condition holds; it is looked at after every event and each 10 ms."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                # Not asyncio.wait_for, which may forget that the time is over.
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.01), self._changed:
                        await self._changed.wait()
