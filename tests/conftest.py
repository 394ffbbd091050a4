"""Fixtures every test may use, and the count of tests skipped for a missing server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.postgresql_server import Database, PostgreSQL, fresh_database, postgresql_server
from tests.servers import Server, mosquitto_server, running, victoria_metrics_server

settings.register_profile("dormhub", deadline=None)  # no test asserts a time
settings.load_profile("dormhub")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Server]:
    """A real Mosquitto with persistence on every change."""
    with running(mosquitto_server(tmp_path / "mosquitto")) as server:
        yield server


@pytest.fixture
def victoria_metrics(tmp_path: Path) -> Iterator[Server]:
    """A real, empty VictoriaMetrics."""
    with running(victoria_metrics_server(tmp_path / "victoria-metrics")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_cluster() -> Iterator[PostgreSQL]:
    """A real PostgreSQL that every test shares; those that kill one start their own."""
    with postgresql_server() as server:
        yield server


@pytest.fixture
def postgresql(postgresql_cluster: PostgreSQL) -> Iterator[Database]:
    """An empty database on a real PostgreSQL."""
    with fresh_database(postgresql_cluster) as database:
        yield database


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty ledger may be: a file, and a database of a server."""
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    database: Database = request.getfixturevalue("postgresql")
    return database.url


def pytest_addoption(parser: pytest.Parser) -> None:
    """Campaigns take their size and seed from the command line; both are short in CI."""
    parser.addoption("--rounds", type=int, default=6, help="rounds of kill and fault campaigns")
    parser.addoption("--seed", type=int, default=1, help="seed of campaigns")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How many rounds a campaign runs."""
    number: int = request.config.getoption("--rounds")
    return number


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of a campaign."""
    number: int = request.config.getoption("--seed")
    return number


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud how many tests were skipped, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} skipped for a missing server or package:")
        for report in skipped:
            terminalreporter.write_line(f"  {report.nodeid}: {report.longrepr[-1]}")
