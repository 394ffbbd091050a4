"""What the writer does between commits: sealing, roll-ups, retention; one short step at a time."""

from __future__ import annotations

from collections.abc import Iterator


def upkeep() -> Iterator[None]:
    """One pass over the journal."""
    yield from ()
