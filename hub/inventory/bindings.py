"""Which room a device serves, from when to when, with what its counter said then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, bindparam, case, insert, or_, select, update

from hub.ledger.tables import bindings
from hub.model import Place

BindingRow: TypeAlias = Row[tuple[object, ...]]

_END = (
    update(bindings)
    .where(bindings.c.device == bindparam("of"), bindings.c.to_ms.is_(None))
    # A clock that went back ends nothing before it began.
    .values(
        to_ms=case(
            (bindings.c.from_ms > bindparam("now_ms"), bindings.c.from_ms),
            else_=bindparam("now_ms"),
        )
    )
)
_BEGIN = insert(bindings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """What a counter said, in its point's unit, and when that was read (UTC ms)."""

    value: int
    time_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """A device serves a place from `from_ms` until before `to_ms`, or still when that is None.

    `first` and `last` are its counter's words as it began and ended, where they are known.
    """

    id: str
    device: str
    place: Place
    from_ms: int
    to_ms: int | None = None
    first: Figure | None = None
    last: Figure | None = None
    entered_ms: int
    actor: str

    def serves(self, place: Place) -> bool:
        """Whether it is of this building, room and circuit; the floor tells nothing."""
        mine, theirs = self.place, place
        return (mine.building, mine.room, mine.circuit) == (
            theirs.building,
            theirs.room,
            theirs.circuit,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Which bindings: empty means any; those that served at any time from `start_ms` until `end_ms`."""

    building: str = ""
    room: str = ""
    circuit: str = ""
    device: str = ""
    start_ms: int = 0
    end_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A device serves this place from now on, and no other; none when it has no room. `id`: the binding's."""

    id: str
    device: str
    place: Place


def rebind(connection: Connection, moves: Sequence[Move], *, actor: str, now_ms: int) -> None:
    """End what each of these devices serves, and begin what it serves now, in the caller's transaction."""
    begun = [
        row_of(
            Binding(
                id=move.id,
                device=move.device,
                place=move.place,
                from_ms=now_ms,
                entered_ms=now_ms,
                actor=actor,
            )
        )
        for move in moves
        if move.place.room
    ]
    if moves:
        connection.execute(_END, [{"of": move.device, "now_ms": now_ms} for move in moves])
    if begun:
        connection.execute(_BEGIN, begun)


def find_bindings(
    connection: Connection, chosen: Chosen, *, after: str = "", limit: int | None = None
) -> list[Binding]:
    """The bindings chosen whose id is beyond `after`, in the order in which they were entered."""
    query = select(bindings).where(bindings.c.id > after, *_conditions(chosen))
    return [
        binding_of(row) for row in connection.execute(query.order_by(bindings.c.id).limit(limit))
    ]


def find_binding(connection: Connection, name: str) -> Binding | None:
    """The binding of this id; None when there is none."""
    row = connection.execute(select(bindings).where(bindings.c.id == name)).first()
    return binding_of(row) if row else None


def _conditions(chosen: Chosen) -> list[ColumnElement[bool]]:
    words = ("building", "room", "circuit", "device")
    found = [bindings.c[word] == getattr(chosen, word) for word in words if getattr(chosen, word)]
    if chosen.start_ms:
        found.append(or_(bindings.c.to_ms.is_(None), bindings.c.to_ms > chosen.start_ms))
    if chosen.end_ms is not None:
        found.append(bindings.c.from_ms < chosen.end_ms)
    return found


def binding_of(row: BindingRow) -> Binding:
    """A row of the table."""
    said = row._mapping
    return Binding(
        id=row.id,
        device=row.device,
        place=Place(building=row.building, floor=row.floor, room=row.room, circuit=row.circuit),
        from_ms=row.from_ms,
        to_ms=row.to_ms,
        first=_figure(said["first_value"], said["first_ms"]),
        last=_figure(said["last_value"], said["last_ms"]),
        entered_ms=row.entered_ms,
        actor=row.actor,
    )


def row_of(binding: Binding) -> dict[str, str | int | None]:
    """The same as the table has it."""
    place, first, last = binding.place, binding.first, binding.last
    return {
        "id": binding.id,
        "device": binding.device,
        "building": place.building,
        "floor": place.floor,
        "room": place.room,
        "circuit": place.circuit,
        "from_ms": binding.from_ms,
        "to_ms": binding.to_ms,
        "first_value": first.value if first else None,
        "first_ms": first.time_ms if first else None,
        "last_value": last.value if last else None,
        "last_ms": last.time_ms if last else None,
        "entered_ms": binding.entered_ms,
        "actor": binding.actor,
    }


def _figure(value: int | None, time_ms: int | None) -> Figure | None:
    return None if value is None or time_ms is None else Figure(value=value, time_ms=time_ms)
