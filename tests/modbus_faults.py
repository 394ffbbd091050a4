"""A Modbus server that misbehaves on purpose, by seed. Its protocol code is its own.

Every register's value is made from its unit and its address, so that an answer taken for another one
shows. It keeps a count of the faults it has committed, and of the writes it has carried out.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum

LATE_MAX_TIMEOUTS = 4.0
WRITES = (5, 6)


class Fault(StrEnum):
    """What may go wrong with one answer."""

    NONE = "none"
    SILENCE = "silence"
    LATE = "late"
    DOUBLED = "doubled"
    STALE_FIRST = "stale first"  # the last answer once more, then the right one
    UNASKED = "unasked"  # the answer once more, some time after it
    FOREIGN_UNIT = "foreign unit"
    WRONG_FUNCTION = "wrong function"
    WRONG_COUNT = "wrong byte count"
    WRONG_CRC = "wrong crc"
    WRONG_TRANSACTION = "wrong transaction"
    WRONG_PROTOCOL = "wrong protocol"
    TRUNCATED = "truncated"
    GARBAGE = "garbage"
    EXCEPTION = "exception"
    ECHO = "echo"
    PIECES = "pieces"  # no fault: the answer in small pieces
    HANG_UP = "hang up"


COMMON = (
    Fault.SILENCE,
    Fault.LATE,
    Fault.DOUBLED,
    Fault.STALE_FIRST,
    Fault.UNASKED,
    Fault.FOREIGN_UNIT,
    Fault.WRONG_FUNCTION,
    Fault.WRONG_COUNT,
    Fault.TRUNCATED,
    Fault.GARBAGE,
    Fault.EXCEPTION,
    Fault.PIECES,
    Fault.HANG_UP,
)
TCP_FAULTS = (*COMMON, Fault.WRONG_TRANSACTION, Fault.WRONG_PROTOCOL)
RTU_FAULTS = (*COMMON, Fault.WRONG_CRC, Fault.ECHO)


def word_at(unit: int, function: int, address: int) -> int:
    """The value of a register: different for every unit, function and address of a test."""
    return (unit * 7919 + function * 1013 + address * 31) & 0xFFFF


def bit_at(unit: int, function: int, address: int) -> bool:
    """The value of a coil."""
    return bool(word_at(unit, function, address) % 3 == 0)


def crc_of(data: bytes) -> bytes:
    """The CRC of the specification, bit by bit."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


def chosen_by(faults: Sequence[Fault], share: float) -> Callable[[random.Random], Fault]:
    """A fault out of these in a share of the answers, else none."""

    def choose(chance: random.Random) -> Fault:
        return chance.choice(faults) if chance.random() < share else Fault.NONE

    return choose


def always(fault: Fault) -> Callable[[random.Random], Fault]:
    """This fault in every answer."""
    return lambda _: fault


