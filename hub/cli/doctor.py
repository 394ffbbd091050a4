"""`dormhub doctor`: is this installation well, and what is to be done where it is not?"""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from hub.checkup import Checkup, Finding, Verdict, findings
from hub.cli.check import find_mistakes
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.cli.plain import plain
from hub.clock import SystemClock

EXIT_WRONG = 1
_MARKS = {Verdict.WELL: "ok", Verdict.NOTE: "note", Verdict.WRONG: "WRONG"}


def doctor(
    config: ConfigOption = DEFAULT_CONFIG,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not read the whole journal, which takes long.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Look at disk, clock, stores, files, broker, links and devices; each line says what to do.

    Beside a running hub too. Exit code 0 when nothing is wrong (there may be notes), 1 when something is.
    """
    settings, site, mistakes = find_mistakes(config)
    if settings is None:
        for mistake in mistakes:
            typer.echo(str(mistake), err=True)
        raise typer.Exit(EXIT_WRONG)
    checkup = Checkup(
        folder=config,
        config=settings,
        site=site,
        mistakes=mistakes,
        clock=SystemClock(),
        thorough=not quick,
    )
    with Console(stderr=True).status("looking"):
        found = list(findings(checkup))
    _show(found, json=json)
    if any(finding.verdict is Verdict.WRONG for finding in found):
        raise typer.Exit(EXIT_WRONG)


def _show(found: list[Finding], *, json: bool) -> None:
    if json:
        for finding in found:
            sys.stdout.write(msgspec.json.encode(finding).decode() + "\n")
        return
    table = Table("", "what", "found", "to do", show_lines=False)
    for finding in found:
        table.add_row(_MARKS[finding.verdict], finding.what, finding.found, finding.to_do)
    plain().print(table)
