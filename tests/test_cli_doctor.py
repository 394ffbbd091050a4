"""`dormhub doctor`: what is not well is found, with what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from hub import SystemClock, audit
from hub.checkup import Finding, Verdict
from hub.checkup.box import clock_sane, free_space, sqlite_versions, sync_time
from hub.journal import open_journal
from hub.ledger import open_ledger, tables
from tests.command_line import app
from tests.hub_process import HubProcess, hub_process
from tests.journal_child import reading
from tests.servers import Server, free_port, wait_until
from tests.site_folder import write_site

HEADER = "id,profile,link,address,room\n"
METER = HEADER + "meter-1,generic_meter,broker,meter-1,101\n"


async def stores_of(folder: Path) -> Path:
    """A site with a journal and a ledger; gives the journal's file."""
    site = f'[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {free_port()}\n'
    write_site(folder / "config", site=site, devices=METER)
    path = folder / "data" / "journal.db"
    path.parent.mkdir(mode=0o700)
    async with (
        open_journal(path, clock=SystemClock()) as journal,
        open_ledger(path.with_name("ledger.db"), clock=SystemClock()) as ledger,
    ):
        await journal.append([reading(number) for number in range(3000)])
        await ledger.run(
            lambda connection: audit.append(
                connection,
                actor="a",
                cause="",
                subject="s",
                action="b",
                before="",
                after="",
                time_ms=1,
            )
        )
    return path


def doctor(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["doctor", "--json", *options, "--config", str(folder)])


def found(result: Result) -> dict[str, Finding]:
    """The worst finding of each thing looked at."""
    rows = [msgspec.json.decode(line, type=Finding) for line in result.stdout.splitlines()]
    order = list(Verdict)
    return {row.what: row for row in sorted(rows, key=lambda row: order.index(row.verdict))}


def verdicts(result: Result) -> dict[str, Verdict]:
    return {what: finding.verdict for what, finding in found(result).items()}


async def test_whole_stores_are_said_to_be_whole_and_every_other_line_says_what_to_do(
    tmp_path: Path,
) -> None:
    await stores_of(tmp_path)
    result = doctor(tmp_path / "config")
    lines = found(result)
    assert lines["journal"].found.endswith("journal.db: whole")
    assert lines["audit"].found == "1 rows, all as written"
    assert verdicts(result)["rights"] is Verdict.WELL
    assert verdicts(result)["hub"] is Verdict.WRONG  # it does not run here
    assert [line.what for line in lines.values() if line.verdict is not Verdict.WELL] == [
        line.what for line in lines.values() if line.to_do
    ]
    assert result.exit_code == 1


async def test_a_page_of_the_journal_that_was_overwritten_is_found(tmp_path: Path) -> None:
    path = await stores_of(tmp_path)
    with path.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(b"\xff" * 4096 * 8)
    assert "damaged: " in found(doctor(tmp_path / "config"))["journal"].found


async def test_an_edited_audit_is_found(tmp_path: Path) -> None:
    path = await stores_of(tmp_path)
    async with open_ledger(path.with_name("ledger.db"), clock=SystemClock()) as ledger:
        await ledger.run(
            lambda connection: connection.execute(update(tables.audit).values(actor="nobody"))
        )
    assert found(doctor(tmp_path / "config", "--quick"))["audit"].verdict is Verdict.WRONG


async def test_keys_that_others_may_read_are_found(tmp_path: Path) -> None:
    path = await stores_of(tmp_path)
    (path.parent / "admin.key").write_text("secret")
    (path.parent / "admin.key").chmod(0o640)
    rights = found(doctor(tmp_path / "config", "--quick"))["rights"]
    assert rights.verdict is Verdict.WRONG
    assert "admin.key" in rights.found


def test_a_mistake_in_a_file_is_a_line(tmp_path: Path) -> None:
    write_site(tmp_path / "config", site="[links.x]\n", devices=HEADER)
    result = doctor(tmp_path / "config")
    assert found(result)["files"].verdict is Verdict.WRONG
    assert found(result)["data"].verdict is Verdict.WRONG
    assert result.exit_code == 1


@contextmanager
def running_beside(folder: Path, port: int) -> Iterator[HubProcess]:
    site = f'[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {port}\n'
    with hub_process(write_site(folder / "config", site=site, devices=METER)) as hub:
        yield hub


def test_beside_a_running_hub_a_link_that_is_down_says_since_when(tmp_path: Path) -> None:
    with running_beside(tmp_path, free_port()) as hub:
        wait_until(lambda: "link is down" in hub.log)
        result = doctor(hub.folder, "--quick")
    lines = found(result)
    assert lines["link broker"].found.startswith("down since ")
    assert lines["broker of broker"].verdict is Verdict.WRONG
    assert lines["inventory"].verdict is Verdict.WELL


def test_a_broker_that_lets_anybody_in_is_found_and_files_that_were_not_applied(
    tmp_path: Path, mosquitto: Server
) -> None:
    with running_beside(tmp_path, mosquitto.port) as hub:
        wait_until(lambda: "link is up" in hub.log)
        (hub.folder / "devices.csv").write_text(METER + "meter-2,generic_meter,broker,m2,102\n")
        lines = found(doctor(hub.folder, "--quick"))
    assert lines["links"].verdict is Verdict.WELL
    assert lines["broker of broker"].verdict is Verdict.NOTE
    assert lines["inventory"].to_do == "dormhub plan, then dormhub apply"


def test_the_table_is_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    write_site(tmp_path / "config", site="[links.x]\n", devices=HEADER)
    shown = CliRunner().invoke(app, ["doctor", "--config", str(tmp_path / "config")])
    assert "WRONG" in shown.stdout
    assert "to do" in shown.stdout


def test_the_box_is_measured(tmp_path: Path) -> None:
    assert "GB free" in free_space(tmp_path).found
    assert sync_time(tmp_path, SystemClock()).found.startswith("fsync ")
    assert os.listdir(tmp_path) == []
    assert sync_time(tmp_path / "nowhere", SystemClock()).verdict is Verdict.WRONG
    assert sqlite_versions().found.startswith("SQLite 3.")
    assert clock_sane(1_000_000, 2_000_000).verdict is Verdict.WRONG
    assert clock_sane(1_000_000, 1_000_000).verdict is Verdict.WELL
