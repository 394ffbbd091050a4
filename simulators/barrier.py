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
from simulators.ledger import Deed, Diary
from simulators.machine import HOUR_MS, MINUTE_MS, Birth, Happening, plain_value
from simulators.relay_board import RelayBoard

TRAVEL_MS = 1500
AUTO_CLOSE_MS = 5000
_MORNING_CARS = (2, 1, 0, 0, 1, 4, 12, 25, 22, 14, 12, 14)
_CARS_AN_HOUR = (*_MORNING_CARS, 20, 16, 12, 12, 16, 24, 26, 18, 12, 10, 8, 4)


# A car's way: after so many milliseconds, this contact changes so.
_CAR = (
    (0, "loop_approach", True),
    (3000, "manual_button", True),
    (3500, "manual_button", False),
    (6000, "loop_safety", True),
    (8000, "loop_approach", False),
    (9500, "loop_safety", False),
)


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


class Agenda:
    """What will happen, in the order of its time."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, Callable[[int], None]]] = []
        self._planned = 0

    def add(self, time_ms: int, action: Callable[[int], None]) -> None:
        """Let `action` happen at this time; at equal times, what was added first comes first."""
        self._planned += 1
        heapq.heappush(self._entries, (time_ms, self._planned, action))

    def take(self, now_ms: int) -> tuple[int, Callable[[int], None]] | None:
        """The next thing due by now, taken off the agenda."""
        if not self._entries or self._entries[0][0] > now_ms:
            return None
        time_ms, _, action = heapq.heappop(self._entries)
        return time_ms, action


class Drive:
    """The arm and the controller that moves it. `held` says whether something keeps it from closing."""

    def __init__(self, agenda: Agenda, diary: Diary, held: Callable[[], bool]) -> None:
        self.arm = Arm.CLOSED
        self._agenda = agenda
        self._diary = diary
        self._held = held
        self._move = 0  # numbers the moves, so that one overtaken by another does not end

    def open(self, now_ms: int) -> None:
        """Raise the arm; once open it closes by itself."""
        if self.arm not in (Arm.OPEN, Arm.OPENING):
            self._travel(now_ms, Arm.OPENING, Arm.OPEN)

    def close(self, now_ms: int) -> None:
        """Lower the arm, unless a car, a hand or the fire contact holds it."""
        if not self._held() and self.arm in (Arm.OPEN, Arm.STOPPED):
            self._travel(now_ms, Arm.CLOSING, Arm.CLOSED)

    def close_later(self, now_ms: int) -> None:
        """Lower it by itself after the controller's time."""
        self._agenda.add(now_ms + AUTO_CLOSE_MS, self.close)

    def stop(self, now_ms: int) -> None:
        """Stop it where it is."""
        if self.arm in (Arm.OPENING, Arm.CLOSING):
            self._set(now_ms, Arm.STOPPED)

    def _travel(self, now_ms: int, moving: Arm, end: Arm) -> None:
        self._set(now_ms, moving)
        move = self._move

        def arrive(time_ms: int) -> None:
            if move == self._move:
                self._set(time_ms, end)
                if end is Arm.OPEN:
                    self.close_later(time_ms)

        self._agenda.add(now_ms + TRAVEL_MS, arrive)

    def _set(self, now_ms: int, arm: Arm) -> None:
        self.arm = arm
        self._move += 1
        self._diary.record(now_ms, Deed.MOVED, {"arm": arm.value})


class Barrier:
    """A barrier and its day. Cars come by chance; the guard opens by hand, or the hub by a pulse."""

    def __init__(self, birth: Birth) -> None:
        self.board = RelayBoard(birth, self._relay_changed)
        self.fire = False
        self._birth = birth
        self._contacts = {"loop_approach": False, "loop_safety": False, "manual_button": False}
        self._agenda = Agenda()
        self._drive = Drive(self._agenda, birth.diary, self._is_held)
        self._minute = birth.begin_ms // MINUTE_MS - 1

    @property
    def arm(self) -> Arm:
        """Where the arm is."""
        return self._drive.arm

    def step(self, now_ms: int) -> None:
        """Live through everything up to now, in the order of its time."""
        while self._minute < now_ms // MINUTE_MS:
            self._minute += 1
            self._plan_minute(self._minute)
        while (due := self._agenda.take(now_ms)) is not None:
            time_ms, action = due
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
            self._drive.open(now_ms)

    def _is_held(self) -> bool:
        return self._contacts["loop_safety"] or self.board.relays[Relay.HOLD] or self.fire

    def _relay_changed(self, now_ms: int, channel: int, on: bool) -> None:
        actions = {Relay.OPEN: self._drive.open, Relay.CLOSE: self._drive.close}
        actions[Relay.STOP] = self._drive.stop
        if channel == Relay.HOLD:
            (self._drive.open if on else self._drive.close_later)(now_ms)
        elif on and channel in actions:
            actions[Relay(channel)](now_ms)

    def _contact(self, name: str, on: bool) -> Callable[[int], None]:
        def change(now_ms: int) -> None:
            self._contacts[name] = on
            if name == "manual_button" and on:
                self._drive.open(now_ms)
            if name == "loop_safety" and not on:
                self._birth.diary.record(now_ms, Deed.PASSED, {"vehicle": True})
                self._drive.close_later(now_ms)

        return change

    def _plan_minute(self, minute: int) -> None:
        """At most one car a minute: it waits, the guard opens, it drives under the arm and away."""
        hour = (minute * MINUTE_MS + self._birth.zone_ms) // HOUR_MS % 24
        if draw(self._birth.seed, minute) >= _CARS_AN_HOUR[hour] / 60:
            return
        start_ms = minute * MINUTE_MS + int(between(~self._birth.seed, minute, 0, 30_000))
        for delay_ms, name, on in _CAR:
            self._agenda.add(start_ms + delay_ms, self._contact(name, on))
