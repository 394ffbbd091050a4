"""Modbus frames as the specifications print them, in the simulators' own words (never the drivers').

Sources: Modbus Application Protocol V1.1b3; Modbus over Serial Line V1.02 (CRC appendix); Modbus
Messaging on TCP/IP V1.0b.
"""

from __future__ import annotations

from dataclasses import dataclass

READ_FUNCTIONS = (1, 2, 3, 4)
MAKERS_WRITE = 0x20  # Acrel's: shaped like function 16
_FIXED_REQUEST = 8  # unit, function, two words, CRC
_MBAP = 7
PDU_MAX = 253


def _crc_step(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


_CRC_STEPS = tuple(_crc_step(byte) for byte in range(256))


def crc16(data: bytes) -> bytes:
    """The two bytes that end a serial frame, in the order they travel (low byte first)."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_STEPS[(crc ^ byte) & 0xFF]
    return bytes((crc & 0xFF, crc >> 8))


def rtu_frame(unit: int, pdu: bytes) -> bytes:
    """A serial frame: unit, PDU, CRC."""
    body = bytes((unit,)) + pdu
    return body + crc16(body)


def rtu_request_length(data: bytes) -> int | None:
    """How long the request that `data` begins with will be; None while it cannot be told, 0 when never."""
    if len(data) < 2:
        return None
    function = data[1]
    if function in (1, 2, 3, 4, 5, 6):
        return _FIXED_REQUEST
    if function in (15, 16, MAKERS_WRITE):
        return 9 + data[6] if len(data) > 6 else None
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TcpFrame:
    """One Modbus TCP message: transaction, unit and PDU."""

    transaction: int
    unit: int
    pdu: bytes

    def encode(self) -> bytes:
        """The message with its seven bytes of header."""
        header = (self.transaction, 0, len(self.pdu) + 1)
        return b"".join(word.to_bytes(2, "big") for word in header) + bytes((self.unit,)) + self.pdu


def take_tcp_frame(buffer: bytearray) -> TcpFrame | None:
    """The first whole message, taken out of `buffer`; None while incomplete.

    Raises ValueError for what can never become a message (protocol not 0, impossible length).
    """
    if len(buffer) < _MBAP:
        return None
    protocol, length = int.from_bytes(buffer[2:4], "big"), int.from_bytes(buffer[4:6], "big")
    if protocol != 0 or not 2 <= length <= PDU_MAX + 1:
        raise ValueError("not a Modbus TCP message")
    if len(buffer) < 6 + length:
        return None
    frame = TcpFrame(
        transaction=int.from_bytes(buffer[:2], "big"),
        unit=buffer[6],
        pdu=bytes(buffer[_MBAP : 6 + length]),
    )
    del buffer[: 6 + length]
    return frame


def take_rtu_request(buffer: bytearray) -> tuple[int, bytes] | None:
    """The first whole serial request (unit, PDU), taken out of `buffer`; None while incomplete.

    A frame with a wrong CRC or an unknown function empties the buffer, as a slave waits for silence then.
    Raises ValueError for it, so that the caller can count.
    """
    length = rtu_request_length(bytes(buffer[:7]))
    if length is None or 0 < len(buffer) < length:
        return None
    frame = bytes(buffer[:length])
    if not length or crc16(frame[:-2]) != frame[-2:]:
        buffer.clear()
        raise ValueError("not a serial request")
    del buffer[:length]
    return frame[0], frame[1:-2]
