"""The box itself: disk, SQLite, clock, the rights of its files."""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import stat
import statistics
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import apsw

from hub.checkup.finding import Finding, note, well, wrong
from hub.clock import Clock

_FREE_NOTE, _FREE_WRONG = 0.10, 0.02
_SYNC_TRIES, _SYNC_BYTES = 20, 4096
_SYNC_NOTE_S, _SYNC_WRONG_S = 0.02, 0.2
# Before this, two connections that write or checkpoint at one moment can lose a commit.
_SQLITE_MENDED = (3, 51, 3)
_UNSYNCHRONISED = 5  # what adjtimex answers then
_TIMEX_BYTES = 512  # more than any system's struct timex
_SKEW_MS = 120_000


def free_space(data: Path) -> Finding:
    """Room for readings and commands."""
    usage = shutil.disk_usage(data)
    share, found = usage.free / usage.total, f"{usage.free / 1e9:.1f} GB free ({data})"
    to_do = "make room, or lower [journal] max_size_gb: without room nothing is stored or taken"
    if share < _FREE_WRONG:
        return wrong("disk space", found, to_do)
    return note("disk space", found, to_do) if share < _FREE_NOTE else well("disk space", found)


def sync_time(data: Path, clock: Clock) -> Finding:
    """How long a commit waits for this disk."""
    path, times_s = data / "doctor.tmp", []
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for _ in range(_SYNC_TRIES):
                begun_s = clock.monotonic_s()
                os.write(handle, b"x" * _SYNC_BYTES)
                os.fsync(handle)
                times_s.append(clock.monotonic_s() - begun_s)
        finally:
            os.close(handle)
            path.unlink(missing_ok=True)
    except OSError as error:
        return wrong("disk", f"cannot be written: {error.strerror}", "see who owns the data folder")
    usual_s, worst_s = statistics.median(times_s), max(times_s)
    found = f"fsync {usual_s * 1000:.1f} ms, at worst {worst_s * 1000:.1f} ms"
    to_do = (
        "every command waits twice for it: use a disk with a write cache that survives a power cut"
    )
    if usual_s > _SYNC_WRONG_S:
        return wrong("disk", found, to_do)
    return note("disk", found, to_do) if usual_s > _SYNC_NOTE_S else well("disk", found)


def sqlite_versions() -> Finding:
    """The libraries under journal and ledger."""
    found = f"SQLite {apsw.sqlite_lib_version()} (journal), {sqlite3.sqlite_version} (ledger)"
    journal = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if journal < _SQLITE_MENDED:
        return wrong("SQLite", found, "install the locked apsw again: it brings its own SQLite")
    if sqlite3.sqlite_version_info < _SQLITE_MENDED:
        # One connection writes and the readers never checkpoint: the fault needs two.
        return note("SQLite", found, "nothing but the hub may write ledger.db: an old SQLite minds")
    return well("SQLite", found)


def clock_kept() -> Finding:
    """Whether something keeps the box's clock right."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return note("clock", "cannot be asked", "see that an NTP client runs")
    if state == _UNSYNCHRONISED:
        return note("clock", "nobody keeps it right", "run chrony or systemd-timesyncd")
    return well("clock", "kept right")


def clock_sane(now_ms: int, newest_ms: int) -> Finding:
    """Whether the clock is behind what was already stored."""
    if newest_ms > now_ms + _SKEW_MS:
        behind_s = (newest_ms - now_ms) // 1000
        found = f"{behind_s} s behind what was stored"
        return wrong("clock", found, "set it: until then commands expire and readings are doubtful")
    return well("clock", "not behind what was stored")


def time_zone(zone: ZoneInfo, now_ms: int) -> Finding:
    """The site's zone beside the box's."""
    at_s = now_ms / 1000
    site, box = datetime.fromtimestamp(at_s, zone), datetime.fromtimestamp(at_s).astimezone()
    found = f"site {zone.key} ({site:%H:%M}), box {box.tzname()} ({box:%H:%M})"
    if site.utcoffset() == box.utcoffset():
        return well("time zone", found)
    return note("time zone", found, "no harm: the hub goes by the site's; log lines are in UTC")


def private_files(data: Path) -> Iterator[Finding]:
    """Who may read the keys."""
    open_ones = [
        path.relative_to(data).as_posix() or "the folder itself"
        for path in (data, *sorted(data.rglob("*")))
        if not path.is_symlink() and path.lstat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]
    if open_ones:
        found = f"others may use: {', '.join(open_ones[:5])}"
        yield wrong("rights", found, f"chmod -R go= {data}")
    else:
        yield well("rights", f"{data} is its owner's alone")
