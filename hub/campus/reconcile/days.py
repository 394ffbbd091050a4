"""Local days: their edges, and the words for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from hub.campus.prepaid.charge import local_day, midnight_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """A day of the campus's calendar, from its midnight until before the next; 23 to 25 hours."""

    name: str  # ISO
    start_ms: int
    end_ms: int

    def has(self, time_ms: int) -> bool:
        """Whether this is within."""
        return self.start_ms <= time_ms < self.end_ms


def day_of(day: date, timezone: ZoneInfo) -> Day:
    """The day with its edges."""
    return Day(
        name=day.isoformat(),
        start_ms=midnight_ms(day, timezone),
        end_ms=midnight_ms(day + timedelta(days=1), timezone),
    )


def day_at(time_ms: int, timezone: ZoneInfo) -> Day:
    """The day in which a moment lies."""
    return day_of(local_day(time_ms, timezone), timezone)


def next_to(day: Day, days: int, timezone: ZoneInfo) -> Day:
    """So many days later, or before."""
    return day_of(date.fromisoformat(day.name) + timedelta(days=days), timezone)
