"""What is booked when somebody leaves a room: nothing stands on it afterwards, and it takes nothing more.

What is left is a payout of the settlement, what is owed a debt of it; an allowance lapses. Of a meter that
kept money itself the rest is what was used. All of it is one transaction with the steps that tell it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, select

from hub.auth import end_room_keys
from hub.campus.accounts import accounts, books
from hub.campus.accounts.accounts import Room, Unit
from hub.campus.accounts.books import Kind, Posting, transfer
from hub.campus.life.figures import Figure
from hub.campus.life.hindrances import (
    charged_of,
    has_delivered,
    orders_under_way,
    uncharged,
)
from hub.campus.life.jobs import Job, JobState, Note, StepName, last, note, steps_of
from hub.campus.prepaid.metering import drop_rests
from hub.ledger.tables import transactions


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The last words of the meters; `used` since `since_ms`, in the utility's unit."""

    figures: tuple[Figure, ...]
    since_ms: int = 0
    used: int = 0
    estimated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What was settled. `balance_fen` is what the room had, `meter_fen` of it came out of its meter.

    `used_fen` is what such a meter had deducted itself. `number` is the last transaction of the room.
    """

    balance_fen: int
    meter_fen: int = 0
    used_fen: int = 0
    lapsed: int = 0
    payout_fen: int = 0
    debt_fen: int = 0
    number: int = 0


def settle(connection: Connection, job: Job, now_ms: int) -> Job | str:
    """The room settled and closed, or what it waits for. Raises BookError and JobError."""
    room, actor = job.room, job.actor
    steps = steps_of(connection, job.id)
    read = last(steps, StepName.READ)
    asked = last(steps, StepName.ORDERS)
    assert read is not None
    assert asked is not None
    figures = read.read(Reading).figures
    charged = charged_of(connection, room)
    why = orders_under_way(connection, [room]) or uncharged(charged, figures)
    if why:
        return why
    purses = [figure for figure in figures if figure.credit_fen is not None]
    if purses and has_delivered(connection, room, asked.time_ms):
        return note(connection, job, Note(name=StepName.ORDERS, actor=actor, now_ms=now_ms))
    job = note(
        connection,
        job,
        Note(name=StepName.CHARGED, actor=actor, now_ms=now_ms, said=charged),
    )
    meter_fen = sum(figure.credit_fen or 0 for figure in purses)
    settled = _book(connection, job, meter_fen, now_ms)
    job = note(
        connection,
        job,
        Note(name=StepName.SETTLED, actor=actor, now_ms=now_ms, said=settled),
    )
    drop_rests(connection, room)
    accounts.close(connection, room.account, now_ms=now_ms)
    end_room_keys(connection, room.building, room.room, actor, now_ms)
    state = JobState.OPEN if job.cut else JobState.DONE
    closed = Note(name=StepName.CLOSED, actor=actor, now_ms=now_ms)
    return note(connection, job, closed, state=state)


def _book(connection: Connection, job: Job, meter_fen: int, now_ms: int) -> Settled:
    room, unit = job.room, job.room.utility.unit
    in_meter = books.balance(connection, room.meter)
    balance = books.balance(connection, room.account) + meter_fen
    free = books.balance(connection, room.account, unit)
    made = Settled(
        balance_fen=balance,
        meter_fen=meter_fen,
        used_fen=in_meter - meter_fen,
        lapsed=free,
        payout_fen=max(0, balance),
        debt_fen=max(0, -balance),
    )
    said = [
        *_out_of_meter(room, meter_fen, in_meter - meter_fen),
        *_left(room, job.id, balance),
        *_moved(room.account, accounts.grant(room.utility), unit, free),
    ]
    accounts.ensure_room(connection, room, now_ms=now_ms)
    ends = (accounts.payout(job.id), accounts.debt(job.id))
    used = [end for end in ends if any(posting.account == end for posting in said)]
    accounts.ensure(connection, *used, now_ms=now_ms)
    if said:
        books.post(
            connection,
            key=job.key,
            kind=Kind.SETTLEMENT,
            postings=said,
            actor=job.actor,
            cause=job.reason,
            time_ms=now_ms,
        )
    number = connection.scalar(select(func.max(transactions.c.number))) or 0
    return replace(made, number=number)


def _out_of_meter(room: Room, left_fen: int, used_fen: int) -> Iterator[Posting]:
    """What stood in the meter is the room's; the rest was used, or nobody knows where more came from."""
    yield from _moved(room.meter, room.account, Unit.FEN, left_fen)
    if used_fen > 0:
        yield from transfer(room.meter, accounts.revenue(room.utility), Unit.FEN, used_fen)
    elif used_fen < 0:
        yield from transfer(accounts.correction(room.utility), room.meter, Unit.FEN, -used_fen)


def _left(room: Room, settlement: str, balance_fen: int) -> Iterator[Posting]:
    if balance_fen > 0:
        yield from transfer(room.account, accounts.payout(settlement), Unit.FEN, balance_fen)
    elif balance_fen < 0:
        yield from transfer(accounts.debt(settlement), room.account, Unit.FEN, -balance_fen)


def _moved(source: str, target: str, unit: Unit, amount: int) -> Sequence[Posting]:
    return transfer(source, target, unit, amount) if amount else ()
