"""Paid orders: each is taken once, for ever, by its platform's number, and goes through few states.

    received → accepted → delivering → delivered
                                     → refund_due → refunded
                                     → unknown (a person finds out: delivered or refund_due)

Everything here runs on the caller's connection, in the caller's transaction: a change, its row of the audit,
what is to be told to the platform and what is booked are on disk together, or none of them is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from hub import audit
from hub.campus.accounts import accounts, books
from hub.campus.accounts.accounts import Room, Unit
from hub.campus.orders.platforms import DESK
from hub.errors import HubError
from hub.ledger import tables

_t = tables.orders


class OrderError(HubError):
    """This cannot become of an order; nothing was changed. The text says why."""


class OrderState(StrEnum):
    """Where an order stands. `received` is never seen outside the transaction that takes it."""

    RECEIVED = "received"
    ACCEPTED = "accepted"  # paid, on disk, nothing told to a device yet
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    REFUND_DUE = "refund_due"
    REFUNDED = "refunded"
    UNKNOWN = "unknown"  # a person must find out

    @property
    def final(self) -> bool:
        """Whether nothing more becomes of it by itself."""
        return self in (OrderState.DELIVERED, OrderState.REFUNDED)


# A refund that is due and whose credit is seen after all is for a person too.
_NEXT = {
    OrderState.RECEIVED: (OrderState.ACCEPTED,),
    OrderState.ACCEPTED: (
        OrderState.DELIVERING,
        OrderState.DELIVERED,
        OrderState.REFUND_DUE,
        OrderState.UNKNOWN,
    ),
    OrderState.DELIVERING: (OrderState.DELIVERED, OrderState.REFUND_DUE, OrderState.UNKNOWN),
    OrderState.UNKNOWN: (OrderState.DELIVERED, OrderState.REFUND_DUE),
    OrderState.REFUND_DUE: (OrderState.REFUNDED, OrderState.UNKNOWN),
    OrderState.DELIVERED: (),
    OrderState.REFUNDED: (),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """What a platform says was paid, and proved to be its own word. `amount_fen` is above 0.

    `source` is the account that pays, empty for the platform's own; only the desk names another.
    """

    platform: str
    number: str
    room: Room
    amount_fen: int
    source: str = ""

    @property
    def digest(self) -> str:
        """The same for the same content, however the platform wrote it."""
        room = self.room
        content = [room.building, room.room, str(room.utility), self.amount_fen]
        content += filter(None, [self.source])
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """An order as it stands. `account` is what the room has; `command` is the credit's id in commands.

    `device` is the meter that served the room when the order was taken. Times are UTC milliseconds.
    """

    id: str
    platform: str
    number: str
    body_hash: str
    account: str
    device: str
    amount_fen: int
    state: OrderState
    reason: str
    command: str
    received_ms: int
    deadline_ms: int
    changed_ms: int
    source: str = ""

    @property
    def payer(self) -> str:
        """The account that its money comes from, and goes back to."""
        return self.source or accounts.platform(self.platform)

    @property
    def key(self) -> str:
        """What it is called wherever something is done for it once: commands, books, audit."""
        return f"order/{self.platform}/{self.number}"

    @property
    def room(self) -> Room:
        """The room it was paid for."""
        room = accounts.room_of(self.account)
        if room is None:
            raise OrderError(f"{self.key}: {self.account} is no room's account")
        return room


class Verdict(StrEnum):
    """What came of a notice."""

    TAKEN = "taken"
    REPEATED = "repeated"  # the same content again: the first order stands
    CONFLICT = "conflict"  # the number was used for other content
    NO_ROOM = "no_room"


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """What came of a notice, and the order that has its number; None when there is none."""

    verdict: Verdict
    order: Order | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """Who changes an order, when and why."""

    actor: str
    now_ms: int
    cause: str = ""


_BY_NUMBER = select(_t).where(_t.c.platform == bindparam("of"), _t.c.number == bindparam("wanted"))
_BY_ID = select(_t).where(_t.c.id == bindparam("wanted"))
_ADD = insert(_t)
_MOVE = update(_t).where(_t.c.id == bindparam("moved"), _t.c.state == bindparam("was"))
_ATTACH = update(_t).where(_t.c.id == bindparam("of"))
_ADD_EVENT = insert(tables.outbox)
_EVENTS = select(func.count()).where(tables.outbox.c.order_id == bindparam("of"))


def receive(
    connection: Connection, notice: Notice, act: Act, *, id: str, device: str, deadline_ms: int
) -> Received:
    """Take a notice: at most one order for each number of a platform, whatever is repeated.

    `id` is the new order's; `device` is the meter that serves the room. Without one nothing is taken, nor
    for a closed account. Accepted, the money is booked from the payer's account to what is held.
    """
    known = find(connection, notice.platform, notice.number)
    if known is not None:
        return _again(connection, known, notice, act)
    room = notice.room
    if not device or accounts.closed_among(connection, [room.account]):
        return Received(verdict=Verdict.NO_ROOM, order=None)
    order = Order(
        id=id,
        platform=notice.platform,
        number=notice.number,
        body_hash=notice.digest,
        account=room.account,
        device=device,
        amount_fen=notice.amount_fen,
        state=OrderState.RECEIVED,
        reason="",
        command="",
        received_ms=act.now_ms,
        deadline_ms=deadline_ms,
        changed_ms=act.now_ms,
        source=notice.source,
    )
    needed = (order.payer, room.account, room.held, room.meter)
    accounts.ensure(connection, *needed, now_ms=act.now_ms)
    connection.execute(_ADD, {name: getattr(order, name) for name in Order.__slots__})
    _book(connection, order, books.Kind.ACCEPTED, (order.payer, room.held), act)
    return Received(
        verdict=Verdict.TAKEN, order=advance(connection, order, OrderState.ACCEPTED, act)
    )


def find(connection: Connection, platform: str, number: str) -> Order | None:
    """The order of this number of this platform."""
    row = connection.execute(_BY_NUMBER, {"of": platform, "wanted": number}).one_or_none()
    return None if row is None else order_of(row)


def by_id(connection: Connection, id: str) -> Order | None:
    """The order of this id."""
    row = connection.execute(_BY_ID, {"wanted": id}).one_or_none()
    return None if row is None else order_of(row)


def advance(
    connection: Connection,
    order: Order,
    state: OrderState,
    act: Act,
    *,
    reason: str = "",
    command: str = "",
) -> Order:
    """The order in its next state, with a row of the audit and a word for the platform.

    Books nothing: see `deliver` and `refund`. `reason` is said anew each time, `command` stays. Raises
    OrderError when an order that stands so cannot become that, or stands otherwise by now.
    """
    if state not in _NEXT[order.state]:
        raise OrderError(f"{order.key} is {order.state}; it cannot become {state}")
    after = replace(
        order, state=state, reason=reason, command=command or order.command, changed_ms=act.now_ms
    )
    moved = connection.execute(
        _MOVE,
        {
            "moved": order.id,
            "was": str(order.state),
            "state": str(state),
            "reason": reason,
            "command": after.command,
            "changed_ms": act.now_ms,
        },
    )
    if moved.rowcount != 1:
        raise OrderError(f"{order.key} is not {order.state} any more")
    _note(connection, order.key, str(state), _shown(order), _shown(after), act)
    if order.platform != DESK:  # nobody outside is told of the house's own
        _tell(connection, after)
    return after


def attach(connection: Connection, order: Order, command: str) -> None:
    """The order's newest command; it has its own rows of the audit."""
    connection.execute(_ATTACH, {"of": order.id, "command": command})


