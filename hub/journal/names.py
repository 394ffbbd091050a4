"""Device and point names as small numbers, kept in a table and in memory."""

from __future__ import annotations

import apsw


class Names:
    """The numbers of one table (`device` or `point`), both ways, as one connection sees them."""

    def __init__(self, db: apsw.Connection, table: str) -> None:
        self._db = db
        self._table = table
        self.ids: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self._newest = 0
        self.reload()

    def reload(self) -> None:
        """Forget and read all again: after a transaction was undone, or when a name is missing."""
        self.names = dict(self._db.execute(f"SELECT id, name FROM {self._table}"))
        self.ids = {name: id for id, name in self.names.items()}
        self._newest = max(self.names, default=0)

    def catch_up(self) -> None:
        """Read what was added since."""
        for id, name in self._db.execute(
            f"SELECT id, name FROM {self._table} WHERE id > ?", (self._newest,)
        ):
            self.names[id] = name
            self.ids[name] = id
            self._newest = max(self._newest, id)

    def find(self, name: str) -> int | None:
        """The number of a name that may have been added by another connection."""
        if name not in self.ids:
            self.catch_up()
        return self.ids.get(name)

    def add(self, name: str) -> int:
        """The number of a name, given now if it has none; only inside a write transaction."""
        id = self.ids.get(name)
        if id is None:
            self._db.execute(f"INSERT INTO {self._table} (name) VALUES (?)", (name,))
            id = self._db.last_insert_rowid()
            self.ids[name] = id
            self.names[id] = name
        return id
