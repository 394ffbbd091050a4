"""From bytes to values: documents, paths, times, and what is refused. Golden folders judge the products."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.mqtt.device_time import TimeUnit, device_time_ms
from drivers.mqtt.document import DEPTH_MAX, MISSING, find, parse_json, parse_path
from drivers.mqtt.payload import Decoded, topic_map
from hub import ConfigError, Rejected
from hub.profile_file import read_profile

SHANGHAI = ZoneInfo("Asia/Shanghai")
KEYS = st.text("abcdefg:-_", min_size=1, max_size=6)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
HEAD = 'name = "x"\nmaker = "x"\nkind = "x"\nprotocol = "mqtt"\n'
STATE = '[mqtt.topics]\nstate = { topic = "a/{address}"'


def decode(points: str, payload: object, topic: str = "") -> Decoded:
    """What a profile with these points makes of the payload."""
    text = f"{HEAD}{STATE}{topic} }}\n[points]\n{points}\n"
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    profile = read_profile("x", "x.toml", text).apply({}, place="x")
    return topic_map(profile).decode("state", raw)


@given(document=JSON)
def test_a_valid_document_is_read_as_the_standard_library_reads_it(document: object) -> None:
    assert parse_json(json.dumps(document).encode()) == document


@given(payload=st.binary(max_size=200))
def test_any_bytes_give_a_document_or_are_rejected(payload: bytes) -> None:
    with suppress(Rejected):
        json.dumps(parse_json(payload), allow_nan=False)


@given(keys=st.lists(KEYS | st.integers(0, 3), min_size=1, max_size=8), leaf=st.integers())
def test_a_path_finds_what_was_put_there(keys: list[str | int], leaf: int) -> None:
    steps = ["top", *keys]
    document: object = leaf
    for step in reversed(steps):
        document = {step: document} if isinstance(step, str) else [None] * step + [document]
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    assert find(document, parse_path(text.removeprefix("."))) == leaf
    assert find([document], parse_path("**" + text)) == leaf
    assert find(document, parse_path(text.removeprefix(".") + ".missing")) is MISSING


@pytest.mark.parametrize("text", [".a", "a.", "a..b", "a[", "a[x]", "a]", "[0]a", "**", "**."])
def test_a_wrong_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="keys with dots"):
        parse_path(text)


def test_nesting_is_limited_to_twenty() -> None:
    assert parse_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    with pytest.raises(Rejected, match="nested too deep"):
        parse_json(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))


@pytest.mark.parametrize(
    "payload", [b'{"a":1,"a":2}', b'{"b":{"a" :1,"a":1}}', b'{"t":"1:2","a":1,"a":2}']
)
def test_a_key_written_twice_is_refused(payload: bytes) -> None:
    with pytest.raises(Rejected, match="duplicate key"):
        parse_json(payload)


def test_colons_inside_texts_are_no_keys() -> None:
    assert parse_json(b'{"Time":"2018-02-15T17:37:10","a":"\\":"}') == {
        "Time": "2018-02-15T17:37:10",
        "a": '":',
    }


@pytest.mark.parametrize(
    ("raw", "unit", "sequence", "expected"),
    [
        (1795368000, "s", None, 1795368000_000),
        (1795368000, "s", 12_345, 1795368000_345),
        (1795368000.25, "s", 12_345, 1795368000_250),
        (1795368000123, "ms", 7, 1795368000_123),
        ("2026-11-22T17:20:00Z", "iso", None, 1795368000_000),
        ("2026-11-23T01:20:00+08:00", "iso", 5, 1795368000_005),
        ("2026-11-23T01:20:00", "iso_local", None, 1795368000_000),
        ("2026.11.23 01:20:00", "iso_local", None, 1795368000_000),
        ("2026-11-23T01:20:00", "iso", None, None),
        ("yesterday", "iso_local", None, None),
        ("1795368000", "s", None, None),
        (True, "s", None, None),
        (-1, "s", None, None),
        (10**30, "ms", None, None),
        (None, "ms", None, None),
    ],
)
def test_a_device_time_is_read_in_its_unit_and_never_guessed(
    raw: object, unit: TimeUnit, sequence: int | None, expected: int | None
) -> None:
    assert device_time_ms(raw, unit, SHANGHAI, sequence) == expected


@given(moment=st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1)))
def test_iso_times_come_back(moment: datetime) -> None:
    moment = moment.replace(tzinfo=ZoneInfo("UTC"))
    expected = round(moment.timestamp() * 1000)
    assert device_time_ms(moment.isoformat(), "iso", SHANGHAI) == expected


@pytest.mark.parametrize(
    ("point", "raw", "value"),
    [
        ('energy_import = { path = "v", unit = "kWh" }', 6.294, 6294),
        ('voltage_l1 = { path = "v" }', 229, 229.0),
        ('relay_closed = { path = "v" }', True, True),
        ('relay_closed = { path = "v", values = { ON = true, OFF = false } }', "OFF", False),
        ('order = { path = "v" }', None, ""),
        ('plate = { path = "v", encoding = "base64" }', "57KkQTEyMzQ1", "粤A12345"),
        ('washer_phase = { path = "v", values = { "3" = "spin" } }', 3, "spin"),
    ],
)
def test_a_value_arrives_in_its_unit(point: str, raw: object, value: object) -> None:
    assert list(decode(point, {"v": raw}).values.values()) == [value]


@pytest.mark.parametrize(
    ("point", "raw", "reason"),
    [
        ('voltage_l1 = { path = "v" }', "230", "not a number"),
        ('voltage_l1 = { path = "v" }', True, "not a number"),
        ('voltage_l1 = { path = "v" }', None, "not available"),
        ('voltage_l1 = { path = "v" }', [1], "not a single value"),
        ('voltage_l1 = { path = "v" }', 1.1e15, "number too large"),
        ('washer_phase = { path = "v" }', None, "not available"),
        ('relay_closed = { path = "v" }', 2, "not a flag"),
        ('plate = { path = "v", encoding = "base64" }', "粤", "not base64 of a text"),
    ],
)
def test_a_bad_value_costs_only_its_point(point: str, raw: object, reason: str) -> None:
    decoded = decode(point + '\nfrequency = { path = "hz" }', {"v": raw, "hz": 50})
    assert decoded.values == {"frequency": 50.0}
    assert list(decoded.bad.values()) == [reason]


@pytest.mark.parametrize(
    ("payload", "values"),
    [(b"230.5", {"voltage_l1": 230.5}), (b"-1e2", {"voltage_l1": -100.0})],
)
def test_a_plain_number_is_read_from_text(payload: bytes, values: Mapping[str, float]) -> None:
    assert decode("voltage_l1 = {}", payload, ', format = "text"').values == values


@pytest.mark.parametrize("payload", [b" 1", b"0x10", b"NaN", b"inf", b"1_000", b"9" * 65, b"\xff"])
def test_a_text_that_is_no_plain_number_is_refused(payload: bytes) -> None:
    with pytest.raises(Rejected):
        decode("voltage_l1 = {}", payload, ', format = "text"')


def test_a_notice_about_another_part_of_the_device_is_no_poison() -> None:
    topic = ', root = "params.switch:0"'
    point = 'relay_closed = { path = "output" }'
    assert decode(point, {"params": {"sys": {}}}, topic).values == {}
    assert decode(point, {"params": {"switch:0": {"id": 0}}}, topic).values == {}
    assert decode(point, {"params": {"switch:0": {"output": True}}}, topic).values == {
        "relay_closed": True
    }


@pytest.mark.parametrize(
    ("topics", "point", "key"),
    [
        ('s = { topic = "a" }', "online = {}", "mqtt.topics.s.topic"),
        ('s = { topic = "a/{address}", colour = 1 }', "online = {}", "mqtt.topics"),
        ('s = { topic = "a/{address}", time = "t" }', "online = {}", "mqtt.topics.s.time_unit"),
        ("s = { topic = [] }", "online = {}", "mqtt.topics.s.topic"),
        ('s = { topic = "a/{address}" }', 'online = { in = ["t"] }', "points.online.in"),
        ('s = { topic = "a/{address}" }', 'online = { path = "a." }', "points.online.path"),
        ('s = { topic = "a/{address}" }', "online = { at = 3 }", "points.online"),
        ("", "online = {}", "mqtt.topics"),
    ],
)
def test_a_mistake_in_a_profile_is_named_with_its_key(topics: str, point: str, key: str) -> None:
    text = f"{HEAD}[mqtt.topics]\n{topics}\n[points]\n{point}\n"
    profile = read_profile("x", "x.toml", text).apply({}, place="x")
    with pytest.raises(ConfigError) as caught:
        topic_map(profile)
    assert caught.value.file == "x.toml"
    assert caught.value.key.startswith(key)
