"""A water meter with a valve: it flows now and then, more in the morning and the evening, if it may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hub import Value
from simulators.chance import between, draw, seed_of
from simulators.ledger import Deed
from simulators.machine import HOUR_MS, MINUTE_MS, Birth, Happening, plain_value
from simulators.relay_board import RelayBoard

SLOT_MS = 5 * MINUTE_MS  # the flow is the same within each
_ML_IN_L = 1000
_START_ML_MAX = 90_000_000
_BUSY_HOURS = (6, 7, 12, 20, 21, 22)
_BUSY, _QUIET = 0.35, 0.04  # the chance of a slot that water is taken


class WaterMeter:
    """What flowed is exact to the ml: the flow of each slot times its time, while the valve was open."""

    def __init__(self, birth: Birth) -> None:
        self.board: RelayBoard | None = None
        self.is_open = True
        self._birth = birth
        self._seed = seed_of(birth.seed, "taps")
        self._start_ml = int(draw(birth.seed, 9) * _START_ML_MAX)
        self._flowed = 0  # ml/h times ms
        self._until_ms = birth.begin_ms

    def volume_ml(self, now_ms: int) -> int:
        """The counter at this moment."""
        while self._until_ms < now_ms:
            slot_end_ms = (self._until_ms // SLOT_MS + 1) * SLOT_MS
            end_ms = min(now_ms, slot_end_ms)
            if self.is_open:
                self._flowed += self._tap_ml_h(self._until_ms) * (end_ms - self._until_ms)
            self._until_ms = end_ms
        return self._start_ml + self._flowed // HOUR_MS

    def show(self, now_ms: int) -> Mapping[str, Value]:
        """Every point of its product."""
        volume_ml = self.volume_ml(now_ms)
        flow_l_h = self._tap_ml_h(now_ms) / _ML_IN_L if self.is_open else 0.0
        known: dict[str, Value] = {
            "hot_water_volume": volume_ml,
            "drinking_water_volume": volume_ml,
            "water_flow": flow_l_h,
            "valve_open": self.is_open,
        }
        return {
            name: known[name] if name in known else plain_value(name, self._birth, now_ms)
            for name in self._birth.points
        }

    def switch(self, now_ms: int, order: str) -> str:
        """Close or open the valve; no hand opens it, so it cannot be armed. The code of the answer."""
        if order not in ("cut", "restore"):
            return "rejected"
        self.write(now_ms, "valve_open", order == "restore")
        return "done"

    def happenings(self, now_ms: int) -> Sequence[Happening]:
        """A meter has no events."""
        return ()

    def write(self, now_ms: int, point: str, value: Value) -> bool:
        """Move the valve; nothing else can be written."""
        if point != "valve_open":
            return False
        self.volume_ml(now_ms)  # what flowed until now, flowed
        self.is_open = bool(value)
        self._birth.diary.record(now_ms, Deed.WRITTEN, {point: self.is_open})
        return True

    def _tap_ml_h(self, now_ms: int) -> int:
        """What is taken in the slot of this moment."""
        slot = now_ms // SLOT_MS
        hour = (now_ms + self._birth.zone_ms) // HOUR_MS % 24
        if draw(self._seed, slot) >= (_BUSY if hour in _BUSY_HOURS else _QUIET):
            return 0
        return int(between(self._seed + 1, slot, 100, 500)) * _ML_IN_L
