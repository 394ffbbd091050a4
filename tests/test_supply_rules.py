"""The pure halves of the supply: what is decided, how fast it comes back, what is asked of a person."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import ConfigError, Place
from hub.campus.prepaid.pace import Pace
from hub.campus.prepaid.rules import Restore
from hub.campus.supply.bulk import share
from hub.campus.supply.desired import Act, Cause, Facts, Hindrance, SupplyState, decide
from hub.campus.supply.episodes import Due
from hub.campus.supply.schedules import Schedule, read_schedules
from tests.supply_dorm import ZONE, Dorm, due_of

TEXTS = st.sampled_from(["", "said"])
FACTS = st.builds(
    Facts,
    state=st.sampled_from(SupplyState),
    cause=st.sampled_from(Cause),
    locked=TEXTS,
    is_used_up=st.booleans(),
    doubt=TEXTS,
    protection=TEXTS,
    is_protected=st.booleans(),
    kept=TEXTS,
    away=TEXTS,
    timetable=TEXTS,
    restore=st.sampled_from(Restore),
    can_arm=st.booleans(),
)
BACK = (Act.RESTORE, Act.ARM)


@given(FACTS)
def test_a_protected_room_is_never_cut(facts: Facts) -> None:
    protected = replace(facts, is_protected=True, protection="protected room")
    assert decide(protected).act is not Act.CUT


@given(FACTS, st.sampled_from(["doubt", "protection", "kept", "away"]))
def test_whatever_forbids_it_nobody_is_cut_in_arrears(facts: Facts, what: str) -> None:
    for text in (replace(facts, doubt="said"), replace(facts, protection="said")):
        decision = decide(text)
        assert not (decision.act is Act.CUT and decision.cause is Cause.ARREARS)
    for text in (replace(facts, kept="said"), replace(facts, away="said")):
        assert decide(text).act is not Act.CUT


@given(FACTS)
def test_nobody_is_cut_without_a_cause_that_holds(facts: Facts) -> None:
    quiet = replace(facts, locked="", timetable="", is_used_up=False)
    assert decide(quiet).act not in (Act.CUT, Act.KEEP_CUT)


@given(FACTS)
def test_what_tripped_or_is_locked_or_was_opened_by_a_hand_is_never_restored(facts: Facts) -> None:
    for state in (SupplyState.TRIPPED, SupplyState.OPENED):
        assert decide(replace(facts, state=state)).act not in BACK
    assert decide(replace(facts, locked="3 trips")).act not in BACK
    theirs = replace(facts, state=SupplyState.CUT, cause=Cause.PERSON)
    assert decide(theirs).act not in BACK


@given(FACTS)
def test_power_never_comes_back_by_itself_to_a_room_that_was_left_in_arrears(facts: Facts) -> None:
    left = replace(facts, state=SupplyState.CUT, cause=Cause.ARREARS, is_closed=True)
    assert decide(left).act not in BACK


@given(FACTS)
def test_where_the_policy_says_arm_only_a_timetable_closes(facts: Facts) -> None:
    decision = decide(replace(facts, restore=Restore.ARM))
    assert decision.act is not Act.RESTORE or facts.cause is Cause.SCHEDULE
    unarmed = decide(replace(facts, restore=Restore.ARM, can_arm=False))
    assert unarmed.act is not Act.ARM


@given(FACTS)
def test_what_is_not_done_though_due_says_why(facts: Facts) -> None:
    decision = decide(facts)
    assert (not decision.hindrance) or (decision.act is Act.NONE and decision.reason)


@given(FACTS)
def test_a_room_that_has_credit_and_no_timetable_comes_back(facts: Facts) -> None:
    paid = replace(
        facts,
        state=SupplyState.CUT,
        cause=Cause.ARREARS,
        locked="",
        is_used_up=False,
        timetable="",
        away="",
        can_arm=True,
    )
    assert decide(paid).act in BACK


def test_a_room_that_is_cut_and_owes_stays_so_through_protected_hours() -> None:
    facts = Facts(
        state=SupplyState.CUT, cause=Cause.ARREARS, is_used_up=True, protection="protected hours"
    )
    assert decide(facts).act is Act.NONE


def test_a_cut_room_that_becomes_a_protected_one_comes_back() -> None:
    facts = Facts(state=SupplyState.CUT, cause=Cause.ARREARS, is_used_up=True, is_protected=True)
    assert decide(replace(facts, protection="protected room")).act is Act.ARM


def test_one_that_cannot_be_armed_is_a_persons() -> None:
    facts = Facts(state=SupplyState.CUT, cause=Cause.ARREARS, can_arm=False)
    assert decide(facts).hindrance is Hindrance.CANNOT_ARM


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.floats(0.0, 0.7), st.floats(0.0, 0.5)),
        max_size=120,
    ),
    st.integers(1, 5),
)
def test_never_more_than_so_many_relays_of_a_feeder_in_any_second(
    wishes: list[tuple[str, float, float]], limit: int
) -> None:
    """Each restore moves its relay at any moment between its place and its end."""
    pace, now_s = Pace(), 0.0
    moves: list[tuple[float, str]] = []
    ends: list[tuple[float, str]] = []
    for device, pause_s, takes_s in wishes:
        now_s += pause_s
        for end_s, name in [one for one in ends if one[0] <= now_s]:
            pace.leave("f", name, end_s)
            ends.remove((end_s, name))
        busy = {name for _, name in ends}
        if device not in busy and pace.take("f", device, limit, now_s):
            ends.append((now_s + takes_s, device))
            moves.append((now_s + takes_s, device))
    for begin_s, _ in moves:
        within = {name for at_s, name in moves if begin_s <= at_s < begin_s + 1.0}
        assert len(within) <= limit


def test_nobody_has_a_place_while_an_earlier_run_may_have_restored_within_the_second() -> None:
    pace = Pace(free_s=10.0)
    assert not pace.take("f", "a", 5, 9.9)
    assert pace.ready(9.9) == set()
    assert pace.ready(10.0) == {"a"}
    assert pace.take("f", "a", 5, 10.0)


def test_the_next_in_line_is_called_when_a_place_is_free() -> None:
    pace = Pace()
    assert pace.take("f", "a", 1, 0.0)
    assert not pace.take("f", "b", 1, 0.1)
    assert pace.ready(0.2) == set()
    pace.leave("f", "a", 0.5)
    assert pace.ready(1.0) == set()
    assert pace.ready(1.6) == {"b"}


@given(
    st.lists(st.sampled_from(["", "open", "ended"]), max_size=30),
    st.booleans(),
    st.sampled_from([0, 7_200_000]),
)
def test_of_many_cuts_all_are_proposed_or_none(
    batches: list[str], is_too_much: bool, age_ms: int
) -> None:
    dues = [due_of(f"m-{place}", batch) for place, batch in enumerate(batches)]
    part = share(dues, {"open"}, is_too_much=is_too_much, now_ms=age_ms)
    assert not (part.now and part.propose)
    if is_too_much or any(batches):
        assert part.now == ()
        assert part.waiting == len(dues)
    else:
        assert list(part.now) == dues
    asked: tuple[Due, ...] = part.propose
    assert all(due.row.batch != "open" for due in asked)


SCHEDULE = """
[schedules.nights]
buildings = ["B1"]
workday_hours = ["06:00-12:00", "13:30-23:00"]
holiday_hours = ["07:00-24:00"]
holidays = ["2026-10-01"]
makeup_days = ["2026-10-10"]
power_limit_w = 1000
night_power_limit_w = 300
night_hours = ["22:00-06:00"]
"""


def schedule_of(folder: Path, policy: str = SCHEDULE) -> Schedule:
    return read_schedules(Dorm(folder=folder, policy=policy).site)[0]


@pytest.mark.parametrize(
    ("moment", "is_off"),
    [
        ("2026-11-02T05:59:59", True),
        ("2026-11-02T06:00", False),
        ("2026-11-02T12:00", True),
        ("2026-11-02T13:30", False),
        ("2026-11-02T23:00", True),
        ("2026-11-07T06:30", True),  # a Saturday
        ("2026-11-07T23:59", False),
        ("2026-10-01T06:30", True),  # a Thursday, but a holiday
        ("2026-10-10T06:30", False),  # a Saturday, but a workday
        ("2026-10-10T23:30", True),
    ],
)
def test_a_timetable_knows_workdays_holidays_and_makeup_days(
    tmp_path: Path, moment: str, is_off: bool
) -> None:
    local = datetime.fromisoformat(moment).replace(tzinfo=ZONE)
    assert schedule_of(tmp_path).is_off(local) is is_off


def test_a_timetable_without_hours_never_switches(tmp_path: Path) -> None:
    made = schedule_of(tmp_path, '[schedules.s]\nbuildings = ["B1"]\npower_limit_w = 800\n')
    moment = datetime(2026, 11, 2, tzinfo=ZONE)
    assert not any(made.is_off(moment + timedelta(hours=hour)) for hour in range(24 * 7))
    assert made.limit_w(moment) == 800


def test_a_limit_goes_by_day_and_night(tmp_path: Path) -> None:
    made = schedule_of(tmp_path)
    limits = [made.limit_w(datetime(2026, 11, 2, hour, tzinfo=ZONE)) for hour in (5, 6, 21, 22)]
    assert limits == [300, 1000, 1000, 300]


def test_every_change_of_a_timetable_is_another_form(tmp_path: Path) -> None:
    other = SCHEDULE.replace("23:00", "22:30")
    assert schedule_of(tmp_path).digest != schedule_of(tmp_path, other).digest
    assert schedule_of(tmp_path).digest == schedule_of(tmp_path).digest


def test_a_timetable_may_be_for_a_floor(tmp_path: Path) -> None:
    policy = '[schedules.s]\nfloors = ["B1/2"]\nworkday_hours = ["06:00-23:00"]\n'
    made = read_schedules(Dorm(folder=tmp_path, rooms=2, per_floor=1, policy=policy).site)[0]
    assert [made.covers(Place(building="B1", floor=floor)) for floor in "12"] == [False, True]
    assert made.is_workday(date(2026, 11, 2))


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("workday_hours", 'workday_hours = ["23:00-06:00"]'),
        ("workday_hours", 'workday_hours = ["06:00-12:00", "11:00-23:00"]'),
        ("workday_hours", "workday_hours = []"),
        ("workday_hours", 'workday_hours = ["06:00"]'),
        ("workday_hours", f"workday_hours = {[f'{h:02}:00-{h:02}:30' for h in range(9)]!r}"),
        ("buildings", 'buildings = ["B7"]'),
        ("floors", 'floors = ["B1/9"]'),
        ("holidays", 'holidays = ["tomorrow"]'),
        ("makeup_days", 'holidays = ["2026-10-10"]\nmakeup_days = ["2026-10-10"]'),
        ("power_limit_w", "power_limit_w = 0"),
        ("night_hours", "night_power_limit_w = 300"),
        ("hours", 'hours = ["06:00-23:00"]'),
    ],
)
def test_a_mistake_in_a_timetable_is_named_with_its_place(
    tmp_path: Path, key: str, line: str
) -> None:
    head = "" if line.startswith("buildings") else 'buildings = ["B1"]\n'
    with pytest.raises(ConfigError, match=rf"schedules\.s\.{key}"):
        schedule_of(tmp_path, f"[schedules.s]\n{head}{line}\n")


def test_a_room_has_one_timetable(tmp_path: Path) -> None:
    both = '[schedules.a]\nbuildings = ["B1"]\n[schedules.b]\nfloors = ["B1/1"]\n'
    with pytest.raises(ConfigError, match="one timetable"):
        schedule_of(tmp_path, both)
