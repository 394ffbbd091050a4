"""Roll-ups: what a point did in an hour, made from chunks when they are sealed; pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import groupby
from math import fsum

import msgspec

from hub.errors import StoreDamaged
from hub.journal.records import HOUR_MS, Rollup
from hub.model import Value


class Hour(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One point in one hour, or in the part of it that one chunk holds; `hour` counts from 1970 UTC."""

    hour: int
    first: int | float
    last: int | float
    minimum: int | float
    maximum: int | float
    total: int | float
    count: int


Hours = dict[int, list[Hour]]
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Hours).decode


def hours_of(series: Iterable[tuple[int, Value]]) -> list[Hour]:
    """The hours of one point from its values in order of time; what is not a number is left out."""
    numbers = (
        (time_ms // HOUR_MS, value)
        for time_ms, value in series
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
    return [
        _hour(hour, [value for _, value in group])
        for hour, group in groupby(numbers, key=lambda pair: pair[0])
    ]


def _hour(hour: int, values: Sequence[int | float]) -> Hour:
    whole = all(type(value) is int for value in values)
    return Hour(
        hour=hour,
        first=values[0],
        last=values[-1],
        minimum=min(values),
        maximum=max(values),
        total=sum(values) if whole else fsum(values),
        count=len(values),
    )


def pack_hours(hours: Hours) -> bytes:
    """The hours of a chunk's points."""
    return zlib.compress(_pack(hours))


def unpack_hours(body: bytes) -> Hours:
    """What was given to `pack_hours`; raises StoreDamaged."""
    try:
        return _unpack(zlib.decompress(body))
    except (zlib.error, msgspec.DecodeError) as error:
        raise StoreDamaged(f"a roll-up cannot be read: {error}") from None


def joined(parts: Sequence[Hour], start_ms: int) -> Rollup:
    """Parts that follow each other in time, at least one, as one roll-up."""
    count = sum(part.count for part in parts)
    return Rollup(
        start_ms=start_ms,
        first=parts[0].first,
        last=parts[-1].last,
        minimum=min(part.minimum for part in parts),
        maximum=max(part.maximum for part in parts),
        mean=sum(part.total for part in parts) / count,
        count=count,
    )
