"""What a room used: the steps of the counters that served it, each while it was bound to the room.

A step belongs to the moment of its later word, so that the uses of adjoining spans add up to that of both. A
step that a counter cannot have made (it fell, jumped, or began anew) counts as nothing and makes the use an
estimate; so does a moment that no word of the counter is near.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import TypeAlias
from zoneinfo import ZoneInfo

from hub.inventory.bindings import Binding, Figure
from hub.inventory.counts import (
    Count,
    Counts,
    Meter,
    Past,
    counts_within,
    last_within,
)
from hub.plausibility import believed_step

_HOUR_MS = 3_600_000
Reckoned: TypeAlias = Generator[None, None, "Use"]


class By(StrEnum):
    """How finely a use is told; days and months are the site's."""

    ALL = "all"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """What was used after `start_ms` and until `end_ms`, in the unit of the counters."""

    start_ms: int
    end_ms: int
    used: int
    estimated: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one binding brought, and its counter's first and last word for it, where there are any."""

    binding: Binding
    point: str
    used: int
    estimated: bool
    first: Figure | None
    last: Figure | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """A room's use, by slices that adjoin, and by bindings."""

    slices: tuple[Slice, ...]
    parts: tuple[Part, ...]

    @property
    def used(self) -> int:
        """All of it."""
        return sum(part.used for part in self.parts)

    @property
    def estimated(self) -> bool:
        """Whether any of it is."""
        return any(part.estimated for part in self.parts)


def edges(start_ms: int, end_ms: int, by: By, zone: ZoneInfo) -> tuple[int, ...]:
    """The moments between which a use is told, from `start_ms` to `end_ms`, which is later."""
    found = [start_ms]
    while by is not By.ALL and (following := _next_edge(found[-1], by, zone)) < end_ms:
        found.append(following)
    return (*found, end_ms)


def _next_edge(time_ms: int, by: By, zone: ZoneInfo) -> int:
    local = datetime.fromtimestamp(time_ms / 1000, zone)
    if by is By.HOUR:
        ahead_ms = round((local.utcoffset() or timedelta()).total_seconds() * 1000)
        return ((time_ms + ahead_ms) // _HOUR_MS + 1) * _HOUR_MS - ahead_ms
    day = local.date() + timedelta(days=1)
    if by is By.MONTH:
        day = (local.date().replace(day=1) + timedelta(days=32)).replace(day=1)
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)


def reckon(
    past: Past,
    bindings: Sequence[Binding],
    meters: Mapping[str, Meter],
    moments: Sequence[int],
) -> Reckoned:
    """The use of a room between each two of these moments, at least two, step by step.

    `meters` has the counter of each bound device that has one; what has none uses nothing.
    """
    sums = [0] * (len(moments) - 1)
    doubts = [False] * len(sums)
    parts = []
    for binding in bindings:
        meter = meters.get(binding.device)
        end_ms = moments[-1] if binding.to_ms is None else min(moments[-1], binding.to_ms)
        if meter is None or max(moments[0], binding.from_ms) >= end_ms:
            continue
        counts = yield from _counts(past, meter, binding, (moments[0], end_ms))
        own = _OneUse(meter, binding, moments, counts)
        for place, (used, doubted) in enumerate(own.slices()):
            sums[place] += used
            doubts[place] |= doubted
        parts.append(own.part())
    return Use(
        slices=tuple(
            Slice(start_ms=start_ms, end_ms=end_ms, used=used, estimated=doubted)
            for (start_ms, end_ms), used, doubted in zip(
                pairwise(moments), sums, doubts, strict=True
            )
        ),
        parts=tuple(parts),
    )


def _counts(past: Past, meter: Meter, binding: Binding, window: tuple[int, int]) -> Counts:
    """The words of a binding's counter inside the window, after the one that stood as it began."""
    start_ms, end_ms = max(window[0], binding.from_ms), window[1]
    known = [figure for figure in (binding.first, binding.last) if figure]
    base: list[Count] = []
    if start_ms > binding.from_ms:
        base = yield from last_within(past, meter, binding.from_ms, start_ms)
    elif binding.first is None:
        base = yield from last_within(past, meter, start_ms - meter.near_ms, start_ms)
    if not base and start_ms > binding.from_ms and binding.first is None:
        base = yield from last_within(past, meter, binding.from_ms - meter.near_ms, binding.from_ms)
    inside = yield from counts_within(past, meter, start_ms, end_ms)
    found = {count.time_ms: count for count in (*base, *inside)}
    for figure in known:
        told = found.get(figure.time_ms)
        if told is None or told.value != figure.value:
            found[figure.time_ms] = Count(time_ms=figure.time_ms, value=figure.value)
    times = sorted(at for at in found if at <= end_ms)
    return [found[at] for at in times[max(0, bisect_right(times, start_ms) - 1) :]]


class _OneUse:
    """The use by one binding: `counts` are its words, of which the first may be from before."""

    def __init__(
        self, meter: Meter, binding: Binding, moments: Sequence[int], counts: Sequence[Count]
    ) -> None:
        self._meter = meter
        self._binding = binding
        self._moments = moments
        self._counts = counts
        self._times = [count.time_ms for count in counts]
        self._told = list(self._reckoned())

    def slices(self) -> Sequence[tuple[int, bool]]:
        """Used and whether that is an estimate, for each span between two moments."""
        return self._told

    def part(self) -> Part:
        """All of it."""
        ends = [Figure(value=one.value, time_ms=one.time_ms) for one in self._counts]
        return Part(
            binding=self._binding,
            point=self._meter.point,
            used=sum(used for used, _ in self._told),
            estimated=any(doubted for _, doubted in self._told),
            first=ends[0] if ends else None,
            last=ends[-1] if ends else None,
        )

    def _reckoned(self) -> Generator[tuple[int, bool], None, None]:
        sums = [0] * (len(self._moments) - 1)
        doubts = [False] * len(sums)
        for before, after in pairwise(self._counts):
            place = bisect_left(self._moments, after.time_ms) - 1
            if not 0 <= place < len(sums):
                continue
            step = self._step(before, after)
            sums[place] += step or 0
            doubts[place] |= step is None or after.doubtful
        for place, (start_ms, end_ms) in enumerate(pairwise(self._moments)):
            yield sums[place], doubts[place] or self._is_vague(start_ms, end_ms)

    def _step(self, before: Count, after: Count) -> int | None:
        if after.anew:
            return None
        passed_ms = after.time_ms - before.time_ms
        return believed_step(self._meter.rule, before.value, after.value, passed_ms)

    def _is_vague(self, start_ms: int, end_ms: int) -> bool:
        binding = self._binding
        start_ms = max(start_ms, binding.from_ms)
        end_ms = end_ms if binding.to_ms is None else min(end_ms, binding.to_ms)
        if start_ms >= end_ms:
            return False
        return not (self._is_near(start_ms) and self._is_near(end_ms))

    def _is_near(self, time_ms: int) -> bool:
        place = bisect_right(self._times, time_ms)
        if place and time_ms - self._times[place - 1] <= self._meter.near_ms:
            return True
        begins = time_ms == self._binding.from_ms and place < len(self._times)
        return begins and self._times[place] - time_ms <= self._meter.near_ms
