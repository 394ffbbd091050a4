"""`dormhub scan LINK`: which devices are on a link; it never writes to any."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from hub.cli.borrow import borrowed
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.cli.scan_state import ScanState
from hub.cli.visit import Visit, find_link
from hub.config import load_config
from hub.errors import ConfigError, HubError
from hub.model import Device, Link
from hub.profile_file import load_profiles
from hub.scanner import Scanner, Search, Sight, Sighting, open_scanner
from hub.sheets.device_export import protected_csv
from hub.sheets.saving import check_out, save_out
from hub.site import load_site

EXIT_STOPPED = 130
COLUMNS = ("id", "profile", "link", "address", "building", "floor", "room", "circuit", "note")
_MARKS = {
    Sight.KNOWN: "green",
    Sight.PERHAPS: "yellow",
    Sight.STRANGER: "yellow",
    Sight.COLLISION: "red",
}


class FoundRow(msgspec.Struct, frozen=True, kw_only=True):
    """One spot at which something is, as told to a machine."""

    link: str
    address: str
    way: str
    sight: Sight
    profile: str
    text: str
    configured: str


def scan(
    link: Annotated[str, typer.Argument(help="The link's id.")],
    config: ConfigOption = DEFAULT_CONFIG,
    units: Annotated[str, typer.Option(help="Addresses, as 1-30,40; all when absent.")] = "",
    baud: Annotated[
        str, typer.Option(help="Speeds to try at a serial port of this box, as 2400,9600.")
    ] = "",
    format_: Annotated[
        str, typer.Option("--format", help="Character formats to try, as 8N1,8E1.")
    ] = "",
    timeout: Annotated[
        float, typer.Option(help="Patience for one answer, in seconds.", min=0.02, max=5)
    ] = 0.2,
    out: Annotated[Path | None, typer.Option(help="Write what `dormhub import` takes.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was stopped.")] = False,
    state: Annotated[Path | None, typer.Option(help="Where to note how far it is.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also a link with gates, which nobody hears meanwhile.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Find the devices of a link and their products. Nothing is ever written to a device.

    A running hub lends the link meanwhile. Exit code 130: stopped, go on with --resume.
    """
    check_out(out, config)
    chosen = find_link(load_site(config), link)
    path = state or load_config(config).data / f"scan-{link}.json"
    search = Search(
        addresses=units, bauds=_numbers(baud), formats=_texts(format_), timeout_s=timeout
    )
    noted = ScanState.go_on(path, link) if resume else ScanState.begin(path, link, search)
    library = load_profiles(config / "profiles")
    profiles = [library.example(name) for name in library.ids()]
    scanner = open_scanner(chosen, profiles, noted.search)
    _announce(scanner, noted)
    try:
        asyncio.run(_scan(config, chosen, scanner, noted, force=force))
    except KeyboardInterrupt:
        _stopped(noted)
        raise typer.Exit(EXIT_STOPPED) from None
    except HubError:
        _stopped(noted)
        raise
    else:
        noted.forget()
    finally:
        _report(config, chosen, noted, out, json=json)


async def _scan(
    config: Path, link: Link, scanner: Scanner, noted: ScanState, *, force: bool
) -> None:
    spots = noted.left(scanner.spots())
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{link.id}: 0 found", total=len(spots))
        async with (
            borrowed(config, link, force=force, cause="scan"),
            aclosing(scanner.scan(spots, Visit(()))) as sightings,
        ):
            async for sighting in sightings:
                noted.note(sighting)
                bar.update(
                    task,
                    advance=1,
                    description=f"{link.id}: {len(noted.found)} found, at {sighting.spot.address}"
                    f" {sighting.spot.way}".rstrip(),
                )


def _announce(scanner: Scanner, noted: ScanState) -> None:
    spots = noted.left(scanner.spots())
    for note in scanner.notes:
        typer.echo(note, err=True)
    minutes = scanner.expected_s(spots) / 60
    ways = len({spot.way for spot in spots})
    text = f"{len(spots)} addresses to ask" + (f" at {ways} speeds and formats" * (ways > 1))
    typer.echo(f"{text}: about {minutes:.1f} minutes if nobody answers", err=True)


def _stopped(noted: ScanState) -> None:
    noted.save()
    typer.echo(f"stopped; go on with --resume (noted in {noted.path})", err=True)


def _report(config: Path, link: Link, noted: ScanState, out: Path | None, *, json: bool) -> None:
    """The table or the lines, and the file for the import."""
    installed = {device.address: device for device in link.devices}
    rows = [_row(link, one, installed.get(one.spot.address)) for one in noted.found]
    if json:
        for row in rows:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
    else:
        _print(link, rows)
    if out is not None:
        _write(out, config, link, noted.found, installed)


def _row(link: Link, one: Sighting, device: Device | None) -> FoundRow:
    configured = ""
    if device is not None:
        same = one.profile in ("", device.profile.id)
        configured = device.id if same else f"{device.id}, as {device.profile.id}"
    return FoundRow(
        link=link.id,
        address=one.spot.address,
        way=one.spot.way,
        sight=one.sight,
        profile=one.profile,
        text=one.text,
        configured=configured,
    )


def _print(link: Link, rows: list[FoundRow]) -> None:
    table = Table(title=link.id)
    for name in ("address", "at", "", "product", "in devices.csv"):
        table.add_column(name, no_wrap=True)
    table.add_column("because", ratio=1)
    for row in rows:
        mark = f"[{_MARKS[row.sight]}]{row.sight}[/]"
        table.add_row(row.address, row.way, mark, row.profile, row.configured or "new", row.text)
    Console().print(table)
    counts = {sight: sum(row.sight is sight for row in rows) for sight in _MARKS}
    typer.echo(f"{len(rows)} found: " + ", ".join(f"{n} {sight}" for sight, n in counts.items()))


def _write(
    path: Path, config: Path, link: Link, found: Sequence[Sighting], installed: Mapping[str, Device]
) -> None:
    """What was recognised, one row for each address, in the columns of devices.csv."""
    rows: dict[str, dict[str, str]] = {}
    for one in found:
        if one.profile:
            rows.setdefault(one.spot.address, _cells(link, one, installed.get(one.spot.address)))
    save_out(path, protected_csv(list(rows.values()), COLUMNS), config)
    left = len({one.spot.address for one in found} - rows.keys())
    more = f"; {left} addresses without a product are not in it" * bool(left)
    typer.echo(f"{path}: {len(rows)} devices for `dormhub import`{more}", err=True)


def _cells(link: Link, one: Sighting, device: Device | None) -> dict[str, str]:
    where = device.place if device else None
    note = f"{one.sight} at {one.spot.way}".removesuffix(" at ")
    return {
        "id": device.id if device else f"{link.id}-{one.spot.address}",
        "profile": one.profile,
        "link": link.id,
        "address": one.spot.address,
        "building": where.building if where else "",
        "floor": where.floor if where else "",
        "room": where.room if where else "",
        "circuit": where.circuit if where else "",
        "note": (device.note if device else "") or f"scan: {note}",
    }


def _texts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    parts = _texts(text)
    if not all(part.isascii() and part.isdecimal() and len(part) <= 7 for part in parts):
        raise ConfigError(
            file="command line", key="--baud", found=f"found {text!r}", hint="write 2400,9600"
        )
    return tuple(int(part) for part in parts)
