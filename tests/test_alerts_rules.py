"""Forecasts, levels and unusual use: the pure halves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.campus.alerts.forecast import (
    DAYS_MAX,
    Bounds,
    DayUse,
    Forecast,
    Unusual,
    forecast,
    unusual_day,
    unusual_night,
)
from hub.campus.alerts.levels import levels_under, margin

TODAY = date(2026, 11, 30)  # a Monday
LEVELS = (2_000, 500)


def used(*values: int, estimated: bool = False, night_wh: int = 0) -> list[DayUse]:
    """So much on each of the days before today, the newest last."""
    first = TODAY - timedelta(days=len(values))
    return [
        DayUse(
            day=first + timedelta(days=place),
            used_wh=value,
            night_wh=night_wh,
            estimated=estimated,
        )
        for place, value in enumerate(values)
    ]


def test_what_is_left_by_what_is_used_is_the_days_it_lasts() -> None:
    assert forecast(9_500, used(*[3_000] * 7), TODAY) == Forecast(days=3, daily_wh=3_000)


def test_one_wild_day_does_not_move_the_forecast() -> None:
    assert forecast(9_500, used(*[3_000] * 6, 90_000), TODAY).days == 3


def test_weekends_count_for_themselves() -> None:
    week = [1_000] * 5 + [6_000, 6_000]  # Monday to Sunday
    assert forecast(6_000, used(*week, *week), TODAY).days == 5
    assert forecast(6_000, used(*week, *week), TODAY + timedelta(days=1)).days == 4


@pytest.mark.parametrize(
    ("left", "days", "reason"),
    [
        (None, used(*[3_000] * 7), "the balance is not sure"),
        (9_000, [], "too few days are known"),
        (9_000, used(3_000, 3_000), "too few days are known"),
        (9_000, used(*[3_000] * 7, estimated=True), "too few days are known"),
        (9_000, used(*[0] * 7), "nothing is used"),
        (9_000, used(*[3_000] * 3, *[0] * 4)[:3], "no day of late is known"),
    ],
)
def test_what_nobody_knows_is_said_so(left: int | None, days: list[DayUse], reason: str) -> None:
    assert forecast(left, days, TODAY).days is None
    assert forecast(left, days, TODAY).reason == reason


def test_nobody_looks_further_than_sixty_days() -> None:
    assert forecast(10**9, used(*[1] * 7), TODAY).days == DAYS_MAX


@given(
    st.lists(st.integers(0, 50_000), min_size=3, max_size=20),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_more_left_never_lasts_shorter_and_no_forecast_is_more_than_the_least_day_allows(
    values: list[int], left: int, more: int
) -> None:
    short, long = (forecast(wh, used(*values), TODAY) for wh in (left, left + more))
    lasts = [told.days for told in (short, long) if told.days is not None]
    assert sorted(lasts) == lasts
    least = min(values[-14:])
    assert all(days <= DAYS_MAX and (days - 1) * least <= left + more for days in lasts)


def test_each_level_holds_from_its_own_figure_down() -> None:
    found = [levels_under(value, LEVELS, ()) for value in (2_001, 2_000, 501, 500, -1)]
    assert found == [frozenset(), {1}, {1}, {1, 2}, {1, 2}]


def crossings(values: Sequence[int], level: int) -> int:
    """How often one level is entered."""
    under: frozenset[int] = frozenset()
    entered = 0
    for value in values:
        now = levels_under(value, (level,), under)
        entered += len(now - under)
        under = now
    return entered


@given(
    st.integers(10, 10**6).flatmap(
        lambda level: st.tuples(
            st.just(level),
            st.lists(
                st.integers(level - 2 * margin(level), level + margin(level) - 1), max_size=50
            ),
        )
    )
)
def test_a_balance_that_trembles_around_a_level_crosses_it_once(
    case: tuple[int, list[int]],
) -> None:
    level, trembling = case
    assert crossings([level, *trembling], level) == 1


@given(st.lists(st.integers(-(10**6), 10**6), max_size=50), st.integers(0, 10**5))
def test_a_level_is_entered_as_often_as_the_balance_came_down_from_well_above(
    values: list[int], level: int
) -> None:
    is_under, expected = False, 0
    for value in values:
        expected += not is_under and value <= level
        is_under = value <= level or (is_under and value < level + margin(level))
    assert crossings(values, level) == expected


MONTH = used(*[4_000] * 28)
YESTERDAY = TODAY - timedelta(days=1)


def of_today(used_wh: int, night_wh: int = 0, *, estimated: bool = False) -> DayUse:
    return DayUse(day=TODAY, used_wh=used_wh, night_wh=night_wh, estimated=estimated)


@pytest.mark.parametrize(
    ("one", "found"),
    [
        (of_today(12_000), Unusual(used_wh=12_000, usual_wh=4_000)),
        (of_today(11_999), None),
        (of_today(50_000, estimated=True), None),
    ],
)
def test_three_times_the_usual_use_is_unusual_when_it_is_sure(
    one: DayUse, found: Unusual | None
) -> None:
    assert unusual_day(one, MONTH, Bounds()) == found


def test_little_is_never_unusual() -> None:
    assert unusual_day(of_today(4_999), used(*[400] * 28), Bounds()) is None


def test_nothing_is_unusual_where_few_days_were_lived_in() -> None:
    assert unusual_day(of_today(20_000), used(*[0] * 22, *[4_000] * 6), Bounds()) is None


def test_an_hour_of_the_night_is_judged_by_the_nights() -> None:
    nights = used(*[4_000] * 28, night_wh=300)
    assert unusual_night(of_today(6_000, 1_499), nights, Bounds()) is None
    found = unusual_night(of_today(6_000, 1_500), nights, Bounds())
    assert found == Unusual(used_wh=1_500, usual_wh=300)
