"""What the simulated devices really did and were asked: append-only, the judge's own record.

A test compares what the hub stored with this, never with the hub's own word.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

import msgspec

from hub import Value

_KEPT = 100_000
_NOTHING: Mapping[str, Value] = {}


class Deed(StrEnum):
    """What a device can have done."""

    ANSWERED = "answered"  # values: what it showed, as exactly as its registers or payload can
    IDENTIFIED = "identified"  # its identity register was read
    HEARD = "heard"  # a command came: its id and name, and what the device made of it
    REFUSED = "refused"  # asked for what it does not have: the exception's code
    PUBLISHED = "published"  # values: what its message said
    FAULT = "fault"  # a fault was played: its kind
    WRITTEN = "written"  # a write was applied
    CREDITED = "credited"  # money came on a meter: how much, with which purchase count
    LOST = "lost"  # of the last purchase: so much money, and whether it is still counted
    MOVED = "moved"  # arm, leaf or relay changed its state
    PASSED = "passed"  # a person or a vehicle went through
    CYCLE_BEGUN = "cycle_begun"
    CYCLE_ENDED = "cycle_ended"
    CONNECTED = "connected"
    REBOOTED = "rebooted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One deed of one device at one time (UTC milliseconds), with its values or details."""

    time_ms: int
    device: str
    deed: Deed
    values: Mapping[str, Value]


class Ledger:
    """An append-only record; kept in memory up to a bound, and as JSON lines where a file is given."""

    def __init__(self, file: TextIO | None = None, *, kept: int = _KEPT) -> None:
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._file = file
        self.written = 0

    def record(
        self, time_ms: int, device: str, deed: Deed, values: Mapping[str, Value] = _NOTHING
    ) -> None:
        """Append one deed. The oldest leave memory beyond the bound; the file keeps all."""
        entry = Entry(time_ms=time_ms, device=device, deed=deed, values=values)
        self._entries.append(entry)
        self.written += 1
        if self._file is not None:
            self._file.write(msgspec.json.encode(entry).decode() + "\n")

    def entries(self, device: str = "", deed: Deed | None = None) -> Iterator[Entry]:
        """The kept entries in the order they were made, of one device or deed where given."""
        for entry in list(self._entries):
            if (not device or entry.device == device) and (deed is None or entry.deed is deed):
                yield entry

    def last(self, device: str, deed: Deed) -> Entry | None:
        """The newest kept entry of this device and deed."""
        for entry in reversed(self._entries):
            if entry.device == device and entry.deed is deed:
                return entry
        return None

    def flush(self) -> None:
        """Hand what was written to the file's system."""
        if self._file is not None:
            self._file.flush()


@dataclass(frozen=True, kw_only=True, slots=True)
class Diary:
    """One device's part of a ledger."""

    device: str
    ledger: Ledger

    def record(self, time_ms: int, deed: Deed, values: Mapping[str, Value] = _NOTHING) -> None:
        """Append one deed of this device."""
        self.ledger.record(time_ms, self.device, deed, values)


def read_ledger(lines: Iterator[str]) -> list[Entry]:
    """The entries of a ledger written as JSON lines."""
    return [msgspec.json.decode(line, type=Entry) for line in lines if line.strip()]
