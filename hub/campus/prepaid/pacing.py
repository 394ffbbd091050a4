"""How fast things are told: so many relays a second of one feeder, whoever closes them."""

from __future__ import annotations

from hub.clock import Clock
from hub.model import Place

_LINES_KEPT = 1_000


class Pacing:
    """Gives out turns. One for the whole hub, so that all who restore wait in the same line.

    A line is a feeder, or whatever else must not go faster.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next_s: dict[str, float] = {}

    async def turn(self, line: str, per_s: float) -> None:
        """Return when it is this caller's turn: at most `per_s` within a second, in order of asking."""
        now_s = self._clock.monotonic_s()
        turn_s = max(now_s, self._next_s.get(line, now_s))
        self._next_s[line] = turn_s + 1 / per_s
        if len(self._next_s) > _LINES_KEPT:
            self._next_s = {name: at_s for name, at_s in self._next_s.items() if at_s > now_s}
        if turn_s > now_s:
            await self._clock.sleep(turn_s - now_s)


def feeder_of(place: Place) -> str:
    """What a room hangs on: a floor of a building."""
    return f"feeder/{place.building}/{place.floor}"
