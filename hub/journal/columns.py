"""Columns of one point's values, packed to a few bytes each and given back bit for bit; pure.

Whole numbers are stored as they are less the smallest, as differences, or as differences of differences,
whichever deflates best; their bytes are laid in planes first, so that bytes that hardly change stand
together. Floats that are short decimals, or decimals a meter rounded to single precision, become whole
numbers; other single-precision floats keep four bytes, the rest eight.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from enum import IntEnum
from itertools import accumulate
from operator import sub

import msgspec

from hub.model import Value

_DIGITS_MAX = 6
_LEVEL = 6


class Form(IntEnum):
    """What a column's whole numbers stand for."""

    INT = 0
    DECIMAL = 1  # number / 10**digits
    DECIMAL32 = 2  # the same, rounded to single precision
    FLOAT32 = 3  # the bits of a single-precision float
    FLOAT64 = 4
    BOOL = 5
    TEXT = 6  # index into `others`
    OTHER = 7  # `others` holds the values: mixed types


class Order(IntEnum):
    """What is stored of a run of whole numbers."""

    LESS_FIRST = 0
    STEPS = 1
    STEPS_OF_STEPS = 2


class Ints(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Whole numbers: how many, in what order, how many byte planes, the numbers to begin with."""

    count: int
    order: int
    width: int
    first: int
    step: int
    planes: bytes


class Column(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Values of one point; `rows` are the places in the chunk that have one, None when all do."""

    form: int
    digits: int
    rows: Ints | None
    ints: Ints
    others: list[Value]


_EMPTY = Ints(0, Order.LESS_FIRST, 0, 0, 0, b"")


def _zigzag(numbers: Sequence[int]) -> list[int]:
    return [number << 1 if number >= 0 else -number * 2 - 1 for number in numbers]


def _unzigzag(numbers: Sequence[int]) -> list[int]:
    return [-((number + 1) >> 1) if number & 1 else number >> 1 for number in numbers]


def _planes(numbers: Sequence[int]) -> tuple[int, bytes]:
    """Byte planes, lowest first, deflated; OverflowError above 64 bits."""
    width = (max(numbers, default=0).bit_length() + 7) // 8
    if not width:
        return 0, b""
    data = array("Q", numbers).tobytes()
    return width, zlib.compress(b"".join(data[place::8] for place in range(width)), _LEVEL)


def _numbers(ints: Ints, count: int) -> Sequence[int]:
    if not ints.width:
        return [0] * count
    data = zlib.decompress(ints.planes)
    whole = bytearray(8 * count)
    for place in range(ints.width):
        whole[place::8] = data[place * count : (place + 1) * count]
    numbers = array("Q")
    numbers.frombytes(whole)
    return numbers


def pack_ints(numbers: Sequence[int]) -> Ints:
    """Whole numbers of up to 64 bits; OverflowError when they do not fit."""
    if not numbers:
        return _EMPTY
    count, lowest = len(numbers), min(numbers)
    if lowest < -(2**63) or max(numbers) >= 2**64:
        raise OverflowError("more than 64 bits")
    width, planes = _planes([number - lowest for number in numbers])
    best = Ints(count, Order.LESS_FIRST, width, lowest, 0, planes)
    steps = list(map(sub, numbers[1:], numbers))
    for order in (Order.STEPS, Order.STEPS_OF_STEPS):
        step = 0
        if order is Order.STEPS_OF_STEPS:
            step = steps[0] if steps else 0
            steps = list(map(sub, steps[1:], steps))
        try:
            width, planes = _planes(_zigzag(steps))
            tried = Ints(count, order, width, numbers[0], step, planes)
        except OverflowError:
            break
        if len(planes) < len(best.planes):
            best = tried
    return best


def unpack_ints(ints: Ints) -> list[int]:
    """The numbers that `pack_ints` was given."""
    if not ints.count:
        return []
    if ints.order == Order.LESS_FIRST:
        lowest = ints.first
        return [number + lowest for number in _numbers(ints, ints.count)]
    if ints.order == Order.STEPS:
        steps = _unzigzag(_numbers(ints, ints.count - 1))
        return list(accumulate(steps, initial=ints.first))
    if ints.count == 1:
        return [ints.first]
    bends = _unzigzag(_numbers(ints, ints.count - 2))
    return list(accumulate(accumulate(bends, initial=ints.step), initial=ints.first))


def _bits(values: Sequence[float], code: str, whole: str) -> list[int]:
    numbers: array[int] = array(whole)
    numbers.frombytes(array(code, values).tobytes())
    return numbers.tolist()


def _floats(numbers: Sequence[int], code: str, whole: str) -> list[float]:
    values: array[float] = array(code)
    values.frombytes(array(whole, numbers).tobytes())
    return values.tolist()


def _singles(values: Sequence[float]) -> list[float]:
    return array("f", values).tolist()


def _decimals(values: Sequence[float], digits: int, single: bool) -> Sequence[int] | None:
    """The values as whole numbers of 10**-digits, or None when that would not give back every bit."""
    scale = 10**digits
    for probe in (values[:8], values):  # most misfits show in the first few
        numbers = [round(value * scale) for value in probe]
        back = [number / scale for number in numbers]
        if array("d", _singles(back) if single else back) != array("d", probe):
            return None
    if array("d", _singles(back) if single else back).tobytes() != array("d", values).tobytes():
        return None  # the sign of a zero
    return numbers


def _pack_floats(values: Sequence[float]) -> tuple[Form, int, Ints]:
    try:
        single = array("d", _singles(values)).tobytes() == array("d", values).tobytes()
        for digits in range(_DIGITS_MAX + 1):
            for rounded in (False, True) if single else (False,):
                numbers = _decimals(values, digits, rounded)
                if numbers is not None:
                    form = Form.DECIMAL32 if rounded else Form.DECIMAL
                    return form, digits, pack_ints(numbers)
    except (OverflowError, ValueError):
        single = False  # infinite, not a number, or beyond 64 bits
    if single:
        return Form.FLOAT32, 0, pack_ints(_bits(values, "f", "I"))
    return Form.FLOAT64, 0, pack_ints(_bits(values, "d", "Q"))


def pack_column(rows: Sequence[int], values: Sequence[Value], count: int) -> Column:
    """A column of a chunk of `count` rows that has `values` in these `rows`."""
    places = None if len(rows) == count else pack_ints(rows)
    kinds = set(map(type, values))
    try:
        if kinds == {float}:
            form, digits, ints = _pack_floats([float(value) for value in values])
            return Column(form, digits, places, ints, [])
        if kinds == {int} or kinds == {bool}:
            form = Form.INT if kinds == {int} else Form.BOOL
            return Column(form, 0, places, pack_ints([int(value) for value in values]), [])
    except OverflowError:
        return Column(Form.OTHER, 0, places, _EMPTY, list(values))
    if kinds == {str}:
        words = {value: place for place, value in enumerate(dict.fromkeys(values))}
        return Column(Form.TEXT, 0, places, pack_ints([words[v] for v in values]), list(words))
    return Column(Form.OTHER, 0, places, _EMPTY, list(values))


def unpack_column(column: Column) -> list[Value]:
    """The values that `pack_column` was given, with their types."""
    numbers = unpack_ints(column.ints)
    scale = 10**column.digits
    match column.form:
        case Form.INT:
            return list(numbers)
        case Form.DECIMAL:
            return [number / scale for number in numbers]
        case Form.DECIMAL32:
            return list(_singles([number / scale for number in numbers]))
        case Form.FLOAT32:
            return list(_floats(numbers, "f", "I"))
        case Form.FLOAT64:
            return list(_floats(numbers, "d", "Q"))
        case Form.BOOL:
            return [number == 1 for number in numbers]
        case Form.TEXT:
            return [column.others[number] for number in numbers]
        case _:
            return column.others
