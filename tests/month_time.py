"""A month in a minute: virtual time that passes in strides while nothing happens, and waits for threads.

The hub looks several times a second whether something is to be done, which in a month comes to tens of
millions of looks in vain. Whoever makes something happen says so here; between that, time goes in strides, as
for a machine that was asleep: what was due meanwhile is late, and done at once.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import TypeVar

from hub import VirtualClock
from tests.virtual_loop import InlineExecutor, VirtualSelector

Result = TypeVar("Result")
_THREAD_S = 5.0
_BREATH_S = 0.2  # a pause up to this is a breath in the midst of work, not a look in vain


class MonthSelector(VirtualSelector):
    """Moves time: not while something real is waited for, and at least a stride while nothing happens."""

    def __init__(self) -> None:
        super().__init__()
        self.real = 0
        self.stride_s = 0.0
        self.awake_until_s = 0.0
        self.moments_s: list[float] = []  # at which something will happen

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.real and timeout != 0:
            return selectors.DefaultSelector.select(self, _THREAD_S)
        if timeout and self.time_s >= self.awake_until_s:
            timeout = max(timeout, self._until_next_s())
        return super().select(timeout)

    def _until_next_s(self) -> float:
        while self.moments_s and self.moments_s[0] <= self.time_s:
            heappop(self.moments_s)
        rest_s = self.stride_s - self.time_s % self.stride_s if self.stride_s else 0.0
        return min(rest_s, self.moments_s[0] - self.time_s) if self.moments_s else rest_s


class MonthLoop(asyncio.SelectorEventLoop):
    """A loop on such time; what would go to a thread is done at once."""

    def __init__(self) -> None:
        self.virtual = MonthSelector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.time_s

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., Result], *args: object
    ) -> asyncio.Future[Result]:
        return super().run_in_executor(executor or InlineExecutor(), func, *args)


class MonthClock(VirtualClock):
    """The clock of all; the hub knows only what every clock has."""

    def __init__(self, *, start_ms: int, seed: int, stride_s: float) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MonthLoop)
        super().__init__(start_ms=start_ms, seed=seed, loop=loop)
        self._virtual = loop.virtual
        self._virtual.stride_s = stride_s

    async def sleep(self, seconds: float) -> None:
        """Pause; a breath takes no stride."""
        if 0 < seconds <= _BREATH_S:
            await self.exactly(seconds)
        else:
            await super().sleep(seconds)

    @property
    def is_awake(self) -> bool:
        """Whether something happens now."""
        return self._virtual.time_s < self._virtual.awake_until_s

    def stir(self, seconds: float) -> None:
        """Something happens now, and may go on for so long."""
        until_s = self._virtual.time_s + seconds
        self._virtual.awake_until_s = max(self._virtual.awake_until_s, until_s)

    async def exactly(self, seconds: float) -> None:
        """Pause until something is to happen: not a moment longer."""
        heappush(self._virtual.moments_s, self._virtual.time_s + seconds)
        await asyncio.sleep(seconds)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Time stands still: a thread is waited for."""
        self._virtual.real += 1
        try:
            yield
        finally:
            self._virtual.real -= 1


def run_month(main: Coroutine[object, object, Result]) -> Result:
    """Run to the end on a loop of its own."""
    with asyncio.Runner(loop_factory=MonthLoop) as runner:
        return runner.run(main)
