"""A reading log in memory, for tests of what follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from hub import Poison, Reading, StoreError
from hub.follow import Follower

NOW_MS = 1_790_000_000_000


def meter_reading(number: int, *, device: str = "m-1") -> Reading:
    """The reading of the `number`th minute: power and energy made of the number."""
    time_ms = NOW_MS + number * 60_000
    return Reading(
        device=device,
        time_ms=time_ms,
        received_ms=time_ms + 5,
        values={"active_power_total": number + 0.5, "energy_import": number * 10},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredInMemory:
    cursor: int
    reading: Reading


class MemoryLog:
    """Readings in a list; the next `full_disk` writes and `unreadable` looks at a cursor fail."""

    def __init__(self, readings: Sequence[Reading] = ()) -> None:
        self.stored: list[StoredInMemory] = []
        self.poison: list[Poison] = []
        self.cursors: dict[str, int] = {}
        self.full_disk = 0
        self.unreadable = 0
        self._changed = asyncio.Condition()
        self._append(readings)

    def _append(self, readings: Sequence[Reading]) -> None:
        for reading in readings:
            self.stored.append(StoredInMemory(cursor=len(self.stored) + 1, reading=reading))

    async def append(self, readings: Sequence[Reading]) -> None:
        async with self._changed:
            self._append(readings)
            self._changed.notify_all()

    async def read_after(self, cursor: int, limit: int) -> Sequence[StoredInMemory]:
        await asyncio.sleep(0)
        return self.stored[cursor : cursor + limit]

    async def wait_after(self, cursor: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.stored) > cursor)

    async def cursor(self, name: str) -> int:
        await asyncio.sleep(0)
        if self.unreadable > 0:
            self.unreadable -= 1
            raise StoreError("the disk is full")
        return self.cursors.get(name, 0)

    async def move_cursor(self, name: str, cursor: int) -> None:
        await self._write()
        async with self._changed:
            self.cursors[name] = cursor
            self._changed.notify_all()

    async def keep_poison(self, poison: Sequence[Poison]) -> None:
        await self._write()
        self.poison += poison

    async def _write(self) -> None:
        await asyncio.sleep(0)
        if self.full_disk > 0:
            self.full_disk -= 1
            raise StoreError("the disk is full")

    async def reached(self, name: str, value: int, timeout_s: float = 30.0) -> None:
        """Return when the named cursor stands at `value`; raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self.cursors.get(name, 0) >= value)


@asynccontextmanager
async def following(follower: Follower) -> AsyncIterator[Follower]:
    """The follower, running until the block ends; what it raises by itself is raised."""
    task = asyncio.create_task(follower.run(), name="follower")
    try:
        yield follower
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
