"""From raw to value: exact where numbers are whole, and nothing is ever taken for what it is not."""

from __future__ import annotations

import math
from contextlib import suppress
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hub import POINTS, BadValue, Converter, PointType, converter
from hub.points import INT_MAX, unit_factor, units_of
from hub.profile import PointSpec, Scalar

SCALES = st.sampled_from([Fraction(1, 10**places) for places in range(5)])
COUNTS = st.integers(0, 2**32 - 1)
ANYTHING = st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=8))


def convert_to(name: str, **keys: object) -> Converter:
    point = POINTS[name]
    given_keys: dict[str, object] = {"minimum": point.minimum, "maximum": point.maximum, **keys}
    return converter(PointSpec(point=point, **given_keys))  # type: ignore[arg-type]


@given(raw=st.integers(-(2**63), 2**63 - 1), whole=st.integers(1, 10_000))
def test_whole_numbers_with_a_whole_factor_are_exact(raw: int, whole: int) -> None:
    assert convert_to("energy_total", factor=Fraction(whole))(raw) == raw * whole


@given(raw=COUNTS, scale=SCALES)
def test_a_counter_in_parts_of_a_kilowatt_hour_is_the_nearest_watt_hour(
    raw: int, scale: Fraction
) -> None:
    exact = Decimal(raw) * 1000 / scale.denominator
    nearest = int(exact.to_integral_value(ROUND_HALF_EVEN))
    assert convert_to("energy_import", factor=scale * 1000)(raw) == nearest


@given(raw=st.integers(-(2**31), 2**31), scale=SCALES)
def test_a_scaled_number_is_the_float_a_person_would_write(raw: int, scale: Fraction) -> None:
    written = float(Decimal(raw) / scale.denominator)
    assert convert_to("active_power_total", factor=scale)(raw) == written


@given(raw=COUNTS, scale=SCALES, offset=st.integers(-1000, 1000))
def test_undoing_scale_and_offset_gives_the_raw_number_back(
    raw: int, scale: Fraction, offset: int
) -> None:
    value = convert_to("current_l1", factor=scale, offset=Fraction(offset))(raw)
    assert round((Fraction(float(value)) - offset) / scale) == raw


@given(raw=st.one_of(st.just(math.nan), st.just(math.inf), st.just(-math.inf)))
@pytest.mark.parametrize("name", ["voltage_l1", "energy_import"])
def test_nan_and_infinity_are_no_value(name: str, raw: float) -> None:
    with pytest.raises(BadValue, match="not available"):
        convert_to(name, factor=Fraction(1000))(raw)


@given(raw=st.one_of(st.booleans(), st.text(max_size=8)))
@pytest.mark.parametrize("name", ["voltage_l1", "energy_import"])
def test_flags_and_texts_are_never_numbers(name: str, raw: bool | str) -> None:
    with pytest.raises(BadValue, match="not a number"):
        convert_to(name)(raw)


@given(raw=st.one_of(st.text(max_size=8), st.floats(), st.integers()))
def test_only_true_false_one_and_zero_are_flags(raw: str | float) -> None:
    assume(not (isinstance(raw, int) and raw in (0, 1)))
    with pytest.raises(BadValue, match="not a flag"):
        convert_to("relay_closed")(raw)


@pytest.mark.parametrize("raw", [True, 1])
def test_an_inverted_flag_is_the_other_one(raw: bool | int) -> None:
    assert convert_to("fire_alarm")(raw) is True
    assert convert_to("fire_alarm", invert=True)(raw) is False


@given(raw=st.one_of(st.booleans(), st.integers(), st.floats()))
def test_numbers_and_flags_are_never_texts(raw: bool | float) -> None:
    with pytest.raises(BadValue, match="not a text"):
        convert_to("program")(raw)


