"""Power cuts without a plug: what a process wrote is recorded, and any moment of it rebuilt on a new disk.

    with recording(folder, log, [sys.executable, "-m", …]) as process: … process.kill()
    for cut in cuts(log, count, chance): folder = cut.rebuild(new_folder); cut.said

A rebuilt folder holds what was certainly on disk at that moment: a file's content as of its last fsync, a
name as of the last fsync of its folder. With `chance`, each sector and name written since then may or may not
be there as well, as a disk with a cache of its own would leave it. Any store can be judged by it.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from tests.servers import find_program

ROOT = Path(__file__).parents[2]
_HEADER = struct.Struct("=BQqI")
_SECTOR = 512
_MAPPED = "-shm"  # written through memory, and of no use after a power cut


class What(StrEnum):
    """What a record of the log says; the letters are the shim's."""

    NEW = "N"
    WRITE = "W"
    TRUNCATE = "T"
    SYNC = "S"
    SYNC_FOLDER = "D"
    UNLINK = "U"
    RENAME = "R"
    SAID = "A"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One thing the process did."""

    what: What
    file: int
    offset: int
    data: bytes


@dataclass(kw_only=True, slots=True)
class _File:
    """A file's content that is safe, and the records since."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[Record] = field(default_factory=list)

    def sync(self) -> None:
        for record in self.pending:
            _apply(self.safe, record)
        self.pending.clear()

    def survive(self, chance: random.Random | None) -> bytes:
        left = bytearray(self.safe)
        for record in self.pending if chance else []:
            for part in _sectors(record):
                if chance and chance.random() < 0.5:
                    _apply(left, part)
        return bytes(left)


def _apply(content: bytearray, record: Record) -> None:
    end = record.offset + len(record.data)
    if record.what is What.TRUNCATE:
        del content[record.offset :]
        end = record.offset
    content.extend(bytes(max(0, end - len(content))))
    content[record.offset : end] = record.data


def _sectors(record: Record) -> Iterator[Record]:
    if record.what is What.TRUNCATE:
        yield record
        return
    place, end = record.offset, record.offset + len(record.data)
    while place < end:
        after = min(end, place - place % _SECTOR + _SECTOR)
        data = record.data[place - record.offset : after - record.offset]
        yield Record(what=What.WRITE, file=record.file, offset=place, data=data)
        place = after


class Disk:
    """A folder's disk as the log goes on."""

    def __init__(self) -> None:
        self.said = b""
        self.lost = 0
        self._files: dict[int, _File] = {}  # by inode, the newest of each
        self._names: dict[str, _File] = {}
        self._safe_names: dict[str, _File] = {}

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """A disk on which this folder is safe, as it is."""
        disk = cls()
        for path in (path for path in folder.iterdir() if path.is_file()):
            file = _File(safe=bytearray(path.read_bytes()))
            disk._files[path.stat().st_ino] = disk._names[path.name] = file
        disk._safe_names = dict(disk._names)
        return disk

    def apply(self, record: Record) -> None:
        """One more record."""
        match record.what:
            case What.SAID:
                self.said += record.data
            case What.NEW:
                self._files[record.file] = self._names[record.data.decode()] = _File()
            case What.WRITE | What.TRUNCATE:
                self._files[record.file].pending.append(record)
            case What.SYNC:
                self._files[record.file].sync()
            case What.SYNC_FOLDER:
                self._safe_names = dict(self._names)
            case What.UNLINK:
                self._names.pop(record.data.decode(), None)  # sockets are made unseen
            case What.RENAME:
                old, new = record.data.decode().split("/")
                self._names[new] = self._names.pop(old)

    def rebuild(self, folder: Path, chance: random.Random | None) -> None:
        """Write what survives a power cut now into an empty folder."""
        folder.mkdir()
        self.lost = sum(len(file.pending) for file in self._names.values())
        for name, file in self._surviving_names(chance).items():
            if not name.endswith(_MAPPED):
                (folder / name).write_bytes(file.survive(chance))

    def _surviving_names(self, chance: random.Random | None) -> dict[str, _File]:
        if chance is None or chance.random() < 0.5:
            return self._safe_names
        return self._names


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """A folder after a power cut, with all the lines its process had said by then, and what was lost."""

    folder: Path
    said: list[str]
    lost: int


def shim(folder: Path) -> Path:
    """The compiled recorder; skips, or fails in CI, without a C compiler."""
    compiler = find_program("cc")
    made = folder / "powercut.so"
    source = Path(__file__).parent / "shim.c"
    command = [
        compiler,
        "-shared",
        "-fPIC",
        "-O2",
        "-Wall",
        "-Werror",
        "-o",
        str(made),
        str(source),
    ]
    subprocess.run(command, check=True, timeout=60)
    return made


@contextmanager
def recording(folder: Path, log: Path, module: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """`python -m module` with everything it does to `folder`, an empty one, recorded in `log`."""
    environment = os.environ | {
        "LD_PRELOAD": str(shim(log.parent)),
        "POWERCUT_FOLDER": str(folder),
        "POWERCUT_LOG": str(log),
    }
    command = [sys.executable, "-m", *module]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def records(log: Path) -> list[Record]:
    """The whole log; the last record may have been cut off by the kill."""
    content = log.read_bytes()
    found: list[Record] = []
    place = 0
    while place + _HEADER.size <= len(content):
        what, file, offset, length = _HEADER.unpack_from(content, place)
        place += _HEADER.size
        data = content[place : place + length]
        place += length
        found.append(Record(what=What(chr(what)), file=file, offset=offset, data=data))
    return found


def cuts(log: Path, into: Path, *, count: int, seed: int, caches: bool) -> Iterator[Cut]:
    """`count` power cuts at random moments of the log, in order, and one at its end.

    With `caches`, part of what was not fsynced survives as well.
    """
    done = records(log)
    chance = random.Random(seed)
    moments = {*(chance.randrange(len(done) + 1) for _ in range(count)), len(done)}
    disk = Disk()
    for number in range(len(done) + 1):
        if number in moments:
            folder = into / f"cut-{number}"
            disk.rebuild(folder, chance if caches else None)
            lines = disk.said.decode().split("\n")[:-1]
            yield Cut(folder=folder, said=lines, lost=disk.lost)
        if number < len(done):
            disk.apply(done[number])


def require_syncs(log: Path) -> None:
    """A log without fsync and without words would prove nothing."""
    seen = {record.what for record in records(log)}
    missing = {What.WRITE, What.SYNC, What.SYNC_FOLDER, What.SAID} - seen
    if missing:
        pytest.fail(f"the recorder saw none of {sorted(missing)}")
