"""The ledger when its process dies, its disk fills up, or its file is not what it should be."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, insert, inspect, select

import hub.ledger
from hub import StoreDamaged, StoreError, SystemClock, audit
from hub.ledger import open_ledger
from hub.ledger.books import place_of, writing_engine
from hub.ledger.tables import commands, latches, metadata
from tests.ledger_child import add, audited, numbers

ROOT = Path(__file__).parent.parent
CLOCK = SystemClock()
NEWEST = "0004"
OLDER = ["0001", "0002", NEWEST]


def child(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ledger_child", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def open_once(path: Path) -> None:
    async with asyncio.timeout(2), open_ledger(path, clock=CLOCK):
        pass


@pytest.mark.parametrize("lines", [1, 100, 1500])
async def test_after_a_kill_everything_that_returned_is_there_and_nothing_by_halves(
    place: Path | str, lines: int
) -> None:
    with child("write", str(place).removesuffix("/ledger.db")) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split("\n") if line]
    async with open_ledger(place, clock=CLOCK) as ledger:
        found = await ledger.read(numbers)
        assert set(said) <= set(found)
        assert await ledger.read(audited) == len(found)
        assert await ledger.read(audit.verify) is None


async def test_a_full_disk_refuses_and_heals_without_a_restart(tmp_path: Path) -> None:
    process = child("full", str(tmp_path), "400000")
    said = (await asyncio.to_thread(process.communicate, timeout=100))[0].splitlines()
    assert process.returncode == 0
    assert said[0].startswith("refused StoreError")
    assert said[1:] == ["healthy False", "readable True", "healthy True", "stored True"]


async def test_a_second_process_is_refused_within_two_seconds_in_clear_words(
    tmp_path: Path,
) -> None:
    with child("hold", str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match="written by another process; stop that hub first"):
            await open_once(tmp_path / "ledger.db")
        process.communicate("", timeout=30)
    await open_once(tmp_path / "ledger.db")


@pytest.fixture
async def ledger_file(tmp_path: Path) -> Path:
    """A closed ledger of some hundred rows."""
    path = tmp_path / "ledger.db"
    async with open_ledger(path, clock=CLOCK) as ledger:
        await asyncio.gather(
            *(ledger.run(lambda connection, n=n: add(connection, n)) for n in range(500))
        )
    return path


async def refusal(path: Path) -> str:
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(StoreDamaged) as caught:
        await open_once(path)
    assert (path.read_bytes() if path.exists() else None) == before
    assert str(path) in str(caught.value)
    assert "Restore it from a backup" in str(caught.value)
    return str(caught.value)


async def test_a_text_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("dear diary, " * 1000)
    assert "not a database" in await refusal(path)


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE a (b)")
    db.close()
    assert "another program" in await refusal(path)


async def test_a_ledger_cut_short_is_refused(ledger_file: Path) -> None:
    os.truncate(ledger_file, ledger_file.stat().st_size // 2)
    await refusal(ledger_file)


async def test_an_emptied_ledger_is_not_taken_for_a_new_one(ledger_file: Path) -> None:
    os.truncate(ledger_file, 0)
    assert "empty" in await refusal(ledger_file)


async def test_a_ledger_that_is_gone_is_not_made_anew(ledger_file: Path) -> None:
    ledger_file.unlink()
    assert "missing" in await refusal(ledger_file)


async def test_overwritten_pages_are_found_at_the_start(ledger_file: Path) -> None:
    with ledger_file.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\x55" * 4096 * 10)
    await refusal(ledger_file)


async def test_a_folder_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        await open_once(tmp_path / "nowhere" / "ledger.db")


def make_old(engine: Engine, step: str) -> None:
    """A ledger as the hub that knew no more than `step` left it, with one latch in it."""
    config = Config()
    folder = Path(hub.ledger.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, step)
        row = {"name": "fire", "latched": True, "changed_ms": 1, "actor": "hub"}
        connection.execute(insert(latches).values(**row))
    engine.dispose()


def tables_and_latches(connection: Connection) -> tuple[set[str], list[str]]:
    names = set(inspect(connection).get_table_names()) - {"alembic_version"}
    return names, list(connection.scalars(select(latches.c.name)))


@pytest.mark.parametrize("step", OLDER)
async def test_an_older_ledger_is_brought_up_with_its_rows(tmp_path: Path, step: str) -> None:
    make_old(writing_engine(place_of(tmp_path / "ledger.db")), step)
    async with open_ledger(tmp_path / "ledger.db", clock=CLOCK) as ledger:
        assert await ledger.read(tables_and_latches) == (set(metadata.tables), ["fire"])


@pytest.mark.parametrize("statement", range(5, 11))
async def test_a_migration_killed_at_any_statement_leaves_a_ledger_that_opens(
    tmp_path: Path, statement: int
) -> None:
    make_old(writing_engine(place_of(tmp_path / "ledger.db")), "0001")
    process = child("migrate", str(tmp_path), str(statement))
    await asyncio.to_thread(process.communicate)
    assert process.returncode == -signal.SIGKILL
    db = sqlite3.connect(tmp_path / "ledger.db")
    found = db.execute("SELECT version_num FROM alembic_version").fetchall()
    assert found == [("0001",)]
    assert db.execute("SELECT name FROM latches").fetchall() == [("fire",)]
    db.close()
    async with open_ledger(tmp_path / "ledger.db", clock=CLOCK) as ledger:
        assert await ledger.read(tables_and_latches) == (set(metadata.tables), ["fire"])


@pytest.mark.parametrize("statement", [2, 8, 14, 20])
async def test_a_first_start_killed_at_any_statement_can_be_begun_again(
    tmp_path: Path, statement: int
) -> None:
    process = child("migrate", str(tmp_path), str(statement))
    await asyncio.to_thread(process.communicate)
    assert process.returncode == -signal.SIGKILL
    async with open_ledger(tmp_path / "ledger.db", clock=CLOCK) as ledger:
        assert (
            await ledger.read(lambda connection: connection.scalar(select(commands.c.id))) is None
        )


async def test_a_newer_hubs_ledger_is_refused_in_clear_words(ledger_file: Path) -> None:
    db = sqlite3.connect(ledger_file)
    db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match="newer dormhub"):
        await open_once(ledger_file)
