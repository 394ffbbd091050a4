"""`dormhub supply`: which rooms have supply, why not, and what staff do about it."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from hub.cli.hub_client import HubClient
from hub.cli.moments import moment_ms, when
from hub.cli.options import (
    DEFAULT_CONFIG,
    BuildingOption,
    ConfigOption,
    DeviceArgument,
    JsonOption,
)
from hub.cli.plain import plain
from hub.clock import SystemClock
from hub.site import load_site

app = typer.Typer(help="The supply of rooms: cut, restored, tripped.", no_args_is_help=True)

ReasonOption = Annotated[str, typer.Option(help="Why, for the audit.")]


class SupplyRow(msgspec.Struct, frozen=True):
    """A supply as the hub shows it."""

    device: str
    building: str
    room: str
    state: str
    cause: str
    reason: str
    since_ms: int
    wish: str
    command: str
    trips: int
    locked: str
    held_until_ms: int
    held_by: str
    held_reason: str
    why: str
    hindrance: str


class SupplyRows(msgspec.Struct, frozen=True):
    """Supplies by device."""

    supplies: list[SupplyRow]
    hindrances: dict[str, int]


class TripRow(msgspec.Struct, frozen=True):
    """One trip."""

    kind: str
    time_ms: int
    number: int
    power_before_w: int | None
    power_after_w: int | None


class SupplyWhole(msgspec.Struct, frozen=True):
    """A supply with its trips."""

    supply: SupplyRow
    trips: list[TripRow]


class TimetableRow(msgspec.Struct, frozen=True):
    """A timetable."""

    name: str
    digest: str
    actor: str
    approver: str
    approved_ms: int | None


class TimetableRows(msgspec.Struct, frozen=True):
    """Every timetable."""

    timetables: list[TimetableRow]


@app.command("list")
def list_(
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    state: Annotated[str, typer.Option(help="Only these: on, cut, armed, tripped or opened.")] = "",
    json: JsonOption = False,
) -> None:
    """Every supply that is not simply on, or those of a state; with --json all of them."""
    query: dict[str, str | int | float] = {"building": building}
    if state:
        query["state"] = state
    with HubClient(config) as hub:
        found = hub.get("/v1/supplies", SupplyRows, query)
    if json:
        for row in found.supplies:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    table = Table("device", "room", "state", "since (UTC)", "trips", "why")
    shown = [row for row in found.supplies if state or _is_told(row)]
    for row in shown:
        since = when(row.since_ms) if row.since_ms else ""
        place = f"{row.building}/{row.room}"
        table.add_row(row.device, place, _state(row), since, str(row.trips), row.why or row.reason)
    plain().print(table)
    typer.echo(f"{len(found.supplies) - len(shown)} more are on")
    for hindrance, count in found.hindrances.items():
        typer.echo(f"{count} not done as due: {hindrance}")


@app.command("show")
def show(device: DeviceArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """One supply: how it stands, why, who holds it, and its trips."""
    with HubClient(config) as hub:
        whole = hub.get(f"/v1/supplies/{device}", SupplyWhole, {})
    typer.echo(_sentence(whole.supply))
    for trip in whole.trips:
        before, after = _watts(trip.power_before_w), _watts(trip.power_after_w)
        typer.echo(
            f"{when(trip.time_ms)} trip {trip.number}: {trip.kind}, {before} before, {after} after"
        )


@app.command("unlock")
def unlock(
    device: DeviceArgument,
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Give a supply back to the rules after trips, a hand, or a person's cut."""
    with HubClient(config) as hub:
        row = hub.post(f"/v1/supplies/{device}/unlock", SupplyRow, {"reason": reason})
    typer.echo(_sentence(row))


@app.command("hold")
def hold(
    device: DeviceArgument,
    reason: ReasonOption,
    until: Annotated[
        str, typer.Option(help="Until when it is not cut, at the site's time; a past time ends it.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Keep a room from being cut until a time, 30 days at most."""
    zone, now_ms = load_site(config).timezone, SystemClock().now_ms()
    body = {"until_ms": moment_ms(until, zone, now_ms, key="until"), "reason": reason}
    with HubClient(config) as hub:
        typer.echo(_sentence(hub.post(f"/v1/supplies/{device}/hold", SupplyRow, body)))


@app.command("timetables")
def timetables(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """The timetables of the site, and who approved each."""
    with HubClient(config) as hub:
        for row in hub.get("/v1/timetables", TimetableRows, {}).timetables:
            typer.echo(_timetable(row))


@app.command("approve")
def approve(
    name: Annotated[str, typer.Argument(help="The timetable's name in site.toml.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Let a timetable run as it is now; only a second person may, with a key of their own (DORMHUB_KEY)."""
    with HubClient(config) as hub:
        typer.echo(_timetable(hub.post(f"/v1/timetables/{name}/approve", TimetableRow)))


def _timetable(row: TimetableRow) -> str:
    if row.approved_ms is None:
        return f"{row.name}: applied by {row.actor}, waits for a second person"
    return f"{row.name}: applied by {row.actor}, approved by {row.approver} {when(row.approved_ms)} UTC"


def _is_told(row: SupplyRow) -> bool:
    return bool(row.state != "on" or row.wish or row.locked or row.hindrance or row.held_until_ms)


def _state(row: SupplyRow) -> str:
    return f"{row.state}, {row.wish} under way" if row.wish else row.state


def _sentence(row: SupplyRow) -> str:
    parts = [f"{row.device} {row.building}/{row.room} {_state(row)}"]
    parts += [f"cut for {row.cause}"] if row.cause else []
    parts += [f"locked: {row.locked}"] if row.locked else []
    if row.held_until_ms:
        parts.append(
            f"held by {row.held_by} until {when(row.held_until_ms)} UTC: {row.held_reason}"
        )
    why = row.why or row.reason
    return ", ".join(parts) + (f"; {why}" if why else "")


def _watts(power_w: int | None) -> str:
    return "unknown" if power_w is None else f"{power_w} W"
