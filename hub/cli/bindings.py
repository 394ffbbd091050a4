"""`dormhub bindings`, `bind`, `unbind`: which device serves which room, also told long after."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from sqlalchemy import URL

from hub.cli.hub_client import HubClient
from hub.cli.moments import local, moment_ms
from hub.cli.options import (
    DEFAULT_CONFIG,
    BuildingOption,
    ConfigOption,
    DeviceArgument,
    JsonOption,
)
from hub.cli.plain import plain
from hub.clock import SystemClock
from hub.config import load_config
from hub.errors import ConfigError
from hub.inventory.bindings import Binding, Chosen, Figure, find_bindings
from hub.inventory.counts import meter_of, unit_of
from hub.inventory.installed import running_site
from hub.ledger import open_reader
from hub.model import Place
from hub.points import unit_factor, units_of
from hub.site import Site

_HELP_TIME = "2026-11-22T18:00 (the site's time unless it names a zone), or 6h for ago."
_HELP_VALUE = "The counter then: Wh or ml, or with its unit, such as 1234.5kWh or 12.3m3."

_USUAL = unit_of("electricity")  # of a device that is gone, or counts nothing

PlaceArgument = Annotated[
    str, typer.Argument(metavar="BUILDING/ROOM[/CIRCUIT]", help="The room, such as B1/101/socket.")
]
CauseOption = Annotated[str, typer.Option(help="Why, for the audit.")]


class BoundRow(msgspec.Struct, frozen=True, kw_only=True):
    """A binding as the hub tells it, as far as it is shown."""

    id: str
    device: str
    building: str
    room: str
    circuit: str
    from_ms: int
    to_ms: int | None


class Entered(msgspec.Struct, frozen=True):
    """The hub's answer to a new binding."""

    binding: BoundRow
    superseded: list[BoundRow]


def bindings(
    config: ConfigOption = DEFAULT_CONFIG,
    room: Annotated[str, typer.Option(help="BUILDING/ROOM[/CIRCUIT].")] = "",
    building: BuildingOption = "",
    device: Annotated[str, typer.Option(help="Only of this device.")] = "",
    json: JsonOption = False,
) -> None:
    """Which device served which room, from when to when. Beside a running hub, or without."""
    place = config_place(config)
    site = running_site(place, config)
    known = site.buildings.find(building)
    where = place_of(room, site) if room else Place(building=known.id if known else building)
    chosen = Chosen(building=where.building, room=where.room, circuit=where.circuit, device=device)
    with open_reader(place) as connection:
        found = find_bindings(connection, chosen)
    if json:
        for one in found:
            sys.stdout.write(msgspec.json.encode(one).decode() + "\n")
        return
    _print(found, site)


def bind(
    device: DeviceArgument,
    place: PlaceArgument,
    since: Annotated[str, typer.Option("--from", help=_HELP_TIME)],
    config: ConfigOption = DEFAULT_CONFIG,
    until: Annotated[str, typer.Option("--to", help="Likewise; it still serves without.")] = "",
    first: Annotated[str, typer.Option(help=_HELP_VALUE)] = "",
    last: Annotated[str, typer.Option(help=_HELP_VALUE)] = "",
    cut: Annotated[bool, typer.Option("--cut", help="End or split what is in the way.")] = False,
    cause: CauseOption = "",
) -> None:
    """Enter that a device served a room in these times; they may lie long ago.

    Refused (exit code 2) where it overlaps with other bindings of the device or the room, unless --cut.
    """
    site = running_site(config_place(config), config)
    where, now_ms = place_of(place, site), SystemClock().now_ms()
    unit = _unit_of(device, site)
    body = {
        "device": device,
        "building": where.building,
        "room": where.room,
        "circuit": where.circuit,
        "from_ms": moment_ms(since, site.timezone, now_ms, key="--from"),
        "to_ms": moment_ms(until, site.timezone, now_ms, key="--to") if until else None,
        "first": value_of(first, "--first", unit) if first else None,
        "last": value_of(last, "--last", unit) if last else None,
        "cut": cut,
        "cause": cause,
    }
    with HubClient(config) as hub:
        entered = hub.post("/v1/bindings", Entered, body)
    typer.echo(f"entered: {_line(entered.binding, site)}")
    for other in entered.superseded:
        typer.echo(f"cut, it was: {_line(other, site)}")


