"""How a text survives in a CSV that a spreadsheet program opens: an apostrophe before what it would change.

Without it, `=HYPERLINK(…)` in a note runs when somebody opens the file, and `101.0` comes back as 101.
"""

from __future__ import annotations

from hub.sheets.sheet import is_guessed, without_zeros

MARK = "'"
_FIRST = ("=", "+", "-", "@", MARK, "\t", "\r")


def protected(text: str) -> str:
    """What a CSV says for this text."""
    return MARK + text if _needs_mark(text) else text


def is_protected(text: str) -> bool:
    """Whether this is a text with its apostrophe."""
    return text.startswith(MARK) and _needs_mark(text[1:])


def unprotected(text: str) -> str:
    """The text again."""
    return text[1:] if is_protected(text) else text


def _needs_mark(text: str) -> bool:
    return text.startswith(_FIRST) or is_guessed(text) or without_zeros(text) != text
