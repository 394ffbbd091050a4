"""How a bus is reached: Modbus TCP, RTU over TCP, a serial line (a pty here), a DTU that dials in."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from simulators.modbus_bus import Bus, Request
from simulators.modbus_wire import TcpFrame, rtu_frame, take_rtu_request, take_tcp_frame

_STALE_S = 0.5  # half a request so old will never be completed
_BUFFER_MAX = 4096
_READ_MAX = 1024
_DIAL_PAUSE_S = 1.0
_BACKLOG = 100
_BAUDS = {
    termios.B1200: 1200,
    termios.B2400: 2400,
    termios.B4800: 4800,
    termios.B9600: 9600,
    termios.B19200: 19200,
    termios.B38400: 38400,
}


def _send(transport: asyncio.Transport, data: bytes) -> None:
    if not transport.is_closing():
        transport.write(data)


class TcpPort(asyncio.Protocol):
    """One client's connection that speaks Modbus TCP."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._bus.callers.add(transport)
        if self._bus.cut:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._transport is not None:
            self._bus.callers.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Ask the bus every whole request; a stream that is not Modbus TCP is closed."""
        assert self._transport is not None
        self._buffer += data
        arrived_s = self._bus.clock.monotonic_s()
        try:
            while (frame := take_tcp_frame(self._buffer)) is not None:
                self._bus.ask(
                    Request(
                        unit=frame.unit,
                        pdu=frame.pdu,
                        arrived_s=arrived_s,
                        frame=partial(_tcp_answer, frame.transaction),
                        send=partial(_send, self._transport),
                    )
                )
        except ValueError:
            self._transport.close()


def _tcp_answer(transaction: int, unit: int, pdu: bytes) -> bytes:
    return TcpFrame(transaction=transaction, unit=unit, pdu=pdu).encode()


class RtuStream:
    """Bytes of a serial line on their way to the bus, however they arrive: whole, split or merged."""

    def __init__(self, bus: Bus) -> None:
        self.unreadable = 0
        self._bus = bus
        self._buffer = bytearray()
        self._last_s = 0.0

    def feed(self, data: bytes, request_send: partial[None], baud: int = 0) -> None:
        """Take bytes; every whole request is asked of the bus, its answer goes to `request_send`."""
        now_s = self._bus.clock.monotonic_s()
        if now_s - self._last_s > _STALE_S or len(self._buffer) > _BUFFER_MAX:
            self._buffer.clear()
        self._last_s = now_s
        self._buffer += data
        try:
            while (request := take_rtu_request(self._buffer)) is not None:
                unit, pdu = request
                self._bus.ask(
                    Request(
                        unit=unit,
                        pdu=pdu,
                        arrived_s=now_s,
                        frame=rtu_frame,
                        send=request_send,
                        baud=baud,
                    )
                )
        except ValueError:
            self.unreadable += 1


class RtuPort(asyncio.Protocol):
    """One TCP connection that carries serial frames; `greeting` is a DTU's registration text."""

    def __init__(self, bus: Bus, greeting: bytes = b"") -> None:
        self.lost = asyncio.Event()
        self._bus = bus
        self._stream = RtuStream(bus)
        self._greeting = greeting
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection; a DTU says who it is."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._bus.callers.add(transport)
        if self._bus.cut:
            transport.abort()
        self.say(self._greeting)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.lost.set()
        if self._transport is not None:
            self._bus.callers.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Feed the serial stream."""
        assert self._transport is not None
        self._stream.feed(data, partial(_send, self._transport))

    def say(self, text: bytes) -> None:
        """Put a text (registration, heartbeat) into the stream."""
        if text and self._transport is not None:
            _send(self._transport, text)


@asynccontextmanager
async def listening(bus: Bus, host: str, port: int, *, serial: bool) -> AsyncIterator[int]:
    """The bus behind a TCP port (RTU frames if `serial`); gives the port, chosen freely when 0."""
    kind = RtuPort if serial else TcpPort
    loop = asyncio.get_running_loop()
    # Not served at once: a server cancelled while it starts would be returned to nobody.
    server = await loop.create_server(
        lambda: kind(bus), host, port, backlog=_BACKLOG, reuse_address=True, start_serving=False
    )
    try:
        await server.start_serving()
        bound: int = server.sockets[0].getsockname()[1]
        yield bound
    finally:
        server.close()
        for transport in list(bus.callers):
            transport.abort()


@asynccontextmanager
async def serial_line(bus: Bus) -> AsyncIterator[str]:
    """The bus behind a pseudo terminal; gives the device's name."""
    master, slave = os.openpty()
    tty.setraw(slave)  # the other end stays open here, so that a closing client is no hang-up
    os.set_blocking(master, False)
    stream = RtuStream(bus)
    loop = asyncio.get_running_loop()
    loop.add_reader(
        master,
        lambda: stream.feed(os.read(master, _READ_MAX), partial(_write, master), _baud(master)),
    )
    try:
        yield os.ttyname(slave)
    finally:
        loop.remove_reader(master)
        os.close(master)
        os.close(slave)


def _baud(master: int) -> int:
    """The speed at which the other side has opened the line; 0 for one nobody has named here."""
    return _BAUDS.get(termios.tcgetattr(master)[5], 0)


def _write(master: int, data: bytes) -> None:
    try:
        os.write(master, data)
    except BlockingIOError:
        return  # nobody reads the line: what is said is lost, as on a wire


@dataclass(frozen=True, kw_only=True, slots=True)
class DialIn:
    """How a DTU calls the hub: where, what it says first, and what it says between answers."""

    host: str
    port: int
    registration: bytes
    heartbeat: bytes
    heartbeat_s: float = 30.0


async def dial_in(bus: Bus, dial: DialIn) -> None:
    """A DTU: calls the hub, registers, sends heartbeats; calls again when the line is lost."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            with suppress(OSError):  # the hub is not there yet; a DTU just calls again
                if not bus.cut:
                    _, port = await loop.create_connection(
                        lambda: RtuPort(bus, dial.registration), dial.host, dial.port
                    )
                    await _beat(port, dial)
            await bus.clock.sleep(_DIAL_PAUSE_S)
    finally:
        for transport in list(bus.callers):
            transport.abort()


async def _beat(port: RtuPort, dial: DialIn) -> None:
    while not port.lost.is_set():
        try:
            async with asyncio.timeout(dial.heartbeat_s):
                await port.lost.wait()
        except TimeoutError:
            port.say(dial.heartbeat)
