"""The buildings of a site: read from site.toml, found by what people call them, and asked about places."""

from __future__ import annotations

import tomllib

import pytest

from hub import ConfigError, Place
from hub.buildings import Buildings, read_buildings

TEXT = """
[B1]
name = "1号楼"
aliases = ["一号楼", "Building 1"]
[B1.floors]
1 = ["101-140", "laundry"]
2 = ["201-240", "A07-A09"]
[B2]
name = "Library"
"""


def read(text: str = TEXT) -> Buildings:
    return read_buildings("site.toml", tomllib.loads(text))


@pytest.mark.parametrize("text", ["B1", "1号楼", "一号楼", "Building 1"])
def test_a_building_is_found_by_its_id_its_name_and_its_aliases(text: str) -> None:
    found = read().find(text)
    assert found is not None
    assert found.id == "B1"


def test_a_building_that_nobody_named_is_not_found() -> None:
    assert read().find("B3") is None


def test_ranges_and_names_of_rooms_are_the_rooms_of_their_floor() -> None:
    building = read().known["B1"]
    assert len(building.floors["1"]) == 41
    assert building.floors["2"] >= {"201", "240", "A07", "A08", "A09"}
    assert building.floor_of("laundry") == "1"
    assert building.floor_of("A08") == "2"
    assert building.floor_of("141") is None


PLACES = [
    (Place(), None),
    (Place(building="B1"), None),
    (Place(building="B1", floor="1", room="101"), None),
    (Place(building="B1", room="201"), None),
    (Place(building="B2", floor="7", room="any"), None),
    (Place(building="B3"), ("building", "B1, B2")),
    (Place(building="1号楼"), ("building", "B1, B2")),
    (Place(building="B1", room="141"), ("room", "[buildings.B1.floors]")),
    (Place(building="B1", floor="2", room="101"), ("floor", "'1'")),
]


@pytest.mark.parametrize(("place", "wrong"), PLACES)
def test_a_place_is_right_or_its_column_and_remedy_are_told(
    place: Place, wrong: tuple[str, str] | None
) -> None:
    mistake = read().mistake(place)
    assert (mistake is None) == (wrong is None)
    column, remedy = wrong or ("", "")
    assert (mistake or ("",))[0] == column
    assert remedy in (mistake or ("",))[-1]


def test_where_no_building_is_listed_any_place_is_right() -> None:
    assert read("").mistake(Place(building="anywhere", room="any")) is None


MISTAKES = [
    ("B1 = 5", "buildings.B1", "[buildings.B1]"),
    ("[B1]\ncolour = 1", "buildings.B1.colour", "known: name, aliases, floors"),
    ("[B1]\nname = 1", "buildings.B1.name", "text"),
    ("[B1]\naliases = [1]", "buildings.B1.aliases", "texts"),
    ('[B1]\nfloors = ["101"]', "buildings.B1.floors", "table"),
    ("[B1.floors]\n1 = 101", "buildings.B1.floors.1", "texts"),
    ('[B1.floors]\n1 = ["140-101"]', "buildings.B1.floors.1", '"101-140"'),
    ('[B1.floors]\n1 = ["1-999999999"]', "buildings.B1.floors.1", '"101-140"'),
    ('[B1]\n[B2]\naliases = ["B1"]', "buildings.B2.name", "B1 is called so too"),
    ('[" "]\nname = "x"', "buildings. ", "1 to 64"),
    (f'[{"x" * 65}]\nname = "x"', f"buildings.{'x' * 65}", "1 to 64"),
]


@pytest.mark.parametrize(("text", "key", "remedy"), MISTAKES)
def test_a_mistake_has_its_key_and_remedy(text: str, key: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.key == key
    assert remedy in caught.value.hint
