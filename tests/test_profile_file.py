"""What the loader of profiles says of each kind of mistake, and what devices may set."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from hub import POINTS, ConfigError, ConfigErrors, Profile, load_profiles
from hub.profile_file import read_profile

HEAD = """
name = "A meter"
maker = "A maker"
kind = "meter"
protocol = "modbus"
"""
POINT = "[points]\nfrequency = { at = 0 }\n"
SETTINGS = """
[settings]
ct_ratio = { default = 1, minimum = 1, maximum = 100 }
step = { default = 0.1, minimum = 0 }
order = { default = "big", choices = ["big", "little"] }
swapped = { default = false }
"""


def read(text: str, **settings: str) -> Profile:
    return read_profile("em1", "profiles/em1.toml", text).apply(
        settings, place="devices.csv: line 7"
    )


def mistake(text: str, **settings: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text, **settings)
    return caught.value


def test_a_point_has_the_defaults_of_the_vocabulary() -> None:
    spec = read(HEAD + POINT).points["frequency"]
    assert (spec.factor, spec.offset, spec.minimum, spec.maximum) == (1, 0, 45, 65)
    assert spec.where == {"at": 0}


def test_a_profile_has_the_defaults_of_the_language() -> None:
    profile = read(HEAD + POINT)
    assert (profile.id, profile.period_s, profile.rated_power_w) == ("em1", 60.0, 100_000.0)
    assert (profile.sources, profile.doubts, profile.wire) == ((), (), {})


def test_scale_unit_and_ratio_are_one_exact_factor() -> None:
    text = (
        HEAD
        + SETTINGS
        + (
            "[points]\n"
            'energy_import = { at = 0, unit = "kWh", scale = 0.01, ratio = ["ct_ratio"], rollover = 999 }'
        )
    )
    spec = read(text, ct_ratio="3").points["energy_import"]
    assert spec.factor == Fraction(30)
    assert spec.rollover == 29970
    assert spec.ratio == ()


def test_a_scale_of_a_tenth_is_exactly_a_tenth() -> None:
    spec = read(HEAD + "[points]\nvoltage_l1 = { at = 0, scale = 0.1 }").points["voltage_l1"]
    assert spec.factor == Fraction(1, 10)


def test_one_confidence_for_all_points_gives_way_to_a_point_s_own() -> None:
    text = HEAD + 'confidence = "medium"\n' + POINT + 'voltage_l1 = { at = 1, confidence = "low" }'
    points = read(text).points
    assert (points["frequency"].confidence, points["voltage_l1"].confidence) == ("medium", "low")


def test_a_product_narrows_a_range_and_never_widens_it() -> None:
    text = HEAD + "[points]\nvoltage_l1 = { at = 0, minimum = 180, maximum = 900 }"
    spec = read(text).points["voltage_l1"]
    assert (spec.minimum, spec.maximum) == (180, POINTS["voltage_l1"].maximum)


POINT_MISTAKES = [
    ("voltage_l9 = { at = 0 }", "points.voltage_l9", "did you mean voltage_l"),
    ("frequency = 5", "points.frequency", "write a table"),
    ('frequency = { unit = "kWh" }', "points.frequency.unit", "Hz, mHz"),
    ("frequency = { unit = 3 }", "points.frequency.unit", "text"),
    ("frequency = { scale = 0 }", "points.frequency.scale", "other than 0"),
    ('frequency = { scale = "0.1" }', "points.frequency.scale", "number"),
    ("frequency = { scale = nan }", "points.frequency.scale", "number"),
    ("frequency = { scale = true }", "points.frequency.scale", "number"),
    ("frequency = { offset = inf }", "points.frequency.offset", "number"),
    ("frequency = { invert = true }", "points.frequency.invert", "flag"),
    ("relay_1 = { invert = 1 }", "points.relay_1.invert", "true or false"),
    ("relay_1 = { scale = 10 }", "points.relay_1.scale", "leave out"),
    ("frequency = { absent = 0xFFFF }", "points.frequency.absent", "[0xFFFF]"),
    ("frequency = { absent = [[1]] }", "points.frequency.absent", "number, a text"),
    ('frequency = { ratio = ["ct"] }', "points.frequency.ratio", "under [settings]"),
    ('frequency = { ratio = ["frequency"] }', "points.frequency.ratio", "another point"),
    ('frequency = { ratio = "ct" }', "points.frequency.ratio", "list of texts"),
    ("frequency = { minimum = 60, maximum = 50 }", "points.frequency.minimum", "below maximum"),
    ('frequency = { confidence = "sure" }', "points.frequency.confidence", "high, medium or low"),
    ("frequency = { note = 4 }", "points.frequency.note", "text"),
    ('door = { values = { 1 = "ajar" } }', "points.door.values.1", "open, closed, locked"),
    ('relay_1 = { values = { ON = "yes" } }', "points.relay_1.values.ON", "true or false"),
    ("program = { values = { 1 = 5 } }", "points.program.values.1", "text"),
    ("cycle_count = { values = { 1 = true } }", "points.cycle_count.values.1", "whole number"),
    ("door = { values = [1] }", "points.door.values", "table"),
    ('frequency = { at = "$start" }', "$start", "[settings]"),
]


@pytest.mark.parametrize(("line", "key", "hint"), POINT_MISTAKES)
def test_a_mistake_in_a_point_names_file_key_and_remedy(line: str, key: str, hint: str) -> None:
    error = mistake(HEAD + "[points]\n" + line)
    assert (error.file, error.key) == ("profiles/em1.toml", key)
    assert hint in error.hint
    assert error.found


TOP_MISTAKES = [
    (HEAD.replace("A maker", "") + POINT, "maker", "text in quotes"),
    (HEAD.replace('kind = "meter"', "") + POINT, "kind", "text in quotes"),
    (HEAD + "colour = 3\n" + POINT, "colour", "known: "),
    (HEAD + "[mqtt]\nx = 1\n" + POINT, "mqtt", "known: "),
    (HEAD + "period_s = 0\n" + POINT, "period_s", "above 0"),
    (HEAD + "rated_power_w = -1\n" + POINT, "rated_power_w", "above 0"),
    (HEAD + 'sources = "a manual"\n' + POINT, "sources", "list of texts"),
    (HEAD + "modbus = 3\n" + POINT, "modbus", "table"),
    (HEAD, "points", "at least one"),
    (HEAD + "points = 3", "points", "table"),
    (HEAD + "[points\n", "TOML", "syntax"),
    (HEAD + "[settings]\na = { choices = [1] }\n" + POINT, "settings.a.default", "says nothing"),
    (
        HEAD + "[settings]\na = { default = 5, choices = [1, 2] }\n" + POINT,
        "settings.a.default",
        "1, 2",
    ),
    (HEAD + "[settings]\na = { default = 5, maximum = 2 }\n" + POINT, "settings.a.default", "to 2"),
    (HEAD + "[settings]\na = { default = 5, max = 9 }\n" + POINT, "settings.a.max", "maximum"),
    (HEAD + "[settings]\na = 5\n" + POINT, "settings.a", "table"),
]


@pytest.mark.parametrize(("text", "key", "hint"), TOP_MISTAKES)
def test_a_mistake_at_the_top_names_file_key_and_remedy(text: str, key: str, hint: str) -> None:
    error = mistake(text)
    assert (error.file, error.key) == ("profiles/em1.toml", key)
    assert hint in error.hint


def test_every_wrong_point_is_told_at_once() -> None:
    text = HEAD + "[points]\nfrequency = { scale = 0 }\nvoltage_l1 = { at = 0 }\nwind = { at = 1 }"
    with pytest.raises(ConfigErrors) as caught:
        read(text)
    assert [error.key for error in caught.value.errors] == ["points.frequency.scale", "points.wind"]
    assert len(str(caught.value).splitlines()) == 2


SETTING_MISTAKES = [
    ({"ct_ratio": "0"}, "settings.ct_ratio", "from 1 to 100"),
    ({"ct_ratio": "1.5"}, "settings.ct_ratio", "whole number"),
    ({"ct_ratio": "many"}, "settings.ct_ratio", "whole number"),
    ({"step": "nan"}, "settings.step", "number"),
    ({"step": "inf"}, "settings.step", "number"),
    ({"step": "-1"}, "settings.step", "from 0"),
    ({"order": "middle"}, "settings.order", "big, little"),
    ({"swapped": "yes"}, "settings.swapped", "true or false"),
    ({"pt_ratio": "2"}, "settings.pt_ratio", "ct_ratio, step, order, swapped"),
]


@pytest.mark.parametrize(("settings", "key", "hint"), SETTING_MISTAKES)
def test_a_device_s_wrong_setting_names_its_row(
    settings: dict[str, str], key: str, hint: str
) -> None:
    error = mistake(HEAD + SETTINGS + POINT, **settings)
    assert (error.file, error.key) == ("devices.csv: line 7", key)
    assert hint in error.hint


def test_settings_of_every_type_reach_the_protocol_s_keys() -> None:
    text = (
        HEAD
        + SETTINGS
        + (
            '[modbus]\norder = "$order"\nswapped = "$swapped"\nsteps = ["$step"]\n'
            '[points]\nvoltage_l1 = { at = "$ct_ratio", scale = "$step" }\n'
        )
    )
    profile = read(text, order="little", swapped="true", step="0.25", ct_ratio="9")
    assert profile.wire == {"order": "little", "swapped": True, "steps": [0.25]}
    assert profile.points["voltage_l1"].where == {"at": 9}
    assert profile.points["voltage_l1"].factor == Fraction(1, 4)


def test_devices_with_equal_settings_share_one_profile() -> None:
    library = load_profiles()
    first = library.get("chint_ddsu666", {"ct_ratio": "40"}, place="a")
    assert library.get("chint_ddsu666", {"ct_ratio": "40"}, place="b") is first
    assert library.get("chint_ddsu666", {}, place="c") is not first


def test_an_unknown_profile_is_told_with_close_names() -> None:
    with pytest.raises(ConfigError) as caught:
        load_profiles().get("eastron_sdm12", {}, place="devices.csv: line 3")
    assert (caught.value.file, caught.value.key) == ("devices.csv: line 3", "profile")
    assert "eastron_sdm120" in caught.value.hint


def test_a_site_s_own_profile_replaces_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "eastron_sdm120.toml").write_text(HEAD + POINT, "utf-8")
    profile = load_profiles(tmp_path).get("eastron_sdm120", {}, place="test")
    assert profile.name == "A meter"
    assert profile.file == str(tmp_path / "eastron_sdm120.toml")


def test_every_profile_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b'name = "\xff"')
    (tmp_path / "b.toml").write_text(HEAD, "utf-8")
    (tmp_path / "c.toml").write_text(
        HEAD + "[points]\nwind = { at = 0 }\nrain = { at = 1 }", "utf-8"
    )
    with pytest.raises(ConfigErrors) as caught:
        load_profiles(tmp_path)
    places = [(Path(error.file).name, error.key) for error in caught.value.errors]
    assert places == [
        ("a.toml", "byte 8"),
        ("b.toml", "points"),
        ("c.toml", "points.wind"),
        ("c.toml", "points.rain"),
    ]


def test_a_folder_of_profiles_that_does_not_exist_is_none(tmp_path: Path) -> None:
    assert load_profiles(tmp_path / "profiles").ids() == load_profiles().ids()
