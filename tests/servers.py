"""Real servers for tests: started on free ports in a folder of their own, stopped afterwards.

A server that is not installed skips its test with the reason, and fails it where CI=true.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

START_TIMEOUT_S = 60.0  # a bound for a machine with other work, not a wish
STOP_TIMEOUT_S = 10.0
_PORTS = 5_000  # of each test run
_RUN = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
_FIRST_PORT = 10_000 + _RUN * _PORTS
_places = itertools.count(os.getpid())


def find_program(name: str, package: str = "") -> str:
    """The path of a server's program; skips, or fails in CI, when it is not installed."""
    postgresql = sorted(
        Path("/usr/lib/postgresql").glob("*/bin")
    )  # Debian keeps them out of the path
    folders = [os.environ.get("PATH", ""), "/usr/sbin", *(str(folder) for folder in postgresql)]
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is None:
        reason = f"{name} is not installed (apt-get install {package or name})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago, and that nobody else is given soon.

    Each of the test runs side by side has ports of its own, below those that the system gives to connections.
    """
    for place in itertools.islice(_places, _PORTS):
        port = _FIRST_PORT + place % _PORTS
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def wait_until(condition: Callable[[], bool], *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return as soon as the condition holds; fail the test when it never does. For servers only."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"condition not met within {timeout_s} s: {condition}")
        time.sleep(0.02)


def port_answers(port: int) -> bool:
    """Whether something listens on the loopback port."""
    with socket.socket() as sock:
        sock.settimeout(0.2)
        return sock.connect_ex(("127.0.0.1", port)) == 0


@dataclass(kw_only=True)
class Server:
    """A running server: its port, its folder, and ways to kill, stop and start it again."""

    command: list[str]
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again on the same port and folder; returns when the port answers."""
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.folder)
        log.close()
        wait_until(lambda: port_answers(self.port))

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """Stop it (SIGKILL for a power cut) and wait until it is gone."""
        if self.process is None:
            return
        self.process.send_signal(sig)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT_S)
        self.process = None

    def kill(self) -> None:
        """SIGKILL: nothing is flushed."""
        self.stop(signal.SIGKILL)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server, started, and stopped in the end."""
    server.folder.mkdir(parents=True, exist_ok=True)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def mosquitto_server(folder: Path, *lines: str, port: int | None = None) -> Server:
    """Mosquitto with persistence on every change, anonymous unless `lines` of configuration say otherwise."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "mosquitto.conf"
    defaults = [
        f"listener {port} 127.0.0.1",
        "user root",
        "persistence true",
        f"persistence_location {folder}/",
        "autosave_on_changes true",
        "autosave_interval 1",
        "max_queued_messages 100000",
        "max_inflight_messages 1000",
    ]
    if not any(line.startswith(("allow_anonymous", "password_file")) for line in lines):
        defaults.append("allow_anonymous true")
    config.write_text("\n".join([*defaults, *lines]) + "\n", "utf-8")
    program = find_program("mosquitto")
    return Server(command=[program, "-c", str(config)], port=port, folder=folder)


def victoria_metrics_server(folder: Path) -> Server:
    """VictoriaMetrics, empty, showing points at once."""
    port = free_port()
    command = [
        find_program("victoria-metrics"),
        f"-storageDataPath={folder}/data",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=100y",
        "-search.latencyOffset=0s",
        "-search.disableCache",
        "-loggerLevel=ERROR",
    ]
    return Server(command=command, port=port, folder=folder)


def http_get(port: int, path: str) -> bytes:
    """The body of a GET on a loopback server."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        body: bytes = answer.read()
    return body
