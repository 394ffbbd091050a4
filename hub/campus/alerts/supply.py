"""What the audit says of the supply of rooms, as facts. Pure.

Its rows have the subject `supply/DEVICE`, an action, and in `after` the room's account, the reason, and the
cause where that is more exact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from hub.audit import AuditRow
from hub.campus.accounts.accounts import BookError, room_of
from hub.campus.alerts.kinds import (
    ARREARS_CUT,
    RESTORED_ARMED,
    RESTORED_CLOSED,
    TRIP_LOCKED,
    TRIP_TRIPPED,
    Fact,
    Kind,
    Subject,
)

PREFIX = "supply/"
# Why a cut is told to its room; one by timetable or by a person is not.
ARREARS = "arrears"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A row: what began by it, and which kinds and levels of the room are over."""

    subject: Subject
    fact: Fact | None = None
    over: frozenset[tuple[Kind, int]] = field(default_factory=frozenset)


_CUT, _LOCKED = (Kind.ARREARS, ARREARS_CUT), (Kind.TRIP, TRIP_LOCKED)
_OVER: Mapping[str, frozenset[tuple[Kind, int]]] = {
    "restored": frozenset({_CUT, _LOCKED}),
    "armed": frozenset({_CUT, _LOCKED}),
    "unlocked": frozenset({_LOCKED}),
}
_BEGUN: Mapping[str, tuple[Kind, int, bool]] = {
    "cut": (*_CUT, False),
    "restored": (Kind.RESTORED, RESTORED_CLOSED, True),
    "armed": (Kind.RESTORED, RESTORED_ARMED, True),
    "tripped": (Kind.TRIP, TRIP_TRIPPED, True),
    "locked": (*_LOCKED, False),
}
ACTIONS = frozenset({*_BEGUN, *_OVER})


def event_of(row: AuditRow) -> Event | None:
    """What this row means; None for one that says nothing of a room."""
    said = _said(row.after)
    try:
        room = room_of(str(said.get("account", "")))
    except BookError:
        return None
    if room is None or row.action not in ACTIONS:
        return None
    subject = Subject(id=room.account, building=room.building, room=room.room)
    return Event(
        subject=subject,
        fact=_fact(row.action, subject, said),
        over=_OVER.get(row.action, frozenset()),
    )


def _fact(action: str, subject: Subject, said: Mapping[str, object]) -> Fact | None:
    cause = said.get("cause", said.get("reason"))
    if action not in _BEGUN or (action == "cut" and cause != ARREARS):
        return None
    kind, level, is_event = _BEGUN[action]
    return Fact(kind=kind, subject=subject, level=level, is_event=is_event)


def _said(text: str) -> Mapping[str, object]:
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
