"""Frames of Modbus: requests, and the proof that an answer belongs to its request. Pure.

A request knows exactly how its answer must begin and how long it must be, so checking an answer is a
comparison, and whatever differs is refused with the reason. Two envelopes: RTU (unit, PDU, CRC) and TCP
(transaction, protocol 0, length, unit, PDU).
Sources: Modbus Application Protocol V1.1b3; Modbus over Serial Line V1.02; Messaging on TCP/IP V1.0b.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Protocol

import msgspec

from hub import HubError

UNIT_MAX = 255
EXCEPTION_BIT = 0x80
_HEADER = struct.Struct(">HHHB")
_HEADER_SIZE = 7
_RTU_EXCEPTION_SIZE = 5
_TCP_EXCEPTION_SIZE = 9

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "busy",
    6: "busy",
    8: "memory parity",
    10: "no gateway path",
    11: "gateway target silent",
}


class FrameError(HubError):
    """Bytes that are not the answer to the request; `reason` is a short word fit for a counter."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request: PDU, and what its answer must be (first bytes and whole length of the answer's PDU).

    `tcp` is the frame behind the transaction number, `rtu` the whole frame; `tcp_head` and `rtu_head` are
    how the answer begins in each.
    """

    unit: int
    pdu: bytes
    writes: bool
    answer_size: int
    tcp: bytes
    tcp_head: bytes
    rtu: bytes
    rtu_head: bytes

    @property
    def function(self) -> int:
        """The function code."""
        return self.pdu[0]


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a device answered: the data bytes behind the byte count, or the exception it named (else 0)."""

    data: bytes
    exception: int = 0

    @property
    def reason(self) -> str:
        """The exception in words."""
        return EXCEPTIONS.get(self.exception, f"exception {self.exception}")


class Envelope(Protocol):
    """How a PDU travels: RTU or TCP."""

    def frame(self, request: Request, transaction: int) -> bytes:
        """The whole frame to send."""

    def answer(self, buffer: bytes, request: Request, transaction: int) -> Answer | None:
        """The answer in what has been received, None while it is not whole; raises FrameError."""


