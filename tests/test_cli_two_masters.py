"""A bus has one master: beside a running hub that does not answer, nobody opens it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_process import hub_process
from tests.servers import free_port
from tests.site_folder import write_site


@pytest.mark.parametrize("command", ["read", "trace"])
def test_a_bus_is_not_opened_beside_a_hub_without_an_api(tmp_path: Path, command: str) -> None:
    link = f'driver = "modbus"\ntransport = "tcp"\nhost = "127.0.0.1"\nport = {free_port()}\n'
    rows = "id,profile,link,address\nm-1,eastron_sdm120,bus,1\n"
    folder = write_site(tmp_path / "config", site=f"[links.bus]\n{link}", devices=rows)
    with hub_process(folder):
        refused = subprocess.run(
            [sys.executable, "-m", "hub.cli.main", command, "m-1", "--config", str(folder)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"DORMHUB_API__LISTEN": f"127.0.0.1:{free_port()}", "DORMHUB_KEY": "any"},
        )
    assert refused.returncode == 2
    assert "one wire" in refused.stderr
