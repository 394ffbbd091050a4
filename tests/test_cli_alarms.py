"""What wants a person, on the command line; and the end of the audit, noted and looked for again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from hub.cli.alarms import AlarmRow
from tests.hub_process import HubProcess, hub_process
from tests.servers import free_port, wait_until
from tests.site_folder import write_site

SITE = f'[links.nobody]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {free_port()}\n'


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub without a fire input, whose only link is away."""
    folder = tmp_path_factory.mktemp("alarms") / "config"
    told = f'[api]\nlisten = "127.0.0.1:{free_port()}"\n'
    devices = "id,profile,link,address\n"
    with hub_process(write_site(folder, site=SITE, devices=devices, hub=told)) as running:
        wait_until(lambda: "audit ends" in running.log)
        yield running


def dormhub(hub: HubProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "250", "DORMHUB_CONFIG": str(hub.folder)}
    return subprocess.run(
        [sys.executable, "-m", "hub.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )


def test_alarms_shows_what_wants_a_person_and_says_so_by_its_exit_code(hub: HubProcess) -> None:
    said = dormhub(hub, "alarms", "--json")
    rows = [msgspec.json.decode(line, type=AlarmRow) for line in said.stdout.splitlines()]
    assert {row.subject for row in rows} >= {"latch/fire", "link/nobody"}
    assert said.returncode == 1
    assert "latch/fire" in dormhub(hub, "alarms").stdout


def test_a_fire_that_no_input_can_deny_is_not_reset(hub: HubProcess) -> None:
    said = dormhub(hub, "fire-reset", "--cause", "looked everywhere")
    assert said.returncode == 2
    assert "Conflict" in said.stderr


def test_the_audit_leads_through_the_end_that_the_log_noted(hub: HubProcess) -> None:
    line = next(line for line in hub.log.splitlines() if "audit ends" in line)
    noted = line.split("noted=")[1].split()[0]
    whole = dormhub(hub, "audit", "verify", "--noted", noted)
    other = dormhub(hub, "audit", "verify", "--noted", f"1:{'0' * 64}")
    wrong = dormhub(hub, "audit", "verify", "--noted", "yesterday")
    assert (whole.returncode, other.returncode, wrong.returncode) == (0, 1, 2)
    assert "not the row that was noted" in other.stderr
