"""The demonstration, whole: broker, simulated campus, hub, and every device heard."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import find_program

# A machine without Mosquitto: the same command, where the program cannot be found.
NO_MOSQUITTO = """
import shutil
found = shutil.which
shutil.which = lambda name, **where: None if name == "mosquitto" else found(name, **where)
from hub.cli.main import main
main()
"""
SUMMARY = r"75 of 75 devices, [1-9]\d+ readings: every device was heard"


def demo(folder: Path, *program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *program, "demo", "--seconds", "20", "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.needs("mosquitto")
def test_the_demonstration_hears_every_device_and_ends_by_itself(tmp_path: Path) -> None:
    find_program("mosquitto")
    said = demo(tmp_path / "demo", "-m", "hub.cli.main")
    lines = said.stdout.splitlines()
    assert said.returncode == 0, said.stdout + said.stderr
    assert "Traceback" not in said.stderr
    assert lines[0].startswith("broker: Mosquitto;")
    assert re.fullmatch(SUMMARY, lines[-1])


def test_without_mosquitto_a_broker_for_demonstration_stands_in_and_that_is_said(
    tmp_path: Path,
) -> None:
    said = demo(tmp_path / "demo", "-c", NO_MOSQUITTO)
    lines = said.stdout.splitlines()
    assert said.returncode == 0, said.stdout + said.stderr
    assert "Traceback" not in said.stderr
    assert "Mosquitto is not installed" in said.stdout
    assert "it loses queued messages" in said.stdout
    assert re.fullmatch(SUMMARY, lines[-1])
