"""How fast things are told: each line at its own pace."""

from __future__ import annotations

from hub.clock import Clock

_LINES_KEPT = 1_000


class Pacing:
    """Gives out turns in lines. A line is whatever must not go faster, such as a batch."""

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
