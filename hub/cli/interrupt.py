"""Ctrl-C during long work: the step that runs is finished, and then no other begins."""

from __future__ import annotations

import signal
from types import FrameType

EXIT_INTERRUPTED = 130


class Interrupt:
    """While it is entered, the first Ctrl-C sets `asked`; a second one ends the program as ever."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interrupt:
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
