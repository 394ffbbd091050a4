"""Putting a backup back: wholly, into folders that hold no hub's data yet."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from hub import audit
from hub.backup.archive import CONFIG, DATA, DATABASES, Manifest, Told, read
from hub.config import HUB_FILE, HubConfig, load_config
from hub.errors import StoreDamaged, StoreError
from hub.ledger import open_reader


def restore(
    source: Path, *, data: Path, config: Path | None, passphrase: bytes, told: Told
) -> Manifest:
    """Make the data folder, and then the configuration folder where one is named, from a backup.

    Refused (StoreError) while one of them has content: move it away first. All is read, compared with its
    sums and checked beside the place, then moved there; a backup that is damaged (StoreDamaged) or a kill
    half-way leaves the place as it was; only between the two moves the data is there and the configuration
    is not: move it away, and begin again.
    """
    places = {DATA: data} | ({CONFIG: config} if config else {})
    for place in places.values():
        if place.exists() and any(place.iterdir()):
            raise StoreError(f"{place} is not empty: stop the hub and move it away first")
    beside = {top: place.with_name(place.name + ".restoring") for top, place in places.items()}
    try:
        for folder in beside.values():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, mode=0o700)
        manifest = read(source, passphrase, partial(_put, beside, told))
        _check(beside[DATA])
        for top, place in places.items():
            _move(beside[top], place)
    except OSError as error:
        raise StoreError(f"{error.filename or data}: {error.strerror}") from None
    finally:
        for folder in beside.values():
            shutil.rmtree(folder, ignore_errors=True)
    return manifest


def _put(beside: dict[str, Path], told: Told, name: str, pieces: Iterator[bytes]) -> None:
    top, _, inside = name.partition("/")
    if top not in beside:
        for _piece in pieces:  # read all the same: its sum is compared
            pass
        return
    told(name)
    path = beside[top] / inside
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(handle)


def _check(folder: Path) -> None:
    for name in DATABASES:
        if (folder / name).exists():
            with closing(sqlite3.connect(folder / name)) as connection:
                [(word,)] = connection.execute("PRAGMA integrity_check(1)").fetchall()
            if word != "ok":
                raise StoreDamaged(f"{name} in the backup: {word}")
    if (folder / "ledger.db").exists():
        with open_reader(folder / "ledger.db") as connection:
            broken = audit.verify(connection)
        if broken:
            raise StoreDamaged(f"the audit in the backup is broken at row {broken.number}")


def _move(new: Path, place: Path) -> None:
    if place.exists():
        place.rmdir()
    new.rename(place)
    handle = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def restored_config(source: Path, folder: Path, passphrase: bytes) -> HubConfig:
    """What the hub.toml in the backup says, as it would stand in `folder`; nothing is left on disk.

    Raises StoreError and StoreDamaged as `restore`, ConfigErrors when it cannot be read.
    """
    beside = folder.with_name(folder.name + ".looking")

    def take(name: str, pieces: Iterator[bytes]) -> None:
        content = b"".join(pieces) if name == f"{CONFIG}/{HUB_FILE}" else None
        for _piece in pieces:
            pass
        if content is not None:
            (beside / HUB_FILE).write_bytes(content)

    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True, mode=0o700)
        read(source, passphrase, take)
        return load_config(beside)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
