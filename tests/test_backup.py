"""Backups: made beside stores that are written, put back whole or not at all."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from sqlalchemy import Connection

from hub import Reading, SystemClock, audit
from hub.backup import Manifest, Whole, check, make, restore
from hub.errors import StoreDamaged, StoreError
from hub.journal import JournalReader, open_journal
from hub.ledger import open_ledger, open_reader
from tests.hub_process import hub_process
from tests.servers import free_port, wait_until
from tests.site_folder import write_site

PASSPHRASE = b"a long way to the sea"
SITE = '[links.nobody]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = 1\n'
DEVICES = "id,profile,link,address\n"


def quiet(_: str) -> None:
    """Nobody listens."""


def kept(folder: Path) -> Whole:
    """The two folders, with whatever databases there are."""
    data = folder / "data"
    stores = tuple(path.name for path in data.glob("*.db"))
    return Whole(data=data, config=folder / "config", databases=stores)


def made(folder: Path, passphrase: bytes = b"") -> Manifest:
    target = folder / "out.backup"
    return make(target, kept(folder), version="test", time_ms=1, passphrase=passphrase, told=quiet)


def small(folder: Path) -> Path:
    """A data and a configuration folder without a database."""
    for name in ("data/keys", "config"):
        (folder / name).mkdir(parents=True)
    (folder / "data/keys/secret.key").write_bytes(b"k" * 3_000_000)
    (folder / "data/journal.db-wal").write_bytes(b"not kept")
    (folder / "config/site.toml").write_text("name = 'x'\n")
    return folder


def reading(number: int) -> Reading:
    return Reading(device="m", time_ms=number, received_ms=number, values={"energy_import": number})


def noted(connection: Connection) -> None:
    """One row more in the audit."""
    audit.append(
        connection,
        actor="a",
        cause="",
        subject="s",
        action="written",
        before="",
        after="",
        time_ms=1,
    )


async def test_what_was_stored_before_a_backup_is_in_it_however_fast_is_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "data").mkdir()
    clock = SystemClock()
    stored: list[int] = []
    async with (
        open_journal(tmp_path / "data/journal.db", clock=clock) as journal,
        open_ledger(tmp_path / "data/ledger.db", clock=clock) as ledger,
    ):

        async def write() -> None:
            while True:
                await journal.append([reading(len(stored))])
                await ledger.run(noted)
                stored.append(len(stored))

        writing = asyncio.create_task(write())
        while len(stored) < 200:
            await asyncio.sleep(0)
        before = len(stored)
        await asyncio.to_thread(made, tmp_path)
        assert len(stored) > before
        writing.cancel()
        await asyncio.wait((writing,))
    restore(tmp_path / "out.backup", data=tmp_path / "new", config=None, passphrase=b"", told=quiet)
    with JournalReader(tmp_path / "new/journal.db") as reader:
        assert len(reader.query.read_after(0, 10**6)) >= before
    with open_reader(tmp_path / "new/ledger.db") as connection:
        assert audit.verify(connection) is None
        assert audit.head(connection).number >= before


@pytest.mark.parametrize("passphrase", [b"", PASSPHRASE])
def test_every_file_comes_back_as_it_was(tmp_path: Path, passphrase: bytes) -> None:
    manifest = made(small(tmp_path), passphrase)
    put = restore(
        tmp_path / "out.backup",
        data=tmp_path / "box/data",
        config=tmp_path / "box/config",
        passphrase=passphrase,
        told=quiet,
    )
    assert put == manifest
    assert [member.name for member in put.members] == ["data/keys/secret.key", "config/site.toml"]
    assert (tmp_path / "box/data/keys/secret.key").read_bytes() == b"k" * 3_000_000
    assert (tmp_path / "box/config/site.toml").read_text() == "name = 'x'\n"
    assert (tmp_path / "out.backup").stat().st_mode & 0o777 == 0o600
    assert (b"kkkk" in (tmp_path / "out.backup").read_bytes()) == (not passphrase)


@pytest.mark.parametrize("passphrase", [b"", PASSPHRASE])
@pytest.mark.parametrize("place", [0.01, 0.3, 0.6, 0.99])
def test_a_changed_byte_is_found_and_nothing_is_put_back(
    tmp_path: Path, passphrase: bytes, place: float
) -> None:
    made(small(tmp_path), passphrase)
    path = tmp_path / "out.backup"
    content = bytearray(path.read_bytes())
    # A tar ends with empty blocks that mean nothing; the last part that does lies before them.
    end = len(content.rstrip(b"\0"))
    content[int(place * (end - 1))] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError):
        restore(path, data=tmp_path / "new", config=None, passphrase=passphrase, told=quiet)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("passphrase", [b"", PASSPHRASE])
def test_a_backup_that_is_cut_off_is_not_taken(tmp_path: Path, passphrase: bytes) -> None:
    made(small(tmp_path), passphrase)
    path = tmp_path / "out.backup"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StoreDamaged):
        check(path, passphrase)


def test_a_wrong_passphrase_and_none_are_said_in_clear_words(tmp_path: Path) -> None:
    made(small(tmp_path), PASSPHRASE)
    with pytest.raises(StoreDamaged, match="passphrase is wrong"):
        check(tmp_path / "out.backup", b"another long passphrase")
    with pytest.raises(StoreError, match="--passphrase-file"):
        check(tmp_path / "out.backup", b"")


def test_nothing_is_put_over_something(tmp_path: Path) -> None:
    made(small(tmp_path))
    with pytest.raises(StoreError, match="is not empty"):
        restore(
            tmp_path / "out.backup",
            data=tmp_path / "data",
            config=None,
            passphrase=b"",
            told=quiet,
        )


def dormhub(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hub.cli.main", *arguments, "--config", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def hub_with_api(folder: Path) -> Path:
    told = f'[api]\nlisten = "127.0.0.1:{free_port()}"\n'
    return write_site(folder, site=SITE, devices=DEVICES, hub=told)


def test_a_box_is_moved_with_its_keys_and_goes_on(tmp_path: Path) -> None:
    folder = hub_with_api(tmp_path / "old" / "config")
    words = tmp_path / "words"
    words.write_bytes(PASSPHRASE)
    target = str(tmp_path / "out.backup")
    with hub_process(folder) as hub:
        wait_until(lambda: (hub.data / "admin.key").exists())
        saved = dormhub(folder, "backup", target, "--passphrase-file", str(words))
    assert (saved.returncode, saved.stderr) == (0, "")
    new = tmp_path / "new" / "config"
    options = ("--passphrase-file", str(words), "--with-config")
    assert dormhub(new, "restore", target, "--check", *options[:2]).returncode == 0
    put = dormhub(new, "restore", target, *options)
    assert put.returncode == 0
    assert "revoke anew" in put.stderr
    with hub_process(new):
        listed = dormhub(new, "keys", "list", "--json")
        assert listed.returncode == 0
        assert dormhub(new, "audit", "verify").returncode == 0
        again = dormhub(new, "restore", target, *options)
    assert again.returncode == 2
    assert "is not empty" in again.stderr


def test_a_killed_backup_leaves_no_half_file_under_its_name(tmp_path: Path) -> None:
    folder = small(tmp_path) / "config"
    (tmp_path / "data/large").write_bytes(os.urandom(50_000_000))
    target = tmp_path / "out.backup"
    stores = (tmp_path / "data/journal.db", tmp_path / "data/ledger.db")
    for store in stores:
        sqlite3.connect(store).close()
        store.touch()
    command = [sys.executable, "-m", "hub.cli.main", "backup", str(target), "--unsealed"]
    command += ["--config", str(folder)]
    backing = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: target.with_name("out.backup.new").exists())
    backing.send_signal(signal.SIGKILL)
    backing.wait(10)
    assert not target.exists()
    assert dormhub(folder, "backup", str(target), "--unsealed").returncode == 0
    assert len(check(target, b"").members) == 5


def test_a_box_without_its_stores_is_not_called_whole(tmp_path: Path) -> None:
    folder = small(tmp_path) / "config"
    refused = dormhub(folder, "backup", str(tmp_path / "out.backup"), "--unsealed")
    assert refused.returncode == 2
    assert "ledger.db is not there" in refused.stderr
    assert not (tmp_path / "out.backup").exists()


def test_an_open_backup_must_be_asked_for(tmp_path: Path) -> None:
    refused = dormhub(small(tmp_path) / "config", "backup", str(tmp_path / "out.backup"))
    assert refused.returncode == 2
    assert "--unsealed" in refused.stderr


def test_the_data_goes_where_the_restored_configuration_looks(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "config/hub.toml").write_text(f'data = "{tmp_path / "srv/dormhub"}"\n')
    made(tmp_path)
    new = tmp_path / "box" / "config"
    put = dormhub(new, "restore", str(tmp_path / "out.backup"), "--with-config")
    assert put.returncode == 0
    assert (tmp_path / "srv/dormhub/keys/secret.key").exists()
    assert not (tmp_path / "box/data").exists()


@pytest.mark.parametrize("name", ["data//outside", "data/./x", "data/../x", "/x", "other/x", "x"])
def test_a_member_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out.backup"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo()
        info.name = name
        tar.addfile(info, io.BytesIO())
    with pytest.raises(StoreDamaged, match="does not belong"):
        restore(path, data=tmp_path / "new", config=None, passphrase=b"", told=quiet)
