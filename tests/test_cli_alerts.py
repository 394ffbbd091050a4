"""Alerts and the keys of rooms, on the command line of a running hub."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.hub_process import HubProcess, hub_process
from tests.provisioned import HEADER, METERS
from tests.servers import free_port, wait_until
from tests.site_folder import write_site

SITE = f"""
[links.bus-1]
driver = "modbus"
host = "127.0.0.1"
port = {free_port()}
[links.bus-2]
driver = "modbus"
host = "127.0.0.1"
port = {free_port()}
[prepaid]
"""
PORT = free_port()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub of three rooms whose meters do not answer."""
    folder = tmp_path_factory.mktemp("alerts") / "config"
    told = f'[api]\nlisten = "127.0.0.1:{PORT}"\n'
    devices = "\n".join((HEADER, *METERS.values())) + "\n"
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


def test_each_room_of_a_building_gets_a_key_in_a_file_of_its_owner(
    hub: HubProcess, tmp_path: Path
) -> None:
    file = tmp_path / "keys.csv"
    assert dormhub(hub, "keys", "rooms", "--building", "B1", "--out", str(file)).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["room"] for row in rows] == ["101", "102", "201"]
    headers = {"Authorization": f"Bearer {rows[1]['key']}"}
    said = httpx2.get(f"http://127.0.0.1:{PORT}/v1/room", headers=headers, trust_env=False).json()
    assert (said["room"], said["holdings"][0]["doubt"]) == ("102", "m-2: not charged yet")
    again = dormhub(hub, "keys", "rooms", "--building", "B1", "--out", str(file))
    nowhere = dormhub(hub, "keys", "rooms", "--building", "B9", "--out", str(tmp_path / "other"))
    assert (again.returncode, nowhere.returncode) == (2, 2)


def test_a_room_is_opted_out_shown_and_opted_in(hub: HubProcess) -> None:
    said = dormhub(hub, "alerts", "optout", "B1/101", "trip", "offline").stdout
    shown = dormhub(hub, "alerts", "optout", "B1/101").stdout
    cleared = dormhub(hub, "alerts", "optout", "B1/101", "--clear").stdout
    assert said == shown == "not told of B1/101: offline, trip\n"
    assert cleared == "not told of B1/101: nothing\n"


def test_alerts_are_listed_and_a_channel_that_is_none_is_refused(hub: HubProcess) -> None:
    assert dormhub(hub, "alerts", "list", "--open", "--kind", "offline", "--json").returncode == 0
    assert dormhub(hub, "alerts", "test", "nobody").returncode == 2
