"""`dormhub use ROOM`: what a room used, or every room of a building."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hub.campus.accounts.accounts import Utility
from hub.cli.bindings import config_place, place_of
from hub.cli.moments import local, moment_ms
from hub.cli.options import DEFAULT_CONFIG, BuildingOption, ConfigOption, JsonOption
from hub.cli.plain import plain
from hub.cli.reports import print_rows, write_rows
from hub.clock import SystemClock
from hub.config import load_config
from hub.errors import ConfigError
from hub.inventory.bindings import Binding, Chosen, find_bindings
from hub.inventory.counts import Meter, meters_of, unit_of
from hub.inventory.installed import known_devices, running_site
from hub.inventory.ranking import Level, Ranked, ranked, use_of_rooms
from hub.inventory.use import By, Use, edges, reckon
from hub.journal import JournalReader
from hub.ledger import open_reader
from hub.model import Place
from hub.sheets.saving import check_out
from hub.site import Site

EXIT_STOPPED = 130
_RANKED = ("rank", "building", "floor", "room", "used", "rooms", "estimated")
_USED = ("building", "room", "start_ms", "end_ms", "used", "unit", "estimated")
Result = TypeVar("Result")


class UseRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a room used after one moment and until another (UTC ms)."""

    building: str
    room: str
    start_ms: int
    end_ms: int
    used: int
    unit: str
    estimated: bool


def use(
    room: Annotated[
        str, typer.Argument(metavar="BUILDING/ROOM[/CIRCUIT]", help="The room, such as B1/101.")
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    since: Annotated[
        str, typer.Option(help="2026-11-22T18:00 (the site's time), or 7d for ago.")
    ] = "24h",
    until: Annotated[str, typer.Option(help="Likewise; now when not given.")] = "0m",
    by: Annotated[By, typer.Option(help="How finely.")] = By.ALL,
    utility: Annotated[Utility, typer.Option(help="Of what.")] = Utility.ELECTRICITY,
    rank: Annotated[bool, typer.Option("--rank", help="Who used most, in order.")] = False,
    of: Annotated[Level, typer.Option(help="With --rank: of what.")] = Level.ROOM,
    top: Annotated[int, typer.Option(help="With --rank: so many; 0: all.", min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="Write a .csv or .xlsx file.")] = None,
    json: JsonOption = False,
) -> None:
    """What a room used, by the devices that were bound to it; `~` marks an estimate.

    Beside a running hub, or without. Exit code 2: mistakes; 130: stopped by Ctrl-C.
    """
    site = running_site(config_place(config), config)
    check_out(out, config)
    start_ms, end_ms = _span_ms(since, until, site)
    where = _where(room, building, site, rank=rank)
    chosen = Chosen(
        building=where.building,
        room=where.room,
        circuit=where.circuit,
        start_ms=start_ms,
        end_ms=end_ms,
    )
    with open_reader(config_place(config)) as connection:
        found = find_bindings(connection, chosen)
        names = {binding.device for binding in found}
        devices = known_devices(connection, names, site.profiles)
    moments = edges(start_ms, end_ms, By.ALL if rank else by, site.timezone)
    uses: list[UseRow] = []
    order: list[Ranked] = []
    with JournalReader(load_config(config).data / "journal.db") as reader:
        try:
            meters = meters_of(names, devices, reader.latest(names), utility)
            if rank:
                work = use_of_rooms(reader.query, found, meters, moments, site.buildings)
                order = ranked(_finished(work), of)[: top or None]
            else:
                uses = list(_rows(reader, found, meters, moments, unit_of(utility)))
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_STOPPED) from None
    told: Sequence[object] = order if rank else uses
    if out is not None:
        write_rows(out, told, _RANKED if rank else _USED, config=config)
    elif rank or json:
        print_rows(told, _RANKED, json=json)
    else:
        _print(uses, site)


def _where(room: str, building: str, site: Site, *, rank: bool) -> Place:
    known = site.buildings.find(building)
    where = place_of(room, site) if room else Place(building=known.id if known else building)
    if (not where.building and not rank) or (room and (building or rank)):
        hint = "name a room, or --building; with --rank no room"
        raise ConfigError(file="command line", key="room", found="nothing, or both", hint=hint)
    return where


def _span_ms(since: str, until: str, site: Site) -> tuple[int, int]:
    now_ms = SystemClock().now_ms()
    start_ms = moment_ms(since, site.timezone, now_ms, key="--since")
    end_ms = min(now_ms, moment_ms(until, site.timezone, now_ms, key="--until"))
    if start_ms >= end_ms:
        hint = "it must lie before --until and now"
        raise ConfigError(file="command line", key="--since", found=f"found {since!r}", hint=hint)
    return start_ms, end_ms


def _rows(
    reader: JournalReader,
    found: list[Binding],
    meters: Mapping[str, Meter],
    moments: tuple[int, ...],
    unit: str,
) -> Iterator[UseRow]:
    rooms: dict[tuple[str, str], list[Binding]] = {}
    for binding in found:
        rooms.setdefault((binding.place.building, binding.place.room), []).append(binding)
    shown = Console(stderr=True)
    silent = len(rooms) < 2 or not shown.is_terminal
    work = track(sorted(rooms), description="rooms", console=shown, transient=True, disable=silent)
    for building, room in work:
        told = _finished(reckon(reader.query, rooms[building, room], meters, moments))
        yield from _room_rows(building, room, told, unit)


def _room_rows(building: str, room: str, told: Use, unit: str) -> Iterator[UseRow]:
    for one in told.slices:
        yield UseRow(
            building=building,
            room=room,
            start_ms=one.start_ms,
            end_ms=one.end_ms,
            used=one.used,
            unit=unit,
            estimated=one.estimated,
        )


def _finished(work: Generator[None, None, Result]) -> Result:
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: Result = done.value
            return result


def _print(rows: Sequence[UseRow], site: Site) -> None:
    table = Table("room", "after", "until", "used")
    for row in rows:
        span = local(row.start_ms, site.timezone), local(row.end_ms, site.timezone)
        mark = "~" if row.estimated else ""
        table.add_row(f"{row.building}/{row.room}", *span, f"{mark}{row.used} {row.unit}")
    plain().print(table)
