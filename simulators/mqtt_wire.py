"""The few packets of MQTT 3.1.1 that a device needs, in the simulators' own words.

Source: OASIS MQTT Version 3.1.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CONNACK, PUBLISH, PUBACK, PINGREQ, PINGRESP, DISCONNECT = 2, 3, 4, 12, 13, 14
_SUBSCRIBE = 8
_CONNECT = 1
_LENGTH_MAX = 268_435_455


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What is published: topic, payload, whether the broker keeps it."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Packet:
    """A packet as it came in: its type, its flags and everything after the length."""

    type: int
    flags: int
    body: bytes


def _text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def _packet(kind: int, flags: int, body: bytes) -> bytes:
    length, sizes = len(body), bytearray()
    while True:
        length, low = divmod(length, 128)
        sizes.append(low | (0x80 if length else 0))
        if not length:
            return bytes((kind << 4 | flags,)) + bytes(sizes) + body


def connect_packet(
    client_id: str,
    *,
    keep_alive_s: int,
    will: Message | None,
    login: tuple[str, str] | None,
    clean: bool = True,
) -> bytes:
    """CONNECT; the will, if any, has QoS 1; `login` is user and password."""
    flags = 0x02 if clean else 0
    rest = _text(client_id)
    if will is not None:
        flags |= 0x04 | 0x08 | (0x20 if will.retain else 0)
        rest += _text(will.topic) + _text(will.payload)
    if login is not None:
        flags |= 0x80 | 0x40
        rest += _text(login[0]) + _text(login[1])
    head = _text("MQTT") + bytes((4, flags)) + keep_alive_s.to_bytes(2, "big")
    return _packet(_CONNECT, 0, head + rest)


def publish_packet(message: Message, number: int, *, again: bool = False) -> bytes:
    """PUBLISH with QoS 1; `again` marks a repetition."""
    flags = 0x02 | (0x08 if again else 0) | (0x01 if message.retain else 0)
    body = _text(message.topic) + number.to_bytes(2, "big") + message.payload
    return _packet(PUBLISH, flags, body)


def subscribe_packet(topics: Sequence[str], number: int) -> bytes:
    """SUBSCRIBE to these topics with QoS 1."""
    body = b"".join(_text(topic) + b"\x01" for topic in topics)
    return _packet(_SUBSCRIBE, 0x02, number.to_bytes(2, "big") + body)


def acknowledgement(number: bytes) -> bytes:
    """PUBACK of the message with this packet number."""
    return _packet(PUBACK, 0, number)


def delivered(packet: Packet) -> tuple[Message, bytes]:
    """What a PUBLISH brings, `retain` set when the broker had kept it, and its packet number (QoS 1)."""
    length = int.from_bytes(packet.body[:2], "big")
    topic, rest = packet.body[2 : 2 + length].decode(), packet.body[2 + length :]
    number, payload = (rest[:2], rest[2:]) if packet.flags & 0x06 else (b"", rest)
    return Message(topic=topic, payload=payload, retain=bool(packet.flags & 1)), number


def short_packet(kind: int) -> bytes:
    """PINGREQ or DISCONNECT."""
    return _packet(kind, 0, b"")


def take_packet(buffer: bytearray) -> Packet | None:
    """The first whole packet, taken out of `buffer`; None while incomplete. Raises ValueError."""
    length, shift, at = 0, 0, 1
    while True:
        if len(buffer) <= at:
            return None
        length |= (buffer[at] & 0x7F) << shift
        if not buffer[at] & 0x80:
            break
        shift, at = shift + 7, at + 1
        if at > 4:
            raise ValueError("not an MQTT packet")
    end = at + 1 + length
    if len(buffer) < end:
        return None
    packet = Packet(type=buffer[0] >> 4, flags=buffer[0] & 15, body=bytes(buffer[at + 1 : end]))
    del buffer[:end]
    return packet
