"""Who looks at which device's frames: each listener has a bounded queue, and nobody costs a driver a wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from hub.model import Trace

KEPT_MAX = 500


class Listener:
    """The frames of one device that nobody has taken yet; the oldest make room and are counted."""

    def __init__(self) -> None:
        self._traces: deque[Trace] = deque(maxlen=KEPT_MAX)
        self._came = asyncio.Event()
        self._skipped = 0

    def hear(self, trace: Trace) -> None:
        """Keep a frame until it is taken."""
        self._skipped += len(self._traces) == KEPT_MAX
        self._traces.append(trace)
        self._came.set()

    async def wait(self) -> None:
        """Return as soon as there is something to take."""
        await self._came.wait()

    def take(self) -> tuple[list[Trace], int]:
        """What came since the last call, oldest first, and how many had to make room."""
        traces, skipped = list(self._traces), self._skipped
        self._traces.clear()
        self._skipped = 0
        self._came.clear()
        return traces, skipped


class Taps:
    """Every listener of this hub, by device."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}

    @contextmanager
    def listening(self, device: str) -> Iterator[Listener]:
        """Hear a device's frames while the block runs."""
        listener = Listener()
        self._listeners.setdefault(device, []).append(listener)
        try:
            yield listener
        finally:
            self._listeners[device].remove(listener)
            if not self._listeners[device]:
                del self._listeners[device]

    def open(self, device: str) -> bool:
        """Whether somebody listens to this device; to any, when none is named."""
        return device in self._listeners if device else bool(self._listeners)

    def tap(self, trace: Trace) -> None:
        """Give a frame to everybody who listens to its device."""
        for listener in self._listeners.get(trace.device, ()):
            listener.hear(trace)
