from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from tests.sheet_site import (
    CHINESE,
    DEVICES,
    ROW,
    campus,
    devices,
    mistakes,
    take,
    write_csv,
    write_xlsx,
)

ROUNDS = 20
SEED = 4
EXPLAINED = "表号=address"
MAPPED = [*CHINESE[:6], "表号", "链路"]
ROWS = [MAPPED, ROW, ["b1-104", *ROW[1:6], "4", "bus-1"]]


def ended(
    sheet: Path, number: signal.Signals, jobs: list[tuple[int, Path]]
) -> tuple[list[int], str]:
    """How the imports ended, each hit at its touch of its folder, and what they said to stderr."""
    words = [sys.executable, "-m", "tests.import_child", f"{int(number)}", str(sheet), EXPLAINED]
    words += [f"{touch}={config}" for touch, config in jobs]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=True)
    lines = done.stdout.splitlines()
    return [int(line) for line in lines if line.lstrip("-").isdecimal()], done.stderr


def names(config: Path) -> set[str]:
    return {path.name for path in config.iterdir()}


def test_an_import_killed_at_twenty_random_points_leaves_the_old_or_the_new_file_whole(
    tmp_path: Path,
) -> None:
    sheet = write_xlsx(tmp_path / "rooms.xlsx", ROWS)
    whole = campus(tmp_path / "whole")
    assert ended(sheet, signal.SIGKILL, [(0, whole)])[0] == [0]
    new = (whole / "devices.csv").read_bytes()
    touches = int(whole.with_name("touches").read_text())
    chance = random.Random(SEED)
    jobs = [
        (chance.randint(1, touches), campus(tmp_path / f"killed-{number}"))
        for number in range(ROUNDS)
    ]
    assert set(ended(sheet, signal.SIGKILL, jobs)[0]) == {-signal.SIGKILL}
    assert {(config / "devices.csv").read_bytes() for _, config in jobs} == {DEVICES.encode(), new}
    assert set(ended(sheet, signal.SIGKILL, [(0, config) for _, config in jobs])[0]) == {0}
    for _, config in jobs:
        assert (config / "devices.csv").read_bytes() == new
        assert names(config) == {"site.toml", "devices.csv", "import.toml"}


def test_what_a_killed_import_left_behind_goes_with_the_next(tmp_path: Path) -> None:
    config = campus(tmp_path)
    (config / ".devices.csv.importing").write_bytes(b"half a li")
    sheet = write_csv(tmp_path / "rooms.csv", [CHINESE, ROW])
    take(config, sheet, "--dry-run")
    assert names(config) == {"site.toml", "devices.csv"}


def test_ctrl_c_ends_with_130_and_nothing_half_done(tmp_path: Path) -> None:
    config = campus(tmp_path)
    sheet = write_xlsx(tmp_path / "rooms.xlsx", ROWS)
    codes, said = ended(sheet, signal.SIGINT, [(4, config)])
    assert codes == [130]
    assert "Traceback" not in said
    assert (config / "devices.csv").read_text("utf-8") == DEVICES
    assert names(config) == {"site.toml", "devices.csv"}


def test_two_imports_do_not_work_on_one_folder_at_once(tmp_path: Path) -> None:
    config = campus(tmp_path)
    sheet = write_csv(tmp_path / "rooms.csv", [CHINESE, ROW])
    handle = os.open(config, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert "another import is at work" in mistakes(config, sheet)[0]
    os.close(handle)
    take(config, sheet)
    assert "b1-103" in devices(config)


def test_a_new_file_keeps_the_rights_of_the_old(tmp_path: Path) -> None:
    config = campus(tmp_path)
    (config / "devices.csv").chmod(0o640)
    take(config, write_csv(tmp_path / "rooms.csv", [CHINESE, ROW]))
    assert (config / "devices.csv").stat().st_mode & 0o777 == 0o640


def test_a_devices_csv_that_is_a_link_stays_one(tmp_path: Path) -> None:
    config = campus(tmp_path)
    (config / "devices.csv").rename(tmp_path / "real.csv")
    (config / "devices.csv").symlink_to(tmp_path / "real.csv")
    take(config, write_csv(tmp_path / "rooms.csv", [CHINESE, ROW]))
    assert (config / "devices.csv").is_symlink()
    assert "b1-103" in (tmp_path / "real.csv").read_text("utf-8")
