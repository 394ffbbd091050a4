"""Packed decimal, text and date bytes of registers, as Python values. Pure; raises BadValue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hub import BadValue


def packed_text(data: bytes) -> str:
    """The decimal digits of packed bytes, high digit first, leading zeros kept."""
    digits = data.hex()
    if not digits.isdecimal():
        raise BadValue("not packed decimal")
    return digits


def packed_number(data: bytes) -> int:
    """The whole number that packed bytes spell, high digit first."""
    return int(packed_text(data))


def ascii_text(data: bytes) -> str:
    """Printable ASCII without the zero bytes and blanks that fill it up."""
    try:
        text = data.rstrip(b"\0 ").decode("ascii")
    except UnicodeDecodeError:
        raise BadValue("not ascii") from None
    if not text.isprintable():
        raise BadValue("not ascii")
    return text


def packed_datetime(tokens: tuple[str, ...]) -> Callable[[bytes], str]:
    """A function from packed-decimal bytes, one for each of `YY MM DD W hh mm ss`, to ISO local time."""

    def read(data: bytes) -> str:
        part = {token: packed_number(data[i : i + 1]) for i, token in enumerate(tokens)}
        try:
            moment = datetime(
                2000 + part["YY"],
                part.get("MM", 1),
                part.get("DD", 1),
                part.get("hh", 0),
                part.get("mm", 0),
                part.get("ss", 0),
            )
        except ValueError:
            raise BadValue("not a date") from None
        return moment.isoformat()

    return read
