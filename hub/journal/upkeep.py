"""What the writer does between commits: retention, sealing, trimming; one short step at a time."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from hub.clock import Clock
from hub.journal.append import Appender
from hub.journal.followers import safe_cursor
from hub.journal.records import DAY_MS, JournalOptions
from hub.journal.retain import believed_ms, purge_old, purge_to_size, trim_log
from hub.journal.seal import seal


def upkeep(
    db: apsw.Connection, appender: Appender, clock: Clock, options: JournalOptions
) -> Iterator[None]:
    """One pass over the journal; every step is some milliseconds and leaves the file whole."""
    now_ms = clock.now_ms()
    sealed_before_ms = (now_ms - round(options.seal_delay_s * 1000)) // DAY_MS * DAY_MS
    safe = safe_cursor(db)
    aged_ms = believed_ms(db, now_ms, options.age_advance_s)
    yield
    yield from purge_old(db, aged_ms, options, safe)
    for changed in seal(db, sealed_before_ms, safe):
        if changed:
            appender.sealed()
        yield
    yield from trim_log(db, safe)
    yield from purge_to_size(db, options.size_max_bytes)
    appender.sealed()
