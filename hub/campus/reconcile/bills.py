"""The platforms' bills in the ledger: a bill is known once all of its lines are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, insert, select, update

from hub import audit
from hub.campus.orders.orders import Act
from hub.campus.reconcile.bill import Bill
from hub.campus.reconcile.compare import Line, LineState
from hub.campus.reconcile.days import day_at
from hub.ledger import Ledger
from hub.ledger.tables import bill_lines, bills

Part = TypeVar("Part")
GROUP = 500  # rows of one statement, and of one transaction, so that others go on between
_b, _l = bills, bill_lines
_FIELDS = ("day", "amount_fen", "state", "paid_ms")
_MOVE = (
    update(_l)
    .where(_l.c.platform == bindparam("of"), _l.c.number == bindparam("wanted"))
    .values({name: bindparam(f"now_{name}") for name in _FIELDS})
)


def in_groups(whole: Sequence[Part]) -> Iterator[Sequence[Part]]:
    """The same in parts of at most `GROUP`."""
    for start in range(0, len(whole), GROUP):
        yield whole[start : start + GROUP]


async def take_bill(ledger: Ledger, bill: Bill, act: Act, timezone: ZoneInfo) -> frozenset[str]:
    """Keep a bill, in slices; it replaces an earlier one of the same day. Raises StoreError.

    Returns the days of which it says something new. A bill that is known already changes nothing; broken off
    in the middle, the day has none until it is taken again.
    """
    known = await ledger.read(lambda connection: _known(connection, bill))
    if known is not None and known == (bill.source, bill.digest):
        return frozenset()
    days: set[str] = {bill.day.name}
    if known is not None:
        await ledger.run(lambda connection: _forget(connection, bill))
    for group in in_groups(bill.lines):
        rows = [_row(bill, line, timezone) for line in group]
        days |= await ledger.run(partial(_keep, rows=rows, platform=bill.platform))
    await ledger.run(partial(_finish, bill=bill, act=act))
    return frozenset(days)


def source_of(connection: Connection, platform: str, day: str) -> str:
    """Where the bill of this day came from; empty when there is none."""
    query = select(_b.c.source).where(_b.c.platform == platform, _b.c.day == day)
    return connection.scalar(query) or ""


def lines_on(connection: Connection, platform: str, day: str) -> list[Line]:
    """What was paid on this day, as far as it is known, by number."""
    query = select(_l).where(_l.c.platform == platform, _l.c.day == day).order_by(_l.c.number)
    return [_line(row) for row in connection.execute(query)]


def days_of(connection: Connection, platform: str, numbers: Sequence[str]) -> Mapping[str, str]:
    """On which day's bill these numbers stand; those that stand on none are left out."""
    found: dict[str, str] = {}
    for some in in_groups(numbers):
        query = select(_l.c.number, _l.c.day).where(
            _l.c.platform == platform, _l.c.number.in_(some)
        )
        found |= {row.number: row.day for row in connection.execute(query)}
    return found


def _known(connection: Connection, bill: Bill) -> tuple[str, str] | None:
    query = select(_b.c.source, _b.c.digest).where(*_same(bill))
    row = connection.execute(query).first()
    return None if row is None else (row.source, row.digest)


def _forget(connection: Connection, bill: Bill) -> None:
    connection.execute(delete(_b).where(*_same(bill)))


def _keep(
    connection: Connection, *, rows: Sequence[Mapping[str, str | int]], platform: str
) -> set[str]:
    """Write lines that are new or said otherwise; the days of those."""
    query = select(_l).where(
        _l.c.platform == platform, _l.c.number.in_([row["number"] for row in rows])
    )
    known = {row.number: row for row in connection.execute(query)}
    fresh = [dict(row) for row in rows if row["number"] not in known]
    moved = list(_moved(rows, known))
    if fresh:
        connection.execute(insert(_l), fresh)
    if moved:
        connection.execute(_MOVE, moved)
    changed = {str(known[str(row["wanted"])].day) for row in moved}
    return changed | {str(row["now_day"]) for row in moved} | {str(row["day"]) for row in fresh}


def _moved(
    rows: Sequence[Mapping[str, str | int]], known: Mapping[object, Row[tuple[object, ...]]]
) -> Iterator[dict[str, str | int]]:
    for row in rows:
        there = known.get(row["number"])
        if there is not None and any(getattr(there, name) != row[name] for name in _FIELDS):
            of = {"of": row["platform"], "wanted": row["number"]}
            yield of | {f"now_{name}": row[name] for name in _FIELDS}


def _finish(connection: Connection, *, bill: Bill, act: Act) -> None:
    """Its last lines are there: take away what it does not say any more, and know it."""
    said = {line.number for line in bill.lines}
    of_day = (_l.c.platform == bill.platform, _l.c.day == bill.day.name)
    gone = [n for n in connection.scalars(select(_l.c.number).where(*of_day)) if n not in said]
    _drop(connection, bill.platform, gone)
    connection.execute(delete(_b).where(*_same(bill)))
    connection.execute(
        insert(_b),
        {
            "platform": bill.platform,
            "day": bill.day.name,
            "source": bill.source,
            "digest": bill.digest,
            "lines": len(bill.lines),
            "taken_ms": act.now_ms,
            "actor": act.actor,
        },
    )
    audit.append(
        connection,
        actor=act.actor,
        cause=act.cause,
        subject=f"bill/{bill.platform}/{bill.day.name}",
        action="taken",
        before="",
        after=json.dumps({"lines": len(bill.lines), "digest": bill.digest, "gone": len(gone)}),
        time_ms=act.now_ms,
    )


def _drop(connection: Connection, platform: str, numbers: Sequence[str]) -> None:
    for some in in_groups(numbers):
        connection.execute(delete(_l).where(_l.c.platform == platform, _l.c.number.in_(some)))


def _same(bill: Bill) -> tuple[ColumnElement[bool], ...]:
    return _b.c.platform == bill.platform, _b.c.day == bill.day.name


def _row(bill: Bill, line: Line, timezone: ZoneInfo) -> Mapping[str, str | int]:
    is_todays = bill.day.has(line.paid_ms)
    return {
        "platform": bill.platform,
        "number": line.number,
        "day": bill.day.name if is_todays else day_at(line.paid_ms, timezone).name,
        "amount_fen": line.amount_fen,
        "state": str(line.state),
        "paid_ms": line.paid_ms,
    }


def _line(row: Row[tuple[object, ...]]) -> Line:
    return Line(
        number=row.number,
        amount_fen=row.amount_fen,
        state=LineState(row.state),
        paid_ms=row.paid_ms,
    )
