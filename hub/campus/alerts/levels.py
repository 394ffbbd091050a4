"""Which levels a balance is under: each begins once, and ends only well above it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

_MARGIN = 10  # a tenth of the level
_MARGIN_MIN = 10


def levels_under(value: int, levels: Sequence[int], under: Collection[int]) -> frozenset[int]:
    """The numbers of the levels (1 is the first of `levels`, the highest) that hold for this value.

    `under` are those that held before: one of them goes on to hold until the value is a tenth of it above, so
    that a balance that trembles around a level crosses it once.
    """
    return frozenset(
        number
        for number, level in enumerate(levels, start=1)
        if value <= level or (number in under and value < level + margin(level))
    )


def margin(level: int) -> int:
    """How far above a level its warning ends."""
    return max(abs(level) // _MARGIN, _MARGIN_MIN)
