"""How many readings may wait for the disk: a bound that tasks wait for in the order they came."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """`limit` places; more than that at once is let in only when nothing else is."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.taken = 0

    async def take(self, places: int) -> None:
        """Wait until there is room, then hold it."""
        if not self._queue and self._fits(places):
            self.taken += places
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((places, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._queue.remove((places, granted))
            else:
                self.give(places)
            self._grant()
            raise

    def give(self, places: int) -> None:
        """Give room back to whoever waits longest."""
        self.taken -= places
        self._grant()

    def _grant(self) -> None:
        while self._queue and self._fits(self._queue[0][0]):
            places, granted = self._queue.popleft()
            self.taken += places
            granted.set_result(None)

    def _fits(self, places: int) -> bool:
        return self.taken == 0 or self.taken + places <= self._limit
