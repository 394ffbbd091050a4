"""`dormhub verify`: every device read once: answered, silent, wrong model, implausible."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from hub.cli.inspection import Inspection, Terms, Verdict, VerdictRow, row_of
from hub.cli.options import (
    DEFAULT_CONFIG,
    BuildingOption,
    ConfigOption,
    JsonOption,
    LinkOption,
)
from hub.cli.visit import find_link
from hub.errors import ConfigError
from hub.model import Device, Link
from hub.profile_file import load_profiles
from hub.sheets.device_export import protected_csv
from hub.sheets.saving import check_out, save_out
from hub.site import Site, load_site

EXIT_NOT_ALL = 1
EXIT_STOPPED = 130
_AT_ONCE = 32
_MARKS = {
    Verdict.ANSWERED: "green",
    Verdict.SILENT: "red",
    Verdict.WRONG_MODEL: "red",
    Verdict.IMPLAUSIBLE: "yellow",
    Verdict.NOT_ASKED: "yellow",
}


def verify(
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    link: LinkOption = "",
    out: Annotated[Path | None, typer.Option(help="Write the report as CSV.")] = None,
    seconds: Annotated[
        float,
        typer.Option(help="Longest wait for devices that speak by themselves.", min=1, max=86_400),
    ] = 60.0,
    force: Annotated[
        bool, typer.Option("--force", help="Also links with gates, which nobody hears meanwhile.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Read every device once, and say of each whether it is what it should be.

    A running hub lends each Modbus link meanwhile. Exit code 0: all answered; 1: not all; 130: stopped.
    """
    check_out(out, config)
    site = load_site(config)
    chosen = _chosen(site, building, link)
    library = load_profiles(config / "profiles")
    profiles = [library.example(name) for name in library.ids()]
    terms = Terms(config=config, profiles=profiles, seconds=seconds, force=force)
    inspections = [Inspection(terms, one, devices) for one, devices in chosen]
    stopped = False
    try:
        asyncio.run(_inspect(inspections))
    except KeyboardInterrupt:
        stopped = True
    rows = _rows(chosen, inspections)
    if out is not None:
        _write(out, config, rows)
    _report(rows, json=json)
    if stopped:
        typer.echo("stopped: the rest was not asked", err=True)
        raise typer.Exit(EXIT_STOPPED)
    if any(row.verdict is not Verdict.ANSWERED for row in rows):
        raise typer.Exit(EXIT_NOT_ALL)


def _chosen(site: Site, building: str, link: str) -> list[tuple[Link, Sequence[Device]]]:
    """The links and, of each, the devices to ask; raises ConfigError when there are none."""
    links = [find_link(site, link)] if link else list(site.links)
    wanted = site.buildings.id_of(building)
    chosen: list[tuple[Link, Sequence[Device]]] = [
        (one, devices)
        for one in links
        if (devices := [item for item in one.devices if wanted in ("", item.place.building)])
    ]
    if not chosen:
        raise ConfigError(
            file=str(site.folder / "devices.csv"),
            key="building" if building else "link",
            found=f"no devices of {building or link or 'any link'}",
            hint="see `dormhub devices`",
        )
    return chosen


async def _inspect(inspections: Sequence[Inspection]) -> None:
    """All links at once, up to a bound."""
    room = asyncio.Semaphore(_AT_ONCE)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("links", total=len(inspections))

        async def run(inspection: Inspection) -> None:
            async with room:
                await inspection.run()
            bar.advance(task)

        async with asyncio.TaskGroup() as tasks:
            for number, inspection in enumerate(inspections):
                tasks.create_task(run(inspection), name=f"verify {number}")


def _rows(
    chosen: Sequence[tuple[Link, Sequence[Device]]], inspections: Sequence[Inspection]
) -> list[VerdictRow]:
    """A row for every device, in the order of the configuration."""
    found = {row.id: row for inspection in inspections for row in inspection.rows}
    return [
        found.get(device.id) or row_of(device, Verdict.NOT_ASKED, "")
        for _, devices in chosen
        for device in devices
    ]


def _report(rows: Sequence[VerdictRow], *, json: bool) -> None:
    if json:
        for row in rows:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    console = Console()
    wrong = [row for row in rows if row.verdict is not Verdict.ANSWERED]
    if wrong:
        table = Table()
        for name in ("device", "link", "address", "room", "product", "verdict"):
            table.add_column(name, no_wrap=True)
        table.add_column("reason", ratio=1)
        for row in wrong:
            mark = f"[{_MARKS[row.verdict]}]{row.verdict}[/]"
            room = " ".join(filter(None, (row.building, row.floor, row.room)))
            table.add_row(row.id, row.link, row.address, room, row.profile, mark, row.reason)
        console.print(table)
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    typer.echo(f"{len(rows)} devices: " + ", ".join(f"{n} {v}" for v, n in counts.items()))


def _write(path: Path, config: Path, rows: Sequence[VerdictRow]) -> None:
    cells = msgspec.convert([msgspec.to_builtins(row) for row in rows], list[dict[str, str]])
    save_out(path, protected_csv(cells, VerdictRow.__struct_fields__), config)
