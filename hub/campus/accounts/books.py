"""The books: double entry, append-only. A transaction comes to 0 in each unit and is booked once, for ever.

A transaction's `key` says what it is for; whoever is not sure whether he has booked posts again. What was
booked is never changed: a mistake is put right by a correction, which has a person and a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Connection,
    cast,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy import bindparam as bound

from hub.campus.accounts.accounts import (
    BookError,
    Unit,
    closed_among,
    correction,
    ensure,
    is_open,
    room_of,
)
from hub.ledger.tables import balances, postings, transactions

AMOUNT_MAX = 10**12  # of one posting: ten thousand million yuan, or a thousand GWh
_KEY_MAX = 1_000  # of the longest names a site may have, quoted


class Kind(StrEnum):
    """Why something is booked."""

    ACCEPTED = "accepted"  # an order: platform to held
    DELIVERED = "delivered"  # held to room or meter
    REFUNDED = "refunded"  # held to platform
    USE = "use"  # room to revenue
    GRANT = "grant"  # a free allowance
    LAPSE = "lapse"  # what of it was not used
    CORRECTION = "correction"
    TRANSFER = "transfer"  # from room to room
    SETTLEMENT = "settlement"  # at check-out
    SHARE = "share"  # a room's part of a common use


@dataclass(frozen=True, kw_only=True, slots=True)
class Posting:
    """So much more, or less, on an account."""

    account: str
    unit: Unit
    amount: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A transaction to be booked; `key` is what it is for."""

    key: str
    kind: Kind
    postings: tuple[Posting, ...]
    cause: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One posting of an account as it was booked."""

    number: int
    time_ms: int
    kind: Kind
    key: str
    unit: Unit
    amount: int
    actor: str
    cause: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Mismatch:
    """A sum that is not as it must be. `subject` is an account, or `transaction/NUMBER`."""

    subject: str
    unit: str
    booked: int
    found: int


_HEAD = select(func.coalesce(func.max(transactions.c.number), 0))
_ADD = insert(transactions)
_ADD_POSTINGS = insert(postings)
_ADD_BALANCE = insert(balances)
_MOVE = (
    update(balances)
    .where(balances.c.account == bound("of"), balances.c.unit == bound("in_unit"))
    .values(amount=balances.c.amount + bound("more"))
)


def transfer(source: str, target: str, unit: Unit, amount: int) -> tuple[Posting, Posting]:
    """`amount` goes from one account to another."""
    return (
        Posting(account=source, unit=unit, amount=-amount),
        Posting(account=target, unit=unit, amount=amount),
    )


def post(
    connection: Connection,
    *,
    key: str,
    kind: Kind,
    postings: Sequence[Posting],
    actor: str,
    cause: str,
    time_ms: int,
) -> int | None:
    """Book one transaction in the caller's; its number, or None when the same was booked already.

    Raises BookError for a key that was booked otherwise, an account that is not open, an amount that is no
    whole number, is 0 or is too large, and postings that do not come to 0 in each unit.
    """
    entry = Entry(key=key, kind=kind, postings=tuple(postings), cause=cause)
    done = post_all(connection, [entry], actor=actor, time_ms=time_ms)
    return done[0] if done else None


def post_all(
    connection: Connection, entries: Sequence[Entry], *, actor: str, time_ms: int
) -> list[int]:
    """The same for many: the numbers of those that were not booked yet. All are booked, or none is."""
    for entry in entries:
        _check(entry)
    fresh = _fresh(connection, entries)
    if not fresh:
        return []
    first = (connection.scalar(_HEAD) or 0) + 1
    numbered = list(enumerate(fresh, start=first))
    connection.execute(_ADD, [_transaction(n, entry, actor, time_ms) for n, entry in numbered])
    _move(connection, fresh)
    connection.execute(_ADD_POSTINGS, [row for n, entry in numbered for row in _rows(n, entry)])
    return [number for number, _ in numbered]


def correct(
    connection: Connection,
    *,
    key: str,
    account: str,
    unit: Unit,
    amount: int,
    actor: str,
    reason: str,
    time_ms: int,
) -> int | None:
    """Put a room's account right by `amount`, said by a person and with a reason; as `post`."""
    room = room_of(account)
    if room is None or not reason.strip() or not actor.strip():
        raise BookError("a correction needs a room's account, a person and a reason")
    other = correction(room.utility)
    ensure(connection, other, now_ms=time_ms)
    return post(
        connection,
        key=key,
        kind=Kind.CORRECTION,
        postings=transfer(other, account, unit, amount),
        actor=actor,
        cause=reason,
        time_ms=time_ms,
    )


