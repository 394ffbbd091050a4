"""The shell completes commands and the devices of the site."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub.cli.options import device_ids
from tests.site_folder import write_site


def test_ids_that_begin_so_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "id,profile,link,address\nb1-101,x,y,1\nb1-102,x,y,2\nb2-101,x,y,3\n"
    folder = write_site(tmp_path / "config", site="", devices=rows)
    monkeypatch.setenv("DORMHUB_CONFIG", str(folder))
    assert device_ids("b1-") == ["b1-101", "b1-102"]
    monkeypatch.setenv("DORMHUB_CONFIG", str(tmp_path))
    assert device_ids("") == []


def test_bash_completes_a_command(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "_DORMHUB_COMPLETE": "complete_bash",
        "COMP_WORDS": "dormhub quar",
        "COMP_CWORD": "1",
    }
    main = "from hub.cli.main import command_line; command_line()(prog_name='dormhub')"
    said = subprocess.run(
        [sys.executable, "-c", main],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert said.stdout.split() == ["quarantine"]
