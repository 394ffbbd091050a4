"""How long a room's credit lasts, and whether it used more than it usually does. Pure.

Both compare with the middle of the room's own days, which no single day moves far. What rests on too few
days, or on none of late, is not known, and that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median_low

FORECAST_DAYS = 14
DAYS_MAX = 60  # further nobody looks
_SURE_MIN = 3
_LATE_DAYS = 3  # the newest of them is no older
_WEEKDAYS_MIN, _WEEKEND_MIN = 3, 2  # to tell the two apart
_SATURDAY = 5
HISTORY_DAYS = 28
_USUAL_MIN = 7
_IDLE_WH = 300  # a day on which nobody was there


@dataclass(frozen=True, kw_only=True, slots=True)
class DayUse:
    """What a room used on a day of the site, and at most in one hour of its night."""

    day: date
    used_wh: int
    night_wh: int = 0
    estimated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Whole days until nothing is left, at most 60, by `daily_wh` a day; None with the reason why not."""

    days: int | None = None
    daily_wh: int | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unusual:
    """More than usual: a day's use, or an hour's of a night."""

    used_wh: int
    usual_wh: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """From which on a use is unusual: so many times the usual one, and so much at least."""

    times: int = 3
    day_wh: int = 5_000
    night_wh: int = 1_500


def forecast(left_wh: int | None, days: Sequence[DayUse], today: date) -> Forecast:
    """How long `left_wh` lasts by the use of the last two weeks; None is a balance that is not sure."""
    if left_wh is None:
        return Forecast(reason="the balance is not sure")
    sure = _sure(days, today, FORECAST_DAYS)
    if len(sure) < _SURE_MIN:
        return Forecast(reason="too few days are known")
    if max(one.day for one in sure) < today - timedelta(days=_LATE_DAYS):
        return Forecast(reason="no day of late is known")
    weekday, weekend = _usual(sure)
    daily_wh = (weekday * 5 + weekend * 2) // 7
    if left_wh <= 0:
        return Forecast(days=0, daily_wh=daily_wh)
    if not weekday and not weekend:
        return Forecast(daily_wh=0, reason="nothing is used")
    for passed in range(DAYS_MAX):
        is_weekend = (today + timedelta(days=passed)).weekday() >= _SATURDAY
        left_wh -= weekend if is_weekend else weekday
        if left_wh < 0:
            return Forecast(days=passed, daily_wh=daily_wh)
    return Forecast(days=DAYS_MAX, daily_wh=daily_wh)


def unusual_day(one: DayUse, days: Sequence[DayUse], bounds: Bounds) -> Unusual | None:
    """Whether this day's use is far above that of the four weeks before it."""
    usual = _middle([day.used_wh for day in _lived(days, one.day)])
    if one.estimated or usual is None:
        return None
    return _above(one.used_wh, usual, bounds.times, bounds.day_wh)


def unusual_night(one: DayUse, days: Sequence[DayUse], bounds: Bounds) -> Unusual | None:
    """Whether an hour of this day's night is far above those of the four weeks before it."""
    usual = _middle([day.night_wh for day in _lived(days, one.day)])
    if one.estimated or usual is None:
        return None
    return _above(one.night_wh, usual, bounds.times, bounds.night_wh)


def _sure(days: Sequence[DayUse], before: date, last: int) -> list[DayUse]:
    first = before - timedelta(days=last)
    return [one for one in days if first <= one.day < before and not one.estimated]


def _lived(days: Sequence[DayUse], before: date) -> list[DayUse]:
    """Days on which somebody was there: after a holiday nobody's return is unusual."""
    return [one for one in _sure(days, before, HISTORY_DAYS) if one.used_wh >= _IDLE_WH]


def _usual(sure: Sequence[DayUse]) -> tuple[int, int]:
    """A weekday's use and a weekend day's, the same where too few of either are known."""
    weekend = [one.used_wh for one in sure if one.day.weekday() >= _SATURDAY]
    weekdays = [one.used_wh for one in sure if one.day.weekday() < _SATURDAY]
    if len(weekdays) >= _WEEKDAYS_MIN and len(weekend) >= _WEEKEND_MIN:
        return median_low(weekdays), median_low(weekend)
    usual = median_low([one.used_wh for one in sure])
    return usual, usual


def _middle(values: Sequence[int]) -> int | None:
    return median_low(values) if len(values) >= _USUAL_MIN else None


def _above(used: int, usual: int, times: int, floor: int) -> Unusual | None:
    if used < floor or used < times * usual:
        return None
    return Unusual(used_wh=used, usual_wh=usual)
