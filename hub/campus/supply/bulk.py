"""Cuts that are due together: a few are made, many wait for a second person as one proposal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from hub.campus.supply.episodes import Due

PROPOSE_AGAIN_MS = 3_600_000  # after a proposal that ended without cutting


class BulkCuts(Protocol):
    """Whoever asks a second person for many cuts at once; see `hub/campus/batches`."""

    async def propose(self, devices: Sequence[str], cause: str) -> str:
        """Ask for the cut of all these; returns the batch's id once it is on disk. Raises HubError."""

    async def is_open(self, batch: str) -> bool:
        """Whether this batch still waits for its person, or is being done. Raises StoreError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What becomes of the cuts that are due: made `now`, or proposed; `waiting` is how many need a person."""

    now: tuple[Due, ...] = ()
    propose: tuple[Due, ...] = ()
    waiting: int = 0


def share(
    dues: Sequence[Due], open_batches: Collection[str], *, is_too_much: bool, now_ms: int
) -> Share:
    """Who is cut now; `is_too_much` is whether the brake would hold some of those that wait for nobody yet.

    Never a part of many: what was proposed once, or is due together with such, is cut by a proposal only.
    """
    free = [due for due in dues if due.row.batch not in open_batches or not due.row.batch]
    waiting = len(dues)
    asked = [due for due in free if due.row.batch]
    if not asked and len(free) == len(dues) and not is_too_much:
        return Share(now=tuple(free))
    is_early = any(now_ms - due.row.batch_ms < PROPOSE_AGAIN_MS for due in asked)
    if len(free) < len(dues) or is_early:
        return Share(waiting=waiting)
    return Share(propose=tuple(free), waiting=waiting)
