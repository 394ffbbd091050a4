"""`dormhub alarms` and `dormhub fire-reset`: what wants a person, and a person saying the fire is over."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from hub.cli.hub_client import HubClient
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.cli.plain import plain

EXIT_ALARMS = 1


class AlarmRow(msgspec.Struct, frozen=True):
    """Something a person should know."""

    severity: str
    subject: str
    reason: str


class AlarmRows(msgspec.Struct, frozen=True):
    """Alarms, red before yellow."""

    alarms: list[AlarmRow]


class FireRow(msgspec.Struct, frozen=True):
    """The fire latch."""

    forbids: bool
    latched: bool
    reason: str


def alarms(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Everything that wants a person now, the worst first; exit code 1 when there is something."""
    with HubClient(config) as hub:
        found = hub.get("/v1/alarms", AlarmRows, {}).alarms
    if json:
        for row in found:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
    elif found:
        table = Table("", "what", "why")
        for row in found:
            table.add_row(row.severity, row.subject, row.reason)
        plain().print(table)
    else:
        typer.echo("no alarm")
    raise typer.Exit(EXIT_ALARMS if found else 0)


def fire_reset(
    cause: Annotated[str, typer.Option(help="How you know that it is over, for the audit.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Say that the fire is over; refused while an input does not agree."""
    with HubClient(config) as hub:
        state = hub.post("/v1/alarms/fire/reset", FireRow, {"cause": cause})
    typer.echo(f"closing is still forbidden: {state.reason}" if state.forbids else "fire: over")
