"""The journal: every reading of this box, on disk once, followed by cursor, queried by device and point."""

from hub.journal.journal import Journal, open_journal
from hub.journal.reader import JournalReader
from hub.journal.records import (
    Appended,
    Follower,
    JournalOptions,
    Latest,
    PoisonCount,
    Rollup,
    Series,
    Span,
    Stats,
    Stored,
)

__all__ = [
    "Appended",
    "Follower",
    "Journal",
    "JournalOptions",
    "JournalReader",
    "Latest",
    "PoisonCount",
    "Rollup",
    "Series",
    "Span",
    "Stats",
    "Stored",
    "open_journal",
]
