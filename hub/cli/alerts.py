"""`dormhub alerts`: what rooms and links were warned of, whether a channel works, who opted out."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer
from rich.table import Table

from hub.campus.alerts.kinds import Kind
from hub.cli.bindings import config_place, place_of
from hub.cli.hub_client import HubClient
from hub.cli.moments import when
from hub.cli.options import DEFAULT_CONFIG, BuildingOption, ConfigOption, JsonOption
from hub.cli.plain import plain
from hub.errors import ConfigError
from hub.inventory.installed import running_site

EXIT_NOT_TAKEN = 1

app = typer.Typer(help="What rooms and links were warned of.", no_args_is_help=True)


class AlertRow(msgspec.Struct, frozen=True):
    """Something that began, and perhaps ended."""

    id: str
    kind: Kind
    severity: str
    building: str
    room: str
    text: str
    raised_ms: int
    ended_ms: int | None
    quiet: str


class AlertRows(msgspec.Struct, frozen=True):
    """Alerts, the newest first."""

    alerts: list[AlertRow]


class MuteRow(msgspec.Struct, frozen=True):
    """What is not told of a room."""

    muted: list[Kind]


class TestRow(msgspec.Struct, frozen=True):
    """What became of a test."""

    taken: bool
    reason: str


@app.command("list")
def alerts_list(
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    room: Annotated[str, typer.Option(help="Only this room of the building.")] = "",
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    open: Annotated[bool, typer.Option("--open", help="Only those that have not ended.")] = False,
    last: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 100,
    json: JsonOption = False,
) -> None:
    """Alerts, the newest first."""
    query: dict[str, str | int | float] = {"building": building, "room": room, "limit": last}
    if kind is not None:
        query["kind"] = kind.value
    if open:
        query["open"] = "true"
    with HubClient(config) as hub:
        found = hub.get("/v1/alerts", AlertRows, query).alerts
    if json:
        for row in found:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    table = Table("raised (UTC)", "ended", "kind", "", "what", "not told")
    for row in found:
        ended = when(row.ended_ms) if row.ended_ms else ""
        table.add_row(when(row.raised_ms), ended, row.kind, row.severity, row.text, row.quiet)
    plain().print(table)


@app.command("test")
def alerts_test(
    channel: Annotated[str, typer.Argument(help="The channel's name in site.toml.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Send a test through a channel; exit code 1 when it was not taken."""
    with HubClient(config) as hub:
        said = hub.post(f"/v1/alerts/test/{quote(channel, safe='')}", TestRow)
    if not said.taken:
        typer.echo(f"{channel}: not taken: {said.reason}", err=True)
        raise typer.Exit(EXIT_NOT_TAKEN)
    typer.echo(f"{channel}: taken")


@app.command("optout")
def alerts_optout(
    room: Annotated[str, typer.Argument(metavar="BUILDING/ROOM", help="The room.")],
    kinds: Annotated[list[Kind] | None, typer.Argument(help="What is not told of it.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    clear: Annotated[bool, typer.Option("--clear", help="Tell everything again.")] = False,
) -> None:
    """Tell exactly these kinds no more of a room, anywhere; without kinds: show what is not told."""
    place = place_of(room, running_site(config_place(config), config))
    if not place.room or (kinds and clear):
        hint = "name BUILDING/ROOM, and kinds or --clear"
        raise ConfigError(file="command line", key="room", found=f"found {room[:80]!r}", hint=hint)
    path = f"/v1/alerts/mutes/{quote(place.building, safe='')}/{quote(place.room, safe='')}"
    with HubClient(config) as hub:
        if kinds or clear:
            said = hub.put(path, MuteRow, {"muted": [kind.value for kind in kinds or []]})
        else:
            said = hub.get(path, MuteRow, {})
    typer.echo(f"not told of {room}: " + (", ".join(said.muted) or "nothing"))
