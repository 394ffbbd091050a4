"""How a line is opened: TCP, a serial port, or a box that dials in."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import socket
import struct
import termios
from contextlib import suppress
from typing import Protocol

import serial

from drivers.modbus.dialin import DialIn
from drivers.modbus.line import Line
from drivers.modbus.settings import LinkSettings
from hub import Host, LinkError

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 10.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_READ_BYTES = 4096
_QUEUED_MAX_BYTES = 4096
_PARITY = {"N": serial.PARITY_NONE, "E": serial.PARITY_EVEN, "O": serial.PARITY_ODD}


class Opener(Protocol):
    """Opens the pipe below a line."""

    pause_max_s: float

    async def open(self, line: Line) -> None:
        """Open and attach to the line, within a bounded time; raises LinkError."""

    async def close(self) -> None:
        """Give back what outlives a single line."""


def reset_on_close(sock: socket.socket) -> None:
    """Make closing a reset, so that nothing still queued is delivered later."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class TcpPipe:
    """A TCP connection: closing it is a reset."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._socket: socket.socket = transport.get_extra_info("socket")
        reset_on_close(self._socket)
        self.write = transport.write
        self.abort = transport.abort

    def discard(self) -> bool:
        """False while the other side has not taken everything: bytes can be kept back by a reset only."""
        held = array.array("i", [0])
        try:
            fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, held)
        except OSError:
            return False
        return not held[0] and not self._transport.get_write_buffer_size()


class TcpOpener:
    """A TCP connection to a device, gateway or serial server."""

    pause_max_s = 30.0

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    async def open(self, line: Line) -> None:
        """Connect; raises LinkError with the system's reason."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                transport, _ = await loop.create_connection(lambda: line, self._host, self._port)
        except TimeoutError:
            raise LinkError("connect timeout") from None
        except OSError as error:
            raise LinkError(error.strerror or str(error)) from None
        if line.lost:
            raise LinkError(line.lost)
        line.connection_made(TcpPipe(transport))

    async def close(self) -> None:
        """Nothing outlives a connection."""


class SerialPipe:
    """A serial port on the event loop: reads when readable, writes at once or when writable."""

    def __init__(self, port: serial.Serial, line: Line) -> None:
        self._port = port
        self._fd: int = port.fileno()
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._queued = b""
        self._loop.add_reader(self._fd, self._read)

    def write(self, data: bytes) -> None:
        """Hand the frame to the port; a frame fits into its buffer, else the rest waits."""
        if self._port.is_open:
            self._queued = (self._queued + data)[:_QUEUED_MAX_BYTES]
            self._flush()

    def abort(self) -> None:
        """Close the port at once; what still waits in it is not sent."""
        self.discard()
        self._close(None)

    def discard(self) -> bool:
        """Throw away what was not yet sent, the port's own buffer included."""
        self._queued = b""
        if self._port.is_open:
            self._loop.remove_writer(self._fd)
            with suppress(termios.error, OSError):  # the port is gone, and its buffer with it
                termios.tcflush(self._fd, termios.TCOFLUSH)
        return True

    def _flush(self) -> None:
        try:
            sent = os.write(self._fd, self._queued)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._close(error)
            return
        self._queued = self._queued[sent:]
        if self._queued:
            self._loop.add_writer(self._fd, self._flush)
        else:
            self._loop.remove_writer(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._close(error)
            return
        if data:
            self._line.data_received(data)
        else:
            self._close(OSError("port gone"))

    def _close(self, error: OSError | None) -> None:
        if not self._port.is_open:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._port.close()
        self._line.connection_lost(error)


class SerialOpener:
    """A serial port of this machine, for this link alone."""

    pause_max_s = 30.0

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings

    async def open(self, line: Line) -> None:
        """Open the port with the link's speed and format; raises LinkError."""
        data, parity, stop = tuple(self._settings.format)
        try:
            port = serial.Serial(
                self._settings.device,
                self._settings.baud,
                bytesize=int(data),
                parity=_PARITY[parity],
                stopbits=int(stop),
                timeout=0,
                write_timeout=0,
                exclusive=True,
            )
        except (OSError, ValueError) as error:
            raise LinkError(str(error)) from None
        os.set_blocking(port.fileno(), False)
        line.connection_made(SerialPipe(port, line))

    async def close(self) -> None:
        """Nothing outlives a port."""


class DialInOpener:
    """A box that calls us and tells who it is."""

    pause_max_s = 1.0

    def __init__(self, settings: LinkSettings, host: Host) -> None:
        self._address = settings.listen_address()
        self._registration = settings.registration_bytes
        self._host = host
        self._listener: DialIn | None = None

    async def open(self, line: Line) -> None:
        """Wait for the box to call; raises LinkError when it does not or when the port is taken."""
        if self._listener is None:
            self._listener = await DialIn.join(self._address, self._registration, self._host)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                transport = await self._listener.caller(self._registration)
        except TimeoutError:
            raise LinkError("the box has not called") from None
        transport.set_protocol(line)
        line.connection_made(TcpPipe(transport))

    async def close(self) -> None:
        """Leave the listener; the last one out closes it."""
        if self._listener is not None:
            self._listener.leave(self._registration)
            self._listener = None


def opener_for(settings: LinkSettings, host: Host) -> Opener:
    """The opener of a link's transport."""
    match settings.transport:
        case "tcp" | "rtu_over_tcp":
            return TcpOpener(settings.host, settings.port)
        case "rtu":
            return SerialOpener(settings)
        case "dtu":
            return DialInOpener(settings, host)
