"""An order whose meter was changed before it was told anything goes to the one that serves the room now."""

from __future__ import annotations

import json

from sqlalchemy import Connection, update

from hub.campus.orders import orders
from hub.campus.orders.orders import Act, Order, OrderError, OrderState
from hub.ledger.tables import orders as _t
from hub.model import Device

_OPEN = (OrderState.ACCEPTED, OrderState.DELIVERING)


def is_of(device: Device, order: Order) -> bool:
    """Whether this meter serves the order's room; one without a room may serve any."""
    place, room = device.place, order.room
    return not place.room or (place.building, place.room) == (room.building, room.room)


def redirect(connection: Connection, order: Order, device: str, act: Act) -> None:
    """The order is for this meter from now on, with a row of the audit.

    Only for one of which certainly nothing has reached its old meter. Raises OrderError when it stands
    otherwise by now.
    """
    still = (_t.c.id == order.id, _t.c.device == order.device, _t.c.state.in_(_OPEN))
    if connection.execute(update(_t).where(*still).values(device=device)).rowcount != 1:
        raise OrderError(f"{order.key} does not wait for {order.device} any more")
    said = json.dumps({"from": order.device, "to": device})
    orders.alarm(connection, order.key, "redirected", said, act)
