"""The journal for another process: reads beside the hub that writes, without a loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from hub.journal.query import Queries
from hub.journal.records import Latest, Series
from hub.journal.schema import connect_reader, damage, store_errors


class JournalReader:
    """A journal opened for reading only; raises StoreError when there is none, StoreDamaged for another file.

    `query` answers the rest: roll-ups, followers, quarantine, readings after a cursor.
    """

    def __init__(self, path: Path) -> None:
        self._db = connect_reader(path)
        self.query = Queries(self._db)

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def latest(self, devices: Iterable[str] | None = None) -> Mapping[str, Latest]:
        """The last word of the named devices that have one, or of all, by device."""
        if devices is not None:
            return self.query.latest(devices)
        return {name: state for step in self.query.all_latest(500) for name, state in step.items()}

    def history(
        self, device: str, point: str, start_ms: int, end_ms: int, limit: int = 1_000_000
    ) -> Series:
        """One point of one device from `start_ms` until before `end_ms`, at most the first `limit` values."""
        return self.query.history(device, point, start_ms, end_ms, limit)

    def damage(self) -> str:
        """What a check of the whole file finds wrong, in SQLite's words; empty when nothing. Slow."""
        with store_errors():
            return damage(self._db)
