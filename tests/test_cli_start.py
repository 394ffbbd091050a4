"""The command line starts without the parts that only the daemon, or another command, needs."""

from __future__ import annotations

import subprocess
import sys


def loaded(first: str, *, of: tuple[str, ...]) -> list[str]:
    """Which modules `of` these a command line of this word has loaded, in a process of its own."""
    look = (
        f"import sys, hub.cli.main; hub.cli.main.command_line({first!r}); "
        f"print(*[name for name in {of} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60
    )
    return found.stdout.split()


def test_a_command_line_does_not_wait_for_the_web_server() -> None:
    assert loaded("", of=("fastapi", "uvicorn", "hub.api", "hub.cli.orders")) == ["hub.cli.orders"]


def test_a_command_does_not_wait_for_the_others() -> None:
    assert loaded("send", of=("hub.cli.orders", "hub.cli.tell", "openpyxl")) == ["hub.cli.tell"]
