"""What happens on an open line: one request, its answer checked, and the line in step again.

After a time-out or an answer that is not ours, nothing that is still under way may be taken for the
answer to a later request. A Modbus TCP connection is reset and opened anew. On an RTU line, where an
answer carries no number, the line is drained until it has been silent for a whole answer time-out.

Of a write that was not answered no byte may wait on this machine: it is thrown away, and where that
cannot be, the connection is reset.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.modbus.frames import Answer, FrameError, Request
from drivers.modbus.line import Line, RtuLine
from drivers.modbus.settings import LinkSettings
from hub import DeviceError, Host, LinkError

_BABBLE_MAX_S = 5.0
# Twins are requests one after the other whose answers look the same: same unit, function and byte count,
# other address. A repeated answer follows closely, so around the second twin the line is watched this long.
_TWIN_GUARD_S = 0.05


@dataclass(kw_only=True, slots=True)
class BusCounts:
    """What this bus has done since it was made, and how long it was taken (frames, waiting, silences)."""

    requests: int = 0
    timeouts: int = 0
    exceptions: int = 0
    frame_errors: int = 0
    discarded: int = 0
    reconnects: int = 0
    busy_s: float = 0.0


class Exchange:
    """The rules of one link's line; a line that cannot be brought into step is closed."""

    def __init__(self, settings: LinkSettings, host: Host, counts: BusCounts) -> None:
        self._settings = settings
        self._serial = settings.serial
        self._host = host
        self._clock = host.clock
        self._counts = counts
        self.rtu = RtuLine(settings.heartbeats) if self._serial else None
        self._transaction = int(self._clock.random() * 0xFFFF)
        self._last: Request | None = None

    async def ready(self, line: Line, request: Request) -> None:
        """Return when this request may begin; raises LinkError for a line that is lost or babbles."""
        if line.lost:
            raise LinkError(line.lost)
        if self._serial:
            guard_s = _TWIN_GUARD_S if self._is_twin(request) else 0.0
            await self._silence(line, max(self._serial.silence_s, guard_s))
        elif line.take_unasked():
            self._discarded("unasked")
            line.abort()
            raise LinkError("unasked bytes")

    async def run(self, line: Line, request: Request, timeout_s: float) -> Answer:
        """The device's answer: its data, or the exception it named.

        Raises DeviceError("timeout") when it is silent, FrameError when what came is not the answer,
        LinkError when the line is gone. When this returns the line is in step again, or closed.
        """
        twin = self._is_twin(request)
        self._transaction = (self._transaction + 1) & 0xFFFF
        self._last = request
        self._counts.requests += 1
        try:
            answer = await line.exchange(request, self._transaction, timeout_s)
            if twin:
                await self._expect_nothing_more(line)
        except TimeoutError:
            self._counts.timeouts += 1
            await self._settle(line, request)
            raise DeviceError("timeout") from None
        except FrameError as error:
            self._counts.frame_errors += 1
            self._host.count("frame_errors", error.reason)
            await self._settle(line, request)
            raise
        if answer.exception:
            self._counts.exceptions += 1
            self._host.count("exceptions", answer.reason)
        return answer

    def _is_twin(self, request: Request) -> bool:
        last = self._last if self._serial else None
        return last is not None and last.rtu_head == request.rtu_head and last.pdu != request.pdu

    async def _expect_nothing_more(self, line: Line) -> None:
        """Refuse an answer that another one follows: which of them is ours cannot be told."""
        await self._clock.sleep(_TWIN_GUARD_S)
        data = line.take_unasked()
        if data and self.rtu and not self.rtu.noise(data):
            raise FrameError("two answers")

    async def _silence(self, line: Line, silence_s: float) -> None:
        """Wait until the line has been silent so long; what comes meanwhile is thrown away and counted.

        Time already passed counts. Raises LinkError for a line that never falls silent.
        """
        clock = self._clock
        give_up_s = clock.monotonic_s() + silence_s + _BABBLE_MAX_S
        while True:
            data = line.take_unasked()
            if data and self.rtu and not self.rtu.noise(data):
                self._discarded("stale")
            now_s = clock.monotonic_s()
            left_s = line.last_s + silence_s - now_s
            if line.lost:
                raise LinkError(line.lost)
            if left_s <= 0:
                return
            if now_s > give_up_s:
                line.abort()
                raise LinkError("babbling line")
            await clock.sleep(left_s)

    async def _settle(self, line: Line, request: Request) -> None:
        """Make sure that nothing under way can be taken for the answer to a later request."""
        if self._serial is None or (request.writes and not line.discard()):
            line.abort()
            return
        line.last_s = self._clock.monotonic_s()
        try:
            await self._silence(line, self._settings.timeout_s)
        except LinkError:
            line.abort()

    def _discarded(self, reason: str) -> None:
        self._counts.discarded += 1
        self._host.count("discarded", reason)
