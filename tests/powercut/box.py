"""A hub's box whose power may go: its data folder over many runs, kills and power cuts."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.powercut import Disk, records, shim


class Box:
    """The disk behind `data`. Each run is recorded; `killed` or `cut` is told how it ended.

    What a killed process wrote is still with the system, and may be lost by a later power cut.
    """

    def __init__(self, data: Path, logs: Path) -> None:
        self.lost = 0
        self._data = data
        self._logs = logs
        logs.mkdir()
        self._shim = shim(logs)
        self._disk = Disk()
        self._runs = 0

    @property
    def environment(self) -> Mapping[str, str]:
        """Of the run that begins now."""
        self._runs += 1
        return {
            "LD_PRELOAD": str(self._shim),
            "POWERCUT_FOLDER": str(self._data),
            "POWERCUT_LOG": str(self._log),
        }

    def killed(self) -> None:
        """The run was killed, and the power is still there."""
        for record in records(self._log):
            self._disk.apply(record)
        self._log.unlink()

    def cut(self, chance: random.Random) -> None:
        """The power went with it: the folder is now what a disk with a cache of its own has kept."""
        self.killed()
        after = self._data.with_name(f"{self._data.name}-after-{self._runs}")
        self._disk.rebuild(after, chance)
        self.lost += self._disk.lost
        shutil.rmtree(self._data)
        after.rename(self._data)
        self._disk = Disk.of(self._data)

    @property
    def _log(self) -> Path:
        return self._logs / f"run-{self._runs}"
