"""The hub as a process of its own, to be killed, stopped and asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hub.config import load_config
from hub.journal import JournalReader
from hub.model import Reading
from hub.status import Status, read_status
from tests.servers import wait_until

STOP_TIMEOUT_S = 10.0  # what the daemon promises


@dataclass(kw_only=True)
class HubProcess:
    """`dormhub run` on a site folder."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    environment: Callable[[], Mapping[str, str]] = dict

    @property
    def data(self) -> Path:
        return load_config(self.folder).data

    @property
    def log(self) -> str:
        return (self.folder / "hub.log").read_text("utf-8")

    def launch(self, *options: str) -> None:
        """Start it and return at once."""
        log = (self.folder / "hub.log").open("ab")
        command = [
            sys.executable,
            "-m",
            "hub.cli.main",
            "run",
            "--config",
            str(self.folder),
            *options,
        ]
        environment = {**os.environ, **self.environment()}
        if "[api]" not in self._hub_file:  # or hubs of tests side by side would want one port
            environment["DORMHUB_API__LISTEN"] = ""
        self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        log.close()

    def start(self, *options: str) -> None:
        """Start it; returns when it answers on its status socket."""
        self.launch(*options)
        wait_until(lambda: self.status is not None or self._ended)
        assert not self._ended, self.log

    @property
    def status(self) -> Status | None:
        return read_status(self.data)

    @property
    def _hub_file(self) -> str:
        path = self.folder / "hub.toml"
        return path.read_text("utf-8") if path.exists() else ""

    @property
    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, as a power cut would; the socket file stays behind."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def stop(self) -> int:
        """SIGTERM; the exit code. Fails when it takes longer than the daemon promises."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def reload(self) -> None:
        """SIGHUP: take the changed files."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def readings(self) -> list[Reading]:
        """Everything in its journal, in the order of commits, without the links' own counts."""
        links = {link.id for link in self.status.links} if self.status else set()
        with JournalReader(self.data / "journal.db") as reader:
            stored = reader.query.read_after(0, 1_000_000)
        return [item.reading for item in stored if item.reading.device not in links]

    def count(self) -> int:
        """How many readings its journal has taken."""
        return self.status.store.readings if self.status else 0


@contextmanager
def hub_process(folder: Path) -> Iterator[HubProcess]:
    """A hub that is running, and gone in the end."""
    hub = HubProcess(folder=folder)
    try:
        hub.start()
        yield hub
    finally:
        if hub.process is not None and hub.process.poll() is None:
            hub.kill()
