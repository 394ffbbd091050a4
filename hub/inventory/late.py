"""Bindings that a person enters, cuts and takes back, also long after; in the ledger's transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from hub import audit
from hub.clock import Clock
from hub.errors import HubError
from hub.inventory.bindings import Binding, Figure, binding_of, row_of
from hub.ledger.tables import bindings, devices
from hub.model import Place

_SPLITS_MAX = 16  # bindings that one entry can cut in two
_SHOWN_MAX = 3


class Misfit(HubError):
    """A field of what was to be entered cannot be so."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        super().__init__(reason)


class Overlap(HubError):
    """Others serve the place, or the device another place, in the same time."""

    def __init__(self, others: Sequence[Binding]) -> None:
        self.others = tuple(others)
        shown = "; ".join(_words(other) for other in others[:_SHOWN_MAX])
        more = f" and {len(others) - _SHOWN_MAX} more" if len(others) > _SHOWN_MAX else ""
        super().__init__(f"overlaps with {shown}{more}; --cut ends or splits them")


class Planned(HubError):
    """The applied files say otherwise."""


def _words(binding: Binding) -> str:
    place = "/".join(
        filter(None, (binding.place.building, binding.place.room, binding.place.circuit))
    )
    return f"{binding.id}: {binding.device} in {place}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A device served a place from `from_ms` to `to_ms`, or still; `first`, `last`: as somebody read them."""

    device: str
    place: Place
    from_ms: int
    to_ms: int | None = None
    first: int | None = None
    last: int | None = None
    cut: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Entered:
    """The new binding, and how those stood that were cut or superseded for it."""

    binding: Binding
    superseded: tuple[Binding, ...]


class Entry:
    """One late binding on its way into the ledger: `write` is a work of `Ledger.run`; ids and time are fixed.

    `counts` tells whether a device has a counter: only those get in each other's way in a room.
    """

    def __init__(
        self, wish: Wish, *, actor: str, cause: str, clock: Clock, counts: Callable[[str], bool]
    ) -> None:
        self._wish = wish
        self._actor = actor
        self._cause = cause
        self._now_ms = clock.now_ms()
        self._ids = tuple(clock.new_id() for _ in range(_SPLITS_MAX))
        self._counts = counts
        self._binding = _binding(wish, clock.new_id(), actor, self._now_ms)

    def write(self, connection: Connection) -> Entered:
        """Enter it; raises Misfit, Planned and Overlap."""
        self._check(connection)
        wanted = self._binding
        others = [one for one in _overlapping(connection, wanted) if self._is_in_the_way(one)]
        if others and not self._wish.cut:
            raise Overlap(others)
        for other in others:
            if other.device == wanted.device and other.serves(wanted.place):
                wanted = _with_figures_of(other, wanted)
        entries = self._cut(connection, others, wanted)
        connection.execute(insert(bindings), [row_of(wanted)])
        entries.append(_entry("entered", wanted.id, None, wanted))
        audit.append_all(
            connection, entries, actor=self._actor, cause=self._cause, time_ms=self._now_ms
        )
        return Entered(binding=wanted, superseded=tuple(others))

    def _check(self, connection: Connection) -> None:
        wish = self._wish
        for field, time_ms in (("from_ms", wish.from_ms), ("to_ms", wish.to_ms)):
            if time_ms is not None and time_ms > self._now_ms:
                raise Misfit(field, "lies in the future")
        if wish.to_ms is not None and wish.to_ms <= wish.from_ms:
            raise Misfit("to_ms", "ends before it begins")
        if wish.last is not None and wish.to_ms is None:
            raise Misfit("last", "a device that still serves has no last word")
        row = connection.execute(select(devices).where(devices.c.id == wish.device)).first()
        if row is None:
            raise Misfit("device", "no such device was ever applied")
        if wish.to_ms is None and not _is_planned(row, self._binding):
            raise Planned(
                f"by the applied files {wish.device} does not serve this place now; say until when it "
                "did, or change devices.csv and apply"
            )

    def _is_in_the_way(self, other: Binding) -> bool:
        mine = self._wish.device
        return other.device == mine or (self._counts(mine) and self._counts(other.device))

    def _cut(
        self, connection: Connection, others: Sequence[Binding], wanted: Binding
    ) -> list[audit.Entry]:
        entries = []
        ids = iter(self._ids)
        for other in others:
            left, right = _rest(other, wanted)
            if right is not None:
                name = other.id if left is None else next(ids, "")
                if not name:
                    raise Overlap(others)
                right = replace(right, id=name)
            kept = [one for one in (left, right) if one is not None]
            connection.execute(delete(bindings).where(bindings.c.id == other.id))
            if kept:
                connection.execute(insert(bindings), [row_of(one) for one in kept])
            after = next((one for one in kept if one.id == other.id), None)
            entries.append(_entry("cut" if kept else "superseded", other.id, other, after))
            entries += [_entry("split", one.id, None, one) for one in kept if one.id != other.id]
        return entries


