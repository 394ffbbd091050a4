"""`[prepaid]` of site.toml: what is taken, what a building may say differently, and every mistake."""

from __future__ import annotations

from datetime import datetime, time
from pathlib import Path
from tomllib import loads

import pytest

from hub import ConfigError, ConfigErrors, Site, load_site
from hub.campus.accounts.accounts import Utility
from hub.campus.prepaid import rules as rules_file
from hub.campus.prepaid.rules import Hours, Prepaid, Restore, Rules, read_rules
from tests.provisioned import SITE, write_building

NOON = datetime(2026, 10, 12, 12)


def site_with(folder: Path, text: str) -> Site:
    return load_site(write_building(folder / "config", site=SITE + text))


def rules_of(folder: Path, text: str) -> Rules:
    return read_rules(site_with(folder, text))


def test_without_the_table_nothing_is_charged_and_nobody_is_cut(tmp_path: Path) -> None:
    policy = rules_of(tmp_path, "").of("B1")
    assert not policy.charges("101")
    assert policy.protection("101", NOON) == "not prepaid"


def test_an_empty_table_has_the_defaults(tmp_path: Path) -> None:
    policy = rules_of(tmp_path, "[prepaid]\n").of("B1")
    assert policy == Prepaid(enabled=True)
    assert policy.protected_hours == (Hours(begin=time(22), end=time(7)),)
    assert (policy.alarms_fen, policy.alarms_wh) == ((2_000, 500), (20_000, 5_000))


def test_a_building_says_only_what_is_different_there(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        """
        [prepaid]
        overdraft_fen = 500
        allowance_wh = 5000
        allowance_hot_water_ml = 90000
        restore = "close"
        [prepaid.buildings.B2]
        allowance_wh = 0
        carry_over = true
        [prepaid.buildings.B3]
        enabled = false
        """,
    )
    here, other = rules.of("B1"), rules.of("B2")
    assert (here.overdraft_fen, here.allowance(Utility.ELECTRICITY)) == (500, 5_000)
    assert (other.overdraft_fen, other.allowance(Utility.ELECTRICITY)) == (500, 0)
    assert other.allowance(Utility.HOT_WATER) == 90_000
    assert (here.carry_over, other.carry_over) == (False, True)
    assert here.restore is other.restore is Restore.CLOSE
    assert not rules.of("B3").charges("101")


def test_a_room_is_used_up_when_its_overdraft_and_its_allowance_are() -> None:
    policy = Prepaid(enabled=True, overdraft_fen=500)
    assert not policy.is_used_up(-499)
    assert policy.is_used_up(-500)
    assert not policy.is_used_up(-500, free=1)


@pytest.mark.parametrize(
    ("room", "local", "why"),
    [
        ("101", NOON, ""),
        ("102", NOON, "protected room"),
        ("laundry", NOON, "not prepaid"),
        ("101", datetime(2026, 10, 1, 12), "holiday"),
        ("101", datetime(2026, 10, 12, 22), "protected hours"),
        ("101", datetime(2026, 10, 12, 6, 59), "protected hours"),
        ("101", datetime(2026, 10, 12, 7), ""),
        ("101", datetime(2026, 10, 12, 13, 30), "protected hours"),
    ],
)
def test_nobody_is_cut_where_and_when_it_is_forbidden(
    tmp_path: Path, room: str, local: datetime, why: str
) -> None:
    policy = rules_of(
        tmp_path,
        """
        [prepaid]
        protected_hours = ["22:00-07:00", "13:00-14:00"]
        holidays = ["2026-10-01"]
        protected_rooms = ["102"]
        unbilled_rooms = ["laundry"]
        """,
    ).of("B1")
    assert policy.protection(room, local) == why


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("overdraft_fen = 0.5", "prepaid.overdraft_fen"),
        ("overdraft_fen = -1", "prepaid.overdraft_fen"),
        ("overdraft_fen = true", "prepaid.overdraft_fen"),
        ("alarms_fen = [500, 2000]", "prepaid.alarms_fen"),
        ("alarms_fen = [5.5]", "prepaid.alarms_fen"),
        ("restore = 'maybe'", "prepaid.restore"),
        ("restores_per_s = 6", "prepaid.restores_per_s"),
        ("protected_hours = ['22']", "prepaid.protected_hours"),
        ("protected_hours = ['22:00-22:00']", "prepaid.protected_hours"),
        ("protected_hours = ['22:00Z-07:00']", "prepaid.protected_hours"),
        ("holidays = ['1 October']", "prepaid.holidays"),
        ("delivery_s = 0", "prepaid.delivery_s"),
        ("overdraft = 500", "prepaid.overdraft"),
        ("[prepaid.buildings.B7]\nenabled = 1", "prepaid.buildings.B7.enabled"),
        ("[prepaid.buildings]\nB7 = 1", "prepaid.buildings.B7"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rules_of(tmp_path, f"[prepaid]\n{text}\n")
    assert (caught.value.key, Path(caught.value.file).name) == (key, "site.toml")


def test_the_example_is_good_and_every_key_of_it_is_explained(tmp_path: Path) -> None:
    example = str(rules_file.__doc__).partition("\n\n")[2]
    assert not rules_of(tmp_path, example).of("B9").enabled
    text = (Path(__file__).parents[1] / "docs" / "prepaid.md").read_text("utf-8")
    assert [key for key in loads(example)["prepaid"] if f"`{key}" not in text] == ["buildings"]


def test_a_building_nobody_knows_is_a_mistake(tmp_path: Path) -> None:
    text = "[buildings.B1]\n[prepaid]\n[prepaid.buildings.B7]\n"
    with pytest.raises(ConfigError, match="B7"):
        rules_of(tmp_path, text)


@pytest.mark.parametrize("name", ["prepaid", "platforms"])
def test_a_policy_that_is_no_table_is_a_mistake_of_the_site(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigErrors, match=name):
        load_site(write_building(tmp_path / "config", site=f"{name} = 1\n{SITE}"))
