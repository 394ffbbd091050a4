"""Which rooms a scope means, compared with the plainest reading of its words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import Device, Place
from hub.buildings import Building, Buildings
from hub.campus.batches.scope import Scope, resolve
from hub.commands import CommandError
from tests.scripted_device import PROFILE

BUILDINGS, FLOORS, ROOMS = ["B1", "B2"], ["1", "2"], ["101", "102", "201"]
NOWHERE = Buildings()
PLACES = st.builds(
    Place,
    building=st.sampled_from([*BUILDINGS, ""]),
    floor=st.sampled_from([*FLOORS, ""]),
    room=st.sampled_from([*ROOMS, ""]),
)
SCOPES = st.builds(
    Scope,
    buildings=st.lists(st.sampled_from(BUILDINGS), max_size=2).map(tuple),
    floors=st.lists(st.tuples(st.sampled_from(BUILDINGS), st.sampled_from(FLOORS)), max_size=2).map(
        tuple
    ),
    rooms=st.lists(st.tuples(st.sampled_from(BUILDINGS), st.sampled_from(ROOMS)), max_size=2).map(
        tuple
    ),
    devices=st.lists(st.sampled_from(["d-0", "d-1", "d-2"]), max_size=2).map(tuple),
)


def devices_at(places: Sequence[Place]) -> list[Device]:
    return [
        Device(id=f"d-{number}", profile=PROFILE, link="bus", address="1", place=place)
        for number, place in enumerate(places)
    ]


def means(scope: Scope, device: Device) -> bool:
    """Whether one of the words names this device."""
    where = device.place
    return (
        where.building in scope.buildings
        or (where.building, where.floor) in scope.floors
        or (where.building, where.room) in scope.rooms
        or device.id in scope.devices
    )


def each_word(scope: Scope) -> list[Scope]:
    """The scope's words one by one."""
    return [
        *(Scope(buildings=(word,)) for word in scope.buildings),
        *(Scope(floors=(word,)) for word in scope.floors),
        *(Scope(rooms=(word,)) for word in scope.rooms),
        *(Scope(devices=(word,)) for word in scope.devices),
    ]


def resolved(scope: Scope, devices: Sequence[Device]) -> list[str] | None:
    """The ids; None for a name where nobody stands."""
    try:
        return [target.device.id for target in resolve(scope, devices, NOWHERE)]
    except CommandError:
        return None


@given(places=st.lists(PLACES, max_size=8), scope=SCOPES)
def test_a_scope_is_all_devices_of_rooms_that_its_words_name_or_a_mistake(
    places: list[Place], scope: Scope
) -> None:
    devices = devices_at(places)
    of_rooms = [one for one in devices if one.place.building and one.place.room]
    is_known = all(any(means(word, one) for one in of_rooms) for word in each_word(scope))
    expected = [one.id for one in of_rooms if means(scope, one)]
    assert resolved(scope, devices) == (expected if is_known else None)


@given(places=st.lists(PLACES, max_size=8), scope=SCOPES)
def test_more_words_never_mean_fewer_rooms(places: list[Place], scope: Scope) -> None:
    devices = devices_at(places)
    found = [resolved(word, devices) for word in each_word(scope)]
    together = resolved(scope, devices)
    assert (together is None) == (None in found)
    assert set(together or []) == {
        name for names in found if together is not None for name in names or []
    }


@pytest.mark.parametrize("called", ["B1", "1号楼", "一号楼"])
def test_a_building_is_found_by_any_of_its_names_and_its_floors_by_its_own_list(
    called: str,
) -> None:
    building = Building(
        id="B1", name="1号楼", aliases=("一号楼",), floors={"1": frozenset({"101"})}
    )
    buildings = Buildings(known={"B1": building})
    devices = devices_at([Place(building="B1", room="101")])
    [target] = resolve(Scope(floors=((called, "1"),)), devices, buildings)
    assert (target.device.id, target.where.floor) == ("d-0", "1")
