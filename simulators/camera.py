"""A camera that reads number plates at a gate: one result for each car, now and then the same car twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from hub import Value
from simulators.chance import between, draw, seed_of
from simulators.ledger import Deed
from simulators.machine import EPOCH_MS, HOUR_MS, MINUTE_MS, Birth, Happening, plain_value
from simulators.relay_board import RelayBoard

_MORNING_CARS = (2, 1, 0, 0, 1, 4, 12, 25, 22, 14, 12, 14)
_CARS_AN_HOUR = (*_MORNING_CARS, 20, 16, 12, 12, 16, 24, 26, 18, 12, 10, 8, 4)
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # a plate has neither I nor O
_SYMBOLS = _LETTERS + "0123456789"
_NO_PLATE = "_无_"


class Camera:
    """A plate camera: it only tells what it saw."""

    def __init__(self, birth: Birth) -> None:
        self.board: RelayBoard | None = None
        self._birth = birth
        self._minute = birth.begin_ms // MINUTE_MS - 1
        self._planned: deque[tuple[int, int]] = deque()

    def show(self, now_ms: int) -> Mapping[str, Value]:
        """A camera has no state but that it lives."""
        return {name: plain_value(name, self._birth, now_ms) for name in self._birth.points}

    def happenings(self, now_ms: int) -> Sequence[Happening]:
        """The cars seen since the last call."""
        while self._minute < now_ms // MINUTE_MS:
            self._minute += 1
            self._plan(self._minute)
        seen = []
        while self._planned and self._planned[0][0] <= now_ms:
            seen.append(self._result(*self._planned.popleft()))
        return seen

    def write(self, now_ms: int, point: str, value: Value) -> bool:
        """A camera has no registers."""
        return False

    def _plan(self, minute: int) -> None:
        hour = (minute * MINUTE_MS + self._birth.zone_ms) // HOUR_MS % 24
        if draw(self._birth.seed, minute) >= _CARS_AN_HOUR[hour] / 60:
            return
        time_ms = minute * MINUTE_MS + int(between(~self._birth.seed, minute, 0, 50_000))
        self._planned.append((time_ms, minute))
        if draw(seed_of(self._birth.seed, "again"), minute) < 0.1:
            self._planned.append((time_ms + 4000, minute))

    def _result(self, time_ms: int, minute: int) -> Happening:
        plate = self._plate(minute)
        green = len(plate) == 8
        number = (time_ms - EPOCH_MS) // 1000
        values: dict[str, Value] = {
            "plate": plate,
            "confidence": round(between(self._birth.seed ^ 5, minute, 82, 99)),
            "plate_colour": "green" if green else "blue",
            "plate_type": "new energy small" if green else "blue small car",
            "direction": "down",
            "trigger": "virtual loop",
            "sequence": number,
            "event_id": f"{self._birth.diary.device}-{number}",
            "offline_record": False,
            "fake_plate": False,
        }
        self._birth.diary.record(time_ms, Deed.PASSED, {"event_id": str(values["event_id"])})
        return Happening(time_ms=time_ms, values=values)

    def _plate(self, minute: int) -> str:
        seed = seed_of(self._birth.seed, "plate", minute)
        if draw(seed, 0) < 0.03:
            return _NO_PLATE
        length = 6 if draw(seed, 1) < 0.4 else 5
        symbols = [_SYMBOLS[int(draw(seed, 2 + place) * len(_SYMBOLS))] for place in range(length)]
        if length == 6:  # small new-energy cars have D or F first, then digits
            symbols = ["D", *(str(int(draw(seed, 9 + place) * 10)) for place in range(5))]
        return "鄂A" + "".join(symbols)
