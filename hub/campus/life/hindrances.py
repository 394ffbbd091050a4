"""Why nothing can be booked for a room yet: orders under way, meters not charged to their last word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, or_, select

from hub.campus.accounts.accounts import Room
from hub.campus.life.figures import Figure
from hub.campus.life.jobs import Job, Note, StepName, note
from hub.campus.orders import orders
from hub.campus.orders.orders import Act, Order, OrderState
from hub.campus.orders.platforms import DESK
from hub.ledger.tables import bindings, meterings
from hub.ledger.tables import orders as _t

_SHOWN = 5
_UNDER_WAY = (OrderState.ACCEPTED, OrderState.DELIVERING, OrderState.UNKNOWN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Charged:
    """How far a meter of a room is charged."""

    device: str
    counter: int
    time_ms: int
    held: str = ""


def end_orders(connection: Connection, job: Job, now_ms: int) -> Job | str:
    """The job once no order of those who give is under way, else what it waits for.

    Where the job says so, those of which nothing was told to a meter are given back first.
    """
    left: list[Order] = []
    for order in _under_way(connection, job.givers):
        if job.give_back and order.state is OrderState.ACCEPTED:
            act = Act(actor=job.actor, now_ms=now_ms, cause=job.key)
            reason = f"the room's {job.kind}"
            order = orders.advance(connection, order, OrderState.REFUND_DUE, act, reason=reason)
            if order.platform != DESK:
                continue
        left.append(order)
    if left:
        return _words(left)
    return note(connection, job, Note(name=StepName.ORDERS, actor=job.actor, now_ms=now_ms))


def orders_under_way(connection: Connection, rooms: Sequence[Room]) -> str:
    """Which orders of these rooms are under way, for a person; empty when none is."""
    return _words(_under_way(connection, rooms))


def has_delivered(connection: Connection, room: Room, since_ms: int) -> bool:
    """Whether an order was delivered to a room since then: what its meter showed is not so any more."""
    # By the room alone: with the state in it, a database may go through all that was ever delivered.
    mine = select(_t.c.state).where(_t.c.account == room.account, _t.c.changed_ms > since_ms)
    return str(OrderState.DELIVERED) in connection.scalars(mine).all()


def charged_of(connection: Connection, room: Room) -> list[Charged]:
    """How far the meters that serve a room are charged, and those of earlier ones that are held."""
    query = (
        select(meterings, bindings.c.device)
        .join(bindings, bindings.c.id == meterings.c.binding)
        .where(meterings.c.account == room.account)
        .where(or_(bindings.c.to_ms.is_(None), meterings.c.held != ""))
        .order_by(bindings.c.device)
    )
    return [
        Charged(device=row.device, counter=row.counter, time_ms=row.time_ms, held=row.held)
        for row in connection.execute(query)
    ]


def uncharged(charged: Sequence[Charged], figures: Sequence[Figure]) -> str:
    """Why a room is not charged to these last words; empty when it is."""
    for one in charged:
        if one.held:
            return f"{one.device} is held ({one.held}); release it"
    reached = {one.device: one.time_ms for one in charged}
    for figure in figures:
        is_ours = figure.credit_fen is None
        if is_ours and reached.get(figure.device, -1) < figure.time_ms:
            return f"{figure.device} is not charged to its last word; is there a price?"
    return ""


def _under_way(connection: Connection, rooms: Sequence[Room]) -> list[Order]:
    """Also what the desk must still give back: it may come back to one of these rooms."""
    back = and_(_t.c.state == str(OrderState.REFUND_DUE), _t.c.platform == DESK)
    states = _t.c.state.in_([str(state) for state in _UNDER_WAY])
    accounts = [name for room in rooms for name in (room.account, room.meter)]
    mine = or_(_t.c.account.in_(accounts), _t.c.source.in_(accounts))
    query = select(_t.c.id).where(mine, or_(states, back)).order_by(_t.c.id)
    found = (orders.by_id(connection, id) for id in connection.scalars(query).all())
    return [order for order in found if order is not None]


def _words(found: Sequence[Order]) -> str:
    shown = ", ".join(f"{order.key} is {order.state}" for order in found[:_SHOWN])
    return shown + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
