"""The journal's file: its tables, how it is opened, and how a damaged or foreign one is told.

`reading` is clustered by device and time, so that one device's past lies together: history is one range
and sealing a day touches few pages. `log` is the order of commits, by which followers read. What is sealed
is a `chunk` with a `rollup` of the same key, see chunk.py.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from hub.clock import Clock
from hub.errors import StoreDamaged, StoreError

APPLICATION_ID = 0x446F726D  # "Dorm"
FORMAT = 1
_MAGIC = b"SQLite format 3\x00"
_MARK = b"dormhub journal\n"

_TABLES = """
CREATE TABLE device (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE point (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE reading (
    device INTEGER NOT NULL, time_ms INTEGER NOT NULL, cursor INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (device, time_ms, cursor)) STRICT, WITHOUT ROWID;
CREATE TABLE log (
    cursor INTEGER PRIMARY KEY, device INTEGER NOT NULL, time_ms INTEGER NOT NULL) STRICT;
CREATE TABLE latest (device INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE chunk (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE rollup (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE follower (
    name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, lost INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE poison (
    id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, link TEXT NOT NULL, source TEXT NOT NULL,
    reason TEXT NOT NULL, payload BLOB NOT NULL) STRICT;
CREATE TABLE poison_count (
    link TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (link, reason)) STRICT, WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT;
"""


def _damaged(path: Path, what: str) -> StoreDamaged:
    return StoreDamaged(
        f"{path}: {what}; the file is left as it is: restore it from a backup, or move it and its -wal, "
        "-shm and .lock files away to begin an empty journal"
    )


class Lock:
    """The right to write a journal: one process at a time, given back when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        try:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{path}: cannot be opened: {error}") from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            raise StoreError(
                f"{path} is being written by another process; stop that hub first"
            ) from None

    def marked(self) -> bool:
        """Whether a journal has once been made beside this lock."""
        return os.pread(self._handle, len(_MARK), 0) == _MARK

    def mark(self) -> None:
        """Remember that there is a journal now, so that its absence will be noticed."""
        os.pwrite(self._handle, _MARK, 0)
        os.fsync(self._handle)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


def _check_header(path: Path, marked: bool) -> bool:
    """True when there is a journal to open, False when one must be made; raises StoreDamaged."""
    wal = path.with_name(path.name + "-wal")
    begun = marked or (wal.exists() and wal.stat().st_size > 0)
    if not path.exists():
        if begun:
            raise _damaged(path, "the journal was here before and is missing")
        return False
    header = b""
    with path.open("rb") as file:
        header = file.read(100)
    if not header:
        if begun:
            raise _damaged(path, "the journal was here before and is empty (0 bytes)")
        return False
    if header[:16] != _MAGIC:
        raise _damaged(path, "not a journal: the file does not begin as one")
    application, version = header[68:72], int.from_bytes(header[60:64], "big")
    if int.from_bytes(application, "big") != APPLICATION_ID:
        raise _damaged(path, "an SQLite file of another program")
    if version != FORMAT:
        raise _damaged(path, f"format {version}, this hub writes format {FORMAT}")
    return True


def _create(path: Path) -> None:
    """A new, empty journal; it gets its name only when it is whole."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_WRONLY, 0o600))
    db = apsw.Connection(str(new))
    db.execute("PRAGMA journal_mode = WAL")
    with db:
        db.execute(_TABLES)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {FORMAT}")
    db.close()
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def connect_writer(path: Path) -> apsw.Connection:
    """The one connection that writes: WAL and FULL, or StoreError."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    db.set_busy_timeout(5000)
    db.execute("PRAGMA synchronous = FULL; PRAGMA cache_size = -32000")
    db.execute("PRAGMA wal_autocheckpoint = 2000; PRAGMA journal_size_limit = 67108864")
    if db.pragma("journal_mode") != "wal" or db.pragma("synchronous") != 2:
        db.close()
        raise StoreError(f"{path}: not WAL with synchronous FULL; acknowledging would be a lie")
    return db


def connect_reader(path: Path) -> apsw.Connection:
    """A connection that only reads, beside the writer or without one; raises StoreError."""
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        db.set_busy_timeout(5000)
        db.execute("PRAGMA cache_size = -16000")
        marks = db.pragma("application_id"), db.pragma("user_version")
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise _damaged(path, str(error)) from None
    except apsw.Error as error:
        why = str(error) if path.exists() else "there is none yet; `dormhub run` makes it"
        raise StoreError(f"{path}: cannot be opened: {why}") from None
    if marks != (APPLICATION_ID, FORMAT):
        db.close()
        raise _damaged(path, "not a journal of this format")
    return db


@contextmanager
def store_errors() -> Iterator[None]:
    """SQLite's errors while reading, as the hub's."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise StoreDamaged(f"the journal is damaged: {error}; look with `dormhub doctor`") from None
    except apsw.Error as error:
        raise StoreError(f"the journal cannot be read: {error}") from None


def damage(db: apsw.Connection, check: str = "integrity_check(20)") -> str:
    """What SQLite finds wrong with the whole file, in its words; empty when nothing."""
    try:
        words = [str(word) for (word,) in db.execute(f"PRAGMA {check}")]
    except apsw.CorruptError as error:  # too much to go on looking
        return str(error)
    return "" if words == ["ok"] else "; ".join(words).replace("\n", " ")


def _check_whole(path: Path, db: apsw.Connection, enough: Callable[[], bool]) -> None:
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    size, pages = path.stat().st_size, db.pragma("page_count") * db.pragma("page_size")
    if size < pages:
        raise _damaged(path, f"cut short: {size} bytes of {pages}")
    db.set_progress_handler(enough, 20_000)
    try:
        found = damage(db, "quick_check(2)")
    except apsw.InterruptError:
        found = ""  # the time allowed for a look at the start is over; nothing wrong was seen
    finally:
        db.set_progress_handler(None)
        db.execute("PRAGMA shrink_memory")  # what the check has read is not what will be needed
    if found:
        raise _damaged(path, found)


def open_file(path: Path, lock: Lock, clock: Clock, check_s: float) -> apsw.Connection:
    """The journal at this path, made when there never was one, looked over for `check_s` at most.

    Raises StoreDamaged for a file that is damaged, foreign or gone, StoreError when it cannot be used.
    """
    end_s = clock.monotonic_s() + check_s
    try:
        if not _check_header(path, lock.marked()):
            _create(path)
        db = connect_writer(path)
        try:
            _check_whole(path, db, lambda: clock.monotonic_s() > end_s)
            lock.mark()
        except BaseException:
            db.close()
            raise
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError) as error:
        raise _damaged(path, str(error)) from None
    except (apsw.Error, OSError) as error:
        raise StoreError(f"{path}: cannot be opened: {error}") from None
    return db