class FaultyServer:
    """Units behind one connection, as Modbus TCP or as RTU frames."""

    def __init__(
        self,
        units: Iterable[int],
        *,
        rtu: bool,
        seed: int = 1,
        timeout_s: float = 0.05,
        illegal: Iterable[int] = (),
    ) -> None:
        """`illegal` are addresses that answer with exception 2; `timeout_s` is the patience to exceed."""
        self.units = set(units)
        self.rtu = rtu
        self.illegal = set(illegal)
        self.choose: Callable[[random.Random], Fault] = always(Fault.NONE)
        self.exception = 6
        self.committed: Counter[Fault] = Counter()
        self.requests: list[tuple[int, int, int, int]] = []
        self.done: list[tuple[int, int, int]] = []  # unit, address, value of each write carried out
        self.resets = 0
        self.connections = 0
        self._timeout_s = timeout_s
        self._chance = random.Random(seed)
        self._busy_until: dict[int, float] = {}
        self._last_answer = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        self.connections += 1
        try:
            while not writer.is_closing():
                head, request = await self._request(reader)
                self._answer(head, request, writer)
        except asyncio.IncompleteReadError:
            pass
        except ConnectionError:
            self.resets += 1
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        """Transaction and protocol of a frame (nothing for RTU), and its unit and PDU."""
        if self.rtu:
            frame = await reader.readexactly(8)
            assert crc_of(frame[:6]) == frame[6:], "a request with a wrong CRC"
            return b"", frame[:6]
        header = await reader.readexactly(6)
        transaction, protocol, length = struct.unpack(">HHH", header)
        assert (protocol, length) == (0, 6), "a request with a wrong header"
        return struct.pack(">HH", transaction, protocol), await reader.readexactly(length)

    def _answer(self, head: bytes, request: bytes, writer: asyncio.StreamWriter) -> None:
        unit, function, start, count = struct.unpack(">BBHH", request)
        self.requests.append((unit, function, start, count))
        if unit not in self.units:
            return
        fault = self.choose(self._chance)
        self.committed[fault] += 1
        right = self._frame(head, self._body(unit, function, start, count))
        if function in WRITES and fault is not Fault.EXCEPTION and start not in self.illegal:
            self.done.append((unit, start, count))
        loop = asyncio.get_running_loop()
        delay_s = self._chance.uniform(1.05, LATE_MAX_TIMEOUTS) * self._timeout_s
        # A device answers its requests one after the other, so a late answer holds up the next ones.
        ready_s = max(loop.time(), self._busy_until.get(unit, 0.0))
        if fault is Fault.LATE:
            ready_s += delay_s
        self._busy_until[unit] = ready_s
        pieces = self._pieces(fault, head, request, right)
        self._last_answer = right
        if ready_s > loop.time():
            loop.call_at(ready_s, self._send, writer, pieces, fault)
        else:
            self._send(writer, pieces, fault)

    def _send(self, writer: asyncio.StreamWriter, pieces: Sequence[bytes], fault: Fault) -> None:
        loop = asyncio.get_running_loop()
        for number, piece in enumerate(pieces):
            if fault in (Fault.PIECES, Fault.UNASKED) and number:
                loop.call_later(0.003 * number, self._write, writer, piece)
            else:
                self._write(writer, piece)
        if fault is Fault.HANG_UP:
            writer.transport.abort()

    def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.is_closing():
            writer.write(data)

    def _body(self, unit: int, function: int, start: int, count: int) -> bytes:
        if self.illegal & set(range(start, start + (1 if function in WRITES else count))):
            return bytes((unit, function | 0x80, 2))
        if function in WRITES:
            return struct.pack(">BBHH", unit, function, start, count & 0xFFFF)
        addresses = range(start, start + count)
        if function in (1, 2):
            value = sum(bit_at(unit, function, at) << place for place, at in enumerate(addresses))
            data = value.to_bytes((count + 7) // 8, "little")
        else:
            data = b"".join(struct.pack(">H", word_at(unit, function, at)) for at in addresses)
        return bytes((unit, function, len(data))) + data

    def _frame(self, head: bytes, body: bytes) -> bytes:
        if self.rtu:
            return body + crc_of(body)
        return head + struct.pack(">H", len(body)) + body

    def _pieces(  # noqa: C901 (one flat case for each fault)
        self, fault: Fault, head: bytes, request: bytes, right: bytes
    ) -> Sequence[bytes]:
        """What goes on the wire instead of the right answer."""
        unit, function, start, count = struct.unpack(">BBHH", request)
        match fault:
            case Fault.SILENCE | Fault.HANG_UP:
                return ()
            case Fault.DOUBLED:
                return (right, right)
            case Fault.UNASKED:
                return (right, right)
            case Fault.STALE_FIRST:
                return (self._last_answer, right)
            case Fault.FOREIGN_UNIT:
                return (self._frame(head, self._body(unit % 247 + 1, function, start, count)),)
            case Fault.WRONG_FUNCTION:
                other = function ^ 3 if function in WRITES else 7 - function
                return (self._frame(head, self._body(unit, other, start, count)),)
            case Fault.WRONG_COUNT:
                return (self._frame(head, self._body(unit, function, start, count + 16)),)
            case Fault.WRONG_CRC:
                return (right[:-1] + bytes((right[-1] ^ 0x55,)),)
            case Fault.WRONG_TRANSACTION:
                return (bytes((right[0] ^ 1,)) + right[1:],)
            case Fault.WRONG_PROTOCOL:
                return (right[:2] + b"\x00\x01" + right[4:],)
            case Fault.TRUNCATED:
                return (right[: self._chance.randrange(1, len(right))],)
            case Fault.GARBAGE:
                return (self._chance.randbytes(self._chance.randrange(1, 20)), right)
            case Fault.EXCEPTION:
                return (self._frame(head, bytes((unit, function | 0x80, self.exception))),)
            case Fault.ECHO:
                return (request + crc_of(request), right)
            case Fault.PIECES:
                return tuple(right[at : at + 3] for at in range(0, len(right), 3))
            case _:
                return (right,)


@asynccontextmanager
async def listening(server: FaultyServer) -> AsyncIterator[int]:
    """The server on a loopback port; the port."""
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
