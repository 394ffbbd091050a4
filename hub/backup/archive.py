"""A backup: one tar file, its manifest last, each member with its SHA-256.

The ledger is copied before the journal, so that no counter that is already charged is missing from the
readings. Each copy is one moment of its database, taken by SQLite's own backup beside the running hub.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from hub.backup.seal import MAGIC, Opening, Sealing
from hub.errors import StoreDamaged, StoreError

DATABASES = ("ledger.db", "journal.db")  # in this order
MANIFEST = "manifest.json"
DATA, CONFIG = "data", "config"
FORMAT = 1
_SUFFIXES_LEFT = (".lock", "-wal", "-shm", ".new", ".sock", ".tmp")
_PIECE_BYTES = 1 << 20
_BUSY_S = 60.0

Told = Callable[[str], None]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a backup."""

    name: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. `left` names what should be in it and is not, with the reason."""

    format: int
    version: str
    time_ms: int
    members: list[Member]
    left: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """What is to be kept: the data folder with the databases that must be in it, and the configuration.

    `left` says what else would belong to it and is not here.
    """

    data: Path
    config: Path
    databases: tuple[str, ...] = DATABASES
    left: tuple[str, ...] = ()


def make(
    target: Path, whole: Whole, *, version: str, time_ms: int, passphrase: bytes, told: Told
) -> Manifest:
    """Write the backup; `target` is there wholly or not at all, for its owner alone.

    An empty passphrase leaves it unencrypted. `told` hears each file's name as it begins. Raises StoreError.
    """
    new = target.with_name(target.name + ".new")
    _check_place(target, whole)
    try:
        new.unlink(missing_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            with _sealed(file, passphrase) as inner:
                manifest = _write(inner, whole, new, version=version, time_ms=time_ms, told=told)
            file.flush()
            os.fsync(handle)
        new.rename(target)
        _sync(target.parent)
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        raise StoreError(f"{target}: {error}") from None
    finally:
        new.unlink(missing_ok=True)
    return manifest


def _check_place(target: Path, whole: Whole) -> None:
    """Refuse before anything is written: a backup without its stores, or one that would fill a disk."""
    for database in whole.databases:
        if not (whole.data / database).exists():
            raise StoreError(
                f"{whole.data / database} is not there: mend `data` in hub.toml, or name the folder of "
                "the hub's own configuration"
            )
    copies = [path.stat().st_size for _, path in _files(whole)]
    needed = sum(copies) + max(copies, default=0)
    free = shutil.disk_usage(target.absolute().parent).free
    if free < needed:
        raise StoreError(
            f"{target.parent}: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed: name another place"
        )


@contextmanager
def _sealed(file: IO[bytes], passphrase: bytes) -> Iterator[IO[bytes]]:
    if not passphrase:
        yield file
        return
    sealing = Sealing(file, passphrase)
    yield sealing  # type: ignore[misc]  # a RawIOBase is what tarfile needs of a file
    sealing.close()


def _write(
    file: IO[bytes], whole: Whole, beside: Path, *, version: str, time_ms: int, told: Told
) -> Manifest:
    members: list[Member] = []
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, path in _files(whole):
            told(name)
            is_store = path.name in DATABASES and path.parent == whole.data
            members.append(
                _add_copy(tar, name, path, beside) if is_store else _add(tar, name, path)
            )
        manifest = Manifest(
            format=FORMAT, version=version, time_ms=time_ms, members=members, left=list(whole.left)
        )
        content = msgspec.json.encode(manifest)
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(content), 0o600
        tar.addfile(info, io.BytesIO(content))
    return manifest


def _files(whole: Whole) -> Iterator[tuple[str, Path]]:
    for database in DATABASES:
        if (whole.data / database).exists():
            yield f"{DATA}/{database}", whole.data / database
    for top, folder in ((DATA, whole.data), (CONFIG, whole.config)):
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder).as_posix()
            if inside.endswith(_SUFFIXES_LEFT) or (top == DATA and inside in DATABASES):
                continue
            if stat.S_ISREG(path.lstat().st_mode):
                yield f"{top}/{inside}", path


def _add_copy(tar: tarfile.TarFile, name: str, path: Path, beside: Path) -> Member:
    """A database as it is at one moment; its writer goes on meanwhile.

    The copy lies for a moment where the backup goes to: the hub's own disk is not filled by it.
    """
    copy = beside.with_name(f"{beside.name}.{path.name}.tmp")
    copy.unlink(missing_ok=True)
    try:
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
        with closing(source), closing(sqlite3.connect(copy)) as target:
            source.execute("PRAGMA query_only = ON")
            # All pages in one step: in several, a writer that never rests would make it begin anew.
            source.backup(target, pages=-1)
        return _add(tar, name, copy)
    finally:
        copy.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, name: str, path: Path) -> Member:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, stat.S_IMODE(path.stat().st_mode)
        # tarfile reads exactly `size` bytes: a file that grows meanwhile is kept as it was.
        tar.addfile(info, _Counted(file, digest))  # type: ignore[arg-type]
    return Member(name=name, size_bytes=size, sha256=digest.hexdigest())


class _Counted:
    """A file whose content is hashed as it is read."""

    def __init__(self, file: IO[bytes], digest: hashlib._Hash) -> None:
        self._file = file
        self._digest = digest

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self._digest.update(data)
        return data


@contextmanager
def opened(source: Path, passphrase: bytes) -> Iterator[tarfile.TarFile]:
    """The backup's tar, to be read from its beginning. Raises StoreError and StoreDamaged."""
    try:
        with source.open("rb") as file:
            sealed = file.read(len(MAGIC)) == MAGIC
            file.seek(0)
            if sealed and not passphrase:
                raise StoreError(f"{source} is encrypted: give its --passphrase-file")
            inner: object = io.BufferedReader(Opening(file, passphrase)) if sealed else file
            with tarfile.open(fileobj=inner, mode="r|") as tar:  # type: ignore[call-overload]
                yield tar
    except tarfile.TarError as error:
        raise StoreDamaged(f"{source}: not a backup, or damaged: {error}") from None
    except OSError as error:
        raise StoreError(f"{source}: {error}") from None


