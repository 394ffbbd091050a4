from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from hub import SystemClock
from hub.cli.main import app
from hub.journal import open_journal
from tests.journal_child import reading


async def journal_of(folder: Path) -> Path:
    path = folder / "data" / "journal.db"
    path.parent.mkdir()
    async with open_journal(path, clock=SystemClock()) as journal:
        await journal.append([reading(number) for number in range(3000)])
    return path


def doctor(folder: Path) -> Result:
    return CliRunner().invoke(app, ["doctor", "--config", str(folder / "config")])


async def test_a_whole_journal_is_said_to_be_whole(tmp_path: Path) -> None:
    path = await journal_of(tmp_path)
    result = doctor(tmp_path)
    assert (result.exit_code, result.stdout) == (0, f"{path}: whole\n")


async def test_a_page_that_was_overwritten_is_found(tmp_path: Path) -> None:
    path = await journal_of(tmp_path)
    with path.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(b"\xff" * 4096 * 8)
    result = doctor(tmp_path)
    assert result.exit_code == 1
    assert f"{path}: damaged: " in result.stderr
