"""One transaction's worth of new readings: identity, rows, log and latest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw

from hub.errors import StoreError
from hub.journal.names import Names
from hub.journal.query import Known
from hub.journal.records import Appended
from hub.journal.rows import LatestRow, Row, decode_latest, encode, latest_after, news, row_of
from hub.model import Reading

_TIME_MAX_MS = 2**53


class Appender:
    """Writes readings on the writer's connection; what it keeps in memory lasts for one transaction.

    `head` is the last cursor given. After an undone transaction call `undo`.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self.db = db
        self._devices = Names(db, "device")
        self._points = Names(db, "point")
        self._known = Known(db)
        self._latest: dict[int, LatestRow] = {}
        self._rows: list[tuple[int, int, int, bytes]] = []
        self.head = 0
        self.undo()

    def undo(self) -> None:
        """Forget what was written since the last commit."""
        self._devices.reload()
        self._points.reload()
        self._latest.clear()
        self._rows.clear()
        self.head = int(self.db.execute("SELECT coalesce(max(cursor), 0) FROM log").get)

    def add(self, readings: Sequence[Reading]) -> Appended:
        """Put readings into the open transaction; raises StoreError for one that cannot be written."""
        stored = repeated = conflicts = 0
        for reading in readings:
            new, conflict = self._add(reading)
            stored += new
            conflicts += conflict
            repeated += not new and not conflict
        return Appended(stored=stored, repeated=repeated, conflicts=conflicts)

    def flush(self) -> None:
        """Write what `add` left in memory; before the commit."""
        self._write_rows()
        self.db.executemany(
            "INSERT INTO latest (device, body) VALUES (?, ?) "
            "ON CONFLICT (device) DO UPDATE SET body = excluded.body",
            [(device, encode(state)) for device, state in self._latest.items()],
        )
        self._latest.clear()

    def sealed(self) -> None:
        """Chunks have changed: what is remembered of them is old."""
        self._known.forget()

    def _add(self, reading: Reading) -> tuple[bool, bool]:
        device = self._devices.add(reading.device)
        row = self._row(reading)
        old = self._latest.get(device) or self._read_latest(device)
        conflict = False
        if old is not None and reading.time_ms <= old.time_ms:
            self._write_rows()
            known = self._known.at(device, reading.time_ms)
            if known is not None:
                row, conflict = news(row, known)
                if not row.values and not row.bad:
                    return False, conflict
        self.head += 1
        self._rows.append((device, reading.time_ms, self.head, self._packed(row, reading)))
        self._latest[device] = latest_after(reading.time_ms, row, old)
        return True, conflict

    def _row(self, reading: Reading) -> Row:
        if not -_TIME_MAX_MS < reading.time_ms < _TIME_MAX_MS:
            raise StoreError(f"{reading.device}: time {reading.time_ms} ms cannot be stored")
        try:
            return row_of(reading, self._points.ids)
        except KeyError:
            self._learn(reading.values)
            self._learn(reading.bad)
            self._learn(reading.uncertain)
            return row_of(reading, self._points.ids)

    def _learn(self, points: Mapping[str, object]) -> None:
        for point in points:
            self._points.add(point)

    def _packed(self, row: Row, reading: Reading) -> bytes:
        try:
            return encode(row)
        except (OverflowError, TypeError, ValueError) as error:
            raise StoreError(f"{reading.device}: cannot be stored: {error}") from None

    def _read_latest(self, device: int) -> LatestRow | None:
        for (body,) in self.db.execute("SELECT body FROM latest WHERE device = ?", (device,)):
            return decode_latest(body)
        return None

    def _write_rows(self) -> None:
        if not self._rows:
            return
        self.db.executemany("INSERT INTO reading VALUES (?, ?, ?, ?)", self._rows)
        self.db.executemany(
            "INSERT INTO log (cursor, device, time_ms) VALUES (?, ?, ?)",
            [(cursor, device, time_ms) for device, time_ms, cursor, _ in self._rows],
        )
        self._rows.clear()
