"""A transaction that should never have been is taken back by another; both stay in the books."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, select

from hub import audit
from hub.campus.accounts.accounts import BookError, Unit, opened_ms
from hub.campus.accounts.books import Kind, Posting, post
from hub.campus.accounts.desk import number_of
from hub.ledger.tables import postings, transactions

_REVERSAL = "reversal/"
_REVERSIBLE = (Kind.USE, Kind.GRANT, Kind.LAPSE, Kind.CORRECTION, Kind.TRANSFER, Kind.SHARE)


def reverse(
    connection: Connection, number: int, *, actor: str, reason: str, time_ms: int
) -> tuple[int, bool]:
    """Book a whole transaction once more, the other way round, with its row of the audit.

    The new one's number, and whether it is new: one is taken back once, for ever. Raises BookError for no
    such transaction, a reversal, one of an order or a settlement (those have their own ways back), and one of
    people who have left the room: it is not to be the next ones'.
    """
    if not reason.strip() or not actor.strip():
        raise BookError("a reversal needs a person and a reason")
    key = f"{_REVERSAL}{number}"
    known = number_of(connection, key)
    if known is not None:
        return known, False
    row = connection.execute(select(transactions).where(transactions.c.number == number)).first()
    if row is None:
        raise BookError(f"there is no transaction {number}")
    if row.key.startswith(_REVERSAL) or Kind(row.kind) not in _REVERSIBLE:
        raise BookError(f"transaction {number} is {row.kind} {row.key}; it cannot be reversed")
    back = _back(connection, number)
    _check_people(connection, back, row.time_ms)
    cause = f"reverses {number}, {row.key}: {reason}"
    made = post(
        connection,
        key=key,
        kind=Kind.CORRECTION,
        postings=back,
        actor=actor,
        cause=cause,
        time_ms=time_ms,
    )
    audit.append(
        connection,
        actor=actor,
        cause=reason,
        subject=f"transaction/{number}",
        action="reversed",
        before=row.key,
        after=json.dumps({"transaction": made}),
        time_ms=time_ms,
    )
    return made or 0, True


def _back(connection: Connection, number: int) -> list[Posting]:
    query = select(postings).where(postings.c.number == number).order_by(postings.c.place)
    return [
        Posting(account=said.account, unit=Unit(said.unit), amount=-said.amount)
        for said in connection.execute(query)
    ]


def _check_people(connection: Connection, back: Sequence[Posting], time_ms: int) -> None:
    for account in {posting.account for posting in back}:
        if time_ms < (opened_ms(connection, account) or 0):
            raise BookError(f"{account} is another people's by now; pay them, or correct it")