def read(source: Path, passphrase: bytes, take: Callable[[str, Iterator[bytes]], None]) -> Manifest:
    """Give each member to `take`, then compare all with the manifest.

    Raises StoreDamaged when something is missing, changed, or was not written by a backup.
    """
    found: list[Member] = []
    manifest: Manifest | None = None
    with opened(source, passphrase) as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            if file is None or not _is_plain(info.name):
                raise StoreDamaged(f"{source}: {info.name[:80]!r} does not belong in a backup")
            if info.name == MANIFEST:
                manifest = _manifest(source, file.read())
                continue
            digest = hashlib.sha256()
            take(info.name, _pieces(file, digest))
            found.append(Member(name=info.name, size_bytes=info.size, sha256=digest.hexdigest()))
    if manifest is None:
        raise StoreDamaged(f"{source}: it ends without its manifest")
    if found != manifest.members:
        changed = {item.name for item in found} ^ {item.name for item in manifest.members}
        changed |= {item.name for item in set(found) ^ set(manifest.members)}
        raise StoreDamaged(f"{source}: not as it was written: {', '.join(sorted(changed))}")
    return manifest


def check(source: Path, passphrase: bytes) -> Manifest:
    """Read the whole backup and put nothing anywhere. Raises StoreError and StoreDamaged."""

    def look(_: str, pieces: Iterator[bytes]) -> None:
        for _piece in pieces:
            pass

    return read(source, passphrase, look)


def _is_plain(name: str) -> bool:
    parts = PurePosixPath(name).parts
    inside = len(parts) > 1 and parts[0] in (DATA, CONFIG) and ".." not in parts
    # Only as it was written: "data//x" has the same parts, and joined to a folder it leaves it.
    return name == MANIFEST or (inside and "/".join(parts) == name)


def _manifest(source: Path, content: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise StoreDamaged(f"{source}: manifest: {error}") from None
    if manifest.format != FORMAT:
        raise StoreError(f"{source} was made by dormhub {manifest.version}; restore it with that")
    return manifest


def _pieces(file: IO[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
        yield piece


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
