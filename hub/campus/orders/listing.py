"""Which orders there are: pages of them, those of some numbers, and when they came."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from hub.campus.orders.orders import Order, OrderState, order_of
from hub.ledger import tables

_t = tables.orders


def in_states(
    connection: Connection, states: Collection[OrderState], *, after: str = "", limit: int = 1_000
) -> list[Order]:
    """Orders that stand so, the oldest first; `after` is the id of the last one seen."""
    query = select(_t).where(_t.c.state.in_([str(state) for state in states]), _t.c.id > after)
    return [order_of(row) for row in connection.execute(query.order_by(_t.c.id).limit(limit))]


def recent(
    connection: Connection,
    *,
    platform: str = "",
    account: str = "",
    state: OrderState | None = None,
    before: str = "",
    limit: int = 100,
) -> list[Order]:
    """The newest orders first; `before` is the id of the last one seen."""
    query = select(_t).order_by(_t.c.id.desc()).limit(limit)
    chosen = {"platform": platform, "account": account, "state": state or ""}
    for column, value in chosen.items():
        if value:
            query = query.where(_t.c[column] == str(value))
    if before:
        query = query.where(_t.c.id < before)
    return [order_of(row) for row in connection.execute(query)]


def of_numbers(connection: Connection, platform: str, numbers: Collection[str]) -> list[Order]:
    """The orders of these numbers, of which there are not too many for one statement."""
    query = select(_t).where(_t.c.platform == platform, _t.c.number.in_(list(numbers)))
    return [order_of(row) for row in connection.execute(query)]


def received_within(connection: Connection, platform: str, span_ms: tuple[int, int]) -> list[Order]:
    """A platform's orders that came from one moment until before another."""
    query = select(_t).where(
        _t.c.platform == platform, _t.c.received_ms >= span_ms[0], _t.c.received_ms < span_ms[1]
    )
    return [order_of(row) for row in connection.execute(query)]


def first_received_ms(connection: Connection, platform: str) -> int | None:
    """When a platform's first order came; None when none ever did."""
    query = select(_t.c.received_ms).where(_t.c.platform == platform)
    return connection.scalar(query.order_by(_t.c.received_ms).limit(1))


def last_received_ms(connection: Connection) -> int:
    """When the newest order was taken, 0 when there is none; a platform's signed time stood beside it."""
    query = select(_t.c.received_ms).order_by(_t.c.id.desc()).limit(1)
    return connection.scalar(query) or 0
