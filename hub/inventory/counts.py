"""What a device's counter said, from the journal: reading by reading, and by the hour where those are gone.

Everything here goes in short steps: a generator gives way to others between two of them, and returns what
it found.
"""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, TypeAlias

from hub.journal import Latest, Rollup, Series, Span
from hub.model import Device
from hub.plausibility import ANEW, Rule, rules_for
from hub.points import POINTS

# What a room uses, by the names that accounts have for it, and the counters of each. The first counter that
# a product has is what its room used.
COUNTERS_OF: Mapping[str, tuple[str, ...]] = {
    "electricity": ("energy_import", "energy_total"),
    "hot_water": ("hot_water_volume",),
    "drinking_water": ("drinking_water_volume",),
}
COUNTERS = tuple(chain.from_iterable(COUNTERS_OF.values()))
DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
NEAR_MS = 900_000  # a word of the counter this near speaks for a moment
_SLOW_PERIODS = 2  # and so does one of a device that is read seldom


class Past(Protocol):
    """The journal, as far as it is asked: `Journal.query`, or `JournalReader.query`."""

    def history(self, device: str, point: str, start_ms: int, end_ms: int, limit: int) -> Series:
        """One point from `start_ms` until before `end_ms`."""

    def rollups(
        self, device: str, point: str, span: Span, start_ms: int, end_ms: int, utc_offset_h: int = 0
    ) -> list[Rollup]:
        """Its hours that begin in the same span."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Meter:
    """The counter of a device: its point, what it may do, and how near a word must be to be sure."""

    device: str
    point: str
    rule: Rule
    near_ms: int = NEAR_MS

    @property
    def unit(self) -> str:
        """What it counts."""
        return POINTS[self.point].unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """A counter's word. `anew`: the step to here was not counted by it. `doubtful`: nor is it sure."""

    time_ms: int
    value: int
    anew: bool = False
    doubtful: bool = False


Counts: TypeAlias = Generator[None, None, list[Count]]


def counter_of(points: Container[str]) -> str | None:
    """The counter among a product's points by which its room's use is told; None where there is none."""
    return next((point for point in COUNTERS if point in points), None)


def unit_of(utility: str) -> str:
    """What the counters of this utility count."""
    return POINTS[COUNTERS_OF[utility][0]].unit


def meter_of(name: str, device: Device | None, latest: Latest | None) -> Meter | None:
    """The counter of a device; None where it has none.

    Where the product is not known any more, its counter is the one it told of.
    """
    told = device.profile.points if device else latest.values if latest else {}
    point = counter_of(told)
    if point is None:
        return None
    slow_ms = round(device.period_s * 1000 * _SLOW_PERIODS) if device else 0
    return Meter(
        device=name, point=point, rule=rules_for(device)[point], near_ms=max(NEAR_MS, slow_ms)
    )


def meters_of(
    names: Iterable[str],
    devices: Mapping[str, Device],
    latest: Mapping[str, Latest],
    utility: str = "",
) -> dict[str, Meter]:
    """The counters of those of these devices that have one, by device; of one utility, where it is named."""
    wanted = COUNTERS_OF[utility] if utility else COUNTERS
    found = {name: meter_of(name, devices.get(name), latest.get(name)) for name in names}
    return {name: meter for name, meter in found.items() if meter and meter.point in wanted}


def days_within(past: Past, meter: Meter, after_ms: int, until_ms: int) -> Iterator[list[Count]]:
    """All words after one moment and until another, that one included: a list for each day (UTC)."""
    begin_ms, end_ms = after_ms + 1, until_ms + 1
    while begin_ms < end_ms:
        step_end_ms = min(end_ms, (begin_ms // DAY_MS + 1) * DAY_MS)
        yield _day(past, meter, begin_ms, step_end_ms)
        begin_ms = step_end_ms


def last_within(past: Past, meter: Meter, after_ms: int, until_ms: int) -> Counts:
    """The last word after one moment and until another; none when nothing was said between them."""
    end_ms, length_ms = until_ms + 1, DAY_MS
    while end_ms > after_ms + 1:
        begin_ms = max(after_ms + 1, end_ms - length_ms)
        found: list[Count] = []
        for day in days_within(past, meter, begin_ms - 1, end_ms - 1):
            found = day[-1:] or found
            yield
        if found:
            return found
        end_ms, length_ms = begin_ms, length_ms * 2
    return []


def first_within(past: Past, meter: Meter, after_ms: int, until_ms: int) -> Counts:
    """The first word after one moment and until another; none when nothing was said between them."""
    for day in days_within(past, meter, after_ms, until_ms):
        if day:
            return day[:1]
        yield
    return []


def _day(past: Past, meter: Meter, begin_ms: int, end_ms: int) -> list[Count]:
    """Days are dropped whole: one without a reading may still have its hours."""
    series = past.history(meter.device, meter.point, begin_ms, end_ms, DAY_MS)
    if series.times:
        anew = {at for at, text in series.uncertain if text.startswith(ANEW)}
        return [
            Count(time_ms=at, value=value, anew=at in anew)
            for at, value in zip(series.times, series.values, strict=True)
            if isinstance(value, int) and not isinstance(value, bool)
        ]
    day_ms = begin_ms // DAY_MS * DAY_MS
    if past.history(meter.device, meter.point, day_ms, day_ms + DAY_MS, 1).times:
        return []  # the day's readings are there; only none of these moments
    first_ms = begin_ms // _HOUR_MS * _HOUR_MS
    hours = past.rollups(meter.device, meter.point, Span.HOUR, first_ms, end_ms)
    told = [count for hour in hours for count in _ends(hour)]
    return [count for count in told if begin_ms <= count.time_ms < end_ms]


def _ends(hour: Rollup) -> tuple[Count, Count]:
    """An hour of which only first and last are known; a fall inside it leaves a doubt."""
    fell = hour.minimum < hour.first or hour.maximum > hour.last
    return (
        Count(time_ms=hour.start_ms, value=round(hour.first)),
        Count(time_ms=hour.start_ms + _HOUR_MS - 1, value=round(hour.last), doubtful=fell),
    )
