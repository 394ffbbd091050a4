"""The ledger's database: connections that write and read, checks and migrations at opening.

On SQLite exactly one connection writes and checkpoints: libraries before 3.51.3 can lose commits when two
do (decision 009). Every other one is opened read-only, so that it cannot.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.pool import StaticPool

from hub.clock import Clock
from hub.errors import StoreDamaged, StoreError
from hub.ledger.lock import Lock

_MIGRATIONS = Path(__file__).parent / "migrations"
_CHECK_S = 2.0
_CHECK_STEPS = 20_000
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_WAL_LIMIT_BYTES = 64 * 2**20
_FULL = 2
_OF_THE_WORK = (IntegrityError, ProgrammingError, DataError, NotSupportedError)


def store_error(name: str, error: Exception) -> StoreError | None:
    """What this error says about the store; None when only the statement was at fault."""
    if not isinstance(error, DBAPIError) or isinstance(error, _OF_THE_WORK):
        return None
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _DAMAGE:
        return _damaged(name, str(error.orig))
    return None if code == sqlite3.SQLITE_ERROR else StoreError(f"{name}: {error.orig}")


def _damaged(name: str, what: str) -> StoreDamaged:
    return StoreDamaged(
        f"{name}: {what}; it is left as it is. Restore it from a backup, or move it and its -wal, "
        "-shm and .lock files away to begin an empty ledger"
    )


def place_of(place: Path | str) -> URL:
    """A file of SQLite, or the URL of any database."""
    if isinstance(place, Path):
        return URL.create("sqlite", database=str(place.absolute()))
    return make_url(place)


def file_of(url: URL) -> Path | None:
    """The file when this is SQLite."""
    if url.get_backend_name() != "sqlite":
        return None
    return Path(url.database or "").absolute()


def _on_connect(engine: Engine, set_up: Callable[[sqlite3.Connection], None], begin: str) -> None:
    """Transactions begin where SQLAlchemy says, also before DDL; Python's driver would not do that."""

    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        set_up(connection)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))


def _set_up_writer(connection: sqlite3.Connection) -> None:
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"journal_size_limit = {_WAL_LIMIT_BYTES}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    sync = connection.execute("PRAGMA synchronous").fetchone()[0]
    if (mode, sync) != ("wal", _FULL):
        raise StoreError("not WAL with synchronous FULL; acknowledging would be a lie")


def _set_up_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA query_only = ON")


def writing_engine(url: URL) -> Engine:
    """An engine with the one connection that writes."""
    engine = create_engine(url, poolclass=StaticPool)
    if file_of(url):
        _on_connect(engine, _set_up_writer, "BEGIN IMMEDIATE")
    return engine


def reading_engine(url: URL) -> Engine:
    """An engine whose connections only read, beside the writer or without one."""
    path = file_of(url)
    if not path:
        options = {"postgresql_readonly": True} if url.get_backend_name() == "postgresql" else {}
        return create_engine(url, execution_options=options)
    only = URL.create("sqlite", database=path.as_uri(), query={"mode": "ro", "uri": "true"})
    engine = create_engine(only)
    _on_connect(engine, _set_up_reader, "BEGIN")
    return engine


@contextmanager
def open_reader(place: Path | str) -> Iterator[Connection]:
    """One moment of a ledger, to look at from any process, also while a hub is writing it.

    Raises StoreError when there is none or it cannot be read, StoreDamaged when it is damaged.
    """
    url = place_of(place)
    name = url.render_as_string(hide_password=True)
    engine = reading_engine(url)
    try:
        with store_errors(name), engine.connect() as connection, connection.begin():
            yield connection
    finally:
        engine.dispose()


@contextmanager
def store_errors(name: str) -> Iterator[None]:
    """The database's errors as the hub's."""
    try:
        yield
    except DBAPIError as error:
        raise store_error(name, error) or StoreError(f"{name}: {error}") from None
    except OSError as error:
        raise StoreError(f"{name}: {error}") from None


def open_books(url: URL, lock: Lock | None, clock: Clock) -> Engine:
    """The engine that writes, its database checked and brought to the newest schema.

    Raises StoreDamaged for a file that is damaged, foreign or gone, StoreError when it cannot be used.
    """
    path = file_of(url)
    name = url.render_as_string(hide_password=True) if not path else str(path)
    if path and lock:
        _check_present(path, lock)
    engine = writing_engine(url)
    try:
        with store_errors(name):
            if path:  # for its owner alone; SQLite gives its -wal and -shm the same rights
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with engine.connect() as connection:
                if path:
                    _check_whole(name, connection, clock)
                _migrate(name, connection)
            if path and lock:
                _sync_folder(path.parent)
                lock.mark()
    except BaseException:
        engine.dispose()
        raise
    return engine


def _check_present(path: Path, lock: Lock) -> None:
    if not lock.marked():
        return
    if not path.exists():
        raise _damaged(str(path), "the ledger was here before and is missing")
    if not path.stat().st_size:
        raise _damaged(str(path), "the ledger was here before and is empty (0 bytes)")


def _check_whole(name: str, connection: Connection, clock: Clock) -> None:
    """A look of at most two seconds; a big file is not read to its end at every start."""
    end_s = clock.monotonic_s() + _CHECK_S
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.set_progress_handler(lambda: clock.monotonic_s() > end_s, _CHECK_STEPS)
    try:
        found = driver.execute("PRAGMA quick_check(2)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        found = [("ok",)]  # the time for a look is over; nothing wrong was seen
    finally:
        driver.set_progress_handler(None, 0)
    if found != [("ok",)]:
        raise _damaged(name, "; ".join(str(word) for (word,) in found).replace("\n", " "))


def _migrate(name: str, connection: Connection) -> None:
    """Every missing step in one transaction: killed half-way, the old schema is still there."""
    # Here, because whoever only reads a ledger should not wait for it.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    with connection.begin():
        tables = inspect(connection).get_table_names()
        if tables and "alembic_version" not in tables:
            raise _damaged(name, "a database of another program")
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            if "locate revision" not in str(error):
                raise StoreError(f"{name}: {error}") from None
            raise StoreError(
                f"{name} was written by a newer dormhub; start that one, or restore the backup "
                "made before the upgrade"
            ) from None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
