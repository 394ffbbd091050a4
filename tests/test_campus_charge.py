"""From readings to what is due, for any readings: nothing is lost, counted twice or rounded away."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import accumulate, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.campus.accounts.accounts import Utility
from hub.campus.accounts.prices import MILLION, Price, Tariff
from hub.campus.prepaid.charge import (
    Mark,
    Register,
    Step,
    by_day,
    follow,
    local_day,
    marks_of,
    midnight_ms,
    price,
)
from hub.journal import Series

ZONE = ZoneInfo("Asia/Shanghai")
START_MS = round(datetime(2026, 11, 1, tzinfo=ZONE).timestamp() * 1000)
HOUR_MS = 3_600_000
METER = Register(point="energy_import", rated_w=10_000, rollover=0)
BEGIN = Mark(time_ms=START_MS, counter=0)
STEPS = st.lists(
    st.tuples(st.integers(1, 40 * HOUR_MS), st.integers(0, 100)), min_size=1, max_size=60
)
RATES = st.lists(st.integers(0, 10**7), min_size=1, max_size=40)


def tariff_of(rates: list[int]) -> Tariff:
    """Another rate each day from the first on."""
    first = local_day(START_MS, ZONE)
    return Tariff(
        common=tuple(
            Price(utility=Utility.ELECTRICITY, from_day=first + timedelta(days=day), rate=rate)
            for day, rate in enumerate(rates)
        )
    )


def marks(steps: list[tuple[int, int]]) -> list[tuple[Mark, bool]]:
    times = accumulate((passed for passed, _ in steps), initial=START_MS)
    counters = accumulate((amount for _, amount in steps), initial=0)
    pairs = [Mark(time_ms=t, counter=c) for t, c in zip(times, counters, strict=True)]
    return [(mark, False) for mark in pairs[1:]]


@settings(deadline=None)
@given(steps=STEPS, rates=RATES, cuts=st.sets(st.integers(0, 60)), free=st.integers(0, 3_000))
def test_however_the_runs_fall_the_sum_is_the_same(
    steps: list[tuple[int, int]], rates: list[int], cuts: set[int], free: int
) -> None:
    tariff, all_marks = tariff_of(rates), marks(steps)
    bounds = sorted({0, len(all_marks), *(cut for cut in cuts if cut < len(all_marks))})
    at, rest, left, fen = BEGIN, 0, free, 0
    for begin, end in pairwise(bounds):
        track = follow(at, all_marks[begin:end], METER)
        charge = price(by_day(track.steps, ZONE), tariff, free=left, rest=rest)
        assert charge is not None
        at, rest, left, fen = track.mark, charge.rest, left - charge.free, fen + charge.fen
    whole = follow(BEGIN, all_marks, METER)
    once = price(by_day(whole.steps, ZONE), tariff, free=free, rest=0)
    assert once is not None
    assert (fen, rest, at) == (once.fen, once.rest, whole.mark)
    assert left == free - once.free >= 0


@settings(deadline=None)
@given(steps=STEPS, rates=RATES)
def test_what_is_due_is_the_exact_price_rounded_down_once(
    steps: list[tuple[int, int]], rates: list[int]
) -> None:
    track, tariff = follow(BEGIN, marks(steps), METER), tariff_of(rates)
    days = by_day(track.steps, ZONE)
    charge = price(days, tariff, free=0, rest=0)
    assert charge is not None
    exact = sum(amount * (tariff.rate_on(day) or 0) for day, amount in days.items())
    assert charge.fen * MILLION + charge.rest == exact
    assert 0 <= charge.rest < MILLION
    assert (type(charge.fen), type(charge.rest)) == (int, int)


@settings(deadline=None)
@given(steps=STEPS)
def test_no_wh_is_lost_between_days(steps: list[tuple[int, int]]) -> None:
    track = follow(BEGIN, marks(steps), METER)
    days = by_day(track.steps, ZONE)
    assert sum(days.values()) == sum(step.amount for step in track.steps) == track.mark.counter
    assert list(days) == sorted(days)


@settings(deadline=None)
@given(begin=st.integers(0, 400 * HOUR_MS), length=st.integers(1, 400 * HOUR_MS))
def test_a_step_over_midnights_is_shared_by_its_time(begin: int, length: int) -> None:
    step = Step(begin_ms=START_MS + begin, end_ms=START_MS + begin + length, amount=length)
    for day, amount in by_day([step], ZONE).items():
        day_ms = midnight_ms(day, ZONE)
        within = min(step.end_ms, day_ms + 24 * HOUR_MS) - max(step.begin_ms, day_ms)
        assert amount == within


@settings(deadline=None)
@given(
    shown=st.lists(st.integers(0, 10**6), min_size=1, max_size=30),
    passed_ms=st.integers(1, HOUR_MS),
)
def test_whatever_a_meter_shows_nothing_impossible_is_charged(
    shown: list[int], passed_ms: int
) -> None:
    said = [
        (Mark(time_ms=START_MS + (place + 1) * passed_ms, counter=counter), False)
        for place, counter in enumerate(shown)
    ]
    track = follow(BEGIN, said, METER)
    most = 10_000 * passed_ms * 12 // (HOUR_MS * 10) + 100
    assert all(0 <= step.amount <= most for step in track.steps)
    assert track.mark.counter == sum(step.amount for step in track.steps)
    assert bool(track.held) == (len(track.steps) < len(shown))


def test_a_counter_without_a_limit_of_power_still_has_one() -> None:
    water = Register(point="volume", rated_w=0, rollover=0)
    far = Mark(time_ms=START_MS + 1, counter=10**9 + 1)
    assert follow(BEGIN, [(far, False)], water).held == "counter jumped from 0 to 1000000001"


@pytest.mark.parametrize("rolled", [True, False])
def test_a_roll_over_is_charged_only_where_the_product_has_one(rolled: bool) -> None:
    at = Mark(time_ms=START_MS, counter=9_990)
    after = Mark(time_ms=START_MS + HOUR_MS, counter=10)
    with_one = Register(point="energy_import", rated_w=10_000, rollover=10_000)
    assert bool(follow(at, [(after, rolled)], with_one).steps) == rolled
    assert follow(at, [(after, rolled)], METER).held == "counter fell from 9990 to 10"


def test_a_day_to_be_paid_without_a_price_is_not_charged() -> None:
    later = Tariff(common=(Price(utility=Utility.ELECTRICITY, from_day=date(2027, 1, 1), rate=1),))
    days = {date(2026, 11, 1): 100}
    assert price(days, later, free=0, rest=0) is None
    covered = price(days, later, free=100, rest=7)
    assert covered is not None
    assert (covered.free, covered.fen, covered.rest) == (100, 0, 7)


def test_doubtful_readings_and_what_is_no_count_are_left_out() -> None:
    series = Series(
        times=(1, 2, 3, 4, 5),
        values=(10, 20, 30, 40.5, True),
        uncertain=((2, "retained"), (3, "counter rolled over")),
    )
    assert [mark.counter for mark, _ in marks_of(series)] == [10, 30]
    assert [rolled for _, rolled in marks_of(series)] == [False, True]
    assert marks_of(series, 9, 50)[-1] == (Mark(time_ms=9, counter=50), False)
