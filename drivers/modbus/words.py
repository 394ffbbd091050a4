"""From values of a command's arguments to bytes of registers. Pure; raises BadValue."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Literal, TypeAlias

from hub import Argument, BadValue, PointType, Value, argument_mistake

WordType: TypeAlias = Literal[
    "u8", "u16", "s16", "u32", "s32", "u64", "s64", "float32", "float64", "ascii"
]
Order: TypeAlias = Literal["big", "little"]

_FORMATS = {
    "u8": "B",
    "u16": "H",
    "s16": "h",
    "u32": "I",
    "s32": "i",
    "u64": "Q",
    "s64": "q",
    "float32": "f",
    "float64": "d",
}
_REALS = ("float32", "float64")


def width(kind: WordType, length: int | None) -> int:
    """Bytes of a value of this type; `length` is that of a text."""
    return (length or 0) if kind == "ascii" else struct.calcsize(">" + _FORMATS[kind])


def number_bytes(number: Fraction, kind: WordType, order: Order) -> bytes:
    """A number as it goes on the wire; whole types round to the nearest."""
    value = float(number) if kind in _REALS else round(number)
    try:
        data = struct.pack(">" + _FORMATS[kind], value)
    except (struct.error, OverflowError):
        raise BadValue(f"{value} does not fit {kind}") from None
    return data if order == "big" else words_swapped(data)


def words_swapped(data: bytes) -> bytes:
    """The same registers, the last one first."""
    return b"".join(data[at : at + 2] for at in range(len(data) - 2, -2, -2)) or data


def wire_span(argument: Argument) -> tuple[Fraction, Fraction]:
    """The lowest and the highest number on the wire."""
    if argument.type is PointType.BOOL:
        return Fraction(0), Fraction(1)
    low, high = Fraction(argument.minimum), Fraction(argument.maximum)
    return low * argument.factor, high * argument.factor


def text_bytes(argument: Argument, value: Value, length: int) -> bytes:
    """A text as ASCII, filled up with zero bytes."""
    if mistake := argument_mistake(argument, value):
        raise BadValue(f"{argument.name}: {mistake}")
    try:
        return str(value).encode("ascii").ljust(length, b"\0")
    except UnicodeEncodeError:
        raise BadValue(f"{argument.name}: not ascii") from None