def end_binding(
    connection: Connection, name: str, at_ms: int | None, *, actor: str, cause: str, now_ms: int
) -> Binding | None:
    """End a binding at a moment it has, or take it back wholly; returns how it stood, None for no such one.

    Raises Misfit, and Planned for one that the applied files ask for.
    """
    row = connection.execute(select(bindings).where(bindings.c.id == name)).first()
    if row is None:
        return None
    before = binding_of(row)
    device = connection.execute(select(devices).where(devices.c.id == before.device)).first()
    if before.to_ms is None and device is not None and _is_planned(device, before):
        raise Planned(
            f"by the applied files {before.device} serves this place now; change devices.csv and apply"
        )
    after = None
    if at_ms is None:
        connection.execute(delete(bindings).where(bindings.c.id == name))
    else:
        if not before.from_ms < at_ms < (now_ms + 1 if before.to_ms is None else before.to_ms):
            raise Misfit("at_ms", "is not within the binding")
        after = replace(before, to_ms=at_ms, last=None)
        connection.execute(update(bindings).where(bindings.c.id == name).values(row_of(after)))
    entry = _entry("ended" if after else "removed", name, before, after)
    audit.append_all(connection, [entry], actor=actor, cause=cause, time_ms=now_ms)
    return before


def _binding(wish: Wish, name: str, actor: str, now_ms: int) -> Binding:
    first = None if wish.first is None else Figure(value=wish.first, time_ms=wish.from_ms)
    last = None
    if wish.last is not None and wish.to_ms is not None:
        last = Figure(value=wish.last, time_ms=wish.to_ms)
    return Binding(
        id=name,
        device=wish.device,
        place=wish.place,
        from_ms=wish.from_ms,
        to_ms=wish.to_ms,
        first=first,
        last=last,
        entered_ms=now_ms,
        actor=actor,
    )


def _is_planned(device: Row[tuple[object, ...]], binding: Binding) -> bool:
    """Whether the applied inventory has this device in this place."""
    place = Place(building=device.building, room=device.room, circuit=device.circuit)
    return device.retired_ms is None and binding.serves(place)


def _overlapping(connection: Connection, wanted: Binding) -> list[Binding]:
    place, table = wanted.place, bindings.c
    here = (
        (table.building == place.building)
        & (table.room == place.room)
        & (table.circuit == place.circuit)
    )
    query = select(bindings).where(
        or_(table.device == wanted.device, here),
        or_(table.to_ms.is_(None), table.to_ms > wanted.from_ms),
        or_(table.to_ms.is_(None), table.to_ms > table.from_ms),
    )
    if wanted.to_ms is not None:
        query = query.where(table.from_ms < wanted.to_ms)
    return [binding_of(row) for row in connection.execute(query.order_by(table.id))]


def _with_figures_of(other: Binding, wanted: Binding) -> Binding:
    """The same binding, entered anew, keeps what it knew of the moments that did not change."""
    first, last = wanted.first, wanted.last
    if first is None and other.from_ms == wanted.from_ms:
        first = other.first
    if last is None and other.to_ms == wanted.to_ms:
        last = other.last
    return replace(wanted, first=first, last=last)


def _rest(other: Binding, wanted: Binding) -> tuple[Binding | None, Binding | None]:
    """What remains of a binding before another, and after it."""
    left = right = None
    if other.from_ms < wanted.from_ms:
        first = other.first if other.first and other.first.time_ms <= wanted.from_ms else None
        left = replace(other, to_ms=wanted.from_ms, first=first, last=None)
    if wanted.to_ms is not None and (other.to_ms is None or other.to_ms > wanted.to_ms):
        last = other.last if other.last and other.last.time_ms > wanted.to_ms else None
        right = replace(other, from_ms=wanted.to_ms, first=None, last=last)
    return left, right


def _entry(action: str, name: str, before: Binding | None, after: Binding | None) -> audit.Entry:
    return audit.Entry(
        subject=f"binding/{name}",
        action=action,
        before=_canonical(before),
        after=_canonical(after),
    )


def _canonical(binding: Binding | None) -> str:
    if binding is None:
        return ""
    return json.dumps(row_of(binding), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
