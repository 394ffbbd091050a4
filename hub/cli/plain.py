"""Tables on the terminal, of what people and devices have written."""

from __future__ import annotations

from rich.console import Console


def plain() -> Console:
    """A console that shows every text as it is: a `[` in a cause is no markup, and breaks no table."""
    return Console(markup=False, emoji=False)
