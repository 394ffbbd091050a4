"""Fixtures every test may use, and the count of tests skipped for a missing server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server, mosquitto_server, running, victoria_metrics_server


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud how many tests were skipped, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} skipped for a missing server or package:")
        for report in skipped:
            terminalreporter.write_line(f"  {report.nodeid}: {report.longrepr[-1]}")
