"""Sealing: older rows become chunks and roll-ups, one short step at a time."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from hub.journal.chunk import OpenChunk, chunk_id, pack, pack_chunk, start_of
from hub.journal.records import DAY_MS
from hub.journal.retain import devices
from hub.journal.rollup import Hours, hours_of, pack_hours
from hub.journal.rows import Row, decode_row, merged

_CHUNK_ROWS = 4096  # a meter's day is 1,440; what speaks faster gets several chunks a day
_STEP_ROWS = 1000
_SCAN_DEVICES = 500

Rows = list[tuple[int, Row]]


def seal(db: apsw.Connection, before_ms: int, safe_cursor: int) -> Iterator[bool]:
    """Seal every row older than `before_ms` that all followers have read.

    Gives way after every short step; True says that chunks have changed. One transaction moves rows into
    their chunk, so that a crash at any moment loses and doubles nothing. A device whose oldest row is
    still to be read by a follower waits for the next pass.
    """
    for device in devices(db):
        if device % _SCAN_DEVICES == 0:
            yield False
        from_ms = 0
        while True:
            oldest = _oldest(db, device, from_ms)
            if oldest is None or oldest[0] >= before_ms or oldest[1] > safe_cursor:
                break
            piece = Piece(db, device, oldest[0], safe_cursor)
            for _ in piece.pack():
                yield False
            piece.write()
            from_ms = piece.last[0] + 1
            yield True


def _oldest(db: apsw.Connection, device: int, from_ms: int) -> tuple[int, int] | None:
    for time_ms, cursor in db.execute(
        "SELECT time_ms, cursor FROM reading WHERE device = ? AND time_ms >= ? "
        "ORDER BY time_ms, cursor LIMIT 1",
        (device, from_ms),
    ):
        return int(time_ms), int(cursor)
    return None


class Piece:
    """Rows of one device and day, from the oldest one on, on their way into a chunk."""

    def __init__(self, db: apsw.Connection, device: int, oldest_ms: int, safe_cursor: int) -> None:
        self._db = db
        self._device = device
        self._oldest_ms = oldest_ms
        self._safe_cursor = safe_cursor
        self._chunks: list[tuple[int, bytes, bytes]] = []
        self._rollup_wins = "IGNORE"  # a roll-up may have outlived its purged chunk
        self.last = (oldest_ms, safe_cursor)

    def pack(self) -> Iterator[None]:
        """Prepare in memory, giving way after each short step; nothing is written."""
        day_ms = self._oldest_ms // DAY_MS * DAY_MS
        start_ms, old = self._chunk_before(day_ms)
        rows = self._rows(self._next_start(day_ms + DAY_MS))
        yield
        if old is not None and _apart(old, rows):
            start_ms, old = self._oldest_ms, None
        if old is not None:
            self._rollup_wins = "REPLACE"
            known: Rows = []
            for row in old.rows():
                known.append(row)
                if len(known) % _STEP_ROWS == 0:
                    yield
            rows = _union(known, rows)
        for run in _runs(rows):
            yield from self._pack_run(chunk_id(self._device, start_ms), run)
            start_ms = run[-1][0] + 1

    def write(self) -> None:
        """Exchange the rows for their chunks, in one transaction."""
        last_ms, last_cursor = self.last
        with self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO chunk VALUES (?, ?)",
                [(id, body) for id, body, _ in self._chunks],
            )
            self._db.executemany(
                f"INSERT OR {self._rollup_wins} INTO rollup VALUES (?, ?)",
                [(id, hours) for id, _, hours in self._chunks],
            )
            self._db.execute(
                "DELETE FROM reading WHERE device = ? AND cursor <= ? "
                "AND (time_ms, cursor) >= (?, 0) AND (time_ms, cursor) <= (?, ?)",
                (self._device, self._safe_cursor, self._oldest_ms, last_ms, last_cursor),
            )

    def _chunk_before(self, day_ms: int) -> tuple[int, OpenChunk | None]:
        """Where the chunk begins that these rows belong to, and what it holds already."""
        for id, body in self._db.execute(
            "SELECT id, body FROM chunk WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
            (chunk_id(self._device, day_ms), chunk_id(self._device, self._oldest_ms)),
        ):
            return start_of(int(id)), OpenChunk(body)
        return day_ms, None

    def _next_start(self, day_end_ms: int) -> int:
        for (id,) in self._db.execute(
            "SELECT id FROM chunk WHERE id > ? AND id < ? ORDER BY id LIMIT 1",
            (chunk_id(self._device, self._oldest_ms), chunk_id(self._device, day_end_ms)),
        ):
            return start_of(int(id))
        return day_end_ms

    def _rows(self, end_ms: int) -> Rows:
        rows: Rows = []
        for time_ms, cursor, body in self._db.execute(
            "SELECT time_ms, cursor, body FROM reading "
            "WHERE device = ? AND time_ms >= ? AND time_ms < ? AND cursor <= ? "
            "ORDER BY time_ms, cursor LIMIT ?",
            (self._device, self._oldest_ms, end_ms, self._safe_cursor, _CHUNK_ROWS),
        ):
            self.last = (int(time_ms), int(cursor))
            row = decode_row(body)
            if rows and rows[-1][0] == time_ms:
                rows[-1] = (time_ms, merged(rows[-1][1], row))
            else:
                rows.append((time_ms, row))
        return rows

    def _pack_run(self, id: int, rows: Rows) -> Iterator[None]:
        chunk = yield from pack_chunk(rows)
        body = pack(chunk)
        opened = OpenChunk(body)
        hours: Hours = {}
        for point in opened.points():
            found = hours_of(opened.values(point))
            if found:
                hours[point] = found
            yield
        self._chunks.append((id, body, pack_hours(hours)))


def _apart(old: OpenChunk, rows: Rows) -> bool:
    """Whether rows go into a chunk of their own: they follow the old one, and it has enough."""
    return old.times[-1] < rows[0][0] and len(old.times) + len(rows) > _CHUNK_ROWS


def _union(known: Rows, rows: Rows) -> Rows:
    """Sealed rows and later ones by time; where both have a time, the sealed one came first."""
    union = dict(known)
    for time_ms, row in rows:
        union[time_ms] = merged(union[time_ms], row) if time_ms in union else row
    return sorted(union.items(), key=lambda pair: pair[0])


def _runs(rows: Rows) -> list[Rows]:
    """Rows cut so that no chunk grows without bound under late data."""
    if len(rows) <= 2 * _CHUNK_ROWS:
        return [rows]
    return [rows[:_CHUNK_ROWS], rows[_CHUNK_ROWS:]]
