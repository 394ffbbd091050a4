"""Readings on their way to the disk: polling goes on while the last batch is being written."""

from __future__ import annotations

import asyncio

from hub import Host, Reading, StoreError

READINGS_MAX = 256


class Outbox:
    """A bounded batch that gathers while its predecessor is published."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._readings: list[Reading] = []
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self.refused = 0

    async def put(self, reading: Reading) -> None:
        """Add a reading; waits only while the disk is a whole batch behind."""
        while len(self._readings) >= READINGS_MAX:
            self._room.clear()
            await self._room.wait()
        self._readings.append(reading)
        self._filled.set()

    async def run(self) -> None:
        """Publish batch after batch until cancelled; what the store refuses, or is left, is counted."""
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                batch, self._readings = self._readings, []
                self._room.set()
                await self._publish(batch)
        finally:
            if self._readings:
                self._count(len(self._readings), "stopped")

    async def _publish(self, batch: list[Reading]) -> None:
        try:
            await self._host.publish(batch)
        except StoreError:
            self._count(len(batch), "store")

    def _count(self, number: int, reason: str) -> None:
        self.refused += number
        self._host.count("readings_refused", reason, number)
