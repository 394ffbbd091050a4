"""How fast supplies come back: at most so many relays of one feeder in any second. Pure.

A feeder has so many places. A restore takes one before its command is made and gives it back a second after
its command has ended, so that whatever a bus keeps waiting and lets go at once, no second sees more of them.
"""

from __future__ import annotations

REST_S = 1.0


class Pace:
    """The places of every feeder; times are the clock's monotonic seconds."""

    def __init__(self) -> None:
        self._taken: dict[str, dict[str, float | None]] = {}

    def take(self, feeder: str, device: str, limit: int, now_s: float) -> bool:
        """Whether this device may be restored now; if so it has a place until `leave` and a second."""
        free = self.free(feeder, limit, now_s)
        places = self._taken.setdefault(feeder, {})
        if device in places and places[device] is None:
            return True  # its place of before, for the next try
        if not free:
            return False
        places[device] = None
        return True

    def free(self, feeder: str, limit: int, now_s: float) -> int:
        """How many places of a feeder nobody has now."""
        places = self._taken.get(feeder, {})
        for name, free_s in list(places.items()):
            if free_s is not None and free_s <= now_s:
                del places[name]
        return max(0, limit - len(places))

    def hold(self, feeder: str, device: str) -> None:
        """A restore of an earlier run of the hub may be under way."""
        self._taken.setdefault(feeder, {})[device] = None

    def leave(self, feeder: str, device: str, now_s: float) -> None:
        """The restore of this device has ended."""
        places = self._taken.get(feeder, {})
        if device in places:
            places[device] = now_s + REST_S
