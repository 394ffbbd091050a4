"""Who may send next on a bus: commands before polling, the most urgent first, between two frames."""

from __future__ import annotations

import asyncio
import heapq

from hub import LinkError, Priority

POLLING = len(Priority)  # after every command


class RightOfWay:
    """One holder at a time; whoever waits is served by urgency (the lower number), then by arrival."""

    def __init__(self) -> None:
        self._held = False
        self._arrivals = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self.closed = False

    async def take(self, urgency: int) -> None:
        """Wait for one's turn; cancelled, one has no turn. Raises LinkError once the bus is closed."""
        self.check_open()
        if not self._held:
            self._held = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        heapq.heappush(self._waiting, (urgency, self._arrivals, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and not turn.exception():
                self.give_back()
            raise

    def give_back(self) -> None:
        """Let the next one go."""
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._held = False

    def is_wanted(self, urgency: int) -> bool:
        """Whether somebody more urgent waits."""
        waiting = self._waiting
        while waiting and waiting[0][2].done():
            heapq.heappop(waiting)
        return bool(waiting) and waiting[0][0] < urgency

    def check_open(self) -> None:
        """Raise LinkError once the bus is closed."""
        if self.closed:
            raise LinkError("closed")

    def close(self) -> None:
        """Nobody goes any more; whoever waits is told."""
        self.closed = True
        for _, _, turn in self._waiting:
            if not turn.done():
                turn.set_exception(LinkError("closed"))
