"""`[buildings.ID]` of site.toml: the buildings of the campus, their rooms, and what people call them.

    [buildings.B1]
    name = "1号楼"                    # what people call it
    aliases = ["一号楼", "Building 1"]  # what spreadsheets call it too
    [buildings.B1.floors]
    1 = ["101-140", "laundry"]        # rooms, or ranges of rooms numbered alike
    2 = ["201-240"]

A building that lists no floors has any room. A site that lists no building knows none, and any is good.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hub.model import Place
from hub.toml_table import Table

ROOMS_MAX = 10_000  # of one floor
_RANGE = re.compile(r"(\D*)(\d+)-\1(\d+)")
_NAME_MAX = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Building:
    """A building. `floors` has the rooms of each floor; empty when nobody listed them."""

    id: str
    name: str = ""
    aliases: tuple[str, ...] = ()
    floors: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def floor_of(self, room: str) -> str | None:
        """The floor a listed room is on; None when no floor has it."""
        return next((floor for floor, rooms in self.floors.items() if room in rooms), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Buildings:
    """Every building of a site."""

    known: Mapping[str, Building] = field(default_factory=dict)

    def id_of(self, text: str) -> str:
        """The id of the building called so, the text itself where none is: devices may name any then."""
        known = self.find(text)
        return known.id if known else text

    def find(self, text: str) -> Building | None:
        """The building of this id, name or alias; an empty text names none."""
        if not text:
            return None
        return self.known.get(text) or next(
            (item for item in self.known.values() if text in (item.name, *item.aliases)), None
        )

    def mistake(self, place: Place) -> tuple[str, str, str] | None:
        """What is wrong with a place: the column, what was found, and what would be right."""
        if not self.known or not place.building:
            return None
        building = self.known.get(place.building)
        if building is None:
            known = ", ".join(list(self.known)[:8])
            return "building", f"no building {place.building!r}", f"site.toml has: {known}"
        if not building.floors or not place.room:
            return None
        floor = building.floor_of(place.room)
        if floor is None:
            found = f"no room {place.room!r} in {building.id}"
            return "room", found, f"add it under [buildings.{building.id}.floors]"
        if place.floor and place.room not in building.floors.get(place.floor, ()):
            return "floor", f"room {place.room} is not on {place.floor!r}", f"it is on {floor!r}"
        return None


def read_buildings(file: str, entries: Mapping[str, object]) -> Buildings:
    """The buildings; raises ConfigError for the first mistake."""
    found: dict[str, Building] = {}
    taken: dict[str, str] = {}
    for name, table in entries.items():
        if not isinstance(table, dict):
            hint = f"write a table: [buildings.{name}]"
            raise Table(file, "buildings", {}).wrong(name, table, hint)
        building = _building(file, name, table)
        for word in {building.id, building.name, *building.aliases} - {""}:
            if word in taken:
                hint = f"{taken[word]} is called so too; give each building its own names"
                raise Table(file, f"buildings.{name}", {}).wrong("name", word, hint)
            taken[word] = name
        found[name] = building
    return Buildings(known=found)


def _building(file: str, name: str, entries: Mapping[str, object]) -> Building:
    table = Table(file, f"buildings.{name}", entries)
    if not name.strip() or len(name) > _NAME_MAX:
        raise table.wrong("", name[:_NAME_MAX], f"name it with 1 to {_NAME_MAX} characters")
    title, aliases, floors = table.text("name", ""), table.texts("aliases"), table.table("floors")
    for key, value in table.rest().items():
        raise table.wrong(key, value, "an unknown key; known: name, aliases, floors")
    rooms = Table(file, f"buildings.{name}.floors", floors)
    return Building(
        id=name,
        name=title,
        aliases=aliases,
        floors={str(floor): frozenset(_rooms(rooms, str(floor))) for floor in floors},
    )


def _rooms(table: Table, floor: str) -> Iterator[str]:
    for text in table.texts(floor):
        numbers = _RANGE.fullmatch(text)
        if not numbers:
            yield text
            continue
        prefix, first, last = numbers[1], numbers[2], numbers[3]
        if len(first) != len(last) or not int(first) <= int(last) < int(first) + ROOMS_MAX:
            raise table.wrong(floor, text, 'write a range such as "101-140"')
        for number in range(int(first), int(last) + 1):
            yield f"{prefix}{number:0{len(first)}}"
