"""From a raw number, flag or text to a value of the vocabulary. Pure, and made once for each point.

`converter` looks at a PointSpec once and returns the shortest function that does its work, because it
runs for every value of every poll.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from hub.errors import BadValue
from hub.points import PointType, Scalar
from hub.profile import PointSpec

Raw: TypeAlias = bool | int | float | str
Converter: TypeAlias = Callable[[Raw], Scalar]

_NOT_AVAILABLE = "not available"


def converter(spec: PointSpec) -> Converter:
    """The function from raw to value for this point; it raises BadValue with the reason.

    A number becomes `raw * factor + offset` in the point's unit, rounded to a whole number where the
    point is one (whole raw numbers with a whole factor stay exact). NaN and infinity are "not
    available". Text is never taken for a number, nor a flag.
    """
    if spec.values:
        return _guard(spec, _mapped(spec))
    match spec.point.type:
        case PointType.BOOL:
            return _guard(spec, _flag(spec.invert))
        case PointType.TEXT:
            return _guard(spec, _text)
        case PointType.INT:
            return _guard(spec, _whole(spec))
        case PointType.FLOAT:
            return _guard(spec, _real(spec))


def _guard(spec: PointSpec, convert: Converter) -> Converter:
    if not spec.absent:
        return convert
    absent = frozenset(spec.absent)

    def guarded(raw: Raw) -> Scalar:
        if raw in absent:
            raise BadValue(_NOT_AVAILABLE)
        return convert(raw)

    return guarded


def _mapped(spec: PointSpec) -> Converter:
    values = spec.values

    def mapped(raw: Raw) -> Scalar:
        key = str(raw).lower() if isinstance(raw, bool) else str(raw)
        if key not in values:
            raise BadValue(f"unknown code {key[:32]!r}")
        return values[key]

    return mapped


def _flag(invert: bool) -> Converter:
    def flag(raw: Raw) -> bool:
        if raw is True or raw is False:
            return raw is not invert
        if raw in (0, 1) and isinstance(raw, int):
            return bool(raw) is not invert
        raise BadValue("not a flag")

    return flag


def _text(raw: Raw) -> str:
    if not isinstance(raw, str):
        raise BadValue("not a text")
    return raw


def _whole(spec: PointSpec) -> Converter:
    numerator, denominator = spec.factor.numerator, spec.factor.denominator
    offset = float(spec.offset)

    def whole(raw: Raw) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            raise BadValue("not a number")
        if isinstance(raw, float) and not math.isfinite(raw):
            raise BadValue(_NOT_AVAILABLE)
        scaled = raw * numerator
        if denominator == 1 and not offset and isinstance(scaled, int):
            return scaled
        try:
            return round(scaled / denominator + offset)
        except OverflowError:
            raise BadValue("number too large") from None

    return whole


def _real(spec: PointSpec) -> Converter:
    numerator, denominator = float(spec.factor.numerator), float(spec.factor.denominator)
    offset = float(spec.offset)
    isfinite = math.isfinite

    def plain(raw: Raw) -> float:
        if raw.__class__ is not float and (
            isinstance(raw, bool) or not isinstance(raw, int | float)
        ):
            raise BadValue("not a number")
        if not isfinite(raw):
            raise BadValue(_NOT_AVAILABLE)
        return float(raw)

    if spec.factor == 1 and not offset:
        return plain
    # Multiply, then divide: 2298 / 10 is 229.8, while 2298 * 0.1 is 229.80000000000001.
    return lambda raw: plain(raw) * numerator / denominator + offset
