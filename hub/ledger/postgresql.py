"""The ledger on a PostgreSQL server: one session that writes, and what becomes of it when the server goes.

The session that writes holds an advisory lock, so that the right to write and the means to end together
(decision 014). Before each COMMIT it notes its transaction's number and the end of the audit chain: a later
session asks by the number what became of an unanswered COMMIT, and by the chain whether anybody else has
written meanwhile.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn
from weakref import WeakSet

import psycopg
from psycopg.errors import LockNotAvailable
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from hub.clock import Clock
from hub.errors import StoreError
from hub.ledger.faults import InDoubt

_RIGHT = int.from_bytes(b"dormhub", "big")  # the advisory lock's number
_TURN_MS = 1_000  # patience with a hub that is just ending
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_PATIENCE: dict[str, str | int] = {  # of libpq; a URL may say otherwise
    "application_name": "dormhub",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_SETTINGS = {  # of the server, for a session; the last three so that it notices a hub's box that is gone
    "statement_timeout": "20s",
    "lock_timeout": "10s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
_END = "SELECT coalesce((SELECT number || ' ' || hash FROM audit_head), '')"
_SEAL = f"SELECT pg_current_xact_id_if_assigned()::text, ({_END})"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seal:
    """A transaction about to be committed, and how the audit chain ends with it."""

    transaction: str
    end: str


def _set_up(session: psycopg.Connection) -> None:
    """Bounds, which a rollback would undo if they were set in a transaction."""
    before, session.autocommit = session.autocommit, True
    for name, value in _SETTINGS.items():
        session.execute("SELECT set_config(%s, %s, false)", (name, value))
    session.autocommit = before


def _lasting(name: str, session: psycopg.Connection) -> None:
    """Have every commit on disk before its answer, or refuse."""
    query = "SELECT current_setting(%s), current_setting(%s), current_setting(%s)"
    names = ("fsync", "synchronous_commit", "server_encoding")
    fsync, commit, encoding = session.execute(query, names).fetchone() or ("", "", "")
    if fsync != "on":
        raise StoreError(f"{name}: the server runs with fsync off; acknowledging would be a lie")
    if encoding != "UTF8":
        raise StoreError(f"{name}: the database is {encoding}; make one with ENCODING 'UTF8'")
    if commit != "remote_apply":
        session.execute("SET synchronous_commit = on")


def _drawn(value: object) -> object:
    """The same without NUL, which a text of PostgreSQL cannot hold: its picture instead."""
    if isinstance(value, str):
        return value.replace("\0", "\u2400") if "\0" in value else value
    if isinstance(value, dict):
        return {name: _drawn(one) for name, one in value.items()}
    return [_drawn(one) for one in value] if isinstance(value, list | tuple) else value


def _on_execute(
    _connection: object, _cursor: object, statement: str, parameters: object, *_: object
) -> tuple[str, object]:
    return statement, _drawn(parameters)


def _patient(url: URL) -> URL:
    missing = {name: str(value) for name, value in _PATIENCE.items() if name not in url.query}
    return url.update_query_dict(missing)


def reading_engine(url: URL) -> Engine:
    """An engine whose connections only read; each of their transactions sees one moment."""
    engine = create_engine(
        _patient(url),
        isolation_level="REPEATABLE READ",
        execution_options={"postgresql_readonly": True},
        pool_pre_ping=True,
        hide_parameters=True,
    )
    event.listen(engine, "connect", lambda session, _: _set_up(session))
    event.listen(engine, "before_cursor_execute", _on_execute, retval=True)
    return engine


class ServerBooks:
    """The session that writes; belongs to one thread, but for `reader` and `hang_up`."""

    answer_s: float | None = 30.0

    def __init__(self, url: URL, name: str, clock: Clock) -> None:
        self.name = name
        self._url = _patient(url)
        self._clock = clock
        self._sessions: WeakSet[psycopg.Connection] = WeakSet()
        self._end: str | None = None
        self._seal: _Seal | None = None
        self._committed = False
        self._pause_s = 0.0
        self._next_try_s = 0.0
        self._refusal = ""
        self._barred = False
        self.reader = reading_engine(url)
        event.listen(self.reader, "connect", lambda session, _: self._sessions.add(session))
        self._engine = create_engine(
            url,
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
        )
        event.listen(self._engine, "before_cursor_execute", _on_execute, retval=True)

    @contextmanager
    def opening(self) -> Iterator[Connection]:
        """The connection, for what is done once before any work; a later session must find it so."""
        with self._engine.connect() as connection:
            with connection.begin():
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                yield connection
            self._end = connection.exec_driver_sql(_END).scalar_one()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction, on disk at the end. Raises InDoubt when COMMIT was not answered."""
        with self._engine.connect() as connection, connection.begin() as transaction:
            yield connection
            number, end = connection.exec_driver_sql(_SEAL).one()
            try:
                transaction.commit()
            except SQLAlchemyError as error:
                connection.invalidate()  # the next session asks what became of it
                if number is None:
                    raise
                self._seal = _Seal(transaction=number, end=end)
                raise InDoubt(f"{self.name}: no answer to COMMIT: {_words(error)}") from None
            self._end = end

    def committed(self) -> bool:
        """What became of the transaction in doubt. Raises StoreError while the server cannot say."""
        try:
            with self._engine.connect():
                pass
        except (SQLAlchemyError, StoreError):
            if self._seal:
                raise
        return self._committed

    def hang_up(self) -> None:
        """Give up a server that does not answer; for any thread. What is under way fails."""
        if not self._barred:
            self._refusal = f"{self.name}: no answer"
            self._next_try_s = self._clock.monotonic_s() + _FIRST_PAUSE_S
        for session in tuple(self._sessions):
            with (
                suppress(OSError, psycopg.Error),
                socket.socket(fileno=os.dup(session.fileno())) as line,
            ):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close every session, the one that writes last."""
        self.reader.dispose()
        self._engine.dispose()

    def _connect(self) -> psycopg.Connection:
        """A new session, which has the right to write; tried at growing pauses. Raises StoreError."""
        if self._barred or self._clock.monotonic_s() < self._next_try_s:
            raise StoreError(self._refusal)
        try:
            _, options = self._engine.dialect.create_connect_args(self._url)
            session = psycopg.connect(**options, autocommit=True)
            self._sessions.add(session)
            try:
                self._begin(session)
            except BaseException:
                session.close()
                raise
        except (psycopg.Error, StoreError) as error:
            self._refuse(error)
        session.autocommit = False
        self._pause_s = 0.0
        return session

    def _refuse(self, error: Exception) -> NoReturn:
        longer_s = min(max(self._pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._pause_s = longer_s
        self._next_try_s = self._clock.monotonic_s() + longer_s * (0.75 + self._clock.random() / 2)
        known = isinstance(error, StoreError)
        self._refusal = str(error) if known else f"{self.name}: {_words(error)}"
        raise StoreError(self._refusal) from None

    def _begin(self, session: psycopg.Connection) -> None:
        _lasting(self.name, session)
        session.execute(f"SET lock_timeout = {_TURN_MS}".encode())
        try:
            session.execute("SELECT pg_advisory_lock(%s)", (_RIGHT,))
        except LockNotAvailable:
            words = "is being written by another process; stop that hub first"
            raise StoreError(f"{self.name} {words}") from None
        _set_up(session)
        if self._seal:
            self._ask(session, self._seal)
        if self._end is not None and _one(session, _END) != self._end:
            self._barred = True
            words = "was written by another hub, or restored, since this one lost it"
            raise StoreError(f"{self.name} {words}; restart this hub")

    def _ask(self, session: psycopg.Connection, seal: _Seal) -> None:
        """With the right to write in hand, the session before is over, and so is its transaction."""
        try:
            state = _one(session, f"SELECT pg_xact_status('{seal.transaction}')")
        except psycopg.DataError:  # a server that has never heard of it
            state = "aborted"
        if state == "in progress":
            raise StoreError(f"{self.name}: the COMMIT before is still under way")
        # A server that crashed may have given the number to another; the end of the chain is nobody else's.
        moved = seal.end != self._end
        self._committed = state == "committed" and (not moved or _stands(session, seal.end))
        self._end = seal.end if self._committed else self._end
        self._seal = None


def _stands(session: psycopg.Connection, end: str) -> bool:
    """Whether the audit has this row."""
    number, _, hashed = end.partition(" ")
    return _one(session, f"SELECT hash FROM audit WHERE number = {int(number)}") == hashed


def _one(session: psycopg.Connection, query: str) -> object:
    row = session.execute(query.encode()).fetchone()
    return row[0] if row else None


def _words(error: Exception) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())
