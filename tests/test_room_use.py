"""What a room used, from its bindings and its counters' words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub import Place
from hub.inventory.bindings import Binding, Figure
from hub.inventory.counts import Meter
from hub.inventory.use import By, Use, edges, reckon
from hub.journal import Rollup, Series, Span
from hub.plausibility import ANEW, Rule

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
T0 = 1_700_006_400_000  # midnight UTC
KW_10 = Rule(
    kind=int,
    minimum=0,
    maximum=10**12,
    choices=(),
    counts=True,
    step_per_s=10_000 / 3600,
    rollover=10_000,
)
SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")


class Told:
    """A journal of counters' words: device → (time, value), marks, and days that were dropped."""

    def __init__(self, **words: Sequence[tuple[int, int]]) -> None:
        self.words = {name.replace("_", "-"): dict(pairs) for name, pairs in words.items()}
        self.marks: dict[int, str] = {}
        self.dropped_ms = 0

    def history(self, device: str, point: str, start_ms: int, end_ms: int, limit: int) -> Series:
        start_ms = max(start_ms, self.dropped_ms)
        words = self.words.get(device, {})
        times = [at for at in sorted(words) if start_ms <= at < end_ms][:limit]
        return Series(
            times=tuple(times),
            values=tuple(words[at] for at in times),
            uncertain=tuple((at, self.marks[at]) for at in times if at in self.marks),
        )

    def rollups(
        self, device: str, point: str, span: Span, start_ms: int, end_ms: int, utc_offset_h: int = 0
    ) -> list[Rollup]:
        words = self.words.get(device, {})
        hours: dict[int, list[int]] = {}
        for at in sorted(words):
            hours.setdefault(at // HOUR * HOUR, []).append(words[at])
        return [
            Rollup(
                start_ms=hour,
                first=values[0],
                last=values[-1],
                minimum=min(values),
                maximum=max(values),
                mean=0.0,
                count=len(values),
            )
            for hour, values in hours.items()
            if start_ms <= hour < end_ms
        ]


def meter(name: str, rule: Rule = KW_10) -> Meter:
    return Meter(device=name, point="energy_import", rule=rule)


def bound(
    device: str,
    from_ms: int,
    to_ms: int | None = None,
    *,
    first: Figure | None = None,
    last: Figure | None = None,
) -> Binding:
    return Binding(
        id=f"{device}-{from_ms}",
        device=device,
        place=Place(building="B1", room="101"),
        from_ms=from_ms,
        to_ms=to_ms,
        first=first,
        last=last,
        entered_ms=from_ms,
        actor="test",
    )


def used(told: Told, bindings: Sequence[Binding], *moments: int) -> Use:
    meters = {binding.device: meter(binding.device) for binding in bindings}
    work = reckon(told, bindings, meters, moments)
    while True:
        try:
            next(work)
        except StopIteration as done:
            found: Use = done.value
            return found


def steady(begin_ms: int, end_ms: int, value: int, *, step: int = 10) -> list[tuple[int, int]]:
    """A word each minute, `step` Wh apart."""
    return [(at, value + step * place) for place, at in enumerate(range(begin_ms, end_ms, MINUTE))]


def test_a_use_is_the_counter_at_the_end_less_the_counter_at_the_begin() -> None:
    told = Told(m_1=steady(T0, T0 + 3 * HOUR, 5000))
    use = used(told, [bound("m-1", T0)], T0 + HOUR, T0 + 2 * HOUR)
    assert (use.used, use.estimated) == (600, False)
    assert use.parts[0].first == Figure(value=5600, time_ms=T0 + HOUR)
    assert use.parts[0].last == Figure(value=6200, time_ms=T0 + 2 * HOUR)


def test_a_swap_keeps_the_room_s_use_continuous() -> None:
    swap = T0 + HOUR + 30_000
    told = Told(
        old=steady(T0, swap, 900_000),
        new=steady(swap + 20_000, T0 + 2 * HOUR, 17),
    )
    bindings = [bound("old", T0, swap), bound("new", swap)]
    use = used(told, bindings, T0, T0 + 2 * HOUR - MINUTE)
    assert use.used == 600 + 580
    assert not use.estimated
    assert [part.used for part in use.parts] == [600, 580]


def test_a_moved_meter_s_use_belongs_to_each_room_in_its_time() -> None:
    told = Told(m_1=steady(T0, T0 + 2 * HOUR, 0))
    move = T0 + HOUR
    first = used(told, [bound("m-1", T0, move)], T0, T0 + 2 * HOUR)
    second = used(told, [bound("m-1", move)], T0, T0 + 2 * HOUR)
    assert (first.used, second.used) == (600, 590)


def test_a_counter_that_rolled_over_goes_on() -> None:
    told = Told(m_1=[(T0, 9_990), (T0 + MINUTE, 10), (T0 + 2 * MINUTE, 30)])
    use = used(told, [bound("m-1", T0)], T0, T0 + 2 * MINUTE)
    assert (use.used, use.estimated) == (40, False)


@pytest.mark.parametrize("after", [0, 5_000])
def test_a_counter_that_begins_anew_is_not_counted_there_and_makes_an_estimate(after: int) -> None:
    told = Told(m_1=[(T0, 4_000), (T0 + MINUTE, after), (T0 + 2 * MINUTE, after + 50)])
    told.marks[T0 + MINUTE] = f"{ANEW}, was 4000"
    use = used(told, [bound("m-1", T0)], T0, T0 + 2 * MINUTE)
    assert (use.used, use.estimated) == (50, True)


def test_a_late_word_that_cannot_be_true_brings_nothing() -> None:
    told = Told(m_1=[(T0, 10), (T0 + MINUTE, 9_000), (T0 + 2 * MINUTE, 20), (T0 + 3 * MINUTE, 40)])
    use = used(told, [bound("m-1", T0)], T0, T0 + 3 * MINUTE)
    assert (use.used, use.estimated) == (20, True)


def test_a_moment_that_no_word_is_near_makes_only_its_slices_estimates() -> None:
    told = Told(m_1=[*steady(T0, T0 + HOUR, 0), *steady(T0 + 5 * HOUR, T0 + 8 * HOUR, 2_000)])
    moments = edges(T0, T0 + 7 * HOUR, By.HOUR, SHANGHAI)
    use = used(told, [bound("m-1", T0)], *moments)
    assert [part.used for part in use.slices] == [590, 0, 0, 0, 1410, 600, 600]
    assert [part.estimated for part in use.slices] == [False, True, True, True, True, False, False]


def test_what_was_noted_at_the_ends_of_a_binding_outlives_the_journal() -> None:
    begin, end = T0 + 10 * MINUTE, T0 + 50 * MINUTE
    told = Told(m_1=steady(T0, T0 + HOUR, 0))
    noted = bound(
        "m-1",
        begin,
        end,
        first=Figure(value=100, time_ms=begin),
        last=Figure(value=500, time_ms=end),
    )
    whole = used(told, [noted], T0, T0 + HOUR)
    told.dropped_ms = T0 + DAY
    assert used(told, [noted], T0, T0 + HOUR) == whole
    told.words.clear()
    assert (used(told, [noted], T0, T0 + HOUR).used, whole.used) == (400, 400)


def test_hours_of_dropped_days_still_tell_the_use() -> None:
    told = Told(m_1=steady(T0, T0 + 2 * DAY, 0, step=1))
    told.dropped_ms = T0 + DAY
    use = used(told, [bound("m-1", T0)], T0, T0 + 2 * DAY - MINUTE)
    assert (use.used, use.estimated) == (2 * 1440 - 1, False)


def test_what_a_person_read_wins_over_what_the_journal_has() -> None:
    begin = T0 + 10 * MINUTE
    told = Told(m_1=steady(T0, T0 + HOUR, 0))
    noted = bound("m-1", begin, first=Figure(value=60, time_ms=begin))
    assert used(told, [noted], T0, T0 + 20 * MINUTE).used == 140


def test_a_room_without_a_word_used_nothing_and_that_is_an_estimate() -> None:
    use = used(Told(), [bound("m-1", T0)], T0, T0 + DAY)
    assert (use.used, use.estimated) == (0, True)


def test_a_device_without_a_counter_brings_nothing() -> None:
    work = reckon(Told(), [bound("gate", T0)], {}, (T0, T0 + DAY))
    with pytest.raises(StopIteration) as done:
        next(work)
    assert done.value.value.parts == ()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (SHANGHAI, "2026-03-29", 24),
        (BERLIN, "2026-03-29", 23),
        (BERLIN, "2026-10-25", 25),
        (BERLIN, "2026-06-01", 24),
    ],
)
def test_a_day_is_the_site_s_also_when_its_clocks_change(
    zone: ZoneInfo, day: str, hours: int
) -> None:
    noon = round(datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=zone).timestamp() * 1000)
    moments = edges(noon - 2 * DAY, noon + 2 * DAY, By.DAY, zone)
    lengths = [(end - begin) // HOUR for begin, end in pairwise(moments)]
    assert hours in lengths[1:-1]
    inside = edges(noon - 2 * DAY, noon + 2 * DAY, By.HOUR, zone)
    assert {end - begin for begin, end in pairwise(inside)} == {HOUR}


def test_months_begin_at_the_site_s_midnight() -> None:
    begin = round(datetime(2026, 1, 15, tzinfo=BERLIN).timestamp() * 1000)
    moments = edges(begin, begin + 100 * DAY, By.MONTH, BERLIN)
    local = [datetime.fromtimestamp(at / 1000, BERLIN) for at in moments[1:-1]]
    assert [f"{at:%m-%d %H:%M}" for at in local] == ["02-01 00:00", "03-01 00:00", "04-01 00:00"]


@st.composite
def stories(draw: st.DrawFn) -> tuple[Told, list[Binding], list[int]]:
    """Meters that count, fall, jump and are silent, their bindings, and moments in order."""
    moment = st.integers(T0, T0 + 3 * DAY)
    told = Told()
    bindings = []
    for name in ("m-1", "m-2"):
        times = sorted(draw(st.sets(moment, max_size=12)))
        told.words[name] = {at: draw(st.integers(0, 9_999)) for at in times}
        told.marks |= {at: ANEW for at in times if draw(st.booleans())}
        ends = sorted(draw(st.sets(moment, min_size=2, max_size=2)))
        figure = st.none() | st.builds(
            Figure, value=st.integers(0, 9_999), time_ms=st.integers(ends[0], ends[1])
        )
        to_ms = draw(st.none() | st.just(ends[1]))
        bindings.append(bound(name, ends[0], to_ms, first=draw(figure), last=draw(figure)))
    told.dropped_ms = draw(st.sampled_from([0, T0 + DAY, T0 + 2 * DAY]))
    return told, bindings, sorted(draw(st.sets(moment, min_size=3, max_size=6)))


@given(stories())
@settings(deadline=None)
def test_uses_of_adjoining_spans_add_up_and_none_is_negative(
    story: tuple[Told, list[Binding], list[int]],
) -> None:
    told, bindings, moments = story
    whole = used(told, bindings, moments[0], moments[-1])
    sliced = used(told, bindings, *moments)
    alone = [used(told, bindings, begin, end).used for begin, end in pairwise(moments)]
    assert [part.used for part in sliced.slices] == alone
    assert sum(alone) == whole.used == sliced.used
    assert min(alone) >= 0