def crc(data: bytes) -> bytes:
    """The two CRC bytes of an RTU frame, as they go on the wire."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC = tuple(_crc_of(byte) for byte in range(256))


def read_request(unit: int, function: int, start: int, count: int) -> Request:
    """Read `count` coils (functions 1, 2) or registers (3, 4) from wire address `start`."""
    size = (count + 7) // 8 if function in (1, 2) else 2 * count
    pdu = struct.pack(">BHH", function, start, count)
    return _request(unit, pdu, answer_head=bytes((function, size)), answer_size=2 + size)


def write_coil(unit: int, address: int, on: bool) -> Request:
    """Write one coil (function 5); the answer is the echo of the request."""
    pdu = struct.pack(">BHH", 5, address, 0xFF00 if on else 0)
    return _request(unit, pdu, answer_head=pdu, answer_size=len(pdu), writes=True)


def write_register(unit: int, address: int, value: int) -> Request:
    """Write one register (function 6); the answer is the echo of the request."""
    pdu = struct.pack(">BHH", 6, address, value)
    return _request(unit, pdu, answer_head=pdu, answer_size=len(pdu), writes=True)


def write_registers(unit: int, address: int, values: Sequence[int]) -> Request:
    """Write registers together (function 16); the answer repeats address and count."""
    count = len(values)
    pdu = struct.pack(f">BHHB{count}H", 16, address, count, 2 * count, *values)
    return _request(unit, pdu, answer_head=pdu[:5], answer_size=5, writes=True)


def write_request(unit: int, pdu: bytes, *, answer_head: bytes, answer_size: int) -> Request:
    """Any writing PDU; its answer begins with `answer_head` and has `answer_size` bytes."""
    return _request(unit, pdu, answer_head=answer_head, answer_size=answer_size, writes=True)


def _request(
    unit: int, pdu: bytes, *, answer_head: bytes, answer_size: int, writes: bool = False
) -> Request:
    body = bytes((unit,)) + pdu
    return Request(
        unit=unit,
        pdu=pdu,
        writes=writes,
        answer_size=answer_size,
        tcp=_HEADER.pack(0, 0, 1 + len(pdu), unit)[2:] + pdu,
        tcp_head=_HEADER.pack(0, 0, 1 + answer_size, unit)[2:] + answer_head,
        rtu=body + crc(body),
        rtu_head=bytes((unit,)) + answer_head,
    )


class TcpEnvelope:
    """MBAP header, no CRC."""

    def frame(self, request: Request, transaction: int) -> bytes:
        """Transaction, protocol 0, length, unit, PDU."""
        return transaction.to_bytes(2, "big") + request.tcp

    def answer(self, buffer: bytes, request: Request, transaction: int) -> Answer | None:
        """The answer, when header, function, byte count and length are those of this request."""
        head = transaction.to_bytes(2, "big") + request.tcp_head
        if buffer.startswith(head):
            size = 7 + request.answer_size
            if len(buffer) < size:
                return None
            if len(buffer) > size:
                raise FrameError("trailing bytes")
            return Answer(buffer[9:])
        return self._other(buffer, request, transaction)

    def _other(self, buffer: bytes, request: Request, transaction: int) -> Answer | None:
        if len(buffer) < _HEADER_SIZE:
            return None
        got, protocol, length, unit = _HEADER.unpack_from(buffer)
        if got != transaction:
            raise FrameError("wrong transaction")
        if protocol:
            raise FrameError("wrong protocol")
        if unit != request.unit:
            raise FrameError("wrong unit")
        if len(buffer) <= _HEADER_SIZE:
            return None
        if buffer[_HEADER_SIZE] == request.function | EXCEPTION_BIT:
            return _exception(buffer, _TCP_EXCEPTION_SIZE, length == 3)
        if buffer[_HEADER_SIZE] != request.function:
            raise FrameError("wrong function")
        if length != 1 + request.answer_size:
            raise FrameError("wrong length")
        return _refuse(buffer[_HEADER_SIZE:], request)


class RtuEnvelope:
    """Unit, PDU, CRC; the end of an answer is known from its function and byte count."""

    def frame(self, request: Request, transaction: int) -> bytes:
        """The frame with its CRC; RTU has no transaction number."""
        return request.rtu

    def answer(self, buffer: bytes, request: Request, transaction: int) -> Answer | None:
        """The answer, when unit, function, byte count, length and CRC are those of this request."""
        if buffer.startswith(request.rtu_head):
            size = 1 + request.answer_size + 2
            if len(buffer) < size:
                return None
            _check_crc(buffer, size)
            return Answer(buffer[3 : size - 2])
        if buffer and buffer[0] != request.unit:
            raise FrameError("wrong unit")
        if len(buffer) < 2:
            return None
        if buffer[1] == request.function | EXCEPTION_BIT:
            if len(buffer) < _RTU_EXCEPTION_SIZE:
                return None
            _check_crc(buffer, _RTU_EXCEPTION_SIZE)
            return _exception(buffer[:-2], 3, True)
        return _refuse(buffer[1:], request)


def _check_crc(buffer: bytes, size: int) -> None:
    if len(buffer) > size:
        raise FrameError("trailing bytes")
    if crc(buffer[:-2]) != buffer[-2:]:
        raise FrameError("wrong crc")


def _exception(buffer: bytes, size: int, right_length: bool) -> Answer | None:
    if not right_length or len(buffer) > size:
        raise FrameError("wrong length")
    if len(buffer) < size:
        return None
    if not buffer[-1]:
        raise FrameError("exception 0")
    return Answer(b"", buffer[-1])


def _refuse(pdu: bytes, request: Request) -> Answer | None:
    """Name what is wrong with a PDU that is no exception and does not begin as it must."""
    if pdu[0] != request.function:
        raise FrameError("wrong function")
    expected = request.rtu_head[1:]
    if expected.startswith(pdu):
        return None
    raise FrameError("wrong echo" if request.writes else "wrong byte count")
