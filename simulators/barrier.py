"""A vehicle barrier on a relay and input board: arm, loops, limits, and the cars of a day.

The wiring is the reference wiring of the generic barrier: relay 1 opens, 2 closes, 3 stops, 4 holds open,
5 is the lane's light. The arm's controller, not the hub, owns travel, auto-close and the safety loop.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum, StrEnum

from hub import Value
from simulators.chance import between, draw
from simulators.ledger import Deed
from simulators.machine import HOUR_MS, MINUTE_MS, Birth, Happening, plain_value
from simulators.relay_board import RelayBoard

TRAVEL_MS = 1500
AUTO_CLOSE_MS = 5000
_MORNING_CARS = (2, 1, 0, 0, 1, 4, 12, 25, 22, 14, 12, 14)
_CARS_AN_HOUR = (*_MORNING_CARS, 20, 16, 12, 12, 16, 24, 26, 18, 12, 10, 8, 4)


class Relay(IntEnum):
    """What each relay of the board is wired to."""

    OPEN = 0
    CLOSE = 1
    STOP = 2
    HOLD = 3
    LIGHT = 4


class Arm(StrEnum):
    """Where the arm is."""

    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    STOPPED = "stopped"


class Barrier:
    """A barrier and its day. Cars come by chance; the guard opens by hand, or the hub by a pulse."""

    def __init__(self, birth: Birth) -> None:
        self.board = RelayBoard(birth, self._relay_changed)
        self.arm = Arm.CLOSED
        self.fire = False
        self._birth = birth
        self._contacts = {"loop_approach": False, "loop_safety": False, "manual_button": False}
        self._agenda: list[tuple[int, int, Callable[[int], None]]] = []
        self._planned = 0
        self._move = 0  # numbers the arm's moves, so that a move overtaken by another does not end
        self._minute = birth.begin_ms // MINUTE_MS - 1

    def step(self, now_ms: int) -> None:
        """Live through everything up to now, in the order of its time."""
        while self._minute < now_ms // MINUTE_MS:
            self._minute += 1
            self._plan_minute(self._minute)
        while self._agenda and self._agenda[0][0] <= now_ms:
            time_ms, _, action = heapq.heappop(self._agenda)
            self.board.step(time_ms)
            action(time_ms)
        self.board.step(now_ms)

    def show(self, now_ms: int) -> Mapping[str, Value]:
        """Loops, limits and contacts."""
        self.step(now_ms)
        shown = {name: plain_value(name, self._birth, now_ms) for name in self._birth.points}
        shown.update(self._contacts)
        shown.update(
            limit_open=self.arm is Arm.OPEN,
            limit_closed=self.arm is Arm.CLOSED,
            fire_alarm=self.fire,
            hold_open=self.board.relays[Relay.HOLD],
            lane_light=self.board.relays[Relay.LIGHT],
        )
        return shown

    def happenings(self, now_ms: int) -> Sequence[Happening]:
        """The board tells contacts only."""
        return ()

    def write(self, now_ms: int, point: str, value: Value) -> bool:
        """Nothing but coils can be written."""
        return False

    def alarm(self, now_ms: int, fire: bool) -> None:
        """The fire contact: an alarm opens the arm, by wire, and holds it."""
        self.step(now_ms)
        self.fire = fire
        if fire:
            self._open(now_ms)

    def _relay_changed(self, now_ms: int, channel: int, on: bool) -> None:
        if channel == Relay.OPEN and on:
            self._open(now_ms)
        elif channel == Relay.CLOSE and on:
            self._close(now_ms)
        elif channel == Relay.STOP and on and self.arm in (Arm.OPENING, Arm.CLOSING):
            self._set(now_ms, Arm.STOPPED)
        elif channel == Relay.HOLD:
            if on:
                self._open(now_ms)
            else:
                self._after(now_ms, AUTO_CLOSE_MS, self._close)

    def _open(self, now_ms: int) -> None:
        if self.arm in (Arm.OPEN, Arm.OPENING):
            return
        self._travel(now_ms, Arm.OPENING, Arm.OPEN)

    def _close(self, now_ms: int) -> None:
        held = self._contacts["loop_safety"] or self.board.relays[Relay.HOLD] or self.fire
        if not held and self.arm in (Arm.OPEN, Arm.STOPPED):
            self._travel(now_ms, Arm.CLOSING, Arm.CLOSED)

    def _travel(self, now_ms: int, moving: Arm, end: Arm) -> None:
        self._set(now_ms, moving)
        move = self._move

        def arrive(time_ms: int) -> None:
            if move == self._move:
                self._set(time_ms, end)
                if end is Arm.OPEN:
                    self._after(time_ms, AUTO_CLOSE_MS, self._close)

        self._after(now_ms, TRAVEL_MS, arrive)

    def _set(self, now_ms: int, arm: Arm) -> None:
        self.arm = arm
        self._move += 1
        self._birth.diary.record(now_ms, Deed.MOVED, {"arm": arm.value})

    def _after(self, now_ms: int, delay_ms: int, action: Callable[[int], None]) -> None:
        self._planned += 1
        heapq.heappush(self._agenda, (now_ms + delay_ms, self._planned, action))

    def _contact(self, name: str, on: bool) -> Callable[[int], None]:
        def change(now_ms: int) -> None:
            self._contacts[name] = on
            if name == "manual_button" and on:
                self._open(now_ms)
            if name == "loop_safety" and not on:
                self._birth.diary.record(now_ms, Deed.PASSED, {"vehicle": True})
                self._after(now_ms, AUTO_CLOSE_MS, self._close)

        return change

    def _plan_minute(self, minute: int) -> None:
        """At most one car a minute: it waits, the guard opens, it drives under the arm and away."""
        hour = (minute * MINUTE_MS + self._birth.zone_ms) // HOUR_MS % 24
        if draw(self._birth.seed, minute) >= _CARS_AN_HOUR[hour] / 60:
            return
        start_ms = minute * MINUTE_MS + int(between(~self._birth.seed, minute, 0, 30_000))
        for delay_ms, name, on in (
            (0, "loop_approach", True),
            (3000, "manual_button", True),
            (3500, "manual_button", False),
            (6000, "loop_safety", True),
            (8000, "loop_approach", False),
            (9500, "loop_safety", False),
        ):
            self._after(start_ms, delay_ms, self._contact(name, on))
