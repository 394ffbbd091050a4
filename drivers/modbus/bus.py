"""The bus: the one way by which a request reaches the wire. One request in flight, every answer checked.

After a time-out or an answer that is not ours, nothing that is still under way may be taken for the
answer to a later request. A Modbus TCP connection is reset and opened anew. On an RTU line, where an
answer carries no number, the line is drained until it has been silent for a whole answer time-out.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.modbus.frames import Answer, FrameError, Request, TcpEnvelope
from drivers.modbus.line import Line, RtuLine
from drivers.modbus.settings import LinkSettings
from drivers.modbus.transports import opener_for
from hub import DeviceError, Host, LinkError

_PAUSE_FIRST_S = 1.0
_PAUSE_JITTER = 0.25
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


class Bus:
    """One link's line with its rules; all requests of all devices go through `ask`."""

    def __init__(self, settings: LinkSettings, host: Host, *, observe_only: bool) -> None:
        self._settings = settings
        self._serial = settings.serial
        self._host = host
        self._clock = host.clock
        self._observe_only = observe_only
        self._opener = opener_for(settings, host)
        self._rtu = RtuLine(settings.heartbeats) if self._serial else None
        self._line: Line | None = None
        self._transaction = int(self._clock.random() * 0xFFFF)
        self._last: Request | None = None
        self._pause_s = _PAUSE_FIRST_S
        self._next_open_s = 0.0
        self._opened_before = False
        self.counts = BusCounts()

    @property
    def is_open(self) -> bool:
        """Whether a line is open as far as anybody knows."""
        return self._line is not None and not self._line.lost

    async def open(self) -> None:
        """Open the line, not sooner than the pace allows (one second, longer while it fails).

        Raises LinkError with the reason when it cannot be opened now.
        """
        self._drop()
        await self._clock.sleep(max(0.0, self._next_open_s - self._clock.monotonic_s()))
        self._pace()
        line = Line(self._rtu or TcpEnvelope(), self._clock)
        try:
            await self._opener.open(line)
        except LinkError:
            self._pause_s = min(2 * self._pause_s, self._opener.pause_max_s)
            raise
        self._pause_s = _PAUSE_FIRST_S
        self._line = line
        self.counts.reconnects += self._opened_before
        self._opened_before = True

    async def close(self) -> None:
        """Close at once what is open."""
        self._drop()
        await self._opener.close()

    async def ask(self, request: Request, timeout_s: float) -> Answer:
        """The answer of a device: its data, or the exception it named.

        Raises DeviceError("timeout") when it is silent, FrameError when what came is not the answer,
        LinkError when the line is gone. In all three cases the line is in step again, or closed, when
        this returns. A write is refused on a link that only observes.
        """
        if request.writes and self._observe_only:
            raise DeviceError("observe_only")
        twin = self._serial is not None and _are_twins(self._last, request)
        line = await self._ready(twin)
        counts, clock = self.counts, self._clock
        counts.requests += 1
        self._transaction = (self._transaction + 1) & 0xFFFF
        self._last = request
        start_s = clock.monotonic_s()
        try:
            answer = await line.exchange(request, self._transaction, timeout_s)
            if twin:
                await self._expect_nothing_more(line)
        except TimeoutError:
            counts.timeouts += 1
            await self._settle(line)
            raise DeviceError("timeout") from None
        except FrameError as error:
            counts.frame_errors += 1
            self._host.count("frame_errors", error.reason)
            await self._settle(line)
            raise
        finally:
            silence_s = self._serial.silence_s if self._serial else 0.0
            counts.busy_s += clock.monotonic_s() - start_s + silence_s
        if answer.exception:
            counts.exceptions += 1
            self._host.count("exceptions", answer.reason)
        return answer

    def _pace(self) -> None:
        jitter = 1 + _PAUSE_JITTER * self._clock.random()
        self._next_open_s = self._clock.monotonic_s() + self._pause_s * jitter

    def _drop(self) -> None:
        if self._line is not None:
            self._line.abort()
            self._line = None

    async def _ready(self, twin: bool) -> Line:
        """The open line, when a new request may begin on it."""
        line = self._line
        if line is None or line.lost:
            raise LinkError(line.lost if line else "not open")
        if self._serial:
            await self._silence(line, max(self._serial.silence_s, _TWIN_GUARD_S if twin else 0.0))
        elif line.take_unasked():
            self._discarded("unasked")
            self._drop()
            raise LinkError("unasked bytes")
        return line

    async def _expect_nothing_more(self, line: Line) -> None:
        """Refuse an answer that another one follows: which of them is ours cannot be told."""
        await self._clock.sleep(_TWIN_GUARD_S)
        data = line.take_unasked()
        if data and self._rtu and not self._rtu.noise(data):
            raise FrameError("two answers")

    async def _silence(self, line: Line, silence_s: float) -> None:
        """Wait until the line has been silent so long; what comes meanwhile is thrown away and counted.

        Time already passed counts. Raises LinkError for a line that never falls silent.
        """
        clock = self._clock
        give_up_s = clock.monotonic_s() + silence_s + _BABBLE_MAX_S
        while True:
            data = line.take_unasked()
            if data and self._rtu and not self._rtu.noise(data):
                self._discarded("stale")
            now_s = clock.monotonic_s()
            left_s = line.last_s + silence_s - now_s
            if line.lost:
                raise LinkError(line.lost)
            if left_s <= 0:
                return
            if now_s > give_up_s:
                self._drop()
                raise LinkError("babbling line")
            await clock.sleep(left_s)

    async def _settle(self, line: Line) -> None:
        """Make sure that nothing under way can be taken for the answer to a later request."""
        if self._serial is None:
            self._drop()
            return
        line.last_s = self._clock.monotonic_s()
        try:
            await self._silence(line, self._settings.timeout_s)
        except LinkError:
            self._drop()

    def _discarded(self, reason: str) -> None:
        self.counts.discarded += 1
        self._host.count("discarded", reason)


def _are_twins(last: Request | None, request: Request) -> bool:
    return last is not None and last.rtu_head == request.rtu_head and last.pdu != request.pdu
