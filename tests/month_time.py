"""A month in a minute: virtual time that waits for the journal's thread, and in which nobody looks in vain."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TypeVar

from hub import VirtualClock
from tests.virtual_loop import InlineExecutor, VirtualSelector

Result = TypeVar("Result")
_THREAD_S = 5.0


class MonthSelector(VirtualSelector):
    """Moves time, but not while something real is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.real = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.real and timeout != 0:
            return selectors.DefaultSelector.select(self, _THREAD_S)
        return super().select(timeout)


class MonthLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time; what would go to a thread is done at once."""

    def __init__(self) -> None:
        self._virtual = MonthSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.time_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Result], *args: object
    ) -> asyncio.Future[Result]:
        return super().run_in_executor(executor or InlineExecutor(), func, *args)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Time stands still: a thread is waited for."""
        self._virtual.real += 1
        try:
            yield
        finally:
            self._virtual.real -= 1


class MonthClock:
    """Virtual time whose short pauses last longer while nothing happens.

    The hub looks several times a second whether something is to be done, which in a month comes to tens of
    millions of looks. Whoever makes something happen says so with `stir`: everybody who pauses looks at once
    when his time has come, and all pauses are as long as they are said to be for a while. Without that, a
    pause up to `look_s` lasts `drowse_s`.
    """

    def __init__(self, *, start_ms: int, seed: int, look_s: float, drowse_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._clock = VirtualClock(start_ms=start_ms, seed=seed, loop=loop)
        self._look_s = look_s
        self._drowse_s = drowse_s
        self._awake_until_s = 0.0
        self._stirred = asyncio.Event()

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def random(self) -> float:
        return self._clock.random()

    def new_id(self) -> str:
        return self._clock.new_id()

    async def sleep(self, seconds: float) -> None:
        due_s = self.monotonic_s() + seconds
        if 0 < seconds <= self._look_s and due_s > self._awake_until_s:
            try:
                async with asyncio.timeout(max(self._drowse_s, seconds)):
                    await self._stirred.wait()
            except TimeoutError:
                pass
        await asyncio.sleep(max(0.0, due_s - self.monotonic_s()))

    @property
    def is_awake(self) -> bool:
        """Whether something happens now."""
        return self.monotonic_s() < self._awake_until_s

    def stir(self, seconds: float) -> None:
        """Something happens now, and may go on for so long."""
        self._awake_until_s = max(self._awake_until_s, self.monotonic_s() + seconds)
        stirred, self._stirred = self._stirred, asyncio.Event()
        stirred.set()


def run_month(main: Coroutine[object, object, Result]) -> Result:
    """Run to the end on a loop of its own."""
    with asyncio.Runner(loop_factory=MonthLoop) as runner:
        return runner.run(main)
