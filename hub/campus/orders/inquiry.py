"""What people ask of orders: which there are, and how one of them came to stand as it does."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from hub import audit
from hub.audit import AuditRow
from hub.campus.accounts.accounts import Utility
from hub.campus.orders import orders
from hub.campus.orders.credit import ACTOR, key_of
from hub.campus.orders.orders import Order, OrderState
from hub.campus.orders.outbox import NEVER_MS
from hub.commands import Record, rows
from hub.ledger import tables

_ROWS_MAX = 1_000
_WORDS_MAX = 100
_COMMANDS_MAX = 50
_t, _outbox, _accounts = tables.orders, tables.outbox, tables.accounts


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Which orders: empty means any; those that were received from `since_ms` until before `until_ms`."""

    platform: str = ""
    building: str = ""
    room: str = ""
    utility: Utility | None = None
    state: OrderState | None = None
    since_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A word for the platform: the state it tells of, and how far it came.

    `next_ms` is when it is tried next; None when it was taken, or is a person's.
    """

    id: str
    event: str
    attempts: int
    next_ms: int | None
    done_ms: int | None
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """All that is written of an order, each in its order of time."""

    audit: tuple[AuditRow, ...]
    commands: tuple[Record, ...]
    told: tuple[Told, ...]


def find_orders(
    connection: Connection, chosen: Chosen, *, before: str = "", limit: int = 100
) -> list[Order]:
    """The orders chosen, the newest first; `before` is the id of the last one seen."""
    query = select(_t.c.id).where(*_conditions(chosen)).order_by(_t.c.id.desc()).limit(limit)
    if chosen.building or chosen.room or chosen.utility:
        query = query.join(_accounts, _accounts.c.id == _t.c.account)
    if before:
        query = query.where(_t.c.id < before)
    found = (orders.by_id(connection, id) for id in connection.scalars(query).all())
    return [order for order in found if order is not None]


def standing_of(connection: Connection, platform: str, number: str) -> tuple[Order, int] | None:
    """A platform's order, and how many words there are of it: the sequence of the last."""
    order = orders.find(connection, platform, number)
    if order is None:
        return None
    words = select(func.count()).where(_outbox.c.order_id == order.id)
    return order, connection.scalar(words) or 0


def history_of(connection: Connection, order: Order) -> History:
    """How an order came to stand as it does: the first thousand rows of the audit, and all it caused."""
    commands = []
    for number in range(1, _COMMANDS_MAX + 1):
        made = rows.by_key(connection, ACTOR, key_of(order, number))
        if made is None:
            break
        commands.append(made[0])
    return History(
        audit=tuple(audit.rows(connection, subject=order.key, limit=_ROWS_MAX)),
        commands=tuple(commands),
        told=tuple(_told(connection, order)),
    )


def _conditions(chosen: Chosen) -> list[ColumnElement[bool]]:
    wanted = (
        (_t.c.platform, chosen.platform),
        (_t.c.state, chosen.state),
        (_accounts.c.building, chosen.building),
        (_accounts.c.room, chosen.room),
        (_accounts.c.utility, chosen.utility),
    )
    found = [column == str(value) for column, value in wanted if value]
    if chosen.since_ms is not None:
        found.append(_t.c.received_ms >= chosen.since_ms)
    if chosen.until_ms is not None:
        found.append(_t.c.received_ms < chosen.until_ms)
    return found


def _told(connection: Connection, order: Order) -> list[Told]:
    query = select(_outbox).where(_outbox.c.order_id == order.id).limit(_WORDS_MAX)
    found = [
        Told(
            id=row.id,
            event=row.event,
            attempts=row.attempts,
            next_ms=row.next_ms if row.done_ms is None and row.next_ms < NEVER_MS else None,
            done_ms=row.done_ms,
            error=row.error,
        )
        for row in connection.execute(query)
    ]
    return sorted(found, key=lambda told: int(told.id.rpartition("-")[2]))
