"""What delivery looks for in the ledger: whose turn it is, what is overdue, what people found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from hub.campus.orders import listing, orders
from hub.campus.orders.orders import Act, Order, OrderState
from hub.commands import Resolution
from hub.ledger import tables

GROUP = 100  # orders of one transaction, so that others go on between
_SWEPT_MAX = 1_000
_OPEN = (OrderState.ACCEPTED, OrderState.DELIVERING)
_t = tables.orders


def open_devices(connection: Connection) -> Sequence[str]:
    """The meters that have open orders."""
    return connection.scalars(select(_t.c.device).where(_t.c.state.in_(_OPEN)).distinct()).all()


def next_of(connection: Connection, device: str) -> Order | None:
    """The meter's order that is under way, or else its oldest."""
    query = select(_t.c.id).where(_t.c.device == device, _t.c.state.in_(_OPEN))
    found = connection.scalar(query.order_by(_t.c.state.desc(), _t.c.id).limit(1))
    return orders.by_id(connection, found) if found else None


def unknown(connection: Connection) -> list[Order]:
    """Orders that wait for a person."""
    return listing.in_states(connection, [OrderState.UNKNOWN])


def overdue(connection: Connection, now_ms: int) -> list[Order]:
    """Some of those whose time is over before anything was told."""
    accepted = _t.c.state == str(OrderState.ACCEPTED)
    query = select(_t.c.id).where(accepted, _t.c.deadline_ms <= now_ms).limit(GROUP)
    found = (orders.by_id(connection, id) for id in connection.scalars(query).all())
    return [order for order in found if order is not None]


def refund_due(connection: Connection, reasons: Mapping[str, str], act: Act) -> None:
    """A refund is due of these, by id, but for those that somebody has taken up meanwhile."""
    for id, reason in reasons.items():
        order = orders.by_id(connection, id)
        if order is not None and order.state is OrderState.ACCEPTED:
            orders.advance(connection, order, OrderState.REFUND_DUE, act, reason=reason)


def resolved(connection: Connection) -> list[tuple[Order, Resolution]]:
    """Orders that are unknown, and of whose command a person has said what became of it."""
    c = tables.commands
    query = (
        select(_t.c.id, c.c.resolution)
        .join(c, c.c.id == _t.c.command)
        .where(_t.c.state == str(OrderState.UNKNOWN), c.c.resolution != "")
        .limit(_SWEPT_MAX)
    )
    found = [
        (orders.by_id(connection, row.id), Resolution(row.resolution))
        for row in connection.execute(query).all()
    ]
    return [(order, word) for order, word in found if order is not None]
