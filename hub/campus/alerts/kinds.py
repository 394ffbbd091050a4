"""What there is to be warned of, how bad it is, and what an alert is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

Args: TypeAlias = Mapping[str, int | str]
ARREARS_USED_UP, ARREARS_CUT = 1, 2
RESTORED_CLOSED, RESTORED_ARMED, RESTORED_BACK = 1, 2, 3
TRIP_TRIPPED, TRIP_LOCKED = 1, 2
OFFLINE_DEVICE, OFFLINE_LINK = 1, 2
USE_DAY, USE_NIGHT = 1, 2


class Kind(StrEnum):
    """What an alert is about."""

    LOW_BALANCE = "low_balance"
    ARREARS = "arrears"
    RESTORED = "restored"
    TRIP = "trip"
    OFFLINE = "offline"
    UNUSUAL_USE = "unusual_use"
    TEST = "test"  # a person tries a channel


class Severity(StrEnum):
    """How soon somebody should look: the mildest first."""

    INFO = "info"
    WARNING = "warning"
    URGENT = "urgent"

    def reaches(self, least: Severity) -> bool:
        """Whether this is at least as bad."""
        order = list(Severity)
        return order.index(self) >= order.index(least)


_SEVERE: Mapping[tuple[Kind, int], Severity] = {
    (Kind.LOW_BALANCE, 1): Severity.INFO,
    (Kind.ARREARS, ARREARS_CUT): Severity.URGENT,
    (Kind.TRIP, TRIP_LOCKED): Severity.URGENT,
    (Kind.OFFLINE, OFFLINE_LINK): Severity.URGENT,
    (Kind.RESTORED, RESTORED_CLOSED): Severity.INFO,
    (Kind.RESTORED, RESTORED_ARMED): Severity.INFO,
    (Kind.RESTORED, RESTORED_BACK): Severity.INFO,
    (Kind.UNUSUAL_USE, USE_DAY): Severity.INFO,
    (Kind.TEST, 1): Severity.INFO,
}


def severity_of(kind: Kind, level: int) -> Severity:
    """How bad this level of a kind is."""
    return _SEVERE.get((kind, level), Severity.WARNING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What an alert is of: a room's account, `device/ID` or `link/ID`; empty where it is of no room."""

    id: str
    building: str = ""
    room: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """Something that began. `is_event`: it is over as it is told. `quiet` says why nobody is told."""

    kind: Kind
    subject: Subject
    level: int = 1
    args: Args = field(default_factory=dict)
    is_event: bool = False
    quiet: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """A fact as it was raised; nobody is told of it before `tell_ms`. Times are UTC milliseconds."""

    id: str
    kind: Kind
    subject: Subject
    level: int
    args: Args
    raised_ms: int
    tell_ms: int
    ended_ms: int | None = None
    quiet: str = ""

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return severity_of(self.kind, self.level)
