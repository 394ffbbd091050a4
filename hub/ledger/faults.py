"""The database's errors as the hub's: which speak of the store, and which of a statement alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)

from hub.errors import StoreDamaged, StoreError

_OF_THE_WORK = (IntegrityError, ProgrammingError, DataError, NotSupportedError)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SERVER_DAMAGE = ("XX001", "XX002")
_WENT_ON_AFTER_A_FAILURE = "25P02"  # the statement before this one is at fault


class InDoubt(StoreError):
    """The server went away while it committed; whether it did, only the server can say."""


def store_error(name: str, error: Exception) -> StoreError | None:
    """What this error says about the store; None when only the statement was at fault."""
    if not isinstance(error, DBAPIError) or isinstance(error, _OF_THE_WORK):
        return None
    said = " ".join(str(error.orig).split())
    state = getattr(error.orig, "sqlstate", None)
    if state in _SERVER_DAMAGE:
        return database_damaged(name, said)
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _DAMAGE:
        return file_damaged(name, said)
    of_the_work = code == sqlite3.SQLITE_ERROR or state == _WENT_ON_AFTER_A_FAILURE
    return None if of_the_work else StoreError(f"{name}: {said}")


def file_damaged(name: str, what: str) -> StoreDamaged:
    """A file that a person must look at."""
    return StoreDamaged(
        f"{name}: {what}; it is left as it is. Restore it from a backup, or move it and its -wal, "
        "-shm and .lock files away to begin an empty ledger"
    )


def database_damaged(name: str, what: str) -> StoreDamaged:
    """A server's database that a person must look at."""
    return StoreDamaged(
        f"{name}: {what}; it is left as it is. Restore it from a backup, or name an empty database"
    )


@contextmanager
def store_errors(name: str) -> Iterator[None]:
    """The database's errors as the hub's."""
    try:
        yield
    except DBAPIError as error:
        raise store_error(name, error) or StoreError(f"{name}: {error}") from None
    except OSError as error:
        raise StoreError(f"{name}: {error}") from None
