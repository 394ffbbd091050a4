"""The right to write a ledger's file, held by one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from hub.errors import StoreError

_MARK = b"dormhub ledger\n"


class Lock:
    """Held while entered, and given back when the process ends, however it ends."""

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
        """Whether a ledger has once been made beside this lock."""
        return os.pread(self._handle, len(_MARK), 0) == _MARK

    def mark(self) -> None:
        """Remember that there is a ledger now, so that its absence will be noticed."""
        os.pwrite(self._handle, _MARK, 0)
        os.fsync(self._handle)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)
