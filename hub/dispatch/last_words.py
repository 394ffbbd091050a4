"""What each device said last of the points that prove its commands: how it was before one is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hub.clock import Clock
from hub.model import Device, Reading
from hub.points import Scalar
from hub.presence import ONLINE, is_stale


@dataclass(slots=True)
class _Words:
    """The last word of each point, with the time of the newest, and when each was last seen to change."""

    time_ms: int = 0
    heard_s: float = 0.0
    values: dict[str, Scalar] = field(default_factory=dict)
    changed_s: dict[str, float] = field(default_factory=dict)


class LastWords:
    """Of every device that takes commands; forgotten when it goes away, or was silent too long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._words: dict[str, _Words] = {}

    def hear(self, reading: Reading, device: Device, points: frozenset[str]) -> None:
        """Keep what is said of these points; what is doubtful is no word, and neither is an old one."""
        words = self._words.setdefault(device.id, _Words())
        believed = self.of(device)
        if believed and reading.time_ms < words.time_ms:
            return  # an old word; after a long silence a clock may have been set
        if not believed or reading.values.get(ONLINE) is False:
            words.values.clear()
        words.time_ms, words.heard_s = reading.time_ms, self._clock.monotonic_s()
        for point in points:
            if point in reading.bad or point in reading.uncertain:
                words.values.pop(point, None)
            elif point in reading.values:
                if words.values.get(point, reading.values[point]) != reading.values[point]:
                    words.changed_s[point] = words.heard_s
                words.values[point] = reading.values[point]

    def of(self, device: Device) -> Mapping[str, Scalar]:
        """What can be believed now; empty when nothing can."""
        words = self._words.get(device.id, _Words())
        is_old = is_stale(self._clock.monotonic_s() - words.heard_s, device.period_s)
        return {} if is_old else words.values

    def changed_s(self, device: Device, point: str) -> float | None:
        """The monotonic second at which this point was last seen to change; None when it never was."""
        words = self._words.get(device.id)
        return words.changed_s.get(point) if words else None
