"""From what is true of a device to the raw number, text or flag its product would put on the wire, and back.

This is the simulators' own reading of a PointSpec. It shares no code with the hub's conversion, so that
each can be held against the other.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from fractions import Fraction
from typing import TypeAlias

from hub import PointKind, PointSpec, PointType, Value

Raw: TypeAlias = bool | int | float | str


def to_raw(spec: PointSpec, value: Value, ratio: int = 1) -> Raw:
    """The raw form of `value`; `ratio` is the product of the ratio points the reader multiplies with.

    Numbers stay exact fractions rounded to the nearest double; whole registers round them further.
    """
    if spec.values:
        return _code(spec.values, value)
    if isinstance(value, bool):
        return value is not spec.invert
    if isinstance(value, str):
        return value
    raw = (Fraction(value) - spec.offset) / (spec.factor * ratio)
    return int(raw) if raw.denominator == 1 else float(raw)


def _code(values: Mapping[str, Value], value: Value) -> Raw:
    for text, meaning in values.items():
        if meaning == value:
            return _parsed(text)
    return _parsed(next(iter(values)))


def _parsed(text: str) -> Raw:
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        return text


def from_raw(spec: PointSpec, raw: Raw, ratio: int = 1) -> Value:
    """What a reader who knows the manual would understand from `raw`."""
    if spec.values:
        return spec.values[str(raw).lower() if isinstance(raw, bool) else str(raw)]
    if spec.point.type is PointType.BOOL:
        return bool(raw) is not spec.invert
    if isinstance(raw, str):
        return raw
    value = Fraction(raw) * spec.factor * ratio + spec.offset
    return round(value) if spec.point.type is PointType.INT else float(value)


def rolled_over(spec: PointSpec, value: Value, step: Fraction) -> Value:
    """A counter as its display shows it: after the highest number, `spec.rollover`, comes 0.

    `step` is what the last digit of the display counts, in the point's unit.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if spec.rollover is None or not is_number or spec.point.kind is not PointKind.COUNTER:
        return value
    turns = round((Fraction(spec.rollover) + step) / step)
    shown = Fraction(value) % (turns * step)
    return round(shown) if isinstance(value, int) else float(shown)


def as_base64(text: str) -> str:
    """A text as the cameras send plates: base64 of UTF-8."""
    return b64encode(text.encode()).decode()
