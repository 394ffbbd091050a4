"""Times and counters' words as a person types them."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from hub import ConfigError
from hub.cli.bindings import value_of
from hub.cli.moments import local, moment_ms

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
NOW = 1_795_363_200_000


def at(text: str, zone: ZoneInfo = SHANGHAI) -> int:
    return moment_ms(text, zone, NOW, key="--from")


@pytest.mark.parametrize(
    ("text", "zone", "utc"),
    [
        ("2026-11-22T18:00", SHANGHAI, "2026-11-22 10:00:00+00:00"),
        ("2026-11-22", SHANGHAI, "2026-11-21 16:00:00+00:00"),
        ("2026-11-22 18:00:30", BERLIN, "2026-11-22 17:00:30+00:00"),
        ("2026-07-01T12:00", BERLIN, "2026-07-01 10:00:00+00:00"),
        ("2026-11-22T18:00+02:00", SHANGHAI, "2026-11-22 16:00:00+00:00"),
        ("2026-10-25T02:30+01:00", BERLIN, "2026-10-25 01:30:00+00:00"),
        ("2026-11-22T18:00Z", BERLIN, "2026-11-22 18:00:00+00:00"),
    ],
)
def test_a_time_is_the_site_s_unless_it_names_a_zone(text: str, zone: ZoneInfo, utc: str) -> None:
    assert local(at(text, zone), ZoneInfo("UTC")) == utc


@pytest.mark.parametrize(("text", "ago_ms"), [("0m", 0), ("6h", 21_600_000), ("2w", 1_209_600_000)])
def test_a_time_may_be_so_long_ago(text: str, ago_ms: int) -> None:
    assert at(text) == NOW - ago_ms


@pytest.mark.parametrize("text", ["2026-10-25T02:30", "2026-03-29T02:30"])
def test_a_time_that_the_site_s_clocks_show_twice_or_never_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"\+02:00"):
        at(text, BERLIN)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "6y", "1"])
def test_what_is_no_time_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(ConfigError, match="the site's time"):
        at(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("17", 17), ("17Wh", 17), ("1234.5kWh", 1_234_500), ("1.5 MWh", 1_500_000), ("0", 0)],
)
def test_a_counter_s_word_may_carry_its_unit(text: str, value: int) -> None:
    assert value_of(text, "--first") == value


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "kWh", "1/0", "5 m3", "0.0001kWh"])
def test_what_is_no_word_of_a_counter_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write whole Wh"):
        value_of(text, "--first")
