"""What people ask of the books, and how a person puts a room's account right: bounded, once, audited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from hub import audit
from hub.campus.accounts import books
from hub.campus.accounts.accounts import (
    AccountKind,
    BookError,
    Room,
    Unit,
    Utility,
    correction,
    is_open,
    room_of,
)
from hub.campus.accounts.books import Kind, Line, Posting
from hub.ledger.tables import accounts, balances, postings, transactions

# The most that one correction may say, and all of one person's within a day.
CORRECTION_MAX: Mapping[Unit, int] = {
    Unit.FEN: 100_000,  # 1,000 yuan
    Unit.WH: 1_000_000,
    Unit.ML: 100_000_000,
}
DAY_TIMES = 10
_DAY_MS = 86_400_000
_LOOKED_AT = 1_000  # corrections of a day; more are for another day


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Which rooms: empty means any; with `below_fen` those that have less."""

    building: str = ""
    room: str = ""
    utility: Utility | None = None
    below_fen: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """What stands in the books for a room: what it has, what is free in the utility's unit, what is held
    for it, and what was put into its meter."""

    room: Room
    fen: int = 0
    free: int = 0
    held_fen: int = 0
    meter_fen: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """A room's account is put right by `amount`, for a reason; `key` is the owner's own name for it."""

    room: Room
    unit: Unit
    amount: int
    reason: str
    owner: str
    key: str

    @property
    def booked_as(self) -> str:
        """The transaction's key."""
        name = hashlib.sha256(f"{self.owner}\n{self.key}".encode()).hexdigest()
        return f"correction/{name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Booked:
    """A transaction as it stands in the books."""

    number: int
    time_ms: int
    kind: Kind
    key: str
    actor: str
    cause: str
    postings: tuple[Posting, ...]


def find_holdings(
    connection: Connection, chosen: Chosen, *, after: str = "", limit: int = 100
) -> list[Holding]:
    """What rooms have, in the order of their accounts; `after` is the account of the last one seen."""
    money = (balances.c.account == accounts.c.id) & (balances.c.unit == str(Unit.FEN))
    query = (
        select(accounts.c.id)
        .join(balances, money, isouter=True)
        .where(accounts.c.kind == str(AccountKind.ROOM), accounts.c.id > after)
        .order_by(accounts.c.id)
        .limit(limit)
    )
    for column in ("building", "room", "utility"):
        if getattr(chosen, column):
            query = query.where(accounts.c[column] == str(getattr(chosen, column)))
    if chosen.below_fen is not None:
        query = query.where(func.coalesce(balances.c.amount, 0) < chosen.below_fen)
    found = (room_of(account) for account in connection.scalars(query).all())
    rooms = [room for room in found if room is not None]
    wanted = [id for room in rooms for id in (room.account, room.held, room.meter)]
    sums = select(balances).where(balances.c.account.in_(wanted))
    known = {(row.account, Unit(row.unit)): row.amount for row in connection.execute(sums)}
    return [_holding(room, known) for room in rooms]


def statement_page(
    connection: Connection, account: str, *, before: int | None, limit: int
) -> tuple[list[Line], int | None]:
    """The newest postings of an account, whole transactions; and the `before` of the next page, or None.

    `limit` is at least as many as one transaction has on an account.
    """
    found = books.statement(connection, account, before=before, limit=limit + 1)
    if len(found) <= limit:
        return found, None
    last = found[-1].number
    return [line for line in found if line.number != last], last + 1


def find_transactions(
    connection: Connection, since_ms: int, until_ms: int, *, after: int = 0, limit: int = 100
) -> list[Booked]:
    """What was booked from one moment until before another, in its order, after this number."""
    query = (
        select(transactions)
        .where(transactions.c.number > after)
        .where(transactions.c.time_ms >= since_ms, transactions.c.time_ms < until_ms)
        .order_by(transactions.c.number)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    parts = _postings(connection, [row.number for row in rows])
    return [
        Booked(
            number=row.number,
            time_ms=row.time_ms,
            kind=Kind(row.kind),
            key=row.key,
            actor=row.actor,
            cause=row.cause,
            postings=tuple(parts.get(row.number, ())),
        )
        for row in rows
    ]


def correct_room(
    connection: Connection, wish: Correction, *, actor: str, now_ms: int
) -> tuple[int, bool]:
    """Book a correction with its row of the audit; the transaction's number, and whether it is new.

    The same key with the same amount is one correction, for ever. Raises BookError for a room without an
    account, a key that was used otherwise, and more than one person may say at once, or in a day.
    """
    room, unit = wish.room, wish.unit
    if unit not in (Unit.FEN, room.utility.unit):
        raise BookError(f"{room.utility} is not counted in {unit}")
    if not is_open(connection, room.account):
        raise BookError(f"no account {room.account} is open")
    known = number_of(connection, wish.booked_as)
    if known is None:
        _check_bounds(connection, wish, actor, now_ms)
    number = books.correct(
        connection,
        key=wish.booked_as,
        account=room.account,
        unit=unit,
        amount=wish.amount,
        actor=actor,
        reason=wish.reason,
        time_ms=now_ms,
    )
    if number is None:
        return known or 0, False
    after = books.balance(connection, room.account, unit)
    audit.append(
        connection,
        actor=actor,
        cause=wish.reason,
        subject=f"account/{room.account}",
        action="corrected",
        before=json.dumps({str(unit): after - wish.amount}),
        after=json.dumps({str(unit): after, "transaction": number}),
        time_ms=now_ms,
    )
    return number, True


def number_of(connection: Connection, key: str) -> int | None:
    """The transaction of this key; None while nothing was booked for it."""
    query = select(transactions.c.number).where(transactions.c.key == key)
    return connection.scalar(query)


def _check_bounds(connection: Connection, wish: Correction, actor: str, now_ms: int) -> None:
    most = CORRECTION_MAX[wish.unit]
    if abs(wish.amount) > most:
        raise BookError(f"a correction is of at most {most} {wish.unit}")
    lines = books.statement(connection, correction(wish.room.utility), limit=_LOOKED_AT)
    today = [
        abs(line.amount)
        for line in lines
        if line.time_ms > now_ms - _DAY_MS and (line.actor, line.unit) == (actor, wish.unit)
    ]
    full = len(lines) == _LOOKED_AT and lines[-1].time_ms > now_ms - _DAY_MS
    if full or sum(today) + abs(wish.amount) > most * DAY_TIMES:
        raise BookError(f"one person corrects at most {most * DAY_TIMES} {wish.unit} in a day")


def _holding(room: Room, known: Mapping[tuple[str, Unit], int]) -> Holding:
    return Holding(
        room=room,
        fen=known.get((room.account, Unit.FEN), 0),
        free=known.get((room.account, room.utility.unit), 0),
        held_fen=known.get((room.held, Unit.FEN), 0),
        meter_fen=known.get((room.meter, Unit.FEN), 0),
    )


def _postings(connection: Connection, numbers: Sequence[int]) -> dict[int, list[Posting]]:
    query = (
        select(postings)
        .where(postings.c.number.in_(numbers))
        .order_by(postings.c.number, postings.c.place)
    )
    found: dict[int, list[Posting]] = {}
    for row in connection.execute(query):
        said = Posting(account=row.account, unit=Unit(row.unit), amount=row.amount)
        found.setdefault(row.number, []).append(said)
    return found
