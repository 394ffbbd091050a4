from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.model import Reading, Value
from hub.plausibility import CLOCK_AHEAD_MS, CLOCK_EARLY_MS, TIME, Plausibility
from tests.site_folder import meter

NOW_MS = 1_795_000_000_000
MINUTE_MS = 60_000


def reading(
    values: dict[str, Value], *, at_ms: int = NOW_MS, received_ms: int | None = None
) -> Reading:
    return Reading(
        device="meter-1",
        time_ms=at_ms,
        received_ms=at_ms if received_ms is None else received_ms,
        values=values,
    )


def counted(*steps: int, limit_ms: int = MINUTE_MS) -> list[Reading]:
    """Readings of the energy counter, one a minute, through one set of rules."""
    rules = Plausibility()
    return [
        rules.check(reading({"energy_import": value}, at_ms=NOW_MS + place * limit_ms), meter())
        for place, value in enumerate(steps)
    ]


def test_a_plausible_reading_passes_as_the_same_object() -> None:
    good = reading({"voltage_l1": 231.5, "energy_import": 1000})
    assert Plausibility().check(good, meter()) is good


@pytest.mark.parametrize("volts", [0.0, 79.9, 300.1, -230.0, float("nan"), float("inf")])
def test_a_voltage_that_cannot_be_goes_to_bad_and_the_other_points_stay(volts: float) -> None:
    checked = Plausibility().check(reading({"voltage_l1": volts, "energy_import": 5}), meter())
    assert dict(checked.values) == {"energy_import": 5}
    assert list(checked.bad) == ["voltage_l1"]


def test_a_profile_narrows_the_range_of_the_vocabulary() -> None:
    checked = Plausibility().check(reading({"voltage_l1": 270.0}), meter())
    assert checked.bad == {"voltage_l1": "outside 80..260"}


