"""The only place that reads a clock, draws a random number, makes an id or sleeps.

Everything that needs time takes a `Clock`, so that a test can run a month in a minute on an event loop
with virtual time, and a campaign can be repeated from its seed.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Time, chance and identity, lent to whoever needs them."""

    def now_ms(self) -> int:
        """Wall time in milliseconds since 1970 UTC: for stamps, never for deadlines."""

    def monotonic_s(self) -> float:
        """Seconds that only go forward: for deadlines, periods and pauses."""

    async def sleep(self, seconds: float) -> None:
        """Pause this task; at least until the loop's next turn."""

    def random(self) -> float:
        """A number in [0, 1), for jitter."""

    def new_id(self) -> str:
        """A new identifier of 26 characters `[0-9a-z]` that sorts by the time it was made."""


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def _base32(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(length)))


class SystemClock:
    """The machine's own clock, and a generator of chance that a seed can fix."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)

    def now_ms(self) -> int:
        """Wall time of the machine."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """The machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Pause on the running loop's time."""
        await asyncio.sleep(seconds)

    def random(self) -> float:
        """The next number of this clock's generator."""
        return self._random.random()

    def new_id(self) -> str:
        """48 bits of milliseconds, then 80 bits of chance."""
        return _base32(self.now_ms(), 10) + _base32(self._random.getrandbits(80), 16)


class VirtualClock:
    """A clock that moves only when told, or with the event loop it is given.

    With `loop`, time is the loop's own (a loop whose time is virtual makes hours pass at once); wall time
    is `start_ms` plus what the loop has run. Without, `advance` moves it and `sleep` advances at once.
    """

    def __init__(
        self, *, start_ms: int, seed: int = 0, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._start_ms = start_ms
        self._loop = loop
        self._loop_start_s = loop.time() if loop else 0.0
        self._advanced_s = 0.0
        self._random = random.Random(seed)

    def now_ms(self) -> int:
        """Start plus all that has passed."""
        return self._start_ms + round(self.monotonic_s() * 1000)

    def monotonic_s(self) -> float:
        """Seconds since this clock began."""
        passed_s = self._loop.time() - self._loop_start_s if self._loop else 0.0
        return passed_s + self._advanced_s

    async def sleep(self, seconds: float) -> None:
        """Wait on the virtual loop, or move this clock forward at once."""
        if self._loop:
            await asyncio.sleep(seconds)
            return
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        self._advanced_s += seconds

    def random(self) -> float:
        """The next number of the seed."""
        return self._random.random()

    def new_id(self) -> str:
        """Like the system clock's, from virtual time and the seed."""
        return _base32(self.now_ms(), 10) + _base32(self._random.getrandbits(80), 16)
