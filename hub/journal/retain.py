"""Retention: what is older than it must be, or too much, goes; counted, and in short steps."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from hub.journal.chunk import chunk_id, start_of, unpack
from hub.journal.records import DAY_MS, JournalOptions

_STEP_DEVICES = 200
_STEP_CHUNKS = 50
_STEP_ROWS = 2000
_LIVE_STEPS = 5


def purge_old(
    db: apsw.Connection, now_ms: int, options: JournalOptions, safe_cursor: int
) -> Iterator[None]:
    """Drop days beyond `keep_days`, but never what a follower has still to read, and old roll-ups."""
    keep_ms = (now_ms - options.keep_days * DAY_MS) // DAY_MS * DAY_MS
    rollup_ms = (now_ms - options.keep_rollup_days * DAY_MS) // DAY_MS * DAY_MS
    for device in devices(db):
        if device % _STEP_DEVICES == 0:
            yield
        while _purge_chunks(db, device, keep_ms):
            yield
        while _purge_rows(db, device, keep_ms, safe_cursor):
            yield
        while _purge_rollups(db, device, rollup_ms):
            yield


def believed_ms(db: apsw.Connection, now_ms: int, advance_s: float) -> int:
    """The time by which age is judged: the clock's, but at most `advance_s` past that of the last pass.

    A clock that jumps years ahead would else have everything dropped in one pass. A box that was off for a
    month gets there in some days.
    """
    known: int | None = db.execute("SELECT number FROM meta WHERE name = 'aged_to_ms'").get
    believed = now_ms if known is None else min(now_ms, known + round(advance_s * 1000))
    db.execute(
        "INSERT INTO meta VALUES ('aged_to_ms', ?) ON CONFLICT DO UPDATE SET number = excluded.number",
        (believed,),
    )
    return believed


def purge_to_size(db: apsw.Connection, size_max_bytes: int) -> Iterator[None]:
    """While the journal is too big: the oldest sealed days, then the oldest readings, seen or not."""
    while size_max_bytes and _used_bytes(db) > size_max_bytes:
        oldest_ms: int | None = None
        for device in devices(db):
            start_ms = _oldest_chunk(db, device)
            if start_ms is not None:
                oldest_ms = start_ms if oldest_ms is None else min(oldest_ms, start_ms)
            if device % _STEP_DEVICES == 0:
                yield
        if oldest_ms is None:
            if not _purge_unsealed(db):
                return
            yield
            continue
        day_end_ms = oldest_ms // DAY_MS * DAY_MS + DAY_MS
        for device in devices(db):
            while _used_bytes(db) > size_max_bytes and _purge_chunks(db, device, day_end_ms):
                yield


def trim_log(db: apsw.Connection, safe_cursor: int) -> Iterator[None]:
    """Take sealed and purged readings off the log of commits; the newest entry stays, for its number."""
    after, live_steps = 0, 0
    while live_steps < _LIVE_STEPS:
        end = db.execute(
            "SELECT max(cursor) FROM (SELECT cursor FROM log WHERE cursor > ? AND cursor <= ? "
            "AND cursor < (SELECT max(cursor) FROM log) ORDER BY cursor LIMIT ?)",
            (after, safe_cursor, _STEP_ROWS),
        ).get
        if end is None:
            return
        db.execute(
            "DELETE FROM log WHERE cursor > ? AND cursor <= ? AND NOT EXISTS (SELECT 1 FROM reading "
            "WHERE device = log.device AND time_ms = log.time_ms AND cursor = log.cursor)",
            (after, end),
        )
        live_steps = 0 if db.changes() else live_steps + 1
        after = end
        yield


def devices(db: apsw.Connection) -> list[int]:
    """The number of every device."""
    return [int(id) for (id,) in db.execute("SELECT id FROM device ORDER BY id")]


def _used_bytes(db: apsw.Connection) -> int:
    pages = int(db.pragma("page_count")) - int(db.pragma("freelist_count"))
    return pages * int(db.pragma("page_size"))


def _count_purged(db: apsw.Connection, readings: int) -> None:
    db.execute(
        "INSERT INTO meta VALUES ('purged', ?) "
        "ON CONFLICT (name) DO UPDATE SET number = number + excluded.number",
        (readings,),
    )


def _oldest_chunk(db: apsw.Connection, device: int) -> int | None:
    for (id,) in db.execute(
        "SELECT id FROM chunk WHERE id >= ? AND id < ? ORDER BY id LIMIT 1",
        (chunk_id(device, 0), chunk_id(device + 1, 0)),
    ):
        return start_of(int(id))
    return None


def _purge_chunks(db: apsw.Connection, device: int, before_ms: int) -> bool:
    found = list(
        db.execute(
            "SELECT id, body FROM chunk WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            (chunk_id(device, 0), chunk_id(device, before_ms), _STEP_CHUNKS),
        )
    )
    if not found:
        return False
    with db:
        for id, body in found:
            db.execute("DELETE FROM chunk WHERE id = ?", (id,))
            _count_purged(db, unpack(body).times.count)
    return True


def _purge_rows(db: apsw.Connection, device: int, before_ms: int, safe_cursor: int) -> bool:
    found = db.execute(
        "SELECT device, time_ms, cursor FROM reading "
        "WHERE device = ? AND time_ms < ? AND cursor <= ? LIMIT ?",
        (device, before_ms, safe_cursor, _STEP_ROWS),
    ).fetchall()
    if not found:
        return False
    with db:
        db.executemany("DELETE FROM reading WHERE device = ? AND time_ms = ? AND cursor = ?", found)
        _count_purged(db, len(found))
    return True


def _purge_rollups(db: apsw.Connection, device: int, before_ms: int) -> bool:
    found = db.execute(
        "SELECT id FROM rollup WHERE id >= ? AND id < ? LIMIT ?",
        (chunk_id(device, 0), chunk_id(device, before_ms), _STEP_ROWS),
    ).fetchall()
    db.executemany("DELETE FROM rollup WHERE id = ?", found)
    return bool(found)


def _purge_unsealed(db: apsw.Connection) -> bool:
    """The readings first committed, whoever has still to read them; what followers lose is counted."""
    found = db.execute(
        "SELECT device, time_ms, cursor FROM log WHERE cursor < (SELECT max(cursor) FROM log) "
        "ORDER BY cursor LIMIT ?",
        (_STEP_ROWS,),
    ).fetchall()
    if not found:
        return False
    with db:
        for _, _, cursor in found:
            db.execute("UPDATE follower SET lost = lost + 1 WHERE cursor < ?", (cursor,))
        db.executemany("DELETE FROM reading WHERE device = ? AND time_ms = ? AND cursor = ?", found)
        db.executemany("DELETE FROM log WHERE cursor = ?", [(cursor,) for _, _, cursor in found])
        _count_purged(db, len(found))
    return True
