"""The ledger's database: connections that write and read, checks and migrations at opening.

On SQLite exactly one connection writes and checkpoints: libraries before 3.51.3 can lose commits when two
do (decision 009). Every other one is opened read-only, so that it cannot. `hub.ledger.postgresql` is the
same on a server.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.pool import StaticPool

from hub.clock import Clock
from hub.errors import StoreDamaged, StoreError
from hub.ledger.faults import database_damaged, file_damaged, store_errors
from hub.ledger.lock import Lock

_MIGRATIONS = Path(__file__).parent / "migrations"
_FOREIGN = "a database of another program"
_CHECK_S = 2.0
_CHECK_STEPS = 20_000
_WAL_LIMIT_BYTES = 64 * 2**20
_FULL = 2


class Books(Protocol):
    """The one connection that writes. `answer_s`: a server that takes longer is given up."""

    @property
    def name(self) -> str:
        """The database, in messages."""

    @property
    def answer_s(self) -> float | None:
        """Patience with one transaction; None where only a disk is waited for."""

    @property
    def reader(self) -> Engine:
        """Connections that only read, for any thread."""

    def transaction(self) -> AbstractContextManager[Connection]:
        """A transaction, on disk at the end. Raises InDoubt when nobody knows whether it is."""

    def committed(self) -> bool:
        """What became of the transaction in doubt. Raises StoreError while nobody knows."""

    def hang_up(self) -> None:
        """Give up every statement under way; for any thread."""

    def close(self) -> None:
        """Close every connection, the one that writes last."""


class FileBooks:
    """A file of SQLite: what it says of a COMMIT is so."""

    answer_s: float | None = None

    def __init__(self, path: Path, engine: Engine) -> None:
        self.name = str(path)
        self.reader = reading_engine(place_of(path))
        self._engine = engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction, on disk at the end."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    def committed(self) -> bool:
        """Nothing is ever in doubt."""
        return False

    def hang_up(self) -> None:
        """A disk cannot be given up."""

    def close(self) -> None:
        """Close every connection, the one that writes last."""
        self.reader.dispose()
        self._engine.dispose()


def place_of(place: Path | URL | str) -> URL:
    """A file of SQLite, or the URL of a database."""
    if isinstance(place, Path):
        return URL.create("sqlite", database=str(place.absolute()))
    url = make_url(place)
    return url.set(drivername="postgresql+psycopg") if _on_server(url) else url


def _on_server(url: URL) -> bool:
    return url.get_backend_name() == "postgresql"


def _name_of(url: URL) -> str:
    """The database in messages: without user, password and options."""
    short = URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database)
    return str(file_of(url) or short.render_as_string())


@contextmanager
def _driver() -> Iterator[None]:
    """PostgreSQL's driver is an extra of this package."""
    try:
        yield
    except ImportError as error:
        wanted = "PostgreSQL needs its driver: pip install 'dormhub[postgresql]'"
        raise StoreError(f"{wanted} ({error})") from None


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
    """An engine with the one connection that writes a file."""
    engine = create_engine(url, poolclass=StaticPool, hide_parameters=True)
    _on_connect(engine, _set_up_writer, "BEGIN IMMEDIATE")
    return engine


def reading_engine(url: URL) -> Engine:
    """An engine whose connections only read, beside the writer or without one."""
    path = file_of(url)
    if not path:
        with _driver():
            from hub.ledger import postgresql
        return postgresql.reading_engine(url)
    only = URL.create("sqlite", database=path.as_uri(), query={"mode": "ro", "uri": "true"})
    engine = create_engine(only, hide_parameters=True)
    _on_connect(engine, _set_up_reader, "BEGIN")
    return engine


@contextmanager
def open_reader(place: Path | URL | str) -> Iterator[Connection]:
    """One moment of a ledger, to look at from any process, also while a hub is writing it.

    Raises StoreError when there is none or it cannot be read, StoreDamaged when it is damaged.
    """
    url = place_of(place)
    engine = reading_engine(url)
    try:
        with store_errors(_name_of(url)), engine.connect() as connection, connection.begin():
            yield connection
    finally:
        engine.dispose()


def open_books(url: URL, lock: Lock | None, clock: Clock) -> Books:
    """The connection that writes, its database checked and brought to the newest schema.

    Raises StoreDamaged for one that is damaged, foreign or gone, StoreError when it cannot be used.
    """
    path = file_of(url)
    return _open_file(path, lock, clock) if path and lock else _open_server(url, clock)


def _open_server(url: URL, clock: Clock) -> Books:
    with _driver():
        from hub.ledger.postgresql import ServerBooks
    books = ServerBooks(url, _name_of(url), clock)
    try:
        with store_errors(books.name), books.opening() as connection:
            _migrate(connection, database_damaged(books.name, _FOREIGN), books.name)
    except BaseException:
        books.close()
        raise
    return books


def _open_file(path: Path, lock: Lock, clock: Clock) -> Books:
    _check_present(path, lock)
    engine = writing_engine(place_of(path))
    name = str(path)
    try:
        with store_errors(name):
            # for its owner alone; SQLite gives its -wal and -shm the same rights
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with engine.connect() as connection:
                _check_whole(name, connection, clock)
                with connection.begin():
                    _migrate(connection, file_damaged(name, _FOREIGN), name)
            _sync_folder(path.parent)
            lock.mark()
    except BaseException:
        engine.dispose()
        raise
    return FileBooks(path, engine)


def _check_present(path: Path, lock: Lock) -> None:
    if not lock.marked():
        return
    if not path.exists():
        raise file_damaged(str(path), "the ledger was here before and is missing")
    if not path.stat().st_size:
        raise file_damaged(str(path), "the ledger was here before and is empty (0 bytes)")


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
        raise file_damaged(name, "; ".join(str(word) for (word,) in found).replace("\n", " "))


def _migrate(connection: Connection, foreign: StoreDamaged, name: str) -> None:
    """Every missing step in the caller's transaction: killed half-way, the old schema is still there."""
    # Here, because whoever only reads a ledger should not wait for it.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    tables = inspect(connection).get_table_names()
    if tables and "alembic_version" not in tables:
        raise foreign
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
