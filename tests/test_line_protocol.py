"""The line protocol, judged by a reader of its own written from InfluxDB's reference."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import POINTS, PointType, Value
from hub.sinks.line_protocol import field_set, line, series_key


@dataclass(frozen=True)
class Parsed:
    measurement: str
    tags: dict[str, str]
    fields: dict[str, Value]
    time: int


def _split(text: str, separator: str, *, quotes: bool = False) -> list[str]:
    """Split at separators that are neither escaped nor, with `quotes`, inside a quoted text."""
    parts, part, quoted, escaped = [], "", False, False
    for char in text:
        if not escaped and quotes and char == '"':
            quoted = not quoted
        if char == separator and not escaped and not quoted:
            parts.append(part)
            part = ""
        else:
            part += char
        escaped = char == "\\" and not escaped
    return [*parts, part]


def _plain(text: str) -> str:
    for char in ",= ":
        text = text.replace("\\" + char, char)
    return text


def _value(text: str) -> Value:
    if text.startswith('"'):
        assert text.endswith('"')
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if text in ("true", "false"):
        return text == "true"
    return int(text[:-1]) if text.endswith("i") else float(text)


def parse(text: str) -> Parsed:
    """One line as a receiver reads it."""
    assert not any(ord(char) < 32 or char in "\x7f\x85\u2028\u2029" for char in text)
    series = _split(text, " ")[0]  # a quote means nothing before the fields
    fields, time = _split(text[len(series) + 1 :], " ", quotes=True)
    measurement, *tags = _split(series, ",")
    pairs = [_split(tag, "=") for tag in tags]
    values = [_split(part, "=", quotes=True) for part in _split(fields, ",", quotes=True)]
    return Parsed(
        measurement=_plain(measurement),
        tags={_plain(key): _plain(value) for key, value in pairs},
        fields={_plain(key): _value(value) for key, value in values},
        time=int(time),
    )


def _names(kind: PointType) -> list[str]:
    return [point.name for point in POINTS.values() if point.type is kind and not point.secret]


TAG_TEXT = st.text(alphabet=st.one_of(st.sampled_from(",= \"'#é中"), st.characters(codec="utf-8")))
CLEAN = st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTS = st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1)
VALUES = st.one_of(
    st.dictionaries(st.sampled_from(_names(PointType.FLOAT)), FLOATS, min_size=1),
    st.dictionaries(st.sampled_from(_names(PointType.INT)), INTS, min_size=1),
    st.dictionaries(st.sampled_from(_names(PointType.BOOL)), st.booleans(), min_size=1),
    st.dictionaries(
        st.sampled_from(_names(PointType.TEXT)),
        st.text(alphabet=st.one_of(st.sampled_from(",= \"\\'"), CLEAN)),
        min_size=1,
    ),
)


@given(VALUES, st.integers(min_value=-(10**13), max_value=10**13))
def test_a_receiver_reads_back_every_value_and_the_time(
    values: dict[str, Value], time_ms: int
) -> None:
    parsed = parse(line(series_key("meter", [("device", "m-1")]), values, time_ms))
    assert parsed == Parsed("meter", {"device": "m-1"}, values, time_ms)
    assert {name: type(value) for name, value in parsed.fields.items()} == {
        name: type(value) for name, value in values.items()
    }


@given(FLOATS)
def test_a_float_comes_back_bit_by_bit(number: float) -> None:
    parsed = parse(line("m", {"frequency": number}, 0)).fields["frequency"]
    assert struct.pack("d", parsed) == struct.pack("d", number)


@given(st.dictionaries(st.sampled_from("abcdef"), TAG_TEXT))
def test_a_tag_comes_back_but_for_what_receivers_disagree_on(tags: dict[str, str]) -> None:
    parsed = parse(line(series_key("meter", tags.items()), {"online": True}, 1))
    plain = {key: "".join(_told(char) for char in text) for key, text in tags.items() if text}
    assert parsed.tags == plain


def _told(char: str) -> str:
    return "_" if char == "\\" or (not char.isprintable() and not _kept(char)) else char


def _kept(char: str) -> bool:
    """Unprintable to Python, but no receiver minds: other spaces, unassigned and format characters."""
    return ord(char) >= 160 and char not in "\u2028\u2029"


@given(st.text(max_size=20))
def test_any_measurement_gives_a_line_that_is_read(measurement: str) -> None:
    text = line(series_key(measurement, [("device", "m-1")]), {"online": True}, 1)
    assert not text.startswith("#")
    assert parse(text).tags == {"device": "m-1"}


@given(st.text())
def test_any_text_gives_one_line_that_is_read(text: str) -> None:
    parsed = parse(line("m", {"order": text}, 1))
    assert list(parsed.fields) == ["order"]
    assert len(str(parsed.fields["order"])) == len(text)


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"voltage_l1": 230}, "voltage_l1=230.0"),
        ({"energy_import": 2**53 - 1}, "energy_import=9007199254740991i"),
        ({"relay_closed": False, "online": True}, "relay_closed=false,online=true"),
        ({"washer_state": "idle"}, 'washer_state="idle"'),
        ({"order": 'a"b\\c\n,= '}, 'order="a\\"b\\\\c ,= "'),
    ],
)
def test_a_field_is_written_in_the_type_of_its_point(values: dict[str, Value], fields: str) -> None:
    assert field_set(values) == fields


@pytest.mark.parametrize(
    "values",
    [
        {"voltage_l1": math.nan},
        {"voltage_l1": math.inf},
        {"voltage_l1": 10**400},
        {"voltage_l1": True},
        {"voltage_l1": "230"},
        {"energy_import": 2**63},
        {"energy_import": 1.5},
        {"energy_import": True},
        {"relay_closed": 1},
        {"order": 7},
        {"no_such_point": 7},
        {"plate": "ABC123", "credential": "5f"},
    ],
)
def test_what_the_protocol_cannot_say_or_must_not_leave_gives_no_line(
    values: dict[str, Value],
) -> None:
    assert line("m", values, 1) == ""


def test_a_tag_ending_in_a_backslash_does_not_swallow_the_next_one() -> None:
    assert series_key("m", [("room", "1\\"), ("floor", "2")]) == "m,room=1_,floor=2"
