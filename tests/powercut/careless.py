"""A store that syncs its first row and only says so of the others: the power-cut test must catch it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

path = Path(sys.argv[1])
handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
folder = os.open(path.parent, os.O_RDONLY)
os.fsync(folder)
for number in range(100_000):
    os.write(handle, f"{number}\n".encode())
    if number == 0:
        os.fsync(handle)
    print(number, flush=True)
