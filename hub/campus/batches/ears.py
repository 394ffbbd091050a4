"""Who waits for the next word of a device."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hub.model import Reading


class Ears:
    """Wakes those who listen to a device when it says something usable."""

    def __init__(self) -> None:
        self._listening: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def listening(self, device: str) -> Iterator[asyncio.Event]:
        """Set as soon as a reading of this device is on disk."""
        event = asyncio.Event()
        events = self._listening.setdefault(device, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._listening.pop(device, None)

    def heard(self, readings: Sequence[Reading]) -> None:
        """New readings are on disk."""
        for reading in readings:
            if reading.values:
                for event in self._listening.get(reading.device, ()):
                    event.set()
