"""Whose turn it is on a bus. Pure: every call is told the time.

Each device has its own phase in the period, so that a bus, and a campus of buses, is loaded evenly. When
the bus cannot keep the period, whoever waited longest since its last turn is next, and none starves.
A device that stays silent leaves this round and is looked for now and then: pauses double, and all silent
devices together may cost the bus a fixed share of its time, saved up before each attempt.

A device may be asked for out of its turn, silent or not: it is next. While others are due, every second
turn is theirs, so none starves.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from zlib import crc32

SILENT_SHARE = 0.02
MISSES_UNTIL_SILENT = 2
PAUSE_FIRST_S = 5.0
PAUSE_MAX_S = 600.0
DEAD_BUS_PAUSE_S = 60.0
FIRST_ROUND_S = 5.0


def phase_of(device: str) -> float:
    """The device's fixed place in every period, in [0, 1)."""
    return crc32(device.encode()) / 2**32


class Turn:
    """A device's place in the schedule."""

    __slots__ = (
        "device",
        "due_s",
        "misses",
        "period_s",
        "phase",
        "rests_until_s",
        "served_s",
        "taken",
        "wanted",
    )

    def __init__(self, device: str, period_s: float) -> None:
        self.device = device
        self.period_s = period_s
        self.phase = phase_of(device)
        self.due_s = 0.0
        self.served_s = 0.0
        self.misses = 0
        self.rests_until_s = 0.0
        self.taken = False
        self.wanted = False  # its turn is one it was asked for

    def __lt__(self, other: Turn) -> bool:
        return self.device < other.device

    @property
    def silent(self) -> bool:
        """Whether the device has left the round."""
        return self.misses >= MISSES_UNTIL_SILENT


class SilentBudget:
    """Bus time saved up for devices that are silent: a share of all time, at most one attempt ahead."""

    def __init__(self, attempt_s: float, now_s: float) -> None:
        self._attempt_s = attempt_s
        self._saved_s = 0.0
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until an attempt is paid for; 0 when it is."""
        saved_s = self._saved_s + SILENT_SHARE * (now_s - self._at_s)
        self._saved_s = min(saved_s, self._attempt_s)
        self._at_s = now_s
        return max(0.0, self._attempt_s - self._saved_s) / SILENT_SHARE

    def spend(self, seconds: float) -> None:
        """An attempt has cost so much; more than was saved is owed."""
        self._saved_s -= seconds


class Wanted:
    """Devices asked for out of their turn, the first first."""

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = {}
        self._was_last = False

    def add(self, turn: Turn) -> None:
        """This one is next; when it is its turn already, it has another one right after."""
        self._turns[turn.device] = turn

    def take(self, now_s: float, others_due: bool) -> Turn | None:
        """Whose turn it is: nobody's right after another, while others are due."""
        self._was_last = not (self._was_last and others_due) and bool(self._turns)
        if not self._was_last:
            return None
        for turn in self._turns.values():
            if not turn.taken and turn.rests_until_s <= now_s:
                turn.wanted = True
                return turn
        self._was_last = False
        return None

    def served(self, turn: Turn) -> None:
        """It has its turn."""
        self._turns.pop(turn.device, None)

    def due_s(self, never_s: float) -> float:
        """When the first of them may go; `never_s` without any."""
        return min((turn.rests_until_s for turn in self._turns.values()), default=never_s)


