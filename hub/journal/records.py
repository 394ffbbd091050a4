"""What the journal takes and gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from hub.model import Reading, Value

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalOptions:
    """Bounds of the journal; the defaults fit a campus of ten thousand meters.

    A day (UTC) of a device is sealed `seal_delay_s` after it ended. Readings older than `keep_days` and
    roll-ups older than `keep_rollup_days` are dropped; above `size_max_bytes` (0: no limit) the oldest days
    go first, and only then what a slow follower has not seen, which is counted against it. Age is judged by
    a time that moves at most `age_advance_s` from one pass to the next, whatever the clock says.
    """

    queue_readings: int = 20_000
    batch_readings: int = 5_000
    poison_kept: int = 10_000
    upkeep_every_s: float = 600.0
    upkeep_share: float = 0.25
    seal_delay_s: float = 3600.0
    keep_days: int = 400
    age_advance_s: float = 7200.0
    keep_rollup_days: int = 3660
    size_max_bytes: int = 0
    probe_every_s: float = 2.0
    start_check_s: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Appended:
    """What became of the readings of one append, all of them now on disk.

    `stored` brought something new, `repeated` were there already, `conflicts` told another value for a
    point at a time already known: the first value stays. A conflicting reading that also brought new
    points counts in `stored` too.
    """

    stored: int = 0
    repeated: int = 0
    conflicts: int = 0


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A reading and its place in the order of commits."""

    cursor: int
    reading: Reading


class Latest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The last word of one device, point by point, over partial and late messages.

    `time_ms` is the newest time the device told, `received_ms` when the hub last heard it. Points in
    `older` have not been in the newest reading: their own time stands there. `bad` are points whose newest
    word was a reason instead of a value; such a point may still stand in `values` with an older one.
    """

    device: str
    time_ms: int
    received_ms: int
    values: Mapping[str, Value]
    older: Mapping[str, int]
    bad: Mapping[str, str]
    uncertain: Mapping[str, str]

    def time_of(self, point: str) -> int:
        """When this point had its value, UTC ms; KeyError when it never had one."""
        if point not in self.values:
            raise KeyError(point)
        return self.older.get(point, self.time_ms)


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One point of one device in time order; `times` (UTC ms, no time twice) and `values` go together.

    `bad` are the times at which the point was asked for and gave only a reason; `uncertain` the times
    whose value stands with a doubt.
    """

    times: tuple[int, ...]
    values: tuple[Value, ...]
    bad: tuple[tuple[int, str], ...] = ()
    uncertain: tuple[tuple[int, str], ...] = ()


class Span(StrEnum):
    """How long a roll-up is."""

    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollup:
    """One point of one device over an hour or a day that begins at `start_ms`, in its unit."""

    start_ms: int
    first: float
    last: float
    minimum: float
    maximum: float
    mean: float
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Follower:
    """A reader by name: how far it is, and how many readings the size limit took from before its eyes."""

    name: str
    cursor: int
    lost: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PoisonCount:
    """How many messages of one link were quarantined for one reason, ever."""

    link: str
    reason: str
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """The journal's own health and figures. Bytes are the file's, with and without room to reuse.

    `waiting` readings are queued for the disk. `stored`, `repeated` and `conflicts` count since the journal
    was opened; `log_rows` are readings that followers can still read, `purged` those that retention has
    dropped, ever. `commit_s` and `upkeep_s` are the longest of the last hundred commits and upkeep steps.
    """

    healthy: bool
    reason: str
    head: int
    waiting: int
    log_rows: int
    stored: int
    repeated: int
    conflicts: int
    purged: int
    file_bytes: int
    used_bytes: int
    commit_s: float
    upkeep_s: float
