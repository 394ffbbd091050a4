"""A private cluster of PostgreSQL for tests, as safe as a real one: every commit is synced."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.servers import STOP_TIMEOUT_S, find_program, free_port, wait_until

PASSWORD = "only for tests"
LOCAL = "-c synchronous_commit=local"  # the tests themselves never wait for another server
_OWNER = "postgres"  # Debian's package makes this user; a server refuses to run as root


@dataclass(kw_only=True)
class PostgreSQL:
    """A cluster: on a port of loopback with a password, on a socket in its folder without one."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again, unless it runs; returns when it takes connections."""
        if self.process is not None:
            return
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(
            [
                find_program("postgres", "postgresql"),
                *("-D", str(self.folder / "data"), "-k", str(self.folder)),
                *("-h", "127.0.0.1", "-p", str(self.port)),
            ],
            stdout=log,
            stderr=log,
            cwd=self.folder,
            user=_owner(),
            group=_owner(),
        )
        log.close()
        wait_until(self._answers)

    def stop(self) -> None:
        """Have it end its sessions and close, and wait until it is gone."""
        if self.process is None:
            return
        self.freeze(signal.SIGCONT)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_TIMEOUT_S)
        self.process = None

    def kill(self) -> None:
        """SIGKILL to the server and everything it began: nothing is flushed."""
        assert self.process is not None
        family = self._family()
        for process in family:
            _signal(process, signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT_S)
        self.process = None
        wait_until(lambda: not any(Path(f"/proc/{process}").exists() for process in family))

    def freeze(self, number: signal.Signals = signal.SIGSTOP) -> None:
        """Stand still, connections and all; SIGCONT goes on."""
        for process in self._family():
            _signal(process, number)

    def url(self, database: str = "postgres") -> str:
        """Through the socket, without a password."""
        return f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}"

    def run(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """One statement outside of any transaction."""
        with psycopg.connect(self.url(database), autocommit=True, options=LOCAL) as connection:
            answer = connection.execute(statement.encode())
            return answer.fetchall() if answer.description else []

    def end_sessions(self, database: str) -> None:
        """Break every connection to the database, as an administrator may."""
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        )

    def _answers(self) -> bool:
        try:
            return bool(self.run("SELECT 1"))
        except psycopg.OperationalError:
            return False

    def _family(self) -> list[int]:
        assert self.process is not None
        parent = self.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()
        return [parent, *(int(child) for child in children)]


@dataclass(frozen=True, kw_only=True)
class Database:
    """An empty database of a cluster that others use too."""

    server: PostgreSQL
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def run(self, statement: str) -> list[tuple[object, ...]]:
        """One statement on this database, outside of any transaction."""
        return self.server.run(statement, self.name)

    def end_sessions(self) -> None:
        """Break every connection to it."""
        self.server.end_sessions(self.name)


@contextmanager
def postgresql_server() -> Iterator[PostgreSQL]:
    """A new cluster, running; gone in the end."""
    folder = Path(tempfile.mkdtemp(prefix="dormhub-postgresql-"))
    try:
        (folder / "password").write_text(PASSWORD, "utf-8")
        if os.geteuid() == 0:
            shutil.chown(folder, _OWNER)
            shutil.chown(folder / "password", _OWNER)
        _initialise(folder)
        server = PostgreSQL(folder=folder, port=free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def fresh_database(server: PostgreSQL) -> Iterator[Database]:
    """A database that nothing has touched."""
    name = f"test_{time.monotonic_ns()}"
    server.run(f"CREATE DATABASE {name}")
    try:
        yield Database(server=server, name=name)
    finally:
        server.run(f"DROP DATABASE {name} WITH (FORCE)")


def _initialise(folder: Path) -> None:
    subprocess.run(
        [
            find_program("initdb", "postgresql"),
            *("--pgdata", str(folder / "data"), "--username=postgres", "--encoding=UTF8"),
            *("--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256"),
            f"--pwfile={folder / 'password'}",
            "--no-sync",  # of the files made here alone; the server syncs
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        user=_owner(),
        group=_owner(),
    )


def _owner() -> str | None:
    return _OWNER if os.geteuid() == 0 else None


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        os.kill(process, number)
