"""The results of days in the ledger: one row for each that is not as the one before it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import Connection, Row, func, insert, select

from hub import audit
from hub.campus.reconcile.results import Result, tallies_in, written
from hub.ledger.tables import reconciliations

_t = reconciliations


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Which results; empty means all. Only the newest of each day, unless `every`."""

    day: str = ""
    platform: str | None = None
    since: str = ""
    every: bool = False


def newest(connection: Connection, day: str, platform: str) -> Result | None:
    """What a day of a platform came to; None when it was never compared."""
    query = select(_t).where(_t.c.day == day, _t.c.platform == platform)
    row = connection.execute(query.order_by(_t.c.number.desc()).limit(1)).first()
    return None if row is None else _result(row)


def find(connection: Connection, asked: Asked, *, limit: int = 1_000) -> list[Result]:
    """Results, the newest days first; within a day by platform, the meters first."""
    query = select(_t).order_by(_t.c.day.desc(), _t.c.platform, _t.c.number.desc()).limit(limit)
    if not asked.every:
        last = (
            select(_t.c.day, _t.c.platform, func.max(_t.c.number).label("last"))
            .group_by(_t.c.day, _t.c.platform)
            .subquery()
        )
        same = (_t.c.day == last.c.day) & (_t.c.platform == last.c.platform)
        query = query.join(last, same & (_t.c.number == last.c.last))
    if asked.day:
        query = query.where(_t.c.day == asked.day)
    if asked.since:
        query = query.where(_t.c.day >= asked.since)
    if asked.platform is not None:
        query = query.where(_t.c.platform == asked.platform)
    return [_result(row) for row in connection.execute(query)]


def keep(connection: Connection, result: Result, actor: str) -> Result:
    """Keep a result, with its row of the audit, unless the last one of its day was the same."""
    last = newest(connection, result.day, result.platform)
    if last is not None and last.digest == result.digest:
        return last
    number = last.number + 1 if last else 1
    row = {
        "day": result.day,
        "platform": result.platform,
        "number": number,
        "time_ms": result.time_ms,
        "bill": result.bill,
        "digest": result.digest,
        "tallies": written(result.tallies),
        "pending": result.pending,
    }
    connection.execute(insert(_t), row)
    audit.append(
        connection,
        actor=actor,
        cause="",
        subject=f"reconciliation/{result.day}/{result.platform or 'meters'}",
        action="compared",
        before=last.digest if last else "",
        after=json.dumps({"number": number, "digest": result.digest, "pending": result.pending}),
        time_ms=result.time_ms,
    )
    found = newest(connection, result.day, result.platform)
    assert found is not None
    return found


def _result(row: Row[tuple[object, ...]]) -> Result:
    return Result(
        day=row.day,
        platform=row.platform,
        number=row.number,
        time_ms=row.time_ms,
        bill=row.bill,
        digest=row.digest,
        tallies=tallies_in(row.tallies),
        pending=row.pending,
    )
