"""Ids for a sheet that has none: building, room and circuit, so that the same sheet always gives the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from hub.buildings import Building, Buildings

HINT = "add a column of ids (编号)"
_ID_MAX = 64
_ROOM_WORDS = re.compile(r"(房间|室|房|号|间)$")
_CIRCUITS: Mapping[str, str] = {
    "插座": "socket",
    "照明": "light",
    "空调": "aircon",
    "热水": "hotwater",
    "热水器": "hotwater",
    "总": "main",
    "总表": "main",
}


def made_id(row: Mapping[str, str], buildings: Buildings) -> str | None:
    """The id of a row without one; None when its place cannot be told in a-z, 0-9 and -."""
    building = row.get("building", "")
    parts = [
        _building(building, buildings.known.get(building)),
        _plain(_ROOM_WORDS.sub("", row.get("room", ""))),
        _plain(_CIRCUITS.get(row.get("circuit", ""), row.get("circuit", ""))),
    ]
    known = [part for part in parts if part is not None]
    name = "-".join(filter(None, known))
    return name if len(known) == len(parts) and 1 <= len(name) <= _ID_MAX else None


def _building(text: str, building: Building | None) -> str | None:
    """The building in letters: its id, or the first of its other names that can be written so."""
    if building is None:
        return _plain(text)
    names = (building.id, building.name, *building.aliases)
    return next(filter(None, map(_plain, names)), None)


def _plain(text: str) -> str | None:
    """The text in a-z, 0-9 and -; None when something would be lost."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    if not folded.isascii():
        return None
    return re.sub(r"[^a-z0-9]+", "-", folded).strip("-")
