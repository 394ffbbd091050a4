"""`dormhub settle` and `transfer`: from the command line through a running API to the sheet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from hub.auth import Role
from hub.campus.accounts.accounts import Utility
from hub.campus.accounts.prices import Price, enter_price
from hub.cli.settle import JobRow, fen_of
from hub.config import KEY_VARIABLE
from hub.errors import ConfigError
from tests.api_site import ApiSite, listening
from tests.command_line import app
from tests.test_api_life import site, turn

__all__ = ["site"]
Run = Callable[..., Result]


@pytest.fixture
async def run(site: ApiSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Run]:
    monkeypatch.setenv(KEY_VARIABLE, site.keys[Role.FINANCE])
    config = tmp_path / "config"
    async with listening(site) as (host, port):
        said = f'data = "{tmp_path}"\n[api]\nlisten = "{host}:{port}"\n'
        (config / "hub.toml").write_text(said, "utf-8")

        def run(*words: str) -> Result:
            return CliRunner().invoke(app, [*words, "--config", str(config)])

        yield run


def row(result: Result) -> JobRow:
    return msgspec.json.decode(result.stdout.splitlines()[0], type=JobRow)


async def test_rooms_are_settled_from_names_files_and_floors_each_by_a_job_of_its_own(
    run: Run, tmp_path: Path
) -> None:
    leaving = tmp_path / "leaving.csv"
    leaving.write_text("building,room\nB1,999\nB1,101\n", "utf-8")
    why = ("--reason", "graduated")
    found = await asyncio.to_thread(run, "settle", "run", "--file", str(leaving), "--json", *why)
    assert (found.exit_code, row(found).account) == (1, "room/B1/101/electricity")
    assert found.stderr.startswith("B1/999: Not Found")
    more = await asyncio.to_thread(run, "settle", "run", "--building", "B2", "--floor", "1", *why)
    assert (more.exit_code, len(more.stdout.splitlines())) == (0, 2)
    nothing = await asyncio.to_thread(run, "settle", "run", *why)
    assert isinstance(nothing.exception, ConfigError)
    listed = await asyncio.to_thread(run, "settle", "list", "--json", "--state", "open")
    assert len(listed.stdout.splitlines()) == 3


async def test_a_person_gives_the_last_word_and_gets_the_sheet(run: Run, site: ApiSite) -> None:
    price = Price(utility=Utility.ELECTRICITY, from_day=date(2020, 1, 1), rate=54_830)
    await site.parts.ledger.run(
        lambda connection: enter_price(
            connection, price, today=date(2020, 1, 1), actor="t", time_ms=1
        )
    )
    why = ("--reason", "graduated")
    job = row(await asyncio.to_thread(run, "settle", "run", "B1/101", "--json", *why)).id
    await turn(site, job)
    shown = await asyncio.to_thread(run, "settle", "show", job)
    assert "meter-1 was never heard" in shown.stdout
    word = await asyncio.to_thread(
        run, "settle", "word", job, "meter-1", "--counter", "7", "--reason", "read"
    )
    assert word.exit_code == 0, word.output
    await turn(site, job)
    sheet = await asyncio.to_thread(run, "settle", "sheet", job)
    assert sheet.stdout.startswith("part,time,what,amount,unit,note\nsettlement,")
    whole = await asyncio.to_thread(run, "settle", "sheet", job, "--json")
    assert msgspec.json.decode(whole.stdout)["readings"][0]["counter"] == 7
    opened = await asyncio.to_thread(run, "settle", "reopen", "B1/101", "--reason", "new")
    assert opened.stdout == "B1/101 is open\n"


async def test_a_transfer_is_begun_and_cancelled_and_credit_is_given(run: Run) -> None:
    begun = await asyncio.to_thread(run, "transfer", "run", "B2/101", "B2/102", "--reason", "moved")
    job = begun.stdout.split()[0]
    ended = await asyncio.to_thread(run, "settle", "cancel", job, "--reason", "stays")
    assert ": cancelled, ended" in ended.stdout
    numbered = ("--number", "N1", "--reason", "meter stood still")
    given = await asyncio.to_thread(run, "transfer", "credit", "B1/101", "12.30", *numbered)
    assert given.stdout == "desk/N1: 1230 fen for room/B1/101/electricity, accepted\n"


@pytest.mark.parametrize("text", ["", "1.234", "NaN", "1e-5", "yuan"])
def test_yuan_are_whole_fen_or_a_mistake(text: str) -> None:
    assert fen_of("12.3", "YUAN") == 1_230
    with pytest.raises(ConfigError, match="at most two places"):
        fen_of(text, "YUAN")
