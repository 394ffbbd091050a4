"""What applying the files would change: pure, from what is installed and the site the files describe."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from hub.inventory.installed import COLUMNS, Installed, Row, row_of
from hub.model import Link, drive_alike
from hub.site import Site
from hub.site_files import SiteFiles


class Fate(StrEnum):
    """What happens to a link: it is started, started anew with other settings or devices, or stopped."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One column of a device that changes."""

    column: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceChange:
    """A device that changes, or comes back; `cells` are the columns in which it is not as it was."""

    before: Row
    after: Row
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomChange:
    """A room that had devices and has others, or none; of one circuit."""

    building: str
    room: str
    circuit: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkChange:
    """A link that is touched; every other goes on undisturbed."""

    id: str
    fate: Fate


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The way from inventory `number` (0: none) to the files of `files_digest`, with so many devices."""

    number: int
    devices: int
    files_digest: str
    files: tuple[str, ...]
    added: tuple[Row, ...]
    changed: tuple[DeviceChange, ...]
    returned: tuple[DeviceChange, ...]
    retired: tuple[Row, ...]
    rooms: tuple[RoomChange, ...]
    links: tuple[LinkChange, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do at all."""
        return not (self.files or self.added or self.changed or self.returned or self.retired)

    def digest(self) -> str:
        """SHA-256 of all that it says, hexadecimal: to apply this plan and no other."""
        return hashlib.sha256(msgspec.msgpack.encode(self)).hexdigest()


def empty_plan(number: int, devices: int, files_digest: str) -> Plan:
    """Of files that are what was applied as inventory `number`, to the byte."""
    return Plan(
        number=number,
        devices=devices,
        files_digest=files_digest,
        files=(),
        added=(),
        changed=(),
        returned=(),
        retired=(),
        rooms=(),
        links=(),
    )


def make_plan(installed: Installed, files: SiteFiles, site: Site, before: Site | None) -> Plan:
    """What applying `files`, which describe `site`, would change.

    `before` is the site of the installed inventory; None when there is none, or it cannot be read any more.
    """
    wanted = {device.id: row_of(device) for device in site.devices()}
    new, here = wanted.keys() - installed.rows.keys(), wanted.keys() & installed.rows.keys()
    return Plan(
        number=installed.number,
        devices=len(wanted),
        files_digest=files.digest(),
        files=_changed_files(installed, files),
        added=tuple(wanted[name] for name in sorted(new - installed.retired.keys())),
        changed=tuple(
            _change(installed.rows[name], wanted[name])
            for name in sorted(here)
            if installed.rows[name] != wanted[name]
        ),
        returned=tuple(
            _change(installed.retired[name], wanted[name])
            for name in sorted(new & installed.retired.keys())
        ),
        retired=tuple(
            installed.rows[name] for name in sorted(installed.rows.keys() - wanted.keys())
        ),
        rooms=_rooms(installed.rows.values(), wanted.values()),
        links=_links(before.links if before else (), site.links),
    )


def _changed_files(installed: Installed, files: SiteFiles) -> tuple[str, ...]:
    nothing = SiteFiles(folder=files.folder, site=b"", devices=b"")
    return files.changed(installed.files or nothing)


def _change(before: Row, after: Row) -> DeviceChange:
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in COLUMNS)
    return DeviceChange(
        before=before,
        after=after,
        cells=tuple(
            Cell(column=name, before=then, after=now) for name, then, now in pairs if then != now
        ),
    )


def _rooms(before: Iterable[Row], after: Iterable[Row]) -> tuple[RoomChange, ...]:
    """Rooms are told apart by building, room and circuit: a floor written anew moves nothing."""
    then, now = _by_room(before), _by_room(after)
    return tuple(
        RoomChange(
            building=building,
            room=room,
            circuit=circuit,
            before=then[building, room, circuit],
            after=now.get((building, room, circuit), ()),
        )
        for building, room, circuit in sorted(then)
        if then[building, room, circuit] != now.get((building, room, circuit), ())
    )


def _by_room(rows: Iterable[Row]) -> Mapping[tuple[str, str, str], tuple[str, ...]]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row.room:
            found.setdefault((row.building, row.room, row.circuit), []).append(row.id)
    return {room: tuple(sorted(names)) for room, names in found.items()}


def _links(before: Iterable[Link], after: Iterable[Link]) -> tuple[LinkChange, ...]:
    then, now = {link.id: link for link in before}, {link.id: link for link in after}
    fates = {name: Fate.REMOVED for name in then.keys() - now.keys()}
    fates |= {name: Fate.ADDED for name in now.keys() - then.keys()}
    both = now.keys() & then.keys()
    fates |= {name: Fate.CHANGED for name in both if not drive_alike(now[name], then[name])}
    return tuple(LinkChange(id=name, fate=fate) for name, fate in sorted(fates.items()))
