"""The number of the list of revocations: it never goes back, not even when an older ledger is restored.

A running broker keeps each list it ever loaded and obeys the one with the highest number (decision 021). So
the number is kept in the data folder, and read from the list that the broker has, which no restore of the
data folder replaces; the higher one counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from hub.broker.authority import Authority
from hub.broker.private_file import write_private

_FILE = "crl.number"


def crl_number(own: Path, crl: Path, authority: Authority, serials: Sequence[str]) -> int:
    """The number for a list of these serials: the one it has, or one above every other. Raises OSError.

    As long as nothing was restored it is how many there are.
    """
    listed = authority.numbered(crl.read_bytes()) if crl.exists() else None
    known = [_kept(own), (0, _digest(()))]
    if listed:
        known.append((listed[0], _digest(listed[1])))
    number, digest = max(known)
    return number if digest == _digest(serials) else max(number + 1, len(serials))


def keep_crl_number(own: Path, number: int, serials: Sequence[str]) -> None:
    """Remember that a list of these serials has this number. Raises OSError."""
    kept = number, _digest(serials)
    if _kept(own) != kept:
        write_private(own / _FILE, f"{kept[0]} {kept[1]}\n".encode())


def _kept(own: Path) -> tuple[int, str]:
    try:
        number, digest = (own / _FILE).read_text("ascii").split()
        return int(number), digest
    except (FileNotFoundError, ValueError):
        return 0, ""


def _digest(serials: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(serials).encode()).hexdigest()
