"""`dormhub import` that ends itself, by a signal, at the n-th time it touches the configuration folder.

python -m tests.import_child SIGNAL SHEET "--map …" N=FOLDER N=FOLDER …    # N = 0: never

Each is a process of its own, forked from one that has everything loaded. A line for each: how it ended, and
how often it touched the folder, where it came to say so.
"""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path

import openpyxl

from hub.cli.main import command_line, main

_TOUCHES = ("open", "os.rename", "os.remove", "os.scandir")


def run(last: int, number: int, folder: str, words: list[str]) -> None:
    """One import; `touches` is written beside the folder at its end."""
    touches = count(1)
    touched = [0]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        paths = [os.fspath(item) for item in arguments if isinstance(item, str | os.PathLike)]
        if event in _TOUCHES and any(str(path).startswith(folder) for path in paths):
            touched[0] = next(touches)
            if touched[0] == last:
                os.kill(os.getpid(), number)

    sys.addaudithook(hook)
    sys.argv = ["dormhub", "import", *words, "--config", folder]
    try:
        main()
    finally:
        Path(folder).with_name("touches").write_text(f"{touched[0]}")


def forked(last: int, number: int, folder: str, words: list[str]) -> int:
    """The same in a process of its own; its exit code, or the signal that ended it, negative."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    run(last, number, folder, words)
    sys.exit(0)


if __name__ == "__main__":
    assert openpyxl.__version__  # loaded once, before the forks, like all that the command needs
    command_line("import")
    ending, sheet, explained, *jobs = sys.argv[1:]
    for job in jobs:
        touch, _, config = job.partition("=")
        code = forked(int(touch), int(ending), config, [sheet, "--map", explained])
        print(code, flush=True)
