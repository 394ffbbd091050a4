"""A chunk: part of one device's day as packed columns; pure.

Chunks of a device follow each other in time: each holds what lies between its start and the start of the
next, each time once. Its key is the device's number and the start in one whole number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from zlib import crc32

import msgspec

from hub.errors import StoreDamaged
from hub.journal.columns import (
    Column,
    Ints,
    pack_column,
    pack_ints,
    unpack_column,
    unpack_ints,
)
from hub.journal.rows import Row
from hub.model import Value

_TIME_BITS = 43  # milliseconds until the year 2248
TIME_END_MS = 1 << _TIME_BITS


class Chunk(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Columns of times, of received less told time, and by point of values, bad reasons and doubts."""

    times: Ints
    lags: Ints
    values: dict[int, Column]
    bad: dict[int, Column]
    uncertain: dict[int, Column]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Chunk).decode


def pack(chunk: Chunk) -> bytes:
    """A chunk as it lies on disk, with its check sum."""
    body = _encode(chunk)
    return crc32(body).to_bytes(4, "big") + body


def unpack(body: bytes) -> Chunk:
    """The chunk that was packed; raises StoreDamaged when it is not what was written."""
    if crc32(memoryview(body)[4:]) != int.from_bytes(body[:4], "big"):
        raise StoreDamaged("a chunk of sealed readings is not what was written")
    return _decode(memoryview(body)[4:])


def chunk_id(device: int, start_ms: int) -> int:
    """The key of the chunk of a device that begins at `start_ms`, which is from 0 to TIME_END_MS."""
    return device << _TIME_BITS | min(max(start_ms, 0), TIME_END_MS - 1)


def start_of(id: int) -> int:
    """When the chunk of this key begins, UTC ms."""
    return id & TIME_END_MS - 1


def device_of(id: int) -> int:
    """The number of the device a chunk belongs to."""
    return id >> _TIME_BITS


def pack_chunk(rows: Sequence[tuple[int, Row]]) -> Generator[None, None, Chunk]:
    """Rows by time, each time once, as a chunk; gives way after every column."""
    columns: list[dict[int, Column]] = []
    marks: list[Iterable[Mapping[int, Value]]] = [
        [row.values for _, row in rows],
        [row.bad for _, row in rows],
        [row.uncertain for _, row in rows],
    ]
    for kind in marks:
        packed: dict[int, Column] = {}
        for point, (places, values) in _by_point(kind).items():
            packed[point] = pack_column(places, values, len(rows))
            yield
        columns.append(packed)
    times = pack_ints([time_ms for time_ms, _ in rows])
    lags = pack_ints([row.lag_ms for _, row in rows])
    return Chunk(times, lags, *columns)


def _by_point(rows: Iterable[Mapping[int, Value]]) -> dict[int, tuple[list[int], list[Value]]]:
    found: dict[int, tuple[list[int], list[Value]]] = {}
    for place, row in enumerate(rows):
        for point, value in row.items():
            column = found.get(point)
            if column is None:
                column = found[point] = ([], [])
            column[0].append(place)
            column[1].append(value)
    return found


class OpenChunk:
    """A chunk being read; a column is unpacked when it is first asked for, and kept."""

    def __init__(self, body: bytes) -> None:
        self._chunk = unpack(body)
        self.times = unpack_ints(self._chunk.times)
        self._lags: list[int] = []
        self._unpacked: dict[int, tuple[Sequence[int], list[Value]]] = {}

    def values(self, point: int) -> Iterator[tuple[int, Value]]:
        """(time, value) of one point in order of time."""
        return self._series(self._chunk.values, point)

    def bad(self, point: int) -> Iterator[tuple[int, Value]]:
        """(time, reason) of one point in order of time."""
        return self._series(self._chunk.bad, point)

    def uncertain(self, point: int) -> Iterator[tuple[int, Value]]:
        """(time, doubt) of one point in order of time."""
        return self._series(self._chunk.uncertain, point)

    def points(self) -> Iterable[int]:
        """Every point that has values here."""
        return self._chunk.values

    def row_at(self, time_ms: int) -> Row | None:
        """Everything of one time; None when the chunk has nothing then."""
        place = bisect_left(self.times, time_ms)
        if place == len(self.times) or self.times[place] != time_ms:
            return None
        return self._row(place)

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Everything, by time."""
        for place, time_ms in enumerate(self.times):
            yield time_ms, self._row(place)

    def _row(self, place: int) -> Row:
        self._lags = self._lags or unpack_ints(self._chunk.lags)
        chunk = self._chunk
        return Row(
            self._lags[place],
            dict(self._at(chunk.values, place)),
            {point: str(text) for point, text in self._at(chunk.bad, place)},
            {point: str(text) for point, text in self._at(chunk.uncertain, place)},
        )

    def _at(self, columns: Mapping[int, Column], place: int) -> Iterator[tuple[int, Value]]:
        for point, column in columns.items():
            places, values = self._open(column)
            at = place if isinstance(places, range) else bisect_left(places, place)
            if at < len(places) and places[at] == place:
                yield point, values[at]

    def _series(self, columns: Mapping[int, Column], point: int) -> Iterator[tuple[int, Value]]:
        if point not in columns:
            return iter(())
        places, values = self._open(columns[point])
        times = self.times
        return zip((times[place] for place in places), values, strict=True)

    def _open(self, column: Column) -> tuple[Sequence[int], list[Value]]:
        found = self._unpacked.get(id(column))
        if found is None:
            places = range(len(self.times)) if column.rows is None else unpack_ints(column.rows)
            found = self._unpacked[id(column)] = (places, unpack_column(column))
        return found
