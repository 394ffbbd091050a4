"""`[schedules.NAME]` of site.toml: when the rooms of some buildings have supply, and how much.

[schedules.lights-out]
buildings = ["B1", "B2"]            # and floors = ["B3/1"] for parts of others
workday_hours = ["06:00-23:00"]     # with supply on a workday: at most 8 parts; absent: all day
holiday_hours = ["06:00-24:00"]     # on Saturdays, Sundays and holidays
holidays = ["2026-10-01"]           # that are no Saturday or Sunday
makeup_days = ["2026-10-10"]        # Saturdays and Sundays that are workdays
power_limit_w = 1000                # of each room, where its product can be told
night_power_limit_w = 300
night_hours = ["23:00-06:00"]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import pairwise

from hub.campus.prepaid.rules import Hours
from hub.model import Place
from hub.site import Site
from hub.site_files import SITE_FILE
from hub.toml_table import Table

SLOTS_MAX = 8
_MINUTES = 24 * 60
_POWER_MAX_W = 100_000
_SATURDAY = 5
_HINT = 'write parts of a day that do not overlap, in order: ["06:00-12:00", "13:30-24:00"]'


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """A part of a day with supply, in minutes since its midnight; the end is not within."""

    begin: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """One timetable; `digest` tells its every form apart. Empty slots mean all day, 0 W no limit."""

    name: str
    buildings: frozenset[str]
    floors: frozenset[tuple[str, str]]
    workday: tuple[Slot, ...]
    holiday: tuple[Slot, ...]
    holidays: frozenset[date]
    makeup_days: frozenset[date]
    power_limit_w: int
    night_power_limit_w: int
    night_hours: tuple[Hours, ...]
    digest: str

    def covers(self, place: Place) -> bool:
        """Whether it is for this place."""
        return place.building in self.buildings or (place.building, place.floor) in self.floors

    def is_workday(self, day: date) -> bool:
        """Whether this local day is a workday."""
        if day in self.makeup_days:
            return True
        return day not in self.holidays and day.weekday() < _SATURDAY

    def is_off(self, local: datetime) -> bool:
        """Whether its rooms have no supply at this local time."""
        slots = self.workday if self.is_workday(local.date()) else self.holiday
        minute = 60 * local.hour + local.minute
        return bool(slots) and not any(slot.begin <= minute < slot.end for slot in slots)

    def limit_w(self, local: datetime) -> int | None:
        """The power that a room may take at this local time, 0 for any; None where nothing is said of it."""
        if not (self.power_limit_w or self.night_power_limit_w):
            return None
        is_night = any(hours.cover(local.time()) for hours in self.night_hours)
        return self.night_power_limit_w if is_night else self.power_limit_w


def read_schedules(site: Site) -> tuple[Schedule, ...]:
    """The timetables of a site; raises ConfigError for the first mistake. A room has one at most."""
    file = str(site.folder / SITE_FILE)
    tables = Table(file, "", {"schedules": dict(site.policies.get("schedules", {}))})
    found = tuple(
        _schedule(Table(file, f"schedules.{name}", entries), name, entries, site)
        for name, entries in tables.tables("schedules").items()
    )
    for device in site.devices():
        names = [schedule.name for schedule in found if schedule.covers(device.place)]
        if len(names) > 1:
            hint = "a room has one timetable: name its building or floor in one only"
            raise Table(file, "schedules", {}).wrong(names[1], " and ".join(names), hint)
    return found


def _schedule(table: Table, name: str, entries: Mapping[str, object], site: Site) -> Schedule:
    canonical = json.dumps(entries, sort_keys=True, default=str)
    limits = (_watts(table, "power_limit_w"), _watts(table, "night_power_limit_w"))
    made = Schedule(
        name=name,
        buildings=frozenset(_buildings(table, site)),
        floors=frozenset(_floors(table, site)),
        workday=_slots(table, "workday_hours"),
        holiday=_slots(table, "holiday_hours"),
        holidays=frozenset(_days(table, "holidays")),
        makeup_days=frozenset(_days(table, "makeup_days")),
        power_limit_w=limits[0],
        night_power_limit_w=limits[1],
        night_hours=tuple(_night(table)),
        digest=hashlib.sha256(canonical.encode()).hexdigest()[:16],
    )
    for key, value in table.rest().items():
        raise table.wrong(key, value, "an unknown key; see docs/supply.md")
    if not (made.buildings or made.floors):
        raise table.wrong("buildings", [], 'name buildings or floors: ["B1"]')
    if made.night_power_limit_w and not made.night_hours:
        raise table.wrong("night_hours", [], 'say when it is night: ["23:00-06:00"]')
    both = made.holidays & made.makeup_days
    if both:
        day = min(both).isoformat()
        raise table.wrong("makeup_days", day, "a day is a holiday or a workday, not both")
    return made


def _buildings(table: Table, site: Site) -> Iterator[str]:
    known = {device.place.building for device in site.devices()}
    for building in table.texts("buildings"):
        if building not in known:
            raise table.wrong("buildings", building, _among(known))
        yield building


def _floors(table: Table, site: Site) -> Iterator[tuple[str, str]]:
    places = {(device.place.building, device.place.floor) for device in site.devices()}
    known = {f"{building}/{floor}" for building, floor in places if floor}
    for text in table.texts("floors"):
        if text not in known:
            raise table.wrong("floors", text, _among(known))
        building, _, floor = text.partition("/")
        yield building, floor


def _among(known: set[str]) -> str:
    return "devices.csv has: " + ", ".join(sorted(known)[:8])


def _slots(table: Table, key: str) -> tuple[Slot, ...]:
    if key not in table.rest():
        return ()
    slots = [_slot(table, key, text) for text in table.texts(key)]
    if not 1 <= len(slots) <= SLOTS_MAX:
        raise table.wrong(key, len(slots), f"write 1 to {SLOTS_MAX} parts of a day")
    for earlier, later in pairwise(slots):
        if later.begin < earlier.end:
            raise table.wrong(key, "parts that overlap", _HINT)
    return tuple(slots)


def _slot(table: Table, key: str, text: str) -> Slot:
    begin, _, end = text.partition("-")
    slot = Slot(begin=_minute(begin), end=_minute(end))
    if slot.begin < 0 or slot.end <= slot.begin:
        raise table.wrong(key, text, _HINT)
    return slot


def _minute(text: str) -> int:
    """Minutes since midnight of `23:00` or `24:00`; -1 for anything else."""
    if text == "24:00":
        return _MINUTES
    try:
        found = time.fromisoformat(text)
    except ValueError:
        return -1
    return 60 * found.hour + found.minute if found == time(found.hour, found.minute) else -1


def _days(table: Table, key: str) -> Iterator[date]:
    for text in table.texts(key):
        try:
            yield date.fromisoformat(text)
        except ValueError:
            raise table.wrong(key, text, 'write "2026-10-01"') from None


def _night(table: Table) -> Iterator[Hours]:
    for text in table.texts("night_hours"):
        begin, _, end = text.partition("-")
        try:
            part = Hours(begin=time.fromisoformat(begin), end=time.fromisoformat(end))
        except ValueError:
            part = Hours(begin=time(), end=time())
        if part.begin == part.end:
            raise table.wrong("night_hours", text, 'write "23:00-06:00"')
        yield part


def _watts(table: Table, key: str) -> int:
    value = table.number(key)
    if value is None:
        return 0
    if value.denominator != 1 or not 0 < value <= _POWER_MAX_W:
        raise table.wrong(key, float(value), f"write whole watts from 1 to {_POWER_MAX_W}")
    return int(value)
