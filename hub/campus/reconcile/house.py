"""What the house itself gave or moved on a day: entries of their own kinds, without a payment."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from hub.campus.accounts.accounts import Unit
from hub.campus.accounts.books import Kind
from hub.campus.reconcile.compare import Effect
from hub.campus.reconcile.days import Day
from hub.campus.reconcile.results import Level, Tally
from hub.ledger.tables import postings, transactions

STAFF = "staff"  # credits that staff sent to a meter
_KINDS = (Kind.GRANT, Kind.LAPSE, Kind.CORRECTION, Kind.TRANSFER, Kind.SETTLEMENT)
_LAST = select(func.coalesce(func.max(transactions.c.number), 0))


def house_tallies(connection: Connection, day: Day, staff: list[Effect]) -> list[Tally]:
    """How many of each kind were booked on this day, and what they moved."""
    span = _first(connection, day.start_ms), _first(connection, day.end_ms)
    query = (
        select(
            transactions.c.kind,
            postings.c.unit,
            func.count(),
            func.sum(postings.c.amount),
        )
        .join(postings, postings.c.number == transactions.c.number)
        .where(transactions.c.number >= span[0], transactions.c.number < span[1])
        .where(transactions.c.kind.in_([str(kind) for kind in _KINDS]), postings.c.amount > 0)
        .group_by(transactions.c.kind, postings.c.unit)
        .order_by(transactions.c.kind, postings.c.unit)
    )
    found = [
        Tally(level=Level.HOUSE, what=kind, unit=Unit(unit), count=count, amount=int(amount))
        for kind, unit, count, amount in connection.execute(query)
    ]
    if staff:
        amount = sum(effect.amount_fen for effect in staff)
        found.append(
            Tally(level=Level.HOUSE, what=STAFF, unit=Unit.FEN, count=len(staff), amount=amount)
        )
    return found


def _first(connection: Connection, time_ms: int) -> int:
    """The number of the first transaction from this moment on: they are numbered as they were booked."""
    low, high = 1, (connection.scalar(_LAST) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        query = select(transactions.c.time_ms).where(transactions.c.number == middle)
        if (connection.scalar(query) or 0) < time_ms:
            low = middle + 1
        else:
            high = middle
    return low
