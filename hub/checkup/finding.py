"""What one check found."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How a thing stands: nothing to do, something a person should know, something to mend."""

    WELL = "well"
    NOTE = "note"
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line: `what` was looked at, what was `found`, and what `to_do` about it (empty when well)."""

    what: str
    verdict: Verdict
    found: str
    to_do: str = ""


def well(what: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(what=what, verdict=Verdict.WELL, found=found)


def note(what: str, found: str, to_do: str) -> Finding:
    """Something a person should know."""
    return Finding(what=what, verdict=Verdict.NOTE, found=found, to_do=to_do)


def wrong(what: str, found: str, to_do: str) -> Finding:
    """Something to mend."""
    return Finding(what=what, verdict=Verdict.WRONG, found=found, to_do=to_do)
