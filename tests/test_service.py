"""The unit file: how far the hub is shut in, and that systemd understands it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers import find_program

UNIT = "dormhub.service"
EXPOSURE_MAX = 20  # tenths


def test_the_service_is_exposed_by_two_points_at_most(tmp_path: Path) -> None:
    copy = tmp_path / UNIT
    copy.write_text((Path("config") / UNIT).read_text("utf-8"), "utf-8")
    command = [find_program("systemd-analyze", "systemd"), "security", "--offline=true"]
    judged = subprocess.run(
        [*command, f"--threshold={EXPOSURE_MAX}", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Overall exposure level" in judged.stdout
    assert judged.returncode == 0, judged.stdout


def test_the_service_runs_as_nobody_special_and_is_watched() -> None:
    lines = (Path("config") / UNIT).read_text("utf-8").splitlines()
    assert {
        "User=dormhub",
        "Type=notify",
        "WatchdogSec=10",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "Restart=always",
    } <= set(lines)
