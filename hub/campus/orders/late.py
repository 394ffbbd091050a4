"""Credits that were given up and came after all: found by the meter's own count, never made a second time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from hub.campus.orders.orders import OrderState
from hub.command import CommandSpec, State
from hub.commands import Record, Resolution, rows
from hub.ledger import tables
from hub.model import Reading

KEPT_MS = 7 * 86_400_000  # how long after a credit was given up its meter is watched
_READ_MAX = 1_000
_NOBODY_KNOWS = (State.UNKNOWN, Resolution.NONE)
_t, _c = tables.orders, tables.commands


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenUp:
    """A credit that a reading showed undone when its time was over; `count` is what it would have made."""

    order: str
    command: str
    device: str
    point: str
    argument: str
    count: int


class LateEffects:
    """The meters of credits that were given up, by device."""

    def __init__(self) -> None:
        self._watched: defaultdict[str, set[GivenUp]] = defaultdict(set)
        self._seen: set[GivenUp] = set()

    def watch(self, order: str, record: Record, spec: CommandSpec) -> None:
        """This credit failed; nothing is watched of a meter that does not count."""
        self._watched[record.device] |= set(_given_up(order, record, spec))

    def heard(self, readings: Sequence[Reading]) -> None:
        """New readings are on disk."""
        for reading in readings:
            for one in self._watched.get(reading.device, ()):
                value = reading.values.get(one.point)
                if isinstance(value, int) and value >= one.count:
                    self._seen.add(one)

    def seen(self) -> tuple[GivenUp, ...]:
        """Those whose count their meters have reached; `end` takes one away."""
        return tuple(self._seen)

    def end(self, one: GivenUp) -> None:
        """It is known whose count that was."""
        self._seen.discard(one)
        self._watched[one.device].discard(one)


def given_up(connection: Connection, since_ms: int) -> list[tuple[str, Record]]:
    """Orders whose refund is due after a credit that failed, with that credit; those of late, by id."""
    query = (
        select(_t.c.id, _t.c.command)
        .join(_c, _c.c.id == _t.c.command)
        .where(_t.c.state == str(OrderState.REFUND_DUE), _c.c.state == str(State.FAILED))
        .where(_t.c.changed_ms >= since_ms)
        .order_by(_t.c.id.desc())
        .limit(_READ_MAX)
    )
    found = [(row.id, rows.by_id(connection, row.command)) for row in connection.execute(query)]
    return [(id, record) for id, record in found if record is not None]


def is_anothers(connection: Connection, one: GivenUp) -> bool | None:
    """Whether another credit has made this count of the meter; None while one may have."""
    for record in rows.recent(connection, device=one.device, state=None, limit=_READ_MAX):
        if record.id <= one.command or record.arguments.get(one.argument) != one.count:
            continue
        if record.state is State.CONFIRMED or record.resolution is Resolution.DONE:
            return True
        if not record.state.final or (record.state, record.resolution) == _NOBODY_KNOWS:
            return None
    return False


def _given_up(order: str, record: Record, spec: CommandSpec) -> Iterator[GivenUp]:
    argument = spec.count
    count = record.arguments.get(argument.name) if argument else None
    if argument and isinstance(count, int):
        yield GivenUp(
            order=order,
            command=record.id,
            device=record.device,
            point=argument.from_point,
            argument=argument.name,
            count=count,
        )