@pytest.mark.parametrize(
    ("name", "absent", "raw"),
    [
        ("voltage_l1", 0xFFFF, 0xFFFF),
        ("voltage_l1", 0, 0.0),
        ("energy_import", -(2**63), -(2**63)),
        ("plate", "none", "none"),
    ],
)
def test_a_code_for_no_value_is_told_before_anything_else(
    name: str, absent: Scalar, raw: Scalar
) -> None:
    with pytest.raises(BadValue, match="not available"):
        convert_to(name, absent=(absent,), factor=Fraction(1))(raw)


def test_codes_become_words_and_flags_whatever_type_the_code_has() -> None:
    word = convert_to("washer_state", values={"2": "running", "RUN": "running", "true": "idle"})
    assert (word(2), word("RUN"), word(True)) == ("running", "running", "idle")
    flag = convert_to("relay_closed", values={"ON": True, "OFF": False})
    assert (flag("ON"), flag("OFF")) == (True, False)


@given(raw=ANYTHING)
def test_a_code_that_is_not_listed_is_named_shortly(raw: Scalar) -> None:
    with pytest.raises(BadValue, match="unknown code") as caught:
        convert_to("washer_state", values={"never": "idle"})(raw)
    assert len(str(caught.value)) < 200


def test_a_finite_number_beyond_every_counter_is_bad_and_no_crash() -> None:
    with pytest.raises(BadValue, match="too large"):
        convert_to("energy_import", factor=Fraction(1000))(1e308)


@given(raw=ANYTHING, name=st.sampled_from(sorted(POINTS)))
def test_whatever_comes_is_a_value_of_the_point_s_type_or_bad(raw: Scalar, name: str) -> None:
    kinds = {
        PointType.BOOL: bool,
        PointType.INT: int,
        PointType.FLOAT: float,
        PointType.TEXT: str,
    }
    assume(not isinstance(raw, int) or abs(raw) < 2**64)
    with suppress(BadValue):
        assert type(convert_to(name)(raw)) is kinds[POINTS[name].type]


# The vocabulary.


@pytest.mark.parametrize("name", sorted(POINTS))
def test_a_point_of_the_vocabulary_makes_sense(name: str) -> None:
    point = POINTS[name]
    assert point.name == name
    assert name.isascii()
    assert name.islower()
    assert point.unit
    assert point.meaning
    assert point.minimum < point.maximum
    assert max(abs(point.minimum), abs(point.maximum)) <= INT_MAX
    assert len(set(point.choices)) == len(point.choices)


@pytest.mark.parametrize("name", sorted(POINTS))
def test_counters_are_whole_and_flags_and_texts_have_no_unit(name: str) -> None:
    point = POINTS[name]
    assert point.kind != "counter" or point.type is PointType.INT
    assert point.type in (PointType.INT, PointType.FLOAT) or point.unit == "1"
    assert point.type is PointType.TEXT or not point.choices


@pytest.mark.parametrize("unit", sorted({point.unit for point in POINTS.values()}))
def test_every_unit_a_profile_may_name_has_its_factor(unit: str) -> None:
    factors = {other: unit_factor(other, unit) for other in units_of(unit)}
    assert factors[unit] == 1
    assert all(factor is not None and factor > 0 for factor in factors.values())


def test_a_unit_of_another_quantity_has_no_factor() -> None:
    assert unit_factor("kWh", "W") is None
    assert unit_factor("furlong", "Wh") is None


@pytest.mark.parametrize(
    ("unit", "canonical", "factor"),
    [
        ("kWh", "Wh", 1000),
        ("MWh", "Wh", 1_000_000),
        ("Wmin", "Wh", Fraction(1, 60)),
        ("mWh", "Wh", Fraction(1, 1000)),
        ("kW", "W", 1000),
        ("CNY", "fen", 100),
        ("min", "s", 60),
    ],
)
def test_factors_between_units_are_exact(unit: str, canonical: str, factor: Fraction) -> None:
    assert unit_factor(unit, canonical) == factor
