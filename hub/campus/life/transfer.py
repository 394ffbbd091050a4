"""What a room has goes to another, or two rooms change what they have: one transaction, or one desk order.

Out of a meter that keeps money itself comes what a person read there before he emptied it. Into such a meter
goes an order of the desk, paid from the first room's account: what cannot be delivered goes back there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from hub.campus.accounts import accounts, books
from hub.campus.accounts.accounts import Room, Unit
from hub.campus.accounts.books import Kind, Posting, transfer
from hub.campus.life.hindrances import charged_of, has_delivered, orders_under_way, uncharged
from hub.campus.life.jobs import (
    Job,
    JobError,
    JobKind,
    JobState,
    Note,
    StepName,
    last,
    note,
    steps_of,
)
from hub.campus.life.settlement import Reading
from hub.campus.orders import desk, orders
from hub.campus.orders.desk import Target
from hub.campus.orders.orders import Act, Notice, Order, OrderState, Verdict
from hub.campus.orders.platforms import DESK


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """What went over: money, and of an allowance; `back_fen` came the other way. `order` is the desk's."""

    fen: int
    free: int = 0
    meter_fen: int = 0
    back_fen: int = 0
    back_free: int = 0
    order: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How it goes: `into_meter` where the other room's meter keeps the money, `free` with its allowance."""

    into_meter: bool
    free: bool
    target: Target
    order_id: str


def move(connection: Connection, job: Job, way: Way, now_ms: int) -> tuple[Job, Order | None] | str:
    """The transfer booked, with the desk order that carries it, or what it waits for.

    Raises BookError, OrderError and JobError.
    """
    steps = steps_of(connection, job.id)
    read, asked = last(steps, StepName.READ), last(steps, StepName.ORDERS)
    assert read is not None
    assert asked is not None
    why = orders_under_way(connection, job.givers)
    why = why or next(filter(None, (_uncharged(connection, room) for room in job.rooms)), "")
    if why:
        return why
    meter_fen = sum(figure.credit_fen or 0 for figure in read.read(Reading).figures)
    if meter_fen and has_delivered(connection, job.room, asked.time_ms):
        again = Note(name=StepName.ORDERS, actor=job.actor, now_ms=now_ms)
        return note(connection, job, again), None
    for room in job.rooms:
        accounts.ensure_room(connection, room, now_ms=now_ms)
    said, moved = _postings(connection, job, meter_fen, way)
    if moved.fen < 0 and way.into_meter:
        raise JobError(f"{job.account} owes {-moved.fen} fen, which no meter takes over")
    if said:
        books.post(
            connection,
            key=job.key,
            kind=Kind.TRANSFER,
            postings=said,
            actor=job.actor,
            cause=job.reason,
            time_ms=now_ms,
        )
    order = _tell(connection, job, way, moved, now_ms) if way.into_meter and moved.fen else None
    done = Note(name=StepName.MOVED, actor=job.actor, now_ms=now_ms, said=moved)
    return note(connection, job, done, state=JobState.OPEN if order else JobState.DONE), order


def follow_order(connection: Connection, job: Job, now_ms: int) -> Job | str:
    """The transfer ended as its desk order has, or what it waits for."""
    order = orders.find(connection, DESK, job.id)
    assert order is not None
    if order.state is OrderState.DELIVERED:
        done = Note(name=StepName.DELIVERED, actor=job.actor, now_ms=now_ms)
        return note(connection, job, done, state=JobState.DONE)
    if order.state is OrderState.REFUNDED:
        done = Note(name=StepName.GIVEN_BACK, actor=job.actor, now_ms=now_ms)
        return note(connection, job, done, state=JobState.FAILED)
    return f"{order.key} is {order.state}" + (f": {order.reason}" if order.reason else "")


def _uncharged(connection: Connection, room: Room) -> str:
    return uncharged(charged_of(connection, room), ())


def _postings(
    connection: Connection, job: Job, meter_fen: int, way: Way
) -> tuple[list[Posting], Moved]:
    room, other, unit = job.room, job.target, job.room.utility.unit
    said: list[Posting] = []
    if meter_fen:
        said += transfer(room.meter, room.account, Unit.FEN, meter_fen)
    has = _balances(connection, room, way)
    fen, free = has(Unit.FEN) + meter_fen, has(unit)
    if way.into_meter:
        return said, Moved(fen=fen, meter_fen=meter_fen, order=job.id if fen > 0 else "")
    back = _balances(connection, other, way)
    is_swap = job.kind is JobKind.SWAP
    back_fen, back_free = (back(Unit.FEN), back(unit)) if is_swap else (0, 0)
    for of, net in ((Unit.FEN, fen - back_fen), (unit, free - back_free)):
        if net:
            said += transfer(room.account, other.account, of, net)
    moved = Moved(fen=fen, free=free, meter_fen=meter_fen, back_fen=back_fen, back_free=back_free)
    return said, moved


def _balances(connection: Connection, room: Room, way: Way) -> Callable[[Unit], int]:
    def has(unit: Unit) -> int:
        if unit is not Unit.FEN and not way.free:
            return 0
        return books.balance(connection, room.account, unit)

    return has


def _tell(connection: Connection, job: Job, way: Way, moved: Moved, now_ms: int) -> Order:
    notice = Notice(
        platform=DESK,
        number=job.id,
        room=job.target,
        amount_fen=moved.fen,
        source=job.account,
    )
    act = Act(actor=job.actor, now_ms=now_ms, cause=job.reason)
    received = desk.receive(connection, notice, act, id=way.order_id, target=way.target)
    if received.order is None:
        raise JobError(f"no meter serves {job.other}")
    if received.verdict is not Verdict.TAKEN:
        raise JobError(f"{received.order.key} is another order of the desk")
    return received.order
