"""A transaction that should never have been is taken back by another; both stay in the books."""

from __future__ import annotations

from sqlalchemy import Connection, select

from hub.campus.accounts.accounts import BookError, Unit
from hub.campus.accounts.books import Kind, Posting, post
from hub.ledger.tables import postings, transactions

_REVERSAL = "reversal/"
_REVERSIBLE = (Kind.USE, Kind.GRANT, Kind.LAPSE, Kind.CORRECTION, Kind.TRANSFER)


def reverse(
    connection: Connection, number: int, *, actor: str, reason: str, time_ms: int
) -> int | None:
    """Book a whole transaction once more, the other way round, said by a person and with a reason.

    The new one's number, or None when it was reversed already. Raises BookError for no such transaction, for
    a reversal, and for one of an order or a settlement: those have their own ways back.
    """
    row = connection.execute(select(transactions).where(transactions.c.number == number)).first()
    if row is None or not reason.strip() or not actor.strip():
        raise BookError("a reversal needs a transaction, a person and a reason")
    if row.key.startswith(_REVERSAL) or Kind(row.kind) not in _REVERSIBLE:
        raise BookError(f"transaction {number} is {row.kind} {row.key}; it cannot be reversed")
    query = select(postings).where(postings.c.number == number).order_by(postings.c.place)
    back = [
        Posting(account=said.account, unit=Unit(said.unit), amount=-said.amount)
        for said in connection.execute(query)
    ]
    return post(
        connection,
        key=f"{_REVERSAL}{number}",
        kind=Kind.CORRECTION,
        postings=back,
        actor=actor,
        cause=f"reverses {number}, {row.key}: {reason}",
        time_ms=time_ms,
    )
