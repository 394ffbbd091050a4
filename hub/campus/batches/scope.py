"""Which rooms are meant: buildings, floors, rooms and devices by name, made into devices. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from hub.buildings import Buildings
from hub.commands import CommandError, Refusal
from hub.commands.order import canonical
from hub.model import Device, Place

_Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """All of these together. A floor is (building, floor), a room (building, room)."""

    buildings: tuple[str, ...] = ()
    floors: tuple[tuple[str, str], ...] = ()
    rooms: tuple[tuple[str, str], ...] = ()
    devices: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As JSON."""
        return canonical({name: getattr(self, name) for name in self.__slots__})


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A device that stands in a room."""

    device: Device
    where: Place

    @property
    def room(self) -> tuple[str, str]:
        """Building and room."""
        return self.where.building, self.where.room


def resolve(scope: Scope, devices: Iterable[Device], buildings: Buildings) -> list[Target]:
    """The devices meant, each once, in the order given; only such as stand in rooms.

    Raises CommandError for a name where none of them stands, as for one that does not exist.
    """
    there = [
        Target(device=device, where=_where(device.place, buildings))
        for device in devices
        if device.place.building and device.place.room
    ]
    indexes = _indexes(there)
    chosen: set[str] = set()
    for name, keys in _keys(scope, buildings).items():
        for number, key in enumerate(keys):
            found = indexes[name].get(key)
            if found is None:
                said = "no device of a room" if name == "devices" else "no device stands there"
                raise CommandError(Refusal.INVALID_ARGUMENT, f"scope.{name}.{number}", said)
            chosen |= found
    return [target for target in there if target.device.id in chosen]


def _keys(scope: Scope, buildings: Buildings) -> Mapping[str, list[_Key]]:
    """The names of each kind, buildings by their ids however people call them."""
    of = buildings.id_of
    return {
        "buildings": [(of(building),) for building in scope.buildings],
        "floors": [(of(building), floor) for building, floor in scope.floors],
        "rooms": [(of(building), room) for building, room in scope.rooms],
        "devices": [(device,) for device in scope.devices],
    }


def _indexes(there: list[Target]) -> Mapping[str, dict[_Key, set[str]]]:
    found: dict[str, dict[_Key, set[str]]] = {
        name: {} for name in ("buildings", "floors", "rooms", "devices")
    }
    for target in there:
        where, device = target.where, target.device.id
        keys: dict[str, _Key] = {
            "buildings": (where.building,),
            "floors": (where.building, where.floor),
            "rooms": (where.building, where.room),
            "devices": (device,),
        }
        for name, key in keys.items():
            found[name].setdefault(key, set()).add(device)
    return found


def _where(place: Place, buildings: Buildings) -> Place:
    """With its floor, where only the building's own list says which it is."""
    building = buildings.known.get(place.building)
    if place.floor or building is None:
        return place
    return replace(place, floor=building.floor_of(place.room) or "")