def balance(connection: Connection, account: str, unit: Unit = Unit.FEN) -> int:
    """What stands on an account; 0 where nothing was ever booked."""
    query = select(balances.c.amount).where(balances.c.account == account, balances.c.unit == unit)
    return connection.scalar(query) or 0


def balances_of(connection: Connection, account: str) -> Mapping[Unit, int]:
    """What stands on an account, in every unit in which something was booked."""
    query = select(balances.c.unit, balances.c.amount).where(balances.c.account == account)
    return {Unit(unit): amount for unit, amount in connection.execute(query)}


def statement(
    connection: Connection, account: str, *, before: int | None = None, limit: int = 100
) -> list[Line]:
    """The newest postings of an account, newest first; `before` is the number of the last one seen."""
    query = (
        select(transactions, postings.c.unit, postings.c.amount)
        .join(postings, postings.c.number == transactions.c.number)
        .where(postings.c.account == account)
        .order_by(postings.c.number.desc(), postings.c.place)
        .limit(limit)
    )
    if before is not None:
        query = query.where(postings.c.number < before)
    return [
        Line(
            number=row.number,
            time_ms=row.time_ms,
            kind=Kind(row.kind),
            key=row.key,
            unit=Unit(row.unit),
            amount=row.amount,
            actor=row.actor,
            cause=row.cause,
        )
        for row in connection.execute(query)
    ]


def check(connection: Connection) -> list[Mismatch]:
    """Every sum that is not as it must be; empty when the books are right.

    Each balance against its postings, each transaction against 0. Each is one statement, so that what is
    booked meanwhile cannot look like a mistake.
    """
    return [*_wrong_balances(connection), *_wrong_transactions(connection)]


def _wrong_balances(connection: Connection) -> list[Mismatch]:
    nothing = literal(0, BigInteger)
    booked = select(
        postings.c.account,
        postings.c.unit,
        func.sum(postings.c.amount).label("booked"),
        nothing.label("kept"),
    ).group_by(postings.c.account, postings.c.unit)
    kept = select(
        balances.c.account,
        balances.c.unit,
        nothing.label("booked"),
        balances.c.amount.label("kept"),
    )
    both = union_all(booked, kept).subquery()
    sums = func.sum(both.c.booked), func.sum(both.c.kept)
    query = (
        select(both.c.account, both.c.unit, *sums)
        .group_by(both.c.account, both.c.unit)
        .having(sums[0] != sums[1])
        .order_by(both.c.account, both.c.unit)
    )
    return [
        Mismatch(subject=account, unit=unit, booked=int(booked), found=int(kept))
        for account, unit, booked, kept in connection.execute(query)
    ]


def _wrong_transactions(connection: Connection) -> list[Mismatch]:
    total = cast(func.sum(postings.c.amount), BigInteger)
    query = (
        select(postings.c.number, postings.c.unit, total)
        .group_by(postings.c.number, postings.c.unit)
        .having(func.sum(postings.c.amount) != 0)
        .order_by(postings.c.number)
    )
    return [
        Mismatch(subject=f"transaction/{number}", unit=unit, booked=0, found=found)
        for number, unit, found in connection.execute(query)
    ]


