"""A knock at the broker's door on this box: connect under a name, hear the answer, leave.

Whoever connects under a client id takes it over: the broker ends the session that had it. The door on
loopback lets the hub say any client id, the ones for devices do not. So a knock tells which files the broker
runs, and ends the session of a device whose certificate was revoked, which a reload alone does not.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress

_HOST = "127.0.0.1"
_TIMEOUT_S = 3.0
_CONNECT = 0x10
_DISCONNECT = b"\xe0\x00"
_WELCOME_BYTES = 4
_CLEAN, _USERNAME, _PASSWORD = 0x02, 0x80, 0x40
_KEEPALIVE_S = 10


async def knock(port: int, client_id: str, username: str, password: str) -> bool:
    """Whether the broker lets this name in; raises OSError when it does not answer in three seconds."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(_HOST, port)
            try:
                writer.write(_connect(client_id, username, password))
                answer = await reader.readexactly(_WELCOME_BYTES)
                writer.write(_DISCONNECT)
            finally:
                writer.close()
                with suppress(OSError):  # whoever is refused is hung up on
                    await writer.wait_closed()
    except asyncio.IncompleteReadError:
        return False
    return answer[3] == 0


def _connect(client_id: str, username: str, password: str) -> bytes:
    flags = _CLEAN | _USERNAME | _PASSWORD
    body = _text("MQTT") + struct.pack(">BBH", 4, flags, _KEEPALIVE_S)
    body += _text(client_id) + _text(username) + _text(password)
    return bytes((_CONNECT,)) + _length(len(body)) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _length(number: int) -> bytes:
    digits = bytearray()
    while True:
        number, digit = divmod(number, 128)
        digits.append(digit | (128 if number else 0))
        if not number:
            return bytes(digits)
