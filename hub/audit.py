"""The audit: one row for each change of state, each row sealed to the one before it.

A row's hash is SHA-256 over the hash before it and the row in canonical form. The last link stands in a table
of its own, so that a missing last row shows too. Whoever can rewrite the whole database can rewrite the
whole chain; a head noted elsewhere (`head`, then `verify(noted=…)`) finds even that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, func, insert, select, update

from hub.ledger.tables import api_keys, audit, audit_head, commands, latches

_HEAD = 1
_STEP = 1_000
_ADD = insert(audit)  # made once: every change of state goes through these four
_FIRST_HEAD = insert(audit_head)
_NEXT_HEAD = update(audit_head)
_AUDITED = (commands, api_keys, latches)  # nothing of these comes without a row
_READ_HEAD = select(audit_head.c.number, audit_head.c.hash)


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The last link of the chain: how many rows there are, and the hash of the last."""

    number: int
    hash: str


BEGINNING = Head(number=0, hash="0" * 64)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """One change: who did what to which subject, why, and how it stood before and after (canonical JSON)."""

    number: int
    time_ms: int
    actor: str
    cause: str
    subject: str
    action: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """The first row that is not as it was written, and in which way."""

    number: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is to be said of one change; the chain gives it its number and seal."""

    subject: str
    action: str
    before: str
    after: str


def touch(connection: Connection) -> None:
    """Write the end of the chain as it is: shows whether the store takes a write again."""
    connection.execute(update(audit_head).values(number=audit_head.c.number))


def append(
    connection: Connection,
    *,
    actor: str,
    cause: str,
    subject: str,
    action: str,
    before: str,
    after: str,
    time_ms: int,
) -> None:
    """One more row, in the caller's transaction: the change and its row are on disk together or neither.

    A NUL, which not every database keeps in a text, is written as its picture.
    """
    entry = Entry(subject=subject, action=action, before=before, after=after)
    append_all(connection, [entry], actor=actor, cause=cause, time_ms=time_ms)


def append_all(
    connection: Connection, entries: Sequence[Entry], *, actor: str, cause: str, time_ms: int
) -> None:
    """The same for many changes of one cause: thousands cost little more than one."""
    if not entries:
        return
    first = last = head(connection)
    added = []
    for entry in entries:
        row = AuditRow(
            number=last.number + 1,
            time_ms=time_ms,
            actor=_drawn(actor),
            cause=_drawn(cause),
            subject=_drawn(entry.subject),
            action=_drawn(entry.action),
            before=_drawn(entry.before),
            after=_drawn(entry.after),
        )
        last = Head(number=row.number, hash=_seal(last.hash, row))
        written = {name: getattr(row, name) for name in AuditRow.__slots__}
        added.append(written | {"hash": last.hash})
    connection.execute(_ADD, added)
    end = {"number": last.number, "hash": last.hash}
    if first == BEGINNING:
        connection.execute(_FIRST_HEAD, end | {"id": _HEAD})
    else:
        connection.execute(_NEXT_HEAD, end)


def head(connection: Connection) -> Head:
    """The last link as it is recorded; note it elsewhere to prove later that nothing was rewritten."""
    row = connection.execute(_READ_HEAD).first()
    return Head(number=row.number, hash=row.hash) if row else BEGINNING


def rows(
    connection: Connection, *, subject: str = "", after: int = 0, limit: int = 100
) -> list[AuditRow]:
    """Up to `limit` rows after number `after`, in order; those of one subject when it is named."""
    query = select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(limit)
    if subject:
        query = query.where(audit.c.subject == subject)
    return [row_of(row) for row in connection.execute(query)]


def verify(connection: Connection, *, noted: Head = BEGINNING) -> Broken | None:
    """The first row that was edited, removed, added or moved; None when the chain is whole.

    `noted` is a head written down before: the chain must still lead through it.
    """
    last = BEGINNING
    while True:
        query = select(audit).where(audit.c.number > last.number)
        step = connection.execute(query.order_by(audit.c.number).limit(_STEP)).all()
        for found in step:
            row = row_of(found)
            broken = _check(last, row, found.hash, noted)
            if broken:
                return broken
            last = Head(number=row.number, hash=found.hash)
        if len(step) < _STEP:
            return _check_end(connection, last, noted)


def _drawn(text: str) -> str:
    return text.replace("\0", "\u2400")


def _check(last: Head, row: AuditRow, seal: str, noted: Head) -> Broken | None:
    expected = last.number + 1
    if row.number != expected:
        return Broken(number=expected, reason="missing")
    if seal != _seal(last.hash, row):
        return Broken(number=row.number, reason="changed")
    if row.number == noted.number and seal != noted.hash:
        return Broken(number=row.number, reason="not the row that was noted")
    return None


def _check_end(connection: Connection, last: Head, noted: Head) -> Broken | None:
    recorded = head(connection)
    before = connection.scalar(select(func.min(audit.c.number)))
    if before is not None and before < 1:
        return Broken(number=before, reason="added")
    if last.number < max(recorded.number, noted.number) or (
        last == BEGINNING and _has_happened(connection)
    ):
        return Broken(number=last.number + 1, reason="missing")
    if recorded != last:
        return Broken(number=last.number, reason="not the recorded end of the chain")
    return None


def _has_happened(connection: Connection) -> bool:
    """Whether there is something that cannot have come without a row."""
    return any(connection.scalar(select(func.count()).select_from(table)) for table in _AUDITED)


def row_of(row: Row[tuple[object, ...]]) -> AuditRow:
    """A whole row of the table."""
    return AuditRow(
        number=row.number,
        time_ms=row.time_ms,
        actor=row.actor,
        cause=row.cause,
        subject=row.subject,
        action=row.action,
        before=row.before,
        after=row.after,
    )


def _seal(before: str, row: AuditRow) -> str:
    content = (
        before,
        row.number,
        row.time_ms,
        row.actor,
        row.cause,
        row.subject,
        row.action,
        row.before,
        row.after,
    )
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