def _check(entry: Entry) -> None:
    if not 0 < len(entry.key) <= _KEY_MAX:
        raise BookError(f"a transaction needs a key of 1 to {_KEY_MAX} characters")
    sums: Counter[Unit] = Counter()
    for posting in entry.postings:
        # bool and numpy's numbers are no money, and 1.0 is none either.
        if posting.amount.__class__ is not int or not 0 < abs(posting.amount) <= AMOUNT_MAX:
            raise BookError(f"{entry.key}: {posting.amount!r} {posting.unit} cannot be booked")
        sums[posting.unit] += posting.amount
    if not sums or any(sums.values()):
        said = ", ".join(f"{total} {unit}" for unit, total in sums.items()) or "nothing"
        raise BookError(f"{entry.key}: the postings come to {said}, not to 0")


def _fresh(connection: Connection, entries: Sequence[Entry]) -> list[Entry]:
    """Those not booked yet, each once; raises BookError where the same key was booked otherwise."""
    known = _booked(connection, [entry.key for entry in entries])
    fresh: dict[str, Entry] = {}
    for entry in entries:
        said = _content(entry.kind, entry.postings)
        if entry.key not in known:
            known[entry.key] = said
            fresh[entry.key] = entry
        elif known[entry.key] != said:
            raise BookError(f"{entry.key}: booked already, and otherwise")
    return list(fresh.values())


_Content = tuple[str, tuple[tuple[str, str, int], ...]]


def _content(kind: str, said: Iterable[Posting]) -> _Content:
    return str(kind), tuple(sorted((p.account, str(p.unit), p.amount) for p in said))


def _booked(connection: Connection, keys: Sequence[str]) -> dict[str, _Content]:
    query = (
        select(transactions.c.key, transactions.c.kind, postings)
        .join(postings, postings.c.number == transactions.c.number)
        .where(transactions.c.key.in_(keys))
    )
    found: dict[str, tuple[str, list[Posting]]] = {}
    for row in connection.execute(query):
        posting = Posting(account=row.account, unit=Unit(row.unit), amount=row.amount)
        found.setdefault(row.key, (row.kind, []))[1].append(posting)
    return {key: _content(kind, said) for key, (kind, said) in found.items()}


def _transaction(number: int, entry: Entry, actor: str, time_ms: int) -> dict[str, object]:
    return {
        "number": number,
        "time_ms": time_ms,
        "kind": entry.kind,
        "key": entry.key,
        "actor": actor,
        "cause": entry.cause,
    }


def _rows(number: int, entry: Entry) -> list[dict[str, object]]:
    return [
        {
            "number": number,
            "place": place,
            "account": posting.account,
            "unit": posting.unit,
            "amount": posting.amount,
        }
        for place, posting in enumerate(entry.postings)
    ]


def _move(connection: Connection, entries: Iterable[Entry]) -> None:
    """Move the balances, each once however many postings it has."""
    moved: Counter[tuple[str, Unit]] = Counter()
    for entry in entries:
        for posting in entry.postings:
            moved[posting.account, posting.unit] += posting.amount
    for account in sorted(closed_among(connection, {account for account, _ in moved})):
        raise BookError(f"{account} is closed")
    known = _known(connection, {account for account, _ in moved})
    old = [
        {"of": account, "in_unit": unit, "more": more}
        for (account, unit), more in moved.items()
        if (account, unit) in known
    ]
    new = [
        {"account": account, "unit": unit, "amount": more}
        for (account, unit), more in moved.items()
        if (account, unit) not in known
    ]
    for row in new:
        if not is_open(connection, str(row["account"])):
            raise BookError(f"no account {row['account']} is open")
    if old:
        connection.execute(_MOVE, old)
    if new:
        connection.execute(_ADD_BALANCE, new)


def _known(connection: Connection, wanted: set[str]) -> set[tuple[str, Unit]]:
    query = select(balances.c.account, balances.c.unit).where(balances.c.account.in_(wanted))
    return {(account, Unit(unit)) for account, unit in connection.execute(query)}
