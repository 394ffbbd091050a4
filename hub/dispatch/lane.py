"""A device's lane: what waits for it, what is under way, and what the device says meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from hub.clock import Clock
from hub.command import Command, CommandSpec, Hazard, Outcome
from hub.commands import OpenCommand
from hub.commands.opposites import undoes
from hub.model import Device, Reading
from hub.points import Scalar

_KEPT_MAX = 64
_REST_MIN_S = 0.001  # below the grain of a loop's clock nothing passes
_REST_MAX_S = 60.0
DEVICE_CLOCK_MS = 2_000  # how far behind a device's own clock may be for its word to count as new


class Wire(Protocol):
    """The drivers, as dispatch sees them."""

    async def execute(self, link: str, command: Command) -> Outcome:
        """Tell a device once; NOT_SENT when the link has no driver. Never raises but for cancellation."""

    def refresh(self, link: str, device: str) -> None:
        """Have a device read soon, where its link runs."""


class Rules(Protocol):
    """The safety rules, asked once more just before the wire."""

    def forbids(self, hazard: Hazard) -> str:
        """Why a command of this hazard may not be sent now; empty when it may."""

    def holds(self, spec: CommandSpec, device: str, command: str) -> bool:
        """Whether it must wait for a second person now; if not it is counted."""

    @property
    def approval_s(self) -> float:
        """How long what is held waits for its second person."""

    def unproven(self, device: Device, spec: CommandSpec) -> str:
        """Why this device may not be told what its product takes only as an assumption; empty when it may."""


class Watch:
    """What a device has said since a moment, newest word of each point; what is doubtful is no word.

    The order of things is that of the monotonic clock, so neither a shared millisecond nor a wall clock
    that is set makes a reading newer than it is. Without a `received_s` only whole milliseconds count.
    """

    def __init__(self, clock: Clock) -> None:
        self._since_ms = clock.now_ms()
        self._since_s = clock.monotonic_s()
        self._sent_ms = 0
        self.values: dict[str, Scalar] = {}
        self._kept: deque[Reading] = deque(maxlen=_KEPT_MAX)

    def hear(self, reading: Reading) -> None:
        """Take a reading in, if it is new enough to count."""
        if not self._is_news(reading):
            return
        self._kept.append(reading)
        for point in (*reading.bad, *reading.uncertain):
            self.values.pop(point, None)
        sure = {
            point: value
            for point, value in reading.values.items()
            if point not in reading.uncertain
        }
        self.values.update(sure)

    def sent(self, sent_ms: int) -> None:
        """The first byte left only then: what came before does not count either."""
        self._sent_ms = sent_ms
        kept, self.values = [*self._kept], {}
        self._kept.clear()
        for reading in kept:
            self.hear(reading)

    def _is_news(self, reading: Reading) -> bool:
        age_ms = reading.received_ms - reading.time_ms  # of an event that was delivered late
        if not reading.received_s:
            passed_ms: float = reading.received_ms - max(self._since_ms, self._sent_ms)
        elif reading.received_ms >= self._sent_ms:
            passed_ms = 1000 * (reading.received_s - self._since_s)
        else:
            return False
        return passed_ms > 0 and age_ms <= passed_ms + DEVICE_CLOCK_MS


class Lane:
    """One device's commands: at most one is under way. Belongs to the loop; `moved` wakes who rests."""

    def __init__(self, device: str, clock: Clock) -> None:
        self.device = device
        self.waiting: list[OpenCommand] = []
        self.flying: OpenCommand | None = None
        self.watch = Watch(clock)
        self.moved = asyncio.Event()

    def add(self, command: OpenCommand) -> None:
        """One more waits, or one that waits may go now: what it undoes must go no further."""
        if not command.record.held:
            for other in (*self.waiting, *([self.flying] if self.flying else [])):
                if not other.recovered and undoes(command, other):
                    other.stop = other.stop or f"overtaken by {command.record.id}"
        if command not in self.waiting and command is not self.flying:
            self.waiting.append(command)
        self.moved.set()

    def hear(self, reading: Reading) -> None:
        """The device has said something."""
        self.watch.hear(reading)
        self.moved.set()

    def next(self, now_s: float) -> OpenCommand | None:
        """The most urgent that may go, or is over, now; those only to be looked at go first."""
        ready = [
            command
            for command in self.waiting
            if command.stop or (not command.record.held and self._ready_s(command) <= now_s)
        ]
        return min(ready, key=lambda one: (not one.stop, one.urgency), default=None)

    def is_overtaken(self, command: OpenCommand, now_s: float) -> bool:
        """Whether something strictly more urgent could go now, or anything, after a mere look back."""
        return any(
            command.recovered > other.recovered or other.record.priority < command.record.priority
            for other in self._could_go(now_s)
        )

    def has_opening(self, now_s: float) -> bool:
        """Whether an opening waits that could go now."""
        return any(other.spec.hazard is Hazard.OPEN for other in self._could_go(now_s))

    def _could_go(self, now_s: float) -> list[OpenCommand]:
        return [
            command
            for command in self.waiting
            if not (command.record.held or command.stop)
            and command.not_before_s <= now_s < command.deadline_s
        ]

    def wakes_s(self, now_s: float) -> float:
        """When the next of those that wait may go, or is over."""
        moments = [self._ready_s(command) for command in self.waiting if not command.record.held]
        return min(moments, default=now_s + _REST_MAX_S)

    async def rest(self, until_s: float, clock: Clock) -> None:
        """Pause until something moves, or until then."""
        try:
            async with asyncio.timeout(max(_REST_MIN_S, until_s - clock.monotonic_s())):
                await self.moved.wait()
        except TimeoutError:
            pass
        self.moved.clear()

    def _ready_s(self, command: OpenCommand) -> float:
        return min(command.deadline_s, command.not_before_s)
