"""An event loop whose time is virtual: hours pass at once, and a hang is an error."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

Result = TypeVar("Result")
Given = ParamSpec("Given")


class VirtualSelector(selectors.DefaultSelector):
    """Never waits: moves time instead."""

    def __init__(self) -> None:
        super().__init__()
        self.time_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if found or timeout == 0:
            return found
        assert timeout is not None, "everything waits and nothing will ever happen"
        self.time_s += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on its selector's time."""

    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.time_s


class InlineExecutor(Executor):
    """Works are done at once, on the loop's own thread, in no time."""

    def submit(
        self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # handed on, as an executor does
            future.set_exception(error)
        return future


def run_virtual(main: Coroutine[object, object, Result]) -> Result:
    """Run to the end on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
