"""The settlement sheet of a room: readings, use, prices, payments, what is left; of rows that are final."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from hub.campus.accounts.accounts import Room, Unit
from hub.campus.accounts.books import Kind
from hub.campus.accounts.prices import list_prices
from hub.campus.life.figures import Figure
from hub.campus.life.jobs import Job, Step, StepName, find, last, steps_of
from hub.campus.life.settlement import Reading, Settled
from hub.campus.prepaid.charge import local_day
from hub.ledger.tables import postings, transactions
from hub.sheets.text_cells import protected

_COLUMNS = ("part", "time", "what", "amount", "unit", "note")
_SINGLE = (Kind.DELIVERED, Kind.TRANSFER, Kind.CORRECTION)  # each has its own line


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """What a Wh (or ml) cost from this local day on, in millionths of a fen."""

    from_day: str
    rate: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """Something booked for the room, as it changed what the room has."""

    time_ms: int
    kind: Kind
    key: str
    unit: Unit
    amount: int
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """All of one kind in one unit."""

    kind: Kind
    unit: Unit
    amount: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """What became of a room from `since_ms` to `closed_ms`; `used` is in the utility's unit.

    `items` are payments, transfers and corrections one by one, `totals` everything by kind. Where a meter
    kept the money itself, `used_fen` is what it deducted, and `meter_fen` what stood in it at the end.
    """

    settlement: str
    room: Room
    since_ms: int
    closed_ms: int
    actor: str
    reason: str
    payee: str
    readings: tuple[Figure, ...]
    used: int
    estimated: bool
    rates: tuple[Rate, ...]
    items: tuple[Item, ...]
    totals: tuple[Total, ...]
    used_fen: int
    meter_fen: int
    lapsed: int
    payout_fen: int
    debt_fen: int
    paid_ms: int | None


def read_sheet(connection: Connection, id: str, timezone: ZoneInfo) -> Sheet | None:
    """The sheet of a settlement that has closed its room; None for any other job, or none."""
    job = find(connection, id)
    steps = steps_of(connection, id)
    done, closed = last(steps, StepName.SETTLED), last(steps, StepName.CLOSED)
    read, paid = last(steps, StepName.READ), last(steps, StepName.PAID)
    if job is None or done is None or closed is None or read is None:
        return None
    reading, settled = read.read(Reading), done.read(Settled)
    items = _items(connection, job, reading.since_ms, settled.number)
    return Sheet(
        settlement=job.id,
        room=job.room,
        since_ms=reading.since_ms,
        closed_ms=closed.time_ms,
        actor=job.actor,
        reason=job.reason,
        payee=job.payee,
        readings=reading.figures,
        used=reading.used,
        estimated=reading.estimated,
        rates=tuple(_rates(connection, job.room, reading.since_ms, closed, timezone)),
        items=tuple(item for item in items if item.kind in _SINGLE),
        totals=tuple(_totals(items)),
        used_fen=settled.used_fen,
        meter_fen=settled.meter_fen,
        lapsed=settled.lapsed,
        payout_fen=settled.payout_fen,
        debt_fen=settled.debt_fen,
        paid_ms=paid.time_ms if paid else None,
    )


def sheet_csv(sheet: Sheet, timezone: ZoneInfo) -> str:
    """The same as rows of one table; no cell of it is a formula to the program that opens it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for part, time_ms, *cells in _rows(sheet):
        when = _local(time_ms, timezone) if isinstance(time_ms, int) else time_ms
        texts = [protected(cell) if isinstance(cell, str) else cell for cell in cells]
        writer.writerow([part, when, *texts])
    return out.getvalue()


def _rows(sheet: Sheet) -> Iterator[tuple[str, int | str, str, int | str, str, str]]:
    room = sheet.room
    name, unit = f"{room.building}/{room.room}", str(room.utility.unit)
    yield "settlement", sheet.closed_ms, name, "", str(room.utility), sheet.reason
    for one in sheet.readings:
        said = one.reason if one.reason else one.by
        if one.counter is not None:
            yield "reading", one.time_ms, one.device, one.counter, unit, said
        if one.credit_fen is not None:
            yield "in the meter", one.time_ms, one.device, one.credit_fen, "fen", said
    doubt = "estimated" if sheet.estimated else ""
    yield "use", sheet.since_ms, "since then", sheet.used, unit, doubt
    for rate in sheet.rates:
        yield "price", rate.from_day, "millionths of a fen", rate.rate, f"per {unit}", ""
    for item in sheet.items:
        yield str(item.kind), item.time_ms, item.key, item.amount, str(item.unit), item.note
    for total in sheet.totals:
        yield "total", sheet.closed_ms, str(total.kind), total.amount, str(total.unit), ""
    yield "lapsed", sheet.closed_ms, "allowance", sheet.lapsed, unit, ""
    yield "used in the meter", sheet.closed_ms, "", sheet.used_fen, "fen", ""
    yield "payout", sheet.closed_ms, sheet.payee, sheet.payout_fen, "fen", _paid(sheet)
    yield "debt", sheet.closed_ms, "", sheet.debt_fen, "fen", _paid(sheet)


def _paid(sheet: Sheet) -> str:
    return "paid" if sheet.paid_ms is not None else ""


def _items(connection: Connection, job: Job, since_ms: int, number: int) -> list[Item]:
    """All that was booked for the room, on its account or in its meter, by whoever has left it now."""
    mine = [job.room.account, job.room.meter]
    query = (
        select(transactions, postings.c.unit, postings.c.amount)
        .join(postings, postings.c.number == transactions.c.number)
        .where(postings.c.account.in_(mine), transactions.c.time_ms >= since_ms)
        .where(postings.c.number <= number, transactions.c.key != job.key)
        .order_by(postings.c.number, postings.c.place)
    )
    return [
        Item(
            time_ms=row.time_ms,
            kind=Kind(row.kind),
            key=row.key,
            unit=Unit(row.unit),
            amount=row.amount,
            note=row.cause,
        )
        for row in connection.execute(query)
    ]


def _totals(items: Sequence[Item]) -> Iterator[Total]:
    sums: dict[tuple[Kind, Unit], int] = {}
    for item in items:
        sums[item.kind, item.unit] = sums.get((item.kind, item.unit), 0) + item.amount
    for (kind, unit), amount in sorted(sums.items()):
        yield Total(kind=kind, unit=unit, amount=amount)


def _rates(
    connection: Connection, room: Room, since_ms: int, closed: Step, timezone: ZoneInfo
) -> Iterator[Rate]:
    """The prices of these days: of the building where it has its own, else those for all."""
    first, end = (local_day(time, timezone) for time in (since_ms, closed.time_ms))
    found = [one for one in list_prices(connection, room.utility) if one.from_day <= end]
    own = [one for one in found if one.building == room.building]
    for known in (own, [one for one in found if not one.building]):
        begun = max((one.from_day for one in known if one.from_day <= first), default=first)
        for one in known:
            if one.from_day >= begun:
                yield Rate(from_day=one.from_day.isoformat(), rate=one.rate)
        if any(one.from_day <= first for one in known):
            return


def _local(time_ms: int, timezone: ZoneInfo) -> str:
    return datetime.fromtimestamp(time_ms / 1000, timezone).isoformat(timespec="seconds")
