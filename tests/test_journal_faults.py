"""The journal when the process dies, the disk fills up, or the file is not what it should be."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hub import Poison, Reading, StoreDamaged, StoreError, SystemClock
from hub.journal import JournalOptions, JournalReader, open_journal
from tests.journal_child import reading

ROOT = Path(__file__).parent.parent


def child(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.journal_child", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


async def contents(path: Path) -> list[tuple[str, int]]:
    async with open_journal(path, clock=SystemClock()) as journal:
        found = []
        for device in range(7):
            series = await journal.history(f"meter-{device}", "energy_import", 0, 2**42)
            found += [(f"meter-{device}", value) for value in series.values]
        return sorted((name, int(value)) for name, value in found)


@pytest.mark.parametrize("lines", [1, 40, 300])
async def test_after_a_kill_everything_acknowledged_is_there_once(
    tmp_path: Path, lines: int
) -> None:
    path = tmp_path / "journal.db"
    with child("append", str(path)) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split("\n") if line]
    found = await contents(path)
    numbers = sorted(number for _, number in found)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= said[-1]
    with JournalReader(path) as reader:
        assert reader.damage() == ""


async def test_a_full_disk_refuses_and_heals_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    process = child("full", str(path), "400000")
    said = (await asyncio.to_thread(process.communicate, timeout=100))[0].splitlines()
    assert process.returncode == 0
    assert said[0].startswith("refused")
    assert "StoreError" in said[0]
    assert said[1:] == ["healthy False", "healthy True", "stored True"]


@pytest.fixture
async def journal_file(tmp_path: Path) -> Path:
    """A closed journal of some thousand readings."""
    path = tmp_path / "journal.db"
    async with open_journal(path, clock=SystemClock()) as journal:
        await journal.append([reading(number) for number in range(3000)])
    return path


async def refusal(path: Path) -> str:
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(StoreDamaged) as caught:
        async with open_journal(path, clock=SystemClock()):
            pass
    assert (path.read_bytes() if path.exists() else None) == before
    assert str(path) in str(caught.value)
    assert "restore it from a backup" in str(caught.value)
    return str(caught.value)


async def test_a_text_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_text("dear diary")
    assert "not a journal" in await refusal(path)
    with pytest.raises(StoreDamaged):
        JournalReader(path)


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE a (b)")
    db.close()
    assert "another program" in await refusal(path)
    with pytest.raises(StoreDamaged):
        JournalReader(path)


async def test_a_journal_cut_short_is_refused(journal_file: Path) -> None:
    os.truncate(journal_file, journal_file.stat().st_size // 2)
    await refusal(journal_file)


async def test_an_emptied_journal_is_not_taken_for_a_new_one(journal_file: Path) -> None:
    os.truncate(journal_file, 0)
    assert "empty" in await refusal(journal_file)


async def test_a_journal_that_is_gone_is_not_made_anew(journal_file: Path) -> None:
    journal_file.unlink()
    assert "missing" in await refusal(journal_file)


async def test_a_journal_of_another_format_is_refused(journal_file: Path) -> None:
    db = sqlite3.connect(journal_file)
    db.execute("PRAGMA user_version = 9")
    db.close()
    assert "format 9" in await refusal(journal_file)


async def test_overwritten_pages_are_found_at_the_start(journal_file: Path) -> None:
    with journal_file.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 8)
    await refusal(journal_file)


async def test_damage_found_while_running_is_said_and_turns_health_red(journal_file: Path) -> None:
    async with open_journal(journal_file, clock=SystemClock()) as journal:
        with journal_file.open("r+b") as file:
            file.seek(4096 * 20)
            file.write(b"\xff" * (journal_file.stat().st_size - 4096 * 20))
        with pytest.raises(StoreDamaged):
            await journal.append([reading(number) for number in range(-3000, 3000)])
        assert not journal.stats().healthy
        with pytest.raises(StoreDamaged):
            await journal.read_after(0, 10_000)


async def test_a_second_writer_is_refused_in_clear_words(journal_file: Path) -> None:
    async with open_journal(journal_file, clock=SystemClock()):
        with pytest.raises(StoreError, match="written by another process"):
            async with open_journal(journal_file, clock=SystemClock()):
                pass
    async with open_journal(journal_file, clock=SystemClock()):
        pass


async def test_a_folder_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        async with open_journal(tmp_path / "no" / "journal.db", clock=SystemClock()):
            pass


async def test_after_closing_an_append_is_refused(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        pass
    with pytest.raises(StoreError, match="closed"):
        await journal.append([reading(1)])


async def test_what_cannot_be_written_fails_alone_and_the_writer_lives_on(tmp_path: Path) -> None:
    half = "\ud800"  # half a character, which no encoding takes
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        odd = Reading(device="m", time_ms=1, received_ms=1, values={"order": half})
        poison = Poison(time_ms=1, link="l", source=half, reason="r", payload=b"")
        with pytest.raises(StoreError, match="cannot be stored"):
            await journal.append([odd])
        with pytest.raises(StoreError, match="cannot be stored"):
            await journal.keep_poison([poison])
        assert (await journal.append([reading(1)])).stored == 1
        assert journal.stats().healthy


async def test_a_cancelled_append_leaves_no_place_taken(tmp_path: Path) -> None:
    options = JournalOptions(queue_readings=1)
    async with open_journal(tmp_path / "journal.db", clock=SystemClock(), options=options) as j:
        tasks = [asyncio.create_task(j.append([reading(n)]), name=f"{n}") for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await j.append([reading(99)])
        assert j.stats().waiting == 0
