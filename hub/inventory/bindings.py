"""Which room a device serves, from when to when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, case, insert, update

from hub.ledger.tables import bindings
from hub.model import Place

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
class Move:
    """A device serves this place from now on, and no other; none when it has no room. `id`: the binding's."""

    id: str
    device: str
    place: Place


def rebind(connection: Connection, moves: Sequence[Move], *, actor: str, now_ms: int) -> None:
    """End what each of these devices serves, and begin what it serves now, in the caller's transaction."""
    begun = [
        {
            "id": move.id,
            "device": move.device,
            "building": move.place.building,
            "floor": move.place.floor,
            "room": move.place.room,
            "circuit": move.place.circuit,
            "from_ms": now_ms,
            "entered_ms": now_ms,
            "actor": actor,
        }
        for move in moves
        if move.place.room
    ]
    if moves:
        connection.execute(_END, [{"of": move.device, "now_ms": now_ms} for move in moves])
    if begun:
        connection.execute(_BEGIN, begun)