def deliver(connection: Connection, order: Order, act: Act, *, in_meter: bool) -> Order:
    """Delivered: what was held is the room's, or stands in its meter. As `advance`."""
    after = advance(connection, order, OrderState.DELIVERED, act)
    room = order.room
    into = room.meter if in_meter else room.account
    _book(connection, order, books.Kind.DELIVERED, (room.held, into), act)
    return after


def refund(connection: Connection, order: Order, act: Act) -> Order:
    """Refunded: what was held has gone back where it came from. As `advance`."""
    after = advance(connection, order, OrderState.REFUNDED, act)
    back = (order.room.held, order.payer)
    _book(connection, order, books.Kind.REFUNDED, back, act)
    return after


def alarm(connection: Connection, key: str, action: str, said: str, act: Act) -> None:
    """A row of the audit for what somebody should look at; the order, if there is one, stays as it is."""
    _note(connection, key, action, "", said, act)


def _tell(connection: Connection, order: Order) -> None:
    place = connection.scalar(_EVENTS, {"of": order.id}) or 0
    connection.execute(
        _ADD_EVENT,
        {
            "id": f"{order.id}-{place + 1}",
            "order_id": order.id,
            "event": str(order.state),
            "next_ms": order.changed_ms,
        },
    )


def _again(connection: Connection, known: Order, notice: Notice, act: Act) -> Received:
    if known.body_hash == notice.digest:
        return Received(verdict=Verdict.REPEATED, order=known)
    said = {"account": notice.room.account, "amount_fen": notice.amount_fen}
    _note(connection, known.key, "conflict", _shown(known), _canonical(said), act)
    return Received(verdict=Verdict.CONFLICT, order=known)


def _book(
    connection: Connection, order: Order, kind: books.Kind, way: tuple[str, str], act: Act
) -> None:
    books.post(
        connection,
        key=f"{order.key}/{kind}",
        kind=kind,
        postings=books.transfer(*way, Unit.FEN, order.amount_fen),
        actor=act.actor,
        cause=order.key,
        time_ms=act.now_ms,
    )


def _note(connection: Connection, key: str, action: str, before: str, after: str, act: Act) -> None:
    audit.append(
        connection,
        actor=act.actor,
        cause=act.cause,
        subject=key,
        action=action,
        before=before,
        after=after,
        time_ms=act.now_ms,
    )


def _shown(order: Order) -> str:
    if order.state is OrderState.RECEIVED:
        return ""
    return _canonical(
        {
            "account": order.account,
            "amount_fen": order.amount_fen,
            "command": order.command,
            "device": order.device,
            "reason": order.reason,
            "state": str(order.state),
        }
    )


def _canonical(content: dict[str, object]) -> str:
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def order_of(row: Row[tuple[object, ...]]) -> Order:
    """The order that a row of the ledger is."""
    return Order(
        id=row.id,
        platform=row.platform,
        number=row.number,
        body_hash=row.body_hash,
        account=row.account,
        device=row.device,
        amount_fen=row.amount_fen,
        state=OrderState(row.state),
        reason=row.reason,
        command=row.command,
        received_ms=row.received_ms,
        deadline_ms=row.deadline_ms,
        changed_ms=row.changed_ms,
        source=row.source,
    )
