"""How a reading and a device's latest state look on disk; pure.

Both are msgpack arrays whose points are interned numbers. What is written here is format 1 of the file:
a change needs a new `user_version`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hub.errors import StoreDamaged
from hub.journal.records import Latest
from hub.model import Reading, Value

_NO_TEXTS: dict[int, str] = {}
_NONE: dict[str, str] = {}
_NEVER: dict[str, int] = {}


class Row(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One reading without its key: `lag_ms` is received less told time."""

    lag_ms: int
    values: dict[int, Value]
    bad: dict[int, str]
    uncertain: dict[int, str]


class LatestRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One device's latest state; `older` holds the time of points that were not in the newest reading."""

    time_ms: int
    received_ms: int
    values: dict[int, Value]
    older: dict[int, int]
    bad: dict[int, tuple[int, str]]
    uncertain: dict[int, str]


CLOCK_AHEAD_MS = 120_000  # what ingest allows a device's clock to be ahead of the hub's

encode = msgspec.msgpack.Encoder().encode
_row = msgspec.msgpack.Decoder(Row).decode
_latest = msgspec.msgpack.Decoder(LatestRow).decode


def decode_row(body: bytes) -> Row:
    """The row on disk; raises StoreDamaged when it is none."""
    try:
        return _row(body)
    except msgspec.DecodeError as error:
        raise StoreDamaged(f"a stored reading cannot be read: {error}") from None


def decode_latest(body: bytes) -> LatestRow:
    """The latest state on disk; raises StoreDamaged when it is none."""
    try:
        return _latest(body)
    except msgspec.DecodeError as error:
        raise StoreDamaged(f"a latest state cannot be read: {error}") from None


def texts(ids: Mapping[str, int], marks: Mapping[str, str]) -> dict[int, str]:
    """Reasons by interned point."""
    return {ids[point]: text for point, text in marks.items()} if marks else _NO_TEXTS


def spoken(names: Mapping[int, str], marks: Mapping[int, str]) -> Mapping[str, str]:
    """Reasons by the point's name."""
    return {names[point]: text for point, text in marks.items()} if marks else _NONE


def row_of(reading: Reading, ids: Mapping[str, int]) -> Row:
    """The row a reading becomes; KeyError when a point has no number yet."""
    return Row(
        reading.received_ms - reading.time_ms,
        {ids[point]: value for point, value in reading.values.items()},
        texts(ids, reading.bad),
        texts(ids, reading.uncertain),
    )


def reading_of(device: str, time_ms: int, row: Row, names: Mapping[int, str]) -> Reading:
    """The reading a row was made of."""
    return Reading(
        device=device,
        time_ms=time_ms,
        received_ms=time_ms + row.lag_ms,
        values={names[point]: value for point, value in row.values.items()},
        bad=spoken(names, row.bad),
        uncertain=spoken(names, row.uncertain),
    )


def latest_of(device: str, state: LatestRow, names: Mapping[int, str]) -> Latest:
    """A device's latest state in the hub's words; KeyError when a point's name is not known yet."""
    return Latest(
        device=device,
        time_ms=state.time_ms,
        received_ms=state.received_ms,
        values={names[point]: value for point, value in state.values.items()},
        older={names[point]: told for point, told in state.older.items()}
        if state.older
        else _NEVER,
        bad={names[point]: mark[1] for point, mark in state.bad.items()} if state.bad else _NONE,
        uncertain=spoken(names, state.uncertain),
    )


def merged(first: Row, second: Row) -> Row:
    """Two rows of one device and time as one; where both have a value, the first one's."""
    values = {**second.values, **first.values}
    bad = {**second.bad, **first.bad}
    uncertain = {
        point: text
        for point, text in second.uncertain.items()
        if point in values and point not in first.values
    }
    return Row(
        first.lag_ms,
        values,
        {point: text for point, text in bad.items() if point not in values},
        {**uncertain, **first.uncertain},
    )


def news(row: Row, known: Row) -> tuple[Row, bool]:
    """What a row adds to what is known of its device and time, and whether it contradicts it.

    A value is news where no value is known; a bad reason where nothing is known of the point.
    """
    values = {point: value for point, value in row.values.items() if point not in known.values}
    conflict = len(values) < len(row.values) and any(
        known.values[point] != value for point, value in row.values.items() if point not in values
    )
    bad = {
        point: text
        for point, text in row.bad.items()
        if point not in known.values and point not in known.bad
    }
    uncertain = {point: text for point, text in row.uncertain.items() if point in values}
    return Row(row.lag_ms, values, bad, uncertain), conflict


def _newest(time_ms: int, row: Row, old: LatestRow) -> LatestRow:
    """The state after a reading newer than all before it."""
    values, older = row.values, {}
    if not old.values.keys() <= values.keys():
        values = {**old.values, **values}
        for point in old.values:
            if point not in row.values:
                older[point] = old.older.get(point, old.time_ms)
    bad = {point: (time_ms, text) for point, text in row.bad.items()}
    uncertain = row.uncertain
    if old.bad:
        bad = {p: mark for p, mark in old.bad.items() if p not in row.values} | bad
    if old.uncertain:
        uncertain = {p: t for p, t in old.uncertain.items() if p not in row.values} | uncertain
    received_ms = max(old.received_ms, time_ms + row.lag_ms)
    return LatestRow(time_ms, received_ms, values, older, bad, uncertain)


def _late(time_ms: int, row: Row, old: LatestRow) -> LatestRow:
    """The state after a reading that is not newer: each point moves only by its own time."""
    values, older = dict(old.values), dict(old.older)
    bad, uncertain = dict(old.bad), dict(old.uncertain)
    for point, value in row.values.items():
        if point in values and older.get(point, old.time_ms) >= time_ms:
            continue
        values[point], older[point] = value, time_ms
        uncertain.pop(point, None)
        if point in row.uncertain:
            uncertain[point] = row.uncertain[point]
        if point in bad and bad[point][0] <= time_ms:
            del bad[point]
    for point, text in row.bad.items():
        told = older.get(point, old.time_ms) if point in values else time_ms - 1
        if told < time_ms and (point not in bad or bad[point][0] < time_ms):
            bad[point] = (time_ms, text)
    older = {point: told for point, told in older.items() if told != old.time_ms}
    received_ms = max(old.received_ms, time_ms + row.lag_ms)
    return LatestRow(old.time_ms, received_ms, values, older, bad, uncertain)


def latest_after(time_ms: int, row: Row, old: LatestRow | None) -> LatestRow:
    """A device's latest state once this row is stored; older data never moves it back.

    Unless what was held the latest lies further ahead of this row's reception than any clock may be: then
    the hub's own clock had been ahead, and would keep an old value the latest for as long.
    """
    if old is None:
        bad = {point: (time_ms, text) for point, text in row.bad.items()}
        return LatestRow(time_ms, time_ms + row.lag_ms, row.values, {}, bad, row.uncertain)
    if time_ms + row.lag_ms + CLOCK_AHEAD_MS < old.time_ms:
        state = _newest(time_ms, row, old)
        return LatestRow(
            time_ms, time_ms + row.lag_ms, state.values, state.older, state.bad, state.uncertain
        )
    if time_ms > old.time_ms:
        return _newest(time_ms, row, old)
    return _late(time_ms, row, old)
