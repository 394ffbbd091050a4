"""A platform has given money back: what becomes of its order, in the caller's transaction."""

from __future__ import annotations

from sqlalchemy import Connection

from hub.campus.orders import orders
from hub.campus.orders.orders import Act, Order, OrderError, OrderState


def give_back(connection: Connection, id: str, act: Act) -> Order:
    """The order as it stands then: refunded, unless a meter may have been told of it, or the room has it.

    One of which nothing was told yet must not be delivered any more: its money is gone. Raises OrderError.
    """
    order = orders.by_id(connection, id)
    if order is None:
        raise OrderError(f"there is no order {id}")
    if order.state is OrderState.ACCEPTED:
        reason = "given back by its platform"
        order = orders.advance(connection, order, OrderState.REFUND_DUE, act, reason=reason)
    return orders.refund(connection, order, act) if order.state is OrderState.REFUND_DUE else order
