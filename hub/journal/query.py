"""Everything that only reads the journal, on one connection; what is asked is answered in short steps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apsw

from hub.journal.chunk import OpenChunk, chunk_id
from hub.journal.history import history, rollups
from hub.journal.names import Names
from hub.journal.records import Follower, Latest, PoisonCount, Rollup, Series, Span, Stored
from hub.journal.rows import (
    LatestRow,
    Row,
    decode_latest,
    decode_row,
    latest_of,
    merged,
    reading_of,
)
from hub.journal.schema import store_errors
from hub.model import Poison, Reading

_OPEN_CHUNKS = 32

_LOG_ROWS = (
    """SELECT coalesce((SELECT max(cursor) FROM log) - (SELECT min(cursor) FROM log) + 1, 0)"""
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Readings in the log of commits, readings dropped by retention ever, and the file's bytes."""

    log_rows: int = 0
    purged: int = 0
    file_bytes: int = 0
    used_bytes: int = 0


class Known:
    """What is already stored of one device at one time, for telling a repeat from news.

    The last chunks looked into stay open, because late messages come in runs.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._open: OrderedDict[int, OpenChunk] = OrderedDict()

    def forget(self) -> None:
        """Chunks have changed."""
        self._open.clear()

    def at(self, device: int, time_ms: int) -> Row | None:
        """All that is stored of a device at a time as one row; None when nothing is."""
        known = self._sealed(device, time_ms)
        for (body,) in self._db.execute(
            "SELECT body FROM reading WHERE device = ? AND time_ms = ? ORDER BY cursor",
            (device, time_ms),
        ):
            row = decode_row(body)
            known = row if known is None else merged(known, row)
        return known

    def _sealed(self, device: int, time_ms: int) -> Row | None:
        for (id,) in self._db.execute(
            "SELECT id FROM chunk WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
            (chunk_id(device, 0), chunk_id(device, time_ms)),
        ):
            return self._chunk(int(id)).row_at(time_ms)
        return None

    def _chunk(self, id: int) -> OpenChunk:
        found = self._open.get(id)
        if found is None:
            found = OpenChunk(self._db.execute("SELECT body FROM chunk WHERE id = ?", (id,)).get)
            self._open[id] = found
            if len(self._open) > _OPEN_CHUNKS:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(id)
        return found


class Queries:
    """Answers from one connection. Not for use by two threads at once."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._devices = Names(db, "device")
        self._points = Names(db, "point")

    @store_errors()
    def read_after(self, cursor: int, limit: int) -> list[Stored]:
        """Readings committed after a cursor, in order of commits, at most `limit`."""
        return [
            Stored(at, self._reading(device, time_ms, decode_row(body)))
            for at, device, time_ms, body in self._db.execute(
                "SELECT log.cursor, log.device, log.time_ms, reading.body FROM log CROSS JOIN reading "
                "ON reading.device = log.device AND reading.time_ms = log.time_ms "
                "AND reading.cursor = log.cursor WHERE log.cursor > ? ORDER BY log.cursor LIMIT ?",
                (cursor, limit),
            )
        ]

    @store_errors()
    def latest(self, devices: Iterable[str]) -> dict[str, Latest]:
        """The latest state of those of the named devices that have one."""
        found: dict[str, Latest] = {}
        for name in devices:
            for (body,) in self._db.execute(
                "SELECT body FROM latest WHERE device = ?", (self._devices.find(name),)
            ):
                found[name] = self._latest(name, decode_latest(body))
        return found

    def all_latest(self, step: int) -> Iterator[dict[str, Latest]]:
        """The latest state of every device, `step` devices at a time."""
        after = 0
        while found := self._latest_after(after, step):
            after = found[-1][0]
            yield {state.device: state for _, state in found}

    @store_errors()
    def history(self, device: str, point: str, start_ms: int, end_ms: int, limit: int) -> Series:
        """One point from `start_ms` until before `end_ms`, the first `limit` values."""
        ids = self._devices.find(device), self._points.find(point)
        if ids[0] is None or ids[1] is None:
            return Series(times=(), values=())
        return history(self._db, ids[0], ids[1], (start_ms, end_ms), limit)

    @store_errors()
    def rollups(
        self, device: str, point: str, span: Span, start_ms: int, end_ms: int, utc_offset_h: int = 0
    ) -> list[Rollup]:
        """The hours or days that begin from `start_ms` until before `end_ms` and have numbers.

        Days begin at midnight of the zone that is `utc_offset_h` ahead of UTC. Late and unsealed readings
        are in; hours whose readings retention has dropped stay.
        """
        ids = self._devices.find(device), self._points.find(point)
        if ids[0] is None or ids[1] is None:
            return []
        return rollups(self._db, ids[0], ids[1], (start_ms, end_ms), (span, utc_offset_h))

    @store_errors()
    def followers(self) -> tuple[Follower, ...]:
        """Every registered follower, by name."""
        return tuple(
            Follower(name=name, cursor=cursor, lost=lost)
            for name, cursor, lost in self._db.execute(
                "SELECT name, cursor, lost FROM follower ORDER BY name"
            )
        )

    @store_errors()
    def poison(self, limit: int) -> list[Poison]:
        """The newest quarantined messages, newest first."""
        return [
            Poison(time_ms=time_ms, link=link, source=source, reason=reason, payload=payload)
            for time_ms, link, source, reason, payload in self._db.execute(
                "SELECT time_ms, link, source, reason, payload FROM poison ORDER BY id DESC LIMIT ?",
                (limit,),
            )
        ]

    @store_errors()
    def poison_counts(self) -> tuple[PoisonCount, ...]:
        """Quarantined messages ever, by link and reason."""
        return tuple(
            PoisonCount(link=link, reason=reason, count=count)
            for link, reason, count in self._db.execute(
                "SELECT link, reason, count FROM poison_count ORDER BY link, reason"
            )
        )

    @store_errors()
    def sizes(self) -> Sizes:
        """How much there is, without counting row by row."""
        page_bytes = self._number("PRAGMA page_size")
        pages = self._number("PRAGMA page_count")
        free = self._number("PRAGMA freelist_count")
        return Sizes(
            log_rows=self._number(_LOG_ROWS),
            purged=self._number("SELECT coalesce(sum(number), 0) FROM meta WHERE name = 'purged'"),
            file_bytes=pages * page_bytes,
            used_bytes=(pages - free) * page_bytes,
        )

    @store_errors()
    def _latest_after(self, after: int, limit: int) -> list[tuple[int, Latest]]:
        self._devices.catch_up()
        names = self._devices.names
        return [
            (id, self._latest(names[id], decode_latest(body)))
            for id, body in self._db.execute(
                "SELECT device, body FROM latest WHERE device > ? ORDER BY device LIMIT ?",
                (after, limit),
            )
        ]

    def _number(self, sql: str) -> int:
        return int(self._db.execute(sql).get)

    def _reading(self, device: int, time_ms: int, row: Row) -> Reading:
        try:
            return reading_of(self._devices.names[device], time_ms, row, self._points.names)
        except KeyError:
            self._devices.catch_up()
            self._points.catch_up()
            return reading_of(self._devices.names[device], time_ms, row, self._points.names)

    def _latest(self, name: str, state: LatestRow) -> Latest:
        try:
            return latest_of(name, state, self._points.names)
        except KeyError:
            self._points.catch_up()
            return latest_of(name, state, self._points.names)
