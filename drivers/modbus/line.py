"""One open line: sends a frame and waits for the one answer that belongs to it.

The same for a TCP connection, a serial port and a box that dialled in; they differ in the pipe below
and in the envelope. Checking happens as the bytes arrive, so a whole exchange wakes its task once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeAlias

from drivers.modbus.frames import Answer, Envelope, FrameError, Request, RtuEnvelope
from hub import Clock, LinkError

_UNASKED_KEPT_BYTES = 1024
_FRAME_MAX_BYTES = 4096
_TIMER_GRAIN_S = 0.001

Record: TypeAlias = Callable[[bool, bytes], None]


class Pipe(Protocol):
    """What carries the bytes."""

    def write(self, data: bytes) -> None:
        """Send, or queue for sending, all of it."""

    def abort(self) -> None:
        """Close at once; what was not yet sent is thrown away."""

    def discard(self) -> bool:
        """Throw away what was not yet sent; False when something may be left that only closing stops."""


class RtuLine:
    """RTU as real boxes deliver it: without their heartbeats and the local echo of two-wire adapters."""

    def __init__(self, heartbeats: tuple[bytes, ...] = ()) -> None:
        self._heartbeats = heartbeats
        self._rtu = RtuEnvelope()
        self._echoes = False

    def frame(self, request: Request, transaction: int) -> bytes:
        """The RTU frame."""
        return request.rtu

    def answer(self, buffer: bytes, request: Request, transaction: int) -> Answer | None:
        """The answer behind heartbeats and echo; None while it is not whole; raises FrameError."""
        buffer = self._without_heartbeats(buffer, request)
        echo = request.rtu
        if echo.startswith(buffer) and len(buffer) < len(echo):
            return None
        same_size = request.answer_size + 3 == len(echo)
        if buffer.startswith(echo) and (self._echoes or not same_size):
            self._echoes = True
            buffer = buffer[len(echo) :]
        return self._rtu.answer(buffer, request, transaction)

    def noise(self, data: bytes) -> bool:
        """Whether bytes that nobody asked for are nothing but heartbeats."""
        for heartbeat in self._heartbeats:
            data = data.replace(heartbeat, b"")
        return not data

    def _without_heartbeats(self, buffer: bytes, request: Request) -> bytes:
        """Heartbeats cut from both ends, unless the bytes are how the answer begins."""
        head = request.rtu_head[:2]
        for heartbeat in self._heartbeats:
            while buffer.startswith(heartbeat) and not heartbeat.startswith(head):
                buffer = buffer[len(heartbeat) :]
            whole = 1 + request.answer_size + 2
            if len(buffer) == whole + len(heartbeat) and buffer.endswith(heartbeat):
                buffer = buffer[:whole]
            if buffer and heartbeat.startswith(buffer) and not request.rtu_head.startswith(buffer):
                return b""
        return buffer


class Line(asyncio.Protocol):
    """The receiving end of a pipe, and the one exchange that may be under way on it.

    While `record` is set it is told (outgoing, bytes) of whatever goes and comes.
    """

    def __init__(self, envelope: Envelope, clock: Clock) -> None:
        self._envelope = envelope
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._pipe: Pipe | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._request: Request | None = None
        self._transaction = 0
        self._buffer = b""
        self._unasked = b""
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.record: Record | None = None
        self.last_s = clock.monotonic_s()
        self.lost = "not open"

    def connection_made(self, transport: object) -> None:
        """The pipe is open."""
        self.lost = ""
        self._pipe = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """The pipe is gone; whoever waits is told."""
        self.lost = str(exc) or type(exc).__name__ if exc else "closed by the other side"
        self._fail(LinkError(self.lost))
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take bytes for the exchange under way; without one they are kept as unasked for."""
        self.last_s = self._clock.monotonic_s()
        if self.record:
            self.record(False, data)
        waiter, request = self._waiter, self._request
        if waiter is None or request is None or waiter.done():
            self._unasked = (self._unasked + data)[:_UNASKED_KEPT_BYTES]
            return
        buffer = self._buffer + data if self._buffer else data
        try:
            answer = self._envelope.answer(buffer, request, self._transaction)
            if answer is None and len(buffer) > _FRAME_MAX_BYTES:
                raise FrameError("endless")
        except FrameError as error:
            waiter.set_exception(error)
            return
        if answer is None:
            self._buffer = buffer
        else:
            waiter.set_result(answer)

    async def exchange(self, request: Request, transaction: int, timeout_s: float) -> Answer:
        """Send a request and return its answer.

        Raises TimeoutError after `timeout_s` without a whole answer, FrameError for bytes that are not
        the answer, LinkError when the pipe is gone. Never called while another exchange is under way.
        """
        if self._pipe is None or self.lost:
            raise LinkError(self.lost)
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._waiter = waiter
        self._request, self._transaction, self._buffer = request, transaction, b""
        self._deadline_s = self._clock.monotonic_s() + timeout_s
        if self._timer is None or self._timer.when() > self._loop.time() + timeout_s:
            self._wait(timeout_s)
        frame = self._envelope.frame(request, transaction)
        if self.record:
            self.record(True, frame)
        self._pipe.write(frame)
        try:
            return await waiter
        finally:
            self._waiter = None

    def take_unasked(self) -> bytes:
        """The bytes that came while nobody waited, once."""
        data, self._unasked = self._unasked, b""
        return data

    def discard(self) -> bool:
        """Throw away what was not yet sent; False when something may be left that only closing stops."""
        return self._pipe is not None and self._pipe.discard()

    def abort(self) -> None:
        """Close at once, with a reset where the pipe knows one."""
        if self._timer:
            self._timer.cancel()
        self.lost = self.lost or "aborted"
        if self._pipe is not None:
            self._pipe.abort()

    def _wait(self, seconds: float) -> None:
        """One timer serves many exchanges: when it rings too early, it is set again for the rest."""
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(seconds, _TIMER_GRAIN_S), self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        left_s = self._deadline_s - self._clock.monotonic_s()
        if left_s > 0:
            self._wait(left_s)
        else:
            self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_exception(error)
