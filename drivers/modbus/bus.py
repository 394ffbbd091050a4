"""The bus: the one way by which a request reaches the wire. One request in flight, every answer checked.

Requests of commands overtake those of polling between two frames.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from drivers.modbus.exchange import BusCounts, Exchange
from drivers.modbus.frames import Answer, FrameError, Request, TcpEnvelope
from drivers.modbus.line import Line, Record
from drivers.modbus.right_of_way import POLLING, RightOfWay
from drivers.modbus.settings import LinkSettings
from drivers.modbus.tap import Tap, Taps
from drivers.modbus.transports import Opener
from hub import Clock, DeviceError, Frame, Host, LinkError, Priority

_PAUSE_FIRST_S = 1.0
_PAUSE_JITTER = 0.25
_KEPT_BYTES = 1024


@dataclass(kw_only=True, slots=True)
class Errand:
    """What a command's requests bring along: their urgency, their last moment, and what the wire carried.

    `writes` counts the writes of which a byte may have left; of a frame 1024 bytes are kept.
    """

    clock: Clock
    priority: Priority
    deadline_s: float
    writes: int = 0
    frames: list[Frame] = field(default_factory=list)

    def record(self, outgoing: bool, data: bytes) -> None:
        """Keep a frame; what comes in pieces is one frame, of the time of its first piece."""
        time_ms = self.clock.now_ms()
        last = self.frames[-1] if self.frames else None
        if last and not outgoing and not last.outgoing:
            self.frames.pop()
            time_ms, data = last.time_ms, last.data + data
        self.frames.append(Frame(time_ms=time_ms, outgoing=outgoing, data=data[:_KEPT_BYTES]))


class Bus:
    """One link's line with its rules; all requests of all devices go through `ask`."""

    def __init__(
        self, settings: LinkSettings, host: Host, opener: Opener, *, taps: Taps, observe_only: bool
    ) -> None:
        self._clock = host.clock
        self._taps = taps
        self._observe_only = observe_only
        self._opener = opener
        self._silence_s = settings.serial.silence_s if settings.serial else 0.0
        self._line: Line | None = None
        self._way = RightOfWay()
        self._opened = asyncio.Event()
        self.wanted = asyncio.Event()  # set when somebody waits for the line
        self._pause_s = _PAUSE_FIRST_S
        self._next_open_s = 0.0
        self._opened_before = False
        self.counts = BusCounts()
        self._exchange = Exchange(settings, host, self.counts)

    @property
    def is_serial(self) -> bool:
        """Whether answers carry no number."""
        return self._exchange.rtu is not None

    @property
    def is_closed(self) -> bool:
        """Whether nobody will open this bus any more."""
        return self._way.closed

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
        line = Line(self._exchange.rtu or TcpEnvelope(), self._clock)
        try:
            await self._opener.open(line)
        except LinkError:
            self._pause_s = min(2 * self._pause_s, self._opener.pause_max_s)
            raise
        self._pause_s = _PAUSE_FIRST_S
        self._line = line
        self._opened.set()
        self.counts.reconnects += self._opened_before
        self._opened_before = True

    async def wait_open(self) -> None:
        """Return as soon as a line is open as far as anybody knows; LinkError once the bus is closed."""
        while not self.is_open:
            self._way.check_open()
            self.wanted.set()
            self._opened.clear()
            await self._opened.wait()

    async def close(self) -> None:
        """Close at once what is open; whoever waits gets LinkError."""
        self._way.close()
        self._opened.set()
        self._drop()
        await self._opener.close()

    async def ask(self, request: Request, timeout_s: float, errand: Errand | None = None) -> Answer:
        """The answer of a device: its data, or the exception it named.

        Waits for its turn; with an `errand` before all polling, and a write goes only until its deadline.
        Raises DeviceError("timeout") when the device is silent, FrameError when what came is not the
        answer, LinkError when the line is gone. In all three cases, and when cancelled, the line is in
        step again, or closed, when this returns. Not one byte has left with DeviceError("observe_only"),
        a write on a link that only observes, and DeviceError("deadline"), a write that is too late.
        """
        if request.writes and self._observe_only:
            raise DeviceError("observe_only")
        line = await self._turn(request, errand.priority if errand else POLLING)
        try:
            return await self._asked(line, request, timeout_s, errand)
        finally:
            self._way.give_back()

    async def _turn(self, request: Request, urgency: int) -> Line:
        """The line, with the right of way, when this request may begin on it."""
        while True:
            await self._way.take(urgency)
            goes = False
            try:
                line = self._line
                if line is None:
                    raise LinkError("not open")
                await self._exchange.ready(line, request)
                # Nobody more urgent came while the line fell silent.
                goes = not self._way.is_wanted(urgency)
            finally:
                if not goes:
                    self._way.give_back()
            if goes:
                return line

    async def _asked(
        self, line: Line, request: Request, timeout_s: float, errand: Errand | None
    ) -> Answer:
        start_s = self._clock.monotonic_s()
        if errand:
            if request.writes and start_s >= errand.deadline_s:
                raise DeviceError("deadline")
            errand.writes += request.writes
        tap = self._taps.on(request, timeout_s)
        if errand or tap:
            line.record = _recorders(errand, tap)
        try:
            answer = await self._exchange.run(line, request, timeout_s)
            if tap:
                tap.answered(answer)
            return answer
        except asyncio.CancelledError:
            line.abort()
            raise
        except (DeviceError, FrameError, LinkError) as error:
            if tap:
                tap.failed(str(error))
            raise
        finally:
            line.record = None
            self.counts.busy_s += self._clock.monotonic_s() - start_s + self._silence_s

    def _pace(self) -> None:
        jitter = 1 + _PAUSE_JITTER * self._clock.random()
        self._next_open_s = self._clock.monotonic_s() + self._pause_s * jitter

    def _drop(self) -> None:
        if self._line is not None:
            self._line.abort()
            self._line = None


def _recorders(errand: Errand | None, tap: Tap | None) -> Record:
    """One that tells both."""
    records = [one.record for one in (errand, tap) if one is not None]

    def record(outgoing: bool, data: bytes) -> None:
        for one in records:
            one(outgoing, data)

    return record
