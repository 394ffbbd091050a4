"""Followers on disk: how far each reader by name is, and what the size limit took from it."""

from __future__ import annotations

import apsw


def register(db: apsw.Connection, name: str) -> int:
    """A follower's cursor; a new follower begins at 0. Inside a write transaction."""
    db.execute("INSERT INTO follower (name, cursor) VALUES (?, 0) ON CONFLICT DO NOTHING", (name,))
    return int(db.execute("SELECT cursor FROM follower WHERE name = ?", (name,)).get)


def move(db: apsw.Connection, name: str, cursor: int) -> None:
    """Set a follower's cursor. Inside a write transaction."""
    db.execute(
        "INSERT INTO follower (name, cursor) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor",
        (name, cursor),
    )


def drop(db: apsw.Connection, name: str) -> None:
    """Forget a follower. Inside a write transaction."""
    db.execute("DELETE FROM follower WHERE name = ?", (name,))


def safe_cursor(db: apsw.Connection) -> int:
    """Up to here every follower has read; what is newer may not be sealed or purged."""
    return int(
        db.execute(
            "SELECT coalesce((SELECT min(cursor) FROM follower), (SELECT max(cursor) FROM log), 0)"
        ).get
    )
