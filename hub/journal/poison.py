"""The quarantine on disk: the newest messages that could not become readings, and counts of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import apsw

from hub.model import POISON_KEPT_BYTES, Poison


def keep_poison(db: apsw.Connection, poison: Sequence[Poison], kept: int) -> None:
    """Add messages, drop all but the newest `kept`, count each. Inside a write transaction."""
    db.executemany(
        "INSERT INTO poison (time_ms, link, source, reason, payload) VALUES (?, ?, ?, ?, ?)",
        [
            (each.time_ms, each.link, each.source, each.reason, each.payload[:POISON_KEPT_BYTES])
            for each in poison[-kept:]
        ],
    )
    db.execute("DELETE FROM poison WHERE id <= (SELECT max(id) FROM poison) - ?", (kept,))
    db.executemany(
        "INSERT INTO poison_count VALUES (?, ?, ?) "
        "ON CONFLICT (link, reason) DO UPDATE SET count = count + excluded.count",
        [
            (link, reason, count)
            for (link, reason), count in Counter((p.link, p.reason) for p in poison).items()
        ],
    )