class Schedule:
    """The turns of all devices of one bus."""

    def __init__(
        self, turns: Iterable[Turn], *, now_s: float, wall_s: float, attempt_s: float
    ) -> None:
        """`wall_s` is the wall time of `now_s`: phases keep their place over a restart.

        `attempt_s` is the most that asking a silent device can cost.
        """
        self._zero_s = now_s - wall_s
        self._budget = SilentBudget(attempt_s, now_s)
        self._waiting: list[tuple[float, Turn]] = []
        self._ready: list[tuple[float, Turn]] = []
        self._silent: list[tuple[float, Turn]] = []
        self._all = tuple(turns)
        self._named = {turn.device: turn for turn in self._all}
        self._wanted = Wanted()
        self._silent_count = 0
        self._looked_s = now_s
        for turn in self._all:
            first_s = min(turn.period_s, FIRST_ROUND_S)
            self._wait(turn, now_s + turn.phase * first_s)

    @property
    def silent_count(self) -> int:
        """How many devices have left the round."""
        return self._silent_count

    def refresh(self, device: str) -> None:
        """This device is next, unless it rests; nothing when it is not one of this bus any more."""
        turn = self._named.get(device)
        if turn is not None:
            self._wanted.add(turn)

    def rest(self, device: str, until_s: float) -> None:
        """Ask this device nothing until then."""
        self._named[device].rests_until_s = until_s

    def take(self, now_s: float) -> Turn | None:
        """The device whose turn it is now, if any; it must be given back by one of the calls below."""
        waiting, ready = self._waiting, self._ready
        while waiting and waiting[0][0] <= now_s:
            turn = heapq.heappop(waiting)[1]
            if turn.rests_until_s > now_s:
                heapq.heappush(waiting, (turn.rests_until_s, turn))
            else:
                heapq.heappush(ready, (turn.served_s, turn))
        found = self._wanted.take(now_s, bool(ready))
        if found:
            for queue in (waiting, ready, self._silent):
                _pull(found, queue)
        elif self._silent and self._silent_due_s(now_s) <= now_s:
            found = heapq.heappop(self._silent)[1]
        elif ready:
            found = heapq.heappop(ready)[1]
        if found:
            found.taken = True
            self._wanted.served(found)
        return found

    def wait_s(self, now_s: float, longest_s: float) -> float:
        """Seconds until somebody may be due, at most `longest_s`."""
        next_s = self._wanted.due_s(now_s + longest_s)
        next_s = min(next_s, now_s + longest_s)
        if self._waiting:
            next_s = min(next_s, self._waiting[0][0])
        if self._silent:
            next_s = min(next_s, self._silent_due_s(now_s))
        return max(0.0, next_s - now_s)

    def answered(self, turn: Turn, now_s: float, rest_s: float = 0.0) -> None:
        """It answered: back into the round, not asked again for `rest_s` at least.

        Others that are silent may have returned with it.
        """
        turn.served_s = now_s
        turn.taken = turn.wanted = False
        if turn.silent:
            turn.due_s = now_s
            self._silent_count -= 1
            self._silent = [(now_s, other) for _, other in self._silent]
            heapq.heapify(self._silent)
        turn.misses = 0
        turn.rests_until_s = now_s + rest_s
        self._wait(turn, max(self._next_s(turn, now_s), now_s + rest_s))

    def missed(self, turn: Turn, now_s: float, cost_s: float, rest_s: float = 0.0) -> None:
        """It was silent, which cost the bus `cost_s`; it is not asked again for `rest_s` at least."""
        was_silent = turn.silent
        turn.served_s = self._looked_s = now_s
        # Who looks for a silent device out of its turn does not make the hub look less often for it.
        turn.misses += not (was_silent and turn.wanted)
        turn.rests_until_s = now_s + rest_s
        turn.taken = turn.wanted = False
        if not turn.silent:
            self._wait(turn, max(self._next_s(turn, now_s), now_s + rest_s))
            return
        if not was_silent:
            self._silent_count += 1
        elif not self._nobody_answers():
            self._budget.spend(cost_s)
        pause_s = min(
            PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(turn.misses - MISSES_UNTIL_SILENT, 20)
        )
        heapq.heappush(self._silent, (now_s + max(pause_s, rest_s), turn))

    def passed_over(self, turn: Turn, now_s: float) -> None:
        """It could not be asked, because the link is down: nothing is learnt of it."""
        turn.taken = turn.wanted = False
        if turn.silent:
            heapq.heappush(self._silent, (now_s + PAUSE_FIRST_S, turn))
        else:
            turn.due_s = now_s
            self._wait(turn, self._next_s(turn, now_s))

    def again(self, turn: Turn, now_s: float) -> None:
        """It shall have another turn as soon as possible."""
        if turn.wanted:
            self._wanted.add(turn)
        turn.taken = turn.wanted = False
        self._wait(turn, now_s)

    def _nobody_answers(self) -> bool:
        """Then nobody is kept waiting by looking for the silent ones, and only their pauses count."""
        return self._silent_count == len(self._all)

    def _silent_due_s(self, now_s: float) -> float:
        due_s = self._silent[0][0]
        if self._nobody_answers():
            # Likely the power or the cable: one of them is looked for often enough to see it return.
            return min(due_s, self._looked_s + DEAD_BUS_PAUSE_S)
        return max(due_s, now_s + self._budget.wait_s(now_s))

    def _wait(self, turn: Turn, due_s: float) -> None:
        turn.due_s = due_s
        heapq.heappush(self._waiting, (due_s, turn))

    def _next_s(self, turn: Turn, now_s: float) -> float:
        """The next moment of the device's own grid; the last one, when it passed while the device waited.

        So a bus that cannot keep the period is never idle, and a device owes one poll at most.
        """
        period_s = turn.period_s
        grid_s = self._zero_s + turn.phase * period_s
        last_s = grid_s + (now_s - grid_s) // period_s * period_s
        return last_s if last_s > turn.due_s + period_s / 2 else last_s + period_s


def _pull(turn: Turn, queue: list[tuple[float, Turn]]) -> None:
    """Take a turn out of the middle of a heap, if it is there."""
    for place, (_, other) in enumerate(queue):
        if other is turn:
            del queue[place]
            heapq.heapify(queue)
            return
