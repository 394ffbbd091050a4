"""What a room used: the steps of the counters that served it, each while it was bound to the room.

A step belongs to the moment of its later word, so that the uses of adjoining spans add up to that of both. A
step that a counter cannot have made (it fell, jumped, or began anew) counts as nothing and makes the use an
estimate; so does a moment that no word of the counter is near.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
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
    days_within,
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
        own = _OneUse(meter, binding, moments, end_ms)
        start_ms = max(moments[0], binding.from_ms)
        own.take((yield from _standing(past, meter, binding, start_ms)))
        for day in days_within(past, meter, start_ms, end_ms):
            own.take(day)
            yield
        own.close()
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


def _standing(past: Past, meter: Meter, binding: Binding, start_ms: int) -> Counts:
    """The last word of a binding's counter that the journal has for it at this moment, if any."""
    if start_ms > binding.from_ms:
        found = yield from last_within(past, meter, binding.from_ms, start_ms)
        if found:
            return found
    if binding.first is not None:
        return []
    begin_ms = binding.from_ms
    return (yield from last_within(past, meter, begin_ms - meter.near_ms, begin_ms))


class _OneUse:
    """The use by one binding, until `end_ms`: `take` its counter's words in order, then `close`.

    The words kept with the binding come between them at their time.
    """

    def __init__(self, meter: Meter, binding: Binding, moments: Sequence[int], end_ms: int) -> None:
        self._meter = meter
        self._binding = binding
        self._moments = moments
        self._end_ms = end_ms
        self._start_ms = max(moments[0], binding.from_ms)
        kept = {figure.time_ms: figure for figure in (binding.first, binding.last) if figure}
        self._kept = deque(sorted(kept.values(), key=lambda figure: figure.time_ms))
        self._used = [0] * (len(moments) - 1)
        self._doubts = [False] * len(self._used)
        self._heard_ms: list[int | None] = [None] * len(moments)  # the last word by each moment
        self._first: Count | None = None
        self._last: Count | None = None

    def take(self, counts: Sequence[Count]) -> None:
        """Go on with these words."""
        for count in counts:
            self._take_kept(count.time_ms - 1)
            if self._kept and self._kept[0].time_ms == count.time_ms:
                kept = self._kept.popleft()
                if kept.value != count.value:
                    count = Count(time_ms=kept.time_ms, value=kept.value)
            self._add(count)

    def close(self) -> None:
        """There are no more words; say what each span used."""
        self._take_kept(self._end_ms)
        for place in range(1, len(self._heard_ms)):
            if self._heard_ms[place] is None:
                self._heard_ms[place] = self._heard_ms[place - 1]
        for place in range(len(self._used)):
            self._doubts[place] |= self._is_vague(place)

    def slices(self) -> Sequence[tuple[int, bool]]:
        """Used and whether that is an estimate, for each span between two moments."""
        return list(zip(self._used, self._doubts, strict=True))

    def part(self) -> Part:
        """All of it."""
        return Part(
            binding=self._binding,
            point=self._meter.point,
            used=sum(self._used),
            estimated=any(self._doubts),
            first=_figure(self._first),
            last=_figure(self._last),
        )

    def _take_kept(self, until_ms: int) -> None:
        while self._kept and self._kept[0].time_ms <= until_ms:
            kept = self._kept.popleft()
            self._add(Count(time_ms=kept.time_ms, value=kept.value))

    def _add(self, count: Count) -> None:
        before, self._last = self._last, count
        if self._first is None or count.time_ms <= self._start_ms:
            self._first = count
        place = bisect_left(self._moments, count.time_ms)
        self._heard_ms[min(place, len(self._used))] = count.time_ms
        if before is None or not 0 < place <= len(self._used):
            return
        step = self._step(before, count)
        self._used[place - 1] += step or 0
        self._doubts[place - 1] |= step is None or count.doubtful

    def _step(self, before: Count, after: Count) -> int | None:
        if after.anew:
            return None
        passed_ms = after.time_ms - before.time_ms
        return believed_step(self._meter.rule, before.value, after.value, passed_ms)

    def _is_vague(self, place: int) -> bool:
        """Whether no word is near one of the ends of this span, as far as the binding has it."""
        start_ms, end_ms = self._moments[place], self._moments[place + 1]
        if max(start_ms, self._binding.from_ms) >= min(end_ms, self._end_ms):
            return False
        begins = start_ms <= self._binding.from_ms
        first = self._first if begins else None
        begun_ms = first.time_ms if first else self._heard_ms[place]
        heard_ms = self._heard_ms[place + 1]
        if begun_ms is None or heard_ms is None:
            return True
        early_ms = abs(begun_ms - self._binding.from_ms) if begins else start_ms - begun_ms
        late_ms = min(end_ms, self._end_ms) - heard_ms
        return max(early_ms, late_ms) > self._meter.near_ms


def _figure(count: Count | None) -> Figure | None:
    return Figure(value=count.value, time_ms=count.time_ms) if count else None
