"""How fast supplies come back: at most so many relays of one feeder in any second. Pure.

Whoever restores, after a payment or in a batch, asks here. A feeder has so many places. A restore takes one
before its command is made and gives it back a second after its command has ended, so that no second sees more
of them, whatever a bus keeps waiting and lets go at once. Who finds none stands in line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hub.model import Place

REST_S = 1.0


@dataclass(slots=True)
class _Feeder:
    """`places` by device: None while its command is under way, then when the place is free again."""

    limit: int = 1
    places: dict[str, float | None] = field(default_factory=dict)
    line: dict[str, None] = field(default_factory=dict)

    def free(self, now_s: float) -> int:
        """How many places nobody has now."""
        ended = [name for name, free_s in self.places.items() if free_s is not None]
        for name in ended:
            if (self.places[name] or 0.0) <= now_s:
                del self.places[name]
        return max(0, self.limit - len(self.places))


class Pace:
    """The places of every feeder; times are the clock's monotonic seconds.

    Before `free_s` nobody has any: an earlier run of the hub may have restored within that second.
    """

    def __init__(self, free_s: float = 0.0) -> None:
        self._free_s = free_s
        self._feeders: dict[str, _Feeder] = {}

    def take(self, feeder: str, device: str, limit: int, now_s: float) -> bool:
        """Whether this device may be restored now; if so it has a place until `leave` and a second."""
        here = self._feeders.setdefault(feeder, _Feeder())
        here.limit = limit
        is_free = now_s >= self._free_s and here.free(now_s) > 0
        if device in here.places:
            is_free = here.places[device] is None  # its place of before, unless that rests
        if is_free:
            here.places[device] = None
        else:
            here.line[device] = None
        return is_free

    def hold(self, feeder: str, device: str) -> None:
        """A restore of an earlier run of the hub may be under way."""
        self._feeders.setdefault(feeder, _Feeder()).places[device] = None

    def leave(self, feeder: str, device: str, now_s: float) -> None:
        """The restore of this device has ended."""
        here = self._feeders.get(feeder)
        if here is not None and device in here.places:
            here.places[device] = now_s + REST_S

    def step_out(self, feeder: str, device: str) -> None:
        """This device stands in line no more."""
        if feeder in self._feeders:
            self._feeders[feeder].line.pop(device, None)

    def ready(self, now_s: float) -> set[str]:
        """Who stands in line for a place that is free by now."""
        found: set[str] = set()
        if now_s < self._free_s:
            return found
        for here in self._feeders.values():
            if here.line:
                found.update(list(here.line)[: here.free(now_s)])
        return found

    @property
    def is_waited_for(self) -> bool:
        """Whether anybody stands in line."""
        return any(here.line for here in self._feeders.values())


def feeder_of(place: Place, link: str) -> str:
    """What is restored slowly together: a floor of a building, or the link where no floor is written."""
    return f"{place.building}/{place.floor}" if place.floor else f"{place.building}/{link}"
