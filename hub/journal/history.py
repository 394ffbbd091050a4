"""The past of one point of one device: sealed and unsealed together, and rolled up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import apsw

from hub.journal.chunk import OpenChunk, chunk_id
from hub.journal.records import HOUR_MS, Rollup, Series, Span
from hub.journal.rollup import Hour, hours_of, joined, unpack_hours
from hub.journal.rows import Row, decode_row
from hub.model import Value

_SPAN_HOURS = {Span.HOUR: 1, Span.DAY: 24}


def history(
    db: apsw.Connection, device: int, point: int, window: tuple[int, int], limit: int
) -> Series:
    """One point from the window's start until before its end, the first `limit` values."""
    start_ms, end_ms = window
    values: dict[int, Value] = {}
    bad: dict[int, str] = {}
    uncertain: dict[int, str] = {}
    for chunk in _chunks(db, device, start_ms, end_ms):
        values.update(chunk.values(point))
        bad.update((at, str(text)) for at, text in chunk.bad(point))
        uncertain.update((at, str(text)) for at, text in chunk.uncertain(point))
    for time_ms, row in _rows(db, device, start_ms, end_ms):
        if point in row.values:
            values.setdefault(time_ms, row.values[point])
        if point in row.uncertain:
            uncertain.setdefault(time_ms, row.uncertain[point])
        if point in row.bad:
            bad.setdefault(time_ms, row.bad[point])
    times = [at for at in sorted(values) if start_ms <= at < end_ms][:limit]
    kept_until_ms = times[-1] + 1 if len(times) == limit else end_ms
    return Series(
        times=tuple(times),
        values=tuple(map(values.__getitem__, times)),
        bad=_within(bad, start_ms, kept_until_ms, values),
        uncertain=_within(uncertain, start_ms, kept_until_ms, ()),
    )


def rollups(
    db: apsw.Connection, device: int, point: int, window: tuple[int, int], span: tuple[Span, int]
) -> list[Rollup]:
    """The hours, or days of a zone some hours ahead of UTC, that begin inside the window."""
    length_h, ahead_h = _SPAN_HOURS[span[0]], span[1]
    start_h = _begin(-(-window[0] // HOUR_MS), length_h, ahead_h)
    end_h = _begin(-(-window[1] // HOUR_MS), length_h, ahead_h)
    hours = _hours(db, device, point, start_h, end_h)
    return [
        joined(list(parts), begin * HOUR_MS)
        for begin, parts in groupby(hours, key=lambda part: _floor(part.hour, length_h, ahead_h))
    ]


def _floor(hour: int, length_h: int, ahead_h: int) -> int:
    return (hour + ahead_h) // length_h * length_h - ahead_h


def _begin(hour: int, length_h: int, ahead_h: int) -> int:
    """The first begin of a span that is not before this hour."""
    return -_floor(-hour, length_h, -ahead_h)


def _hours(db: apsw.Connection, device: int, point: int, start_h: int, end_h: int) -> list[Hour]:
    """The hours of a point, in order; those with unsealed rows are reckoned anew from all there is."""
    start_ms, end_ms = start_h * HOUR_MS, end_h * HOUR_MS
    fresh = {
        at // HOUR_MS for at, row in _rows(db, device, start_ms, end_ms) if point in row.values
    }
    hours = [
        hour
        for (body,) in db.execute(
            "SELECT body FROM rollup WHERE id >= ? AND id < ? ORDER BY id",
            (_first(db, "rollup", device, start_ms), chunk_id(device, end_ms)),
        )
        for hour in unpack_hours(body).get(point, ())
        if start_h <= hour.hour < end_h and hour.hour not in fresh
    ]
    if fresh:
        window = min(fresh) * HOUR_MS, (max(fresh) + 1) * HOUR_MS
        series = history(db, device, point, window, end_ms - start_ms)
        again = hours_of(zip(series.times, series.values, strict=True))
        hours += [hour for hour in again if hour.hour in fresh]
        hours.sort(key=lambda hour: hour.hour)
    return hours


def _first(db: apsw.Connection, table: str, device: int, start_ms: int) -> int:
    """The key of the chunk or roll-up in which `start_ms` lies, else where it would begin."""
    wanted = chunk_id(device, start_ms)
    for (id,) in db.execute(
        f"SELECT id FROM {table} WHERE id >= ? AND id <= ? ORDER BY id DESC LIMIT 1",
        (chunk_id(device, 0), wanted),
    ):
        return int(id)
    return wanted


def _chunks(db: apsw.Connection, device: int, start_ms: int, end_ms: int) -> Iterator[OpenChunk]:
    for (body,) in db.execute(
        "SELECT body FROM chunk WHERE id >= ? AND id < ? ORDER BY id",
        (_first(db, "chunk", device, start_ms), chunk_id(device, end_ms)),
    ):
        yield OpenChunk(body)


def _rows(
    db: apsw.Connection, device: int, start_ms: int, end_ms: int
) -> Iterator[tuple[int, Row]]:
    for time_ms, body in db.execute(
        "SELECT time_ms, body FROM reading WHERE device = ? AND time_ms >= ? AND time_ms < ? "
        "ORDER BY time_ms, cursor",
        (device, start_ms, end_ms),
    ):
        yield int(time_ms), decode_row(body)


def _within(
    marks: dict[int, str], start_ms: int, end_ms: int, known: Iterable[int]
) -> tuple[tuple[int, str], ...]:
    return tuple(
        (at, marks[at]) for at in sorted(marks.keys() - set(known)) if start_ms <= at < end_ms
    )
