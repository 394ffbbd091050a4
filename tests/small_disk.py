"""A disk that is small enough to fill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import find_program

SIZE = "size=12m"


@contextmanager
def mounted_disk(folder: Path) -> Iterator[Path]:
    """A disk of 12 MB in memory; where one cannot be mounted the test is skipped, and fails in CI.

    It shows what a full disk does, not what a power cut does: memory has no fsync to lie about.
    """
    folder.mkdir()
    mount = [find_program("mount"), "-t", "tmpfs", "-o", SIZE, "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        reason = f"no small disk can be mounted here (run as root): {mounted.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        yield folder
    finally:
        subprocess.run([find_program("umount"), "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            return ballast
