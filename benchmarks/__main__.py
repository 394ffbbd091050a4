"""Every benchmark in turn: `python -m benchmarks [--full] [NAME …]`. Each prints its own table."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "journal",
    "modbus_tcp",
    "bus",
    "mqtt",
    "commands",
    "modbus_commands",
    "mqtt_commands",
    "wire",
    "campus",
    "provisioning",
    "api",
    "spreadsheets",
    "prepaid",
    "orders",
    "reconcile",
    "soak",
)
TIMEOUT_S = 7200


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, or all; 1 when one of them could not run."""
    size = [] if "--full" in arguments else ["--short"]
    names = [name for name in arguments if not name.startswith("-")] or NAMES
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *size]
        if subprocess.run(command, timeout=TIMEOUT_S, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"could not run: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