def unbind(
    binding: Annotated[str, typer.Argument(help="The binding's id: dormhub bindings.")],
    config: ConfigOption = DEFAULT_CONFIG,
    at: Annotated[str, typer.Option(help="It ended then; without, it is taken back wholly.")] = "",
    cause: CauseOption = "",
) -> None:
    """Correct a binding: end it earlier, or take it back. The audit keeps how it stood."""
    site = running_site(config_place(config), config)
    query: dict[str, str | int | float] = {"cause": cause}
    if at:
        query["at_ms"] = moment_ms(at, site.timezone, SystemClock().now_ms(), key="--at")
    with HubClient(config) as hub:
        hub.delete(f"/v1/bindings/{binding}", query)
    typer.echo(f"{binding} is ended" if at else f"{binding} is taken back")


def config_place(folder: Path) -> Path | URL:
    """Where the ledger of this configuration is."""
    return load_config(folder).ledger_place()


def place_of(text: str, site: Site) -> Place:
    """`BUILDING/ROOM[/CIRCUIT]`, the building by its id, name or alias; raises ConfigError."""
    words = [word.strip() for word in text.split("/")]
    if not 2 <= len(words) <= 3 or not all(words):
        hint = "write BUILDING/ROOM or BUILDING/ROOM/CIRCUIT, such as B1/101"
        raise ConfigError(file="command line", key="room", found=f"found {text!r}", hint=hint)
    known = site.buildings.find(words[0])
    return Place(
        building=known.id if known else words[0],
        room=words[1],
        circuit=words[2] if len(words) == 3 else "",
    )


def value_of(text: str, key: str, own: str = _USUAL) -> int:
    """A counter's word in its own unit; raises ConfigError."""
    for unit in sorted(units_of(own), key=len, reverse=True):
        factor = unit_factor(unit, own)
        number = text.removesuffix(unit).strip()
        if factor is None or number == text.strip():
            continue
        text = number
        break
    else:
        factor = Fraction(1)
    try:
        value = Fraction(text) * factor
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if value < 0 or value.denominator != 1:
        hint = f"write whole {own}, or a number with its unit: {', '.join(units_of(own))}"
        raise ConfigError(file="command line", key=key, found=f"found {text!r}", hint=hint)
    return int(value)


def _print(found: Sequence[Binding], site: Site) -> None:
    table = Table("id", "room", "device", "from", "to", "first (Wh, ml)", "last (Wh, ml)")
    for one in found:
        table.add_row(
            one.id,
            "/".join(filter(None, (one.place.building, one.place.room, one.place.circuit))),
            one.device,
            local(one.from_ms, site.timezone),
            local(one.to_ms, site.timezone) if one.to_ms is not None else "",
            _shown(one.first),
            _shown(one.last),
        )
    plain().print(table)


def _unit_of(device: str, site: Site) -> str:
    """What this device counts; one that is gone is held to be an electricity meter."""
    known = next((one for one in site.devices() if one.id == device), None)
    meter = meter_of(device, known, None)
    return meter.unit if meter else _USUAL


def _shown(figure: Figure | None) -> str:
    return str(figure.value) if figure else ""


def _line(row: BoundRow, site: Site) -> str:
    place = "/".join(filter(None, (row.building, row.room, row.circuit)))
    until = local(row.to_ms, site.timezone) if row.to_ms is not None else "now"
    return f"{row.id} {row.device} in {place}, {local(row.from_ms, site.timezone)} to {until}"
