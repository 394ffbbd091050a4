"""How far each meter's counter is charged to its room, and which wait for a person.

Each binding of a meter to a room has its metering: where its counter was charged last, and the millionths of
a fen that were not a whole fen then. Two meters, one after the other, are two meterings. One whose counter
fell, or jumped further than its meter's power allows, is held: nothing of it is charged until a person
releases it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Row, or_, select, update

from hub import audit
from hub.campus.accounts.accounts import BookError, Room, room_of
from hub.campus.prepaid.charge import Mark, Register
from hub.campus.prepaid.meters import Meter
from hub.ledger.tables import bindings, meterings
from hub.plausibility import CLOCK_EARLY_MS
from hub.points import INT_MAX

# An ended binding is looked at as long as a device may still deliver what it kept.
_LATE_MS = CLOCK_EARLY_MS + 86_400_000
_COLUMNS = (
    bindings.c.device,
    bindings.c.building,
    bindings.c.room,
    bindings.c.from_ms,
    bindings.c.to_ms,
    bindings.c.first_value,
    bindings.c.last_value,
    meterings,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metering:
    """How far a binding's counter is charged; `held` says why it goes no further, empty where it does.

    `begun` is false while nothing stands in the ledger: then only the binding's begin is in `mark`, and where
    its counter stood then if `counted`. `to_ms` and `last_value` are the binding's end.
    """

    binding: str
    device: str
    room: Room
    register: Register
    mark: Mark
    rest: int = 0
    held: str = ""
    begun: bool
    counted: bool
    to_ms: int | None = None
    last_value: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A metering that was stopped: since when, where its counter stood last without doubt, and why."""

    binding: str
    device: str
    room: Room
    mark: Mark
    reason: str


def read_meterings(
    connection: Connection,
    meters: Mapping[str, Meter],
    *,
    now_ms: int,
    rooms: Collection[Room] | None = None,
) -> list[Metering]:
    """The meterings of every binding that is open, or ended not long ago; `meters` by device.

    With `rooms` at least those of these few.

    A device that is gone is known by what its metering kept; one that never began is left out.
    """
    query = (
        select(*_COLUMNS)
        .join(meterings, meterings.c.binding == bindings.c.id, isouter=True)
        .add_columns(bindings.c.id)
        .where(or_(bindings.c.to_ms.is_(None), bindings.c.to_ms > now_ms - _LATE_MS))
        .order_by(bindings.c.building, bindings.c.room, bindings.c.from_ms)
    )
    if rooms is not None:
        query = query.where(
            bindings.c.building.in_({room.building for room in rooms}),
            bindings.c.room.in_({room.room for room in rooms}),
        )
    found = (_metering(row, meters.get(row.device)) for row in connection.execute(query))
    return [item for item in found if item is not None]


def list_held(connection: Connection) -> list[Held]:
    """Every metering that waits for a person."""
    query = (
        select(meterings, bindings.c.device)
        .join(bindings, bindings.c.id == meterings.c.binding)
        .where(meterings.c.held != "")
        .order_by(meterings.c.account)
    )
    return [
        Held(
            binding=row.binding,
            device=row.device,
            room=_room(row.account),
            mark=Mark(time_ms=row.time_ms, counter=row.counter),
            reason=row.held,
        )
        for row in connection.execute(query)
    ]


def release(
    connection: Connection,
    binding: str,
    actor: str,
    counter: int,
    *,
    reason: str,
    now_ms: int,
    at_ms: int | None = None,
) -> None:
    """Charge a held metering again, from where its counter stood at `at_ms` (now, when not said).

    What flowed before is not charged; where it should be, a correction says so. Raises BookError for a
    metering that is not held, a time before what is charged already, and what is no counter.
    """
    row = connection.execute(select(meterings).where(meterings.c.binding == binding)).first()
    since_ms = now_ms if at_ms is None else at_ms
    if row is None or not row.held:
        raise BookError(f"the metering of {binding} is not held")
    if counter.__class__ is not int or not 0 <= counter <= INT_MAX:
        raise BookError(f"{counter!r} is no counter")
    if not row.time_ms <= since_ms <= now_ms or not actor.strip() or not reason.strip():
        raise BookError("a release needs a person, a reason and a time after what is charged")
    connection.execute(
        update(meterings)
        .where(meterings.c.binding == binding)
        .values(counter=counter, time_ms=since_ms, held="")
    )
    audit.append(
        connection,
        actor=actor,
        cause=reason,
        subject=f"metering/{binding}",
        action="released",
        before=json.dumps({"counter": row.counter, "time_ms": row.time_ms, "held": row.held}),
        after=json.dumps({"counter": counter, "time_ms": since_ms}),
        time_ms=now_ms,
    )


def _metering(row: Row[tuple[object, ...]], meter: Meter | None) -> Metering | None:
    here = meter is not None and (meter.room.building, meter.room.room) == (row.building, row.room)
    if row.account is None:
        if not here or meter is None or meter.holds_credit:
            return None
        room, register = meter.room, meter.register
        mark = Mark(time_ms=row.from_ms, counter=row.first_value or 0)
    else:
        room = _room(row.account)
        register = Register(point=row.point, rated_w=row.rated_w, rollover=row.rollover)
        mark = Mark(time_ms=row.time_ms, counter=row.counter)
    return Metering(
        binding=row.id,
        device=row.device,
        room=room,
        register=register,
        mark=mark,
        rest=row.rest or 0,
        held=row.held or "",
        begun=row.account is not None,
        counted=row.account is not None or row.first_value is not None,
        to_ms=row.to_ms,
        last_value=row.last_value,
    )


def _room(account: str) -> Room:
    room = room_of(account)
    if room is None:
        raise BookError(f"{account} is no room's account")
    return room
