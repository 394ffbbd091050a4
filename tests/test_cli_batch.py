"""`dormhub batch`, against the API of a small site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from hub.cli.batch import BatchRow, ItemRow
from tests.api_site import api_in_a_thread
from tests.command_line import app
from tests.site_folder import write_site


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("batch")
    with api_in_a_thread(folder) as (url, key):
        listen = url.removeprefix("http://")
        config = write_site(
            folder / "cli", site="", devices="", hub=f'[api]\nlisten = "{listen}"\n'
        )
        yield {"DORMHUB_CONFIG": str(config), "DORMHUB_KEY": key, "COLUMNS": "250"}


def dormhub(environment: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(app, ["batch", *arguments], env=environment)


def listed(environment: dict[str, str]) -> list[BatchRow]:
    said = dormhub(environment, "list", "--json")
    return [msgspec.json.decode(line, type=BatchRow) for line in said.stdout.splitlines()]


def test_a_dry_run_shows_each_room_and_why_some_are_left_out(environment: dict[str, str]) -> None:
    before = len(listed(environment))
    said = dormhub(environment, "run", "cut", "--building", "B1", "--room", "B2/101", "--dry-run")
    assert said.exit_code == 0
    assert "meter-2" in said.stdout
    assert "0 would be told" in said.stdout
    assert "left out: not prepaid" in said.stdout
    assert len(listed(environment)) == before


def test_a_batch_is_run_shown_stopped_and_exported(
    environment: dict[str, str], tmp_path: Path
) -> None:
    said = dormhub(environment, "run", "restore", "--floor", "B2/1", "--key", "k", "--wait", "0.1")
    assert (said.exit_code, "restore running; 1 waiting" in said.stdout) == (14, True)
    [row] = [row for row in listed(environment) if row.action == "restore"]
    shown = dormhub(environment, "show", row.id, "--json")
    items = [msgspec.json.decode(line, type=ItemRow) for line in shown.stdout.splitlines()]
    assert [(item.device, item.state) for item in items] == [("meter-2", "waiting")]
    assert "restore stopped: stopped by key/" in dormhub(environment, "stop", row.id).stdout
    ended = dormhub(environment, "show", row.id)
    assert (ended.exit_code, "stopped by key/" in ended.stdout) == (10, True)
    out = tmp_path / "results.csv"
    assert dormhub(environment, "export", row.id, "--out", str(out)).exit_code == 0
    assert "B2,1,101,meter-2,,skipped,stopped by key/" in out.read_text("utf-8-sig")


def test_what_the_hub_does_not_take_is_said_with_exit_code_10(environment: dict[str, str]) -> None:
    said = dormhub(environment, "run", "restore", "--room", "B1/999")
    assert said.exit_code == 10
    assert "body.scope.rooms.0: no device stands there" in said.stderr


def test_a_room_without_its_building_is_a_mistake_before_anybody_is_asked(
    environment: dict[str, str],
) -> None:
    said = dormhub(environment, "run", "restore", "--room", "101")
    assert "write BUILDING/ROOM" in str(said.exception)
