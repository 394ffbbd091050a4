"""What must not stand in the repository: host names of package registries, machine paths, secrets."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FORBIDDEN = {
    "a registry's host name": re.compile(r"pypi\.org|pythonhosted|registry\.npmjs|crates\.io/api"),
    "a machine's path": re.compile(r"/(?:root|home/\w+|work)/\w"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
LOCKS = ("requirements.lock", "requirements-dev.lock")


def main() -> int:
    """Print every finding with its place; 1 when there is any."""
    names = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout
    findings = []
    for name in names.split():
        if name == "scripts/hygiene.py" or not Path(name).is_file():
            continue
        for number, line in enumerate(Path(name).read_text("utf-8", "replace").splitlines(), 1):
            findings += [
                f"{name}:{number}: {what}" for what, rule in FORBIDDEN.items() if rule.search(line)
            ]
            if name in LOCKS and "://" in line:
                findings.append(f"{name}:{number}: an address in a lock file")
    print("\n".join(findings) or "hygiene: nothing found")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
