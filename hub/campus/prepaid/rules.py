"""`[prepaid]` of site.toml: how rooms are charged, warned, cut and restored.

[prepaid]                        # without it nothing is charged and nobody is cut
overdraft_fen = 500              # a room may owe this much before it is cut
alarms_fen = [2000, 500]         # balances at which a room is warned; alarms_wh where a meter counts energy
allowance_wh = 5000              # free each month, used first; allowance_hot_water_ml, …_drinking_water_ml
carry_over = false               # whether what is left of it stays
allowance_moves = false          # whether it goes with a transfer to another room
charge_step_fen = 50             # a room is charged when so much is due, and at the end of each day
delivery_s = 86400               # how long an order may wait for its meter before it is refunded
restore = "arm"                  # after payment: "arm", a hand at the device closes it, or "close"
restores_per_s = 5               # of one feeder, at most
trips_max = 3                    # after so many trips by power a room stays off until staff unlock it
protected_hours = ["22:00-07:00"]   # nobody is cut then, nor on these days, nor in these rooms
holidays = ["2026-10-01"]
protected_rooms = ["101"]
unbilled_rooms = ["laundry"]     # metered, never charged
[prepaid.buildings.B9]           # what is different there
enabled = false
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from enum import StrEnum
from zoneinfo import ZoneInfo

from hub.campus.accounts.accounts import Utility
from hub.site import Site
from hub.site_files import SITE_FILE
from hub.toml_table import Table

RESTORES_PER_S_MAX = 5
CUT_DEADLINE_S = 30.0  # a cut that has not left by then is decided upon anew
_FEN_MAX = 10**9
_AMOUNT_MAX = 10**9
_DELIVERY_MAX_S = 30 * 86_400


class Restore(StrEnum):
    """What a payment does to a room that was cut."""

    ARM = "arm"
    CLOSE = "close"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hours:
    """A part of each day, local time; one that ends before it begins goes over midnight."""

    begin: time
    end: time

    def cover(self, moment: time) -> bool:
        """Whether this is within; the end is not."""
        if self.begin < self.end:
            return self.begin <= moment < self.end
        return moment >= self.begin or moment < self.end


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepaid:
    """The policy of one building."""

    enabled: bool = False
    overdraft_fen: int = 0
    alarms_fen: tuple[int, ...] = (2_000, 500)
    alarms_wh: tuple[int, ...] = (20_000, 5_000)
    allowances: Mapping[Utility, int] = field(default_factory=dict)
    carry_over: bool = False
    allowance_moves: bool = False
    charge_step_fen: int = 50
    delivery_s: int = 86_400
    restore: Restore = Restore.ARM
    restores_per_s: int = RESTORES_PER_S_MAX
    trips_max: int = 3
    protected_hours: tuple[Hours, ...] = (Hours(begin=time(22), end=time(7)),)
    holidays: frozenset[date] = frozenset()
    protected_rooms: frozenset[str] = frozenset()
    unbilled_rooms: frozenset[str] = frozenset()

    def allowance(self, utility: Utility) -> int:
        """What a room has free each month, in the utility's unit."""
        return self.allowances.get(utility, 0)

    def charges(self, room: str) -> bool:
        """Whether this room pays for what it uses."""
        return self.enabled and room not in self.unbilled_rooms

    def is_used_up(self, balance_fen: int, free: int = 0) -> bool:
        """Whether a room with this balance, and so much of its allowance left, has nothing more to use."""
        return free <= 0 and balance_fen <= -self.overdraft_fen

    def protection(self, room: str, local: datetime) -> str:
        """Why this room may not be cut at this local time; empty when it may."""
        if not self.charges(room):
            return "not prepaid"
        if room in self.protected_rooms:
            return "protected room"
        if local.date() in self.holidays:
            return "holiday"
        if any(hours.cover(local.time()) for hours in self.protected_hours):
            return "protected hours"
        return ""


