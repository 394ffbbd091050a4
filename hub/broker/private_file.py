"""Files that are there as a whole or not at all, and readable by nobody else at any moment."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put `content` at `path`, on disk when this returns; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(handle, mode)
        os.fsync(handle)
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
