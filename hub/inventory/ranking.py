"""Who used most: rooms, floors and buildings by what their counters went on, estimates marked."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from hub.buildings import Buildings
from hub.inventory.bindings import Binding
from hub.inventory.counts import Meter, Past
from hub.inventory.use import Slice, reckon


class Level(StrEnum):
    """What is ranked."""

    ROOM = "room"
    FLOOR = "floor"
    BUILDING = "building"


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomUse:
    """What a room used, in slices that adjoin; on the floor that its newest binding, or the site, names."""

    building: str
    floor: str
    room: str
    slices: tuple[Slice, ...]

    @property
    def used(self) -> int:
        """All of it."""
        return sum(one.used for one in self.slices)

    @property
    def estimated(self) -> bool:
        """Whether any of it is."""
        return any(one.estimated for one in self.slices)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """A place in the order of use, from 1; who used the same has the same. `floor` and `room` are empty where
    the level has none. Of its `rooms` so many are `estimated`."""

    rank: int
    building: str
    floor: str
    room: str
    used: int
    rooms: int
    estimated: int


RoomUses: TypeAlias = Generator[None, None, list[RoomUse]]


def use_of_rooms(
    past: Past,
    bindings: Iterable[Binding],
    meters: Mapping[str, Meter],
    moments: Sequence[int],
    buildings: Buildings,
) -> RoomUses:
    """The use of each room of which one of these meters was bound, step by step, by building and room."""
    rooms: dict[tuple[str, str], list[Binding]] = {}
    for binding in bindings:
        if binding.device in meters:
            rooms.setdefault((binding.place.building, binding.place.room), []).append(binding)
    found = []
    for (building, room), own in sorted(rooms.items()):
        use = yield from reckon(past, own, meters, moments)
        known = buildings.known.get(building)
        listed = known.floor_of(room) if known else None
        floor = max(own, key=lambda binding: binding.from_ms).place.floor or listed or ""
        found.append(RoomUse(building=building, floor=floor, room=room, slices=use.slices))
    return found


def ranked(uses: Iterable[RoomUse], level: Level) -> list[Ranked]:
    """The order of use, the most first; equals by their names."""
    groups: dict[tuple[str, str, str], list[RoomUse]] = {}
    for use in uses:
        floor = "" if level is Level.BUILDING else use.floor
        room = use.room if level is Level.ROOM else ""
        groups.setdefault((use.building, floor, room), []).append(use)
    sums = sorted(
        ((-sum(use.used for use in group), names, group) for names, group in groups.items()),
        key=lambda item: item[:2],
    )
    first: dict[int, int] = {}
    for place, (negative, _, _) in enumerate(sums, start=1):
        first.setdefault(negative, place)
    return [
        Ranked(
            rank=first[negative],
            building=names[0],
            floor=names[1],
            room=names[2],
            used=-negative,
            rooms=len(group),
            estimated=sum(use.estimated for use in group),
        )
        for negative, names, group in sums
    ]