def forbids_cut(policy: Prepaid, room: str, now_ms: int, timezone: ZoneInfo) -> str:
    """Why this room may not be cut from now until a cut ordered now has left; empty when it may."""
    late_ms = now_ms + round(CUT_DEADLINE_S * 1000)
    moments = (datetime.fromtimestamp(at_ms / 1000, timezone) for at_ms in (now_ms, late_ms))
    return next(filter(None, (policy.protection(room, local) for local in moments)), "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The policies of a site."""

    everywhere: Prepaid = field(default_factory=Prepaid)
    buildings: Mapping[str, Prepaid] = field(default_factory=dict)

    def of(self, building: str) -> Prepaid:
        """The policy of a building."""
        return self.buildings.get(building, self.everywhere)


def read_rules(site: Site) -> Rules:
    """The rules of a site; raises ConfigError for the first mistake."""
    file = str(site.folder / SITE_FILE)
    if "prepaid" not in site.policies:
        return Rules()
    entries = dict(site.policies["prepaid"])
    table = Table(file, "prepaid", entries)
    special = table.tables("buildings")
    entries.pop("buildings", None)
    everywhere = _prepaid(Table(file, "prepaid", {"enabled": True, **entries}))
    known = site.buildings.known
    for building in special:
        if known and building not in known:
            hint = "site.toml has: " + ", ".join(list(known)[:8])
            raise table.wrong(f"buildings.{building}", building, hint)
    return Rules(
        everywhere=everywhere,
        buildings={
            building: _prepaid(
                Table(
                    file, f"prepaid.buildings.{building}", {"enabled": True, **entries, **different}
                )
            )
            for building, different in special.items()
        },
    )


def _prepaid(table: Table) -> Prepaid:
    made = Prepaid(
        enabled=table.flag("enabled"),
        overdraft_fen=_whole(table, "overdraft_fen", 0, _FEN_MAX),
        alarms_fen=_levels(table, "alarms_fen", (2_000, 500)),
        alarms_wh=_levels(table, "alarms_wh", (20_000, 5_000)),
        allowances=dict(_allowances(table)),
        carry_over=table.flag("carry_over"),
        allowance_moves=table.flag("allowance_moves"),
        charge_step_fen=_whole(table, "charge_step_fen", 50, 10_000),
        delivery_s=_whole(table, "delivery_s", 86_400, _DELIVERY_MAX_S, least=1),
        restore=_restore(table),
        restores_per_s=_whole(
            table, "restores_per_s", RESTORES_PER_S_MAX, RESTORES_PER_S_MAX, least=1
        ),
        trips_max=_whole(table, "trips_max", 3, 100, least=1),
        protected_hours=_hours(table),
        holidays=frozenset(_days(table)),
        protected_rooms=frozenset(table.texts("protected_rooms")),
        unbilled_rooms=frozenset(table.texts("unbilled_rooms")),
    )
    for key, value in table.rest().items():
        raise table.wrong(key, value, "an unknown key; see docs/prepaid.md")
    return made


def _whole(table: Table, key: str, default: int, most: int, *, least: int = 0) -> int:
    value = table.number(key)
    if value is None:
        return default
    if value.denominator != 1 or not least <= value <= most:
        raise table.wrong(key, float(value), f"write a whole number from {least} to {most}")
    return int(value)


def _levels(table: Table, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
    levels = table.scalars(key)
    if not levels:
        return default
    whole = [level for level in levels if level.__class__ is int]
    if len(whole) != len(levels) or whole != sorted(set(whole), reverse=True):
        raise table.wrong(key, list(levels), "write whole numbers, the highest first: [2000, 500]")
    return tuple(int(level) for level in whole)


def _allowances(table: Table) -> Iterator[tuple[Utility, int]]:
    keys = {
        Utility.ELECTRICITY: "allowance_wh",
        Utility.HOT_WATER: "allowance_hot_water_ml",
        Utility.DRINKING_WATER: "allowance_drinking_water_ml",
    }
    for utility, key in keys.items():
        amount = _whole(table, key, 0, _AMOUNT_MAX)
        if amount:
            yield utility, amount


def _restore(table: Table) -> Restore:
    text = table.text("restore", Restore.ARM)
    try:
        return Restore(text)
    except ValueError:
        raise table.wrong("restore", text, 'write "arm" or "close"') from None


def _hours(table: Table) -> tuple[Hours, ...]:
    if "protected_hours" not in table.rest():
        return Prepaid().protected_hours
    return tuple(_part(table, text) for text in table.texts("protected_hours"))


def _part(table: Table, text: str) -> Hours:
    begin, _, end = text.partition("-")
    try:
        part = Hours(begin=time.fromisoformat(begin), end=time.fromisoformat(end))
    except ValueError:
        part = Hours(begin=time(), end=time())
    if part.begin == part.end or part.begin.tzinfo or part.end.tzinfo:
        raise table.wrong("protected_hours", text, 'write "22:00-07:00"')
    return part


def _days(table: Table) -> Iterator[date]:
    for text in table.texts("holidays"):
        try:
            yield date.fromisoformat(text)
        except ValueError:
            raise table.wrong("holidays", text, 'write "2026-10-01"') from None
