"""Puts a file in the place of another so that there is always one of the two, whole."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hub.errors import ConfigError, unreadable

_MODE = 0o644
_MARK = ".importing"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Held by one import at a time, and given back however it ends; raises ConfigError when another has it.

    What a killed one left behind is removed.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise unreadable(folder, error) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.glob(f".*{_MARK}"):
            left.unlink(missing_ok=True)
        yield
    except BlockingIOError:
        found, hint = "another import is at work here", "wait until it is done"
        raise ConfigError(file=str(folder), key="folder", found=found, hint=hint) from None
    finally:
        os.close(handle)


def save(path: Path, content: bytes) -> None:
    """Put `content` in a file, on disk when this returns; raises ConfigError.

    Two at once for one file must be kept apart, as `alone_in` does.
    """
    try:
        _save(path.resolve(), content)
    except OSError as error:
        found, hint = error.strerror or str(error), "name a place that this user may write"
        raise ConfigError(file=str(path), key="file", found=found, hint=hint) from None


def save_out(path: Path, content: bytes, config: Path) -> None:
    """The same for what a person takes away: never in the folder `config`, whose files the hub reads."""
    check_out(path, config)
    save(path, content)


def check_out(path: Path | None, config: Path) -> None:
    """Raise ConfigError for a file that `save_out` would not write."""
    if path is not None and path.resolve().is_relative_to(config.resolve()):
        found = f"{path} is in the configuration folder"
        hint = "name a place outside of it; what comes back is taken by `dormhub import`"
        raise ConfigError(file="command line", key="file to write", found=found, hint=hint)


def _save(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}{_MARK}")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), path.stat().st_mode & 0o7777 if path.exists() else _MODE)
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        with suppress(OSError):
            new.unlink()
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
