"""A morning of the finance person on the command line."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from hub.cli.reconcile import DifferenceRow
from tests.hub_process import HubProcess, hub_process
from tests.servers import free_port
from tests.site_folder import write_site

SITE = f"""timezone = "UTC"
[links.nobody]
driver = "mqtt"
host = "127.0.0.1"
port = {free_port()}
[platforms.pay]
secrets = ["pay.key"]
receiver = "logistics"
"""
DAY = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    folder = tmp_path_factory.mktemp("reconcile") / "config"
    told = f'[api]\nlisten = "127.0.0.1:{free_port()}"\n'
    write_site(folder, site=SITE, devices="id,profile,link,address\n", hub=told)
    key = folder / "pay.key"
    key.write_text("whsec_" + base64.b64encode(bytes(32)).decode())
    key.chmod(0o600)
    with hub_process(folder) as running:
        yield running


def dormhub(hub: HubProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "250", "DORMHUB_CONFIG": str(hub.folder)}
    return subprocess.run(
        [sys.executable, "-m", "hub.cli.main", "reconcile", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )


def test_a_bill_by_hand_is_compared_and_its_difference_ended(hub: HubProcess) -> None:
    bill, sheet = hub.folder / "bill.csv", hub.folder / "open.csv"
    bill.write_text(f"number,amount_yuan,state,paid\nT1,12.5,paid,{DAY} 08:00:00\n")
    ran = dormhub(hub, "run", DAY, "--platform", "pay", "--bill", str(bill))
    assert (ran.returncode, "12.50" in ran.stdout) == (1, True)
    listed = dormhub(hub, "list", "--platform", "pay")
    assert "paid_without_effect" in listed.stdout
    (line,) = dormhub(hub, "show", "--open", "--json").stdout.splitlines()
    row = msgspec.json.decode(line, type=DifferenceRow)
    assert (row.subject, row.billed) == ("T1", 1250)
    assert dormhub(hub, "assign", row.id, "bo").stdout == f"{row.id} is bo's\n"
    assert dormhub(hub, "export", str(sheet), "--owner", "bo").returncode == 0
    assert ",T1,paid_without_effect," in sheet.read_text("utf-8-sig")
    ended = dormhub(hub, "end", row.id, "--note", "paid back")
    assert ended.stdout == f"{row.id} is ended: paid back\n"
    assert dormhub(hub, "show", "--open", "--json").stdout == ""


def test_a_wrong_file_is_refused_with_its_line(hub: HubProcess) -> None:
    bill = hub.folder / "wrong.csv"
    bill.write_text("number,amount_yuan,state,paid\nT1,1.005,paid,yesterday\n")
    said = dormhub(hub, "run", DAY, "--platform", "pay", "--bill", str(bill))
    assert said.returncode == 2
    assert "line 2: amount_yuan '1.005'" in said.stderr
