"""A pedestrian turnstile at a dormitory's door: leaves, counters, and the people of a day."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from hub import Value
from simulators.chance import between, draw, seed_of
from simulators.ledger import Deed
from simulators.machine import EPOCH_MS, HOUR_MS, MINUTE_MS, Birth, Happening, plain_value
from simulators.relay_board import RelayBoard

_MORNING_PEOPLE = (0.2, 0.1, 0, 0, 0, 0.3, 1.5, 3, 2, 1.5, 1.5, 3)
_PEOPLE_A_MINUTE = (*_MORNING_PEOPLE, 3, 2.5, 1.5, 1.2, 1.5, 3, 3, 2.5, 2, 2.5, 2, 0.5)
_MOST_A_MINUTE = 3
_PASSAGE_MS = 2500
_MODES = ("card_both", "card_in_free_out", "free_in_card_out", "free_both")
_EVENTS = (
    "granted_passed", "granted_passed", "granted_passed", "granted_passed", "granted_passed",
    "granted_passed", "granted_passed", "granted_not_passed", "denied", "tailgating",
)  # fmt: skip


class Turnstile:
    """A turnstile lane. Counters start high enough that a restart of the simulator never sets them back."""

    def __init__(self, birth: Birth) -> None:
        self.board: RelayBoard | None = None
        self._birth = birth
        self._minute = birth.begin_ms // MINUTE_MS - 1
        before = (birth.begin_ms - EPOCH_MS) // MINUTE_MS * _MOST_A_MINUTE
        self._count = {"in": before, "out": before}
        self._planned: deque[tuple[int, str, str]] = deque()
        self._events: deque[Happening] = deque(maxlen=1000)
        self._moving_until_ms = 0
        self._moving = "opening_in"
        self._sequence = 0
        self._mode = _MODES[0]
        self._mode_until_ms = 0

    def step(self, now_ms: int) -> None:
        """Let everyone through who came up to now."""
        while self._minute < now_ms // MINUTE_MS:
            self._minute += 1
            self._planned.extend(self._people(self._minute))
        while self._planned and self._planned[0][0] <= now_ms:
            self._pass(*self._planned.popleft())

    def show(self, now_ms: int) -> Mapping[str, Value]:
        """State, mode and counters."""
        self.step(now_ms)
        shown = {name: plain_value(name, self._birth, now_ms) for name in self._birth.points}
        shown.update(
            gate_state=self._moving if now_ms < self._moving_until_ms else "closed",
            gate_mode=self._mode if now_ms < self._mode_until_ms else _MODES[0],
            count_in=self._count["in"],
            count_out=self._count["out"],
            fire_alarm=False,
            list_version=7,
            sequence=self._sequence,
        )
        return shown

    def open(self, now_ms: int, direction: str) -> str:
        """Open for one passage: `done` or `rejected`."""
        self.step(now_ms)
        if direction not in self._count:
            return "rejected"
        self._moving, self._moving_until_ms = f"opening_{direction}", now_ms + _PASSAGE_MS
        self._birth.diary.record(now_ms, Deed.MOVED, {"gate_state": self._moving})
        return "done"

    def set_mode(self, now_ms: int, mode: str, duration_s: int) -> str:
        """Another way of letting people through, so long: `done`, or `rejected` for one it must not have."""
        if mode not in _MODES:
            return "rejected"
        self._mode, self._mode_until_ms = mode, now_ms + 1000 * duration_s
        self._birth.diary.record(now_ms, Deed.MOVED, {"gate_mode": mode})
        return "done"

    def happenings(self, now_ms: int) -> Sequence[Happening]:
        """Everyone who came since the last call."""
        self.step(now_ms)
        happened = tuple(self._events)
        self._events.clear()
        return happened

    def write(self, now_ms: int, point: str, value: Value) -> bool:
        """A turnstile has no registers."""
        return False

    def _people(self, minute: int) -> list[tuple[int, str, str]]:
        hour = (minute * MINUTE_MS + self._birth.zone_ms) // HOUR_MS % 24
        people = []
        for place in range(_MOST_A_MINUTE):
            number = minute * _MOST_A_MINUTE + place
            if draw(self._birth.seed, number) < _PEOPLE_A_MINUTE[hour] / _MOST_A_MINUTE:
                spread = between(seed_of(self._birth.seed, "when"), number, 0, MINUTE_MS - 1)
                kind = _EVENTS[int(draw(seed_of(self._birth.seed, "what"), number) * len(_EVENTS))]
                direction = "in" if draw(seed_of(self._birth.seed, "way"), number) < 0.5 else "out"
                people.append((minute * MINUTE_MS + int(spread), kind, direction))
        return sorted(people)

    def _pass(self, time_ms: int, kind: str, direction: str) -> None:
        passed = kind in ("granted_passed", "tailgating")
        if passed:
            self._count[direction] += 1
            self._moving = f"opening_{direction}"
            self._moving_until_ms = time_ms + _PASSAGE_MS
            self._birth.diary.record(time_ms, Deed.PASSED, {"direction": direction, "event": kind})
        self._sequence += 1
        person = int(draw(self._birth.seed, time_ms) * 4000)
        values: dict[str, Value] = {
            "gate_event": kind,
            "direction": direction,
            "credential": blake2b(f"person {person}".encode(), digest_size=8).hexdigest(),
            "reason": "unknown_card" if kind == "denied" else "",
            "offline_record": False,
            "sequence": self._sequence,
        }
        self._events.append(Happening(time_ms=time_ms, values=values))