@pytest.mark.parametrize(
    ("point", "value", "reason"),
    [
        ("energy_import", 1.5, "not a int"),
        ("energy_import", True, "not a int"),
        ("voltage_l1", "230", "not a float"),
        ("washer_state", "flying", "unknown word 'flying'"),
        ("order", "x" * 300, "text too long"),
        ("luck", 7, "outside the vocabulary"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_reason(
    point: str, value: Value, reason: str
) -> None:
    checked = Plausibility().check(reading({point: value}), meter())
    assert dict(checked.values) == {}
    assert checked.bad[point] == reason


def test_a_counter_may_grow_by_rated_power_times_time() -> None:
    assert all(not item.bad for item in counted(1000, 1160, 1320))


def test_a_counter_that_jumps_past_rated_power_is_refused() -> None:
    assert counted(1000, 900_000)[1].bad == {"energy_import": "counter jumped from 1000 to 900000"}


def test_a_counter_that_falls_once_is_refused_and_the_next_good_value_stands() -> None:
    items = counted(5000, 0, 5100)
    assert items[1].bad == {"energy_import": "counter fell from 5000 to 0"}
    assert items[2].values == {"energy_import": 5100}


def test_a_counter_that_stays_down_is_a_new_beginning_after_three_agreeing_readings() -> None:
    items = counted(5000, 0, 50, 100, 150)
    assert [bool(item.bad) for item in items] == [False, True, True, False, False]
    assert items[3].uncertain == {"energy_import": "counter begins anew, was 5000"}


def test_two_fallen_values_that_disagree_prove_nothing() -> None:
    items = counted(5000, 0, 800_000, 10, 900_000)
    assert [bool(item.bad) for item in items] == [False, True, True, True, True]


def test_a_fallen_counter_that_is_told_again_and_again_proves_nothing() -> None:
    rules = Plausibility()
    rules.check(reading({"energy_import": 5000}), meter())
    fallen = reading({"energy_import": 0}, at_ms=NOW_MS + MINUTE_MS)
    again = [rules.check(fallen, meter()) for _ in range(5)]
    assert {item.bad["energy_import"] for item in again} == {"counter fell from 5000 to 0"}


def test_a_counter_that_rolls_over_is_good_and_says_so() -> None:
    items = counted(9_999_950, 30)
    assert items[1].values == {"energy_import": 30}
    assert items[1].uncertain == {"energy_import": "counter rolled over"}


def test_late_data_is_kept_and_does_not_move_the_counter_back() -> None:
    rules = Plausibility()
    rules.check(reading({"energy_import": 5000}), meter())
    late = rules.check(reading({"energy_import": 4000}, at_ms=NOW_MS - MINUTE_MS), meter())
    after = rules.check(reading({"energy_import": 5050}, at_ms=NOW_MS + MINUTE_MS), meter())
    assert (late.bad, after.bad) == ({}, {})


def test_the_first_step_after_a_restart_is_checked_against_what_was_stored() -> None:
    rules = Plausibility()
    rules.remember("meter-1", [("energy_import", 5000, NOW_MS), ("voltage_l1", 230.0, NOW_MS)])
    checked = rules.check(reading({"energy_import": 10}, at_ms=NOW_MS + MINUTE_MS), meter())
    assert checked.bad == {"energy_import": "counter fell from 5000 to 10"}


def test_a_counter_without_energy_has_no_limit_upwards_but_may_not_fall() -> None:
    rules = Plausibility()
    rules.check(reading({"count_in": 5}), meter())
    up = rules.check(reading({"count_in": 90_000}, at_ms=NOW_MS + 1), meter())
    down = rules.check(reading({"count_in": 4}, at_ms=NOW_MS + 2), meter())
    assert (up.bad, list(down.bad)) == ({}, ["count_in"])


@pytest.mark.parametrize("skew_ms", [-CLOCK_EARLY_MS - 1, CLOCK_AHEAD_MS + 1, -NOW_MS])
def test_a_device_clock_outside_the_window_is_replaced_by_the_hubs_and_says_so(
    skew_ms: int,
) -> None:
    odd = reading({"voltage_l1": 230.0}, at_ms=NOW_MS + skew_ms, received_ms=NOW_MS)
    checked = Plausibility().check(odd, meter())
    assert checked.time_ms == NOW_MS
    assert checked.uncertain[TIME].startswith("device clock off by")


@pytest.mark.parametrize("skew_ms", [-CLOCK_EARLY_MS, 0, CLOCK_AHEAD_MS])
def test_a_device_clock_inside_the_window_is_believed(skew_ms: int) -> None:
    item = reading({"voltage_l1": 230.0}, at_ms=NOW_MS + skew_ms, received_ms=NOW_MS)
    assert Plausibility().check(item, meter()) is item


@given(
    st.dictionaries(
        st.sampled_from(["voltage_l1", "energy_import", "washer_state", "count_in", "luck"]),
        st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=400)),
        max_size=5,
    ),
    st.integers(-(10**15), 10**15),
)
def test_every_value_ends_either_good_or_bad_with_a_reason_and_none_is_lost(
    values: dict[str, Value], time_ms: int
) -> None:
    given_reading = reading(values, at_ms=time_ms, received_ms=NOW_MS)
    checked = Plausibility().check(given_reading, meter())
    assert set(checked.values) | set(checked.bad) == set(values)
    assert not set(checked.values) & set(checked.bad)
    assert all(checked.bad.values())


def test_a_counter_is_still_checked_after_the_hubs_clock_was_ahead() -> None:
    rules = Plausibility()
    rules.check(reading({"energy_import": 5000}, at_ms=NOW_MS + 86_400_000), meter())
    fallen = rules.check(reading({"energy_import": 10}), meter())
    steady = rules.check(reading({"energy_import": 5010}, at_ms=NOW_MS + MINUTE_MS), meter())
    assert fallen.bad == {"energy_import": "counter fell from 5000 to 10"}
    assert steady.bad == {}
