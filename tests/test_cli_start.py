"""The command line starts without the parts that only the daemon needs."""

from __future__ import annotations

import subprocess
import sys

LOOK = "import sys, hub.cli.main; print([n for n in ('fastapi', 'uvicorn', 'hub.api') if n in sys.modules])"


def test_a_command_line_does_not_wait_for_the_web_server() -> None:
    found = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout == "[]\n"
