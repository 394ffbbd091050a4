"""What is there now: devices, links, health, quarantine, and a live table. Read from the journal on disk
and, where a hub runs, from its status socket.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from hub.cli.options import (
    DEFAULT_CONFIG,
    BuildingOption,
    ConfigOption,
    JsonOption,
    LinkOption,
)
from hub.clock import SystemClock
from hub.config import load_config
from hub.inventory.installed import running_site
from hub.journal import JournalReader, Latest
from hub.model import Device, Value
from hub.points import POINTS
from hub.presence import ONLINE, Presence, is_stale
from hub.site import Site
from hub.status import ControlStatus, Health, LinkStatus, Status, read_status

EXIT_NOT_WELL = 1
_ROWS_SHOWN = 40
_VALUES_SHOWN = 6
_FIRST = (
    "washer_state",
    "remaining",
    "gate_state",
    "gate_event",
    "active_power_total",
    "active_power_l1",
    "energy_import",
    "credit_money",
    "voltage_l1",
    "current_l1",
)
_LAST = ("sequence", "type_code", "online")
_FRAME_ROWS = 6  # title, head and borders of a table
_MARKS = {Presence.ONLINE: "green", Presence.OFFLINE: "red", Presence.UNKNOWN: "yellow"}


class DeviceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One device as shown: where it is, whether it can be believed, and what it said last."""

    id: str
    profile: str
    link: str
    building: str
    room: str
    presence: Presence
    age_s: float | None
    values: dict[str, Value]
    bad: dict[str, str]


def presence_of(
    device: Device, latest: Latest | None, now_ms: int
) -> tuple[Presence, float | None]:
    """Presence by the same rule as the hub's, from what is on disk, and the age of the last word."""
    if latest is None:
        return Presence.UNKNOWN, None
    # A word from the future: the clock went back, and nobody knows how old it is. Not fresh.
    age_s = abs(now_ms - latest.received_ms) / 1000
    if latest.values.get(ONLINE) is False or is_stale(age_s, device.period_s):
        return Presence.OFFLINE, age_s
    return Presence.ONLINE, age_s


def device_rows(site: Site, reader: JournalReader, *, building: str, link: str) -> list[DeviceRow]:
    """Every device chosen, as configured and as last heard."""
    building = site.buildings.id_of(building)
    chosen = [
        device
        for device in site.devices()
        if building in ("", device.place.building) and link in ("", device.link)
    ]
    latest = reader.latest([device.id for device in chosen])
    now_ms = SystemClock().now_ms()
    rows = []
    for device in chosen:
        last = latest.get(device.id)
        presence, age_s = presence_of(device, last, now_ms)
        rows.append(
            DeviceRow(
                id=device.id,
                profile=device.profile.id,
                link=device.link,
                building=device.place.building,
                room=device.place.room,
                presence=presence,
                age_s=age_s,
                values=public(last.values if last else {}),
                bad=dict(last.bad) if last else {},
            )
        )
    return rows


def public(values: Mapping[str, Value]) -> dict[str, Value]:
    """The values as anybody may see them: plates and credentials are hidden."""
    return {
        name: "***" if name in POINTS and POINTS[name].secret else value
        for name, value in values.items()
    }


def shown(value: object) -> str:
    """A value as a person reads it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _headline(row: DeviceRow) -> str:
    """What a person looks for first, in one line: state, power, energy, then the rest."""
    names = [name for name in _FIRST if name in row.values]
    names += [name for name in row.values if name not in _FIRST and name not in _LAST]
    parts = []
    for name in names[:_VALUES_SHOWN]:
        unit = POINTS[name].unit if name in POINTS else "1"
        text = shown(row.values[name])
        parts.append(f"{name} {text}" if unit == "1" else f"{name} {text} {unit}")
    return ", ".join(parts)


def device_table(rows: list[DeviceRow], title: str, height: int = _ROWS_SHOWN) -> Table:
    """A table of at most `height` devices: those that are away first, then some of every link."""
    table = Table(title=title, expand=True)
    for name in ("device", "room", "product", "presence", "age"):
        table.add_column(name, no_wrap=True)
    table.add_column("values", no_wrap=True, overflow="ellipsis", ratio=1)
    place: dict[str, int] = {}
    turns = []
    for row in rows:
        place[row.link] = turn = place.get(row.link, 0) + 1
        turns.append((row.presence is not Presence.OFFLINE, turn, row.link, row))
    for *_, row in sorted(turns, key=lambda item: item[:3])[:height]:
        table.add_row(
            row.id,
            row.room,
            row.profile,
            f"[{_MARKS[row.presence]}]{row.presence}[/]",
            "" if row.age_s is None else f"{row.age_s:.0f} s",
            _headline(row),
        )
    if len(rows) > height:
        table.caption = f"and {len(rows) - height} more"
    return table


def devices(
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    link: LinkOption = "",
    json: JsonOption = False,
) -> None:
    """Every device: where it is, whether it answers, and what it said last."""
    site = running_site(load_config(config).ledger_place(), config)
    with JournalReader(load_config(config).data / "journal.db") as reader:
        rows = device_rows(site, reader, building=building, link=link)
    if json:
        _write_json(rows)
        return
    console = Console()
    console.print(device_table(rows, site.name))
    console.print(summary(rows))


def summary(rows: list[DeviceRow]) -> str:
    """How many devices are in each state, in one line."""
    counts = {state: sum(row.presence is state for row in rows) for state in Presence}
    return f"{len(rows)} devices: " + ", ".join(
        f"{count} {state}" for state, count in counts.items()
    )


def live_table(site: Site, rows: list[DeviceRow], console: Console) -> Table:
    """The table of `watch` and of the demonstration: as many rows as the terminal has room for."""
    room = max(5, console.size.height - _FRAME_ROWS)
    return device_table(rows, f"{site.name}: {summary(rows)}", room)


def watch(
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    link: LinkOption = "",
    seconds: Annotated[float, typer.Option(help="End after so many; 0: at Ctrl-C.", min=0)] = 0,
) -> None:
    """A live table of readings as they arrive."""
    site = running_site(load_config(config).ledger_place(), config)
    end_s = time.monotonic() + (seconds or float("inf"))
    with JournalReader(load_config(config).data / "journal.db") as reader, Live() as live:
        while time.monotonic() < end_s:
            rows = device_rows(site, reader, building=building, link=link)
            live.update(live_table(site, rows, live.console))
            time.sleep(0.5)


def links(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Every link: whether it works, and how much of its wire it uses."""
    site = running_site(load_config(config).ledger_place(), config)
    data = load_config(config).data
    with JournalReader(data / "journal.db") as reader:
        latest = reader.latest([link.id for link in site.links])
    status = read_status(data)
    live = {link.id: link for link in status.links} if status else {}
    if json:
        rows = [
            {
                "id": link.id,
                "driver": link.driver,
                "devices": len(link.devices),
                "live": msgspec.to_builtins(live.get(link.id)),
                "counts": dict(latest[link.id].values) if link.id in latest else {},
            }
            for link in site.links
        ]
        _write_json(rows)
        return
    table = Table(
        "link",
        "driver",
        "devices",
        "state",
        "of the wire",
        "on silent",
        "silent",
        "requests",
        "errors",
    )
    for link in site.links:
        last = latest.get(link.id)
        counts = last.values if last else {}
        errors = sum(
            int(counts.get(name, 0))
            for name in ("link_timeouts", "link_exceptions", "link_frame_errors", "link_poison")
        )
        table.add_row(
            link.id,
            link.driver,
            str(len(link.devices)),
            _link_state(live.get(link.id), bool(counts.get("link_up"))),
            _percent(counts.get("link_utilization")),
            _percent(counts.get("link_quarantine_share")),
            shown(counts.get("link_silent", "")),
            shown(counts.get("link_requests", counts.get("link_messages", ""))),
            str(errors),
        )
    console = Console()
    console.print(table)
    for line in control_lines(status.control) if status else ():
        console.print(line, highlight=False)


def _percent(share: object) -> str:
    return f"{share:.1%}" if isinstance(share, float) else ""


def _link_state(live: LinkStatus | None, was_up: bool) -> str:
    if live is None:
        return "[yellow]no hub[/]" + (" (was up)" if was_up else "")
    return "[green]up[/]" if live.up else f"[red]down[/] {live.reason}"


def health(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """What the running hub says of itself; exit code 0 only when all is green."""
    status = read_status(load_config(config).data)
    if status is None:
        typer.echo("no hub runs here", err=True)
        raise typer.Exit(EXIT_NOT_WELL)
    if json:
        sys.stdout.write(msgspec.json.encode(status).decode() + "\n")
    else:
        _print_health(status)
    if status.health is not Health.GREEN:
        raise typer.Exit(EXIT_NOT_WELL)


def _print_health(status: Status) -> None:
    console = Console()
    colour = {Health.GREEN: "green", Health.YELLOW: "yellow", Health.RED: "red"}[status.health]
    began = datetime.fromtimestamp(status.started_ms / 1000, UTC)
    console.print(
        f"[{colour}]{status.health}[/] {status.site}, since {began:%Y-%m-%d %H:%M:%S} UTC"
    )
    for reason in status.reasons[:_ROWS_SHOWN]:
        console.print(f"  {reason}")
    inventory = status.inventory
    console.print(f"inventory {inventory.number}: {inventory.devices} devices")
    if inventory.drift:
        console.print(f"  the files are not what was applied: {inventory.drift}", highlight=False)
    console.print(
        f"devices: {status.online} online, {status.offline} offline, {status.unknown} unknown"
    )
    store = status.store
    console.print(
        f"journal: {store.readings} readings, {store.size_bytes / 1e6:.1f} MB, {store.waiting} waiting"
    )
    for line in control_lines(status.control):
        console.print(line, highlight=False)
    for sink in status.sinks:
        console.print(
            f"sink {sink.name}: {sink.delivered} delivered, {sink.lag} behind, {sink.rejected} refused"
        )


def control_lines(control: ControlStatus) -> tuple[str, str]:
    """The fire latch and the open commands, as a person reads them."""
    fire = "latched, nothing closes" if control.fire_latched else "not ruled out, nothing closes"
    fire = f"{fire}: {control.fire_reason}" if control.fire_forbids else "quiet"
    held = f", {control.commands_held} held for a second person" if control.commands_held else ""
    return f"fire: {fire}", f"commands: {control.commands_open} open{held}"


def quarantine(
    config: ConfigOption = DEFAULT_CONFIG,
    last: Annotated[int, typer.Option(help="How many of the newest.", min=1, max=10_000)] = 20,
    json: JsonOption = False,
) -> None:
    """Messages that could not become readings: where from, why, and how they begin."""
    with JournalReader(load_config(config).data / "journal.db") as reader:
        counts, newest = reader.query.poison_counts(), reader.query.poison(last)
    if json:
        _write_json(newest)
        return
    console = Console()
    for count in counts:
        console.print(f"{count.count} x {count.link}: {count.reason}", highlight=False)
    table = Table("when (UTC)", "link", "source", "reason", "begins with")
    for item in newest:
        when = datetime.fromtimestamp(item.time_ms / 1000, UTC)
        text = item.payload[:60].decode("utf-8", "replace")
        table.add_row(f"{when:%Y-%m-%d %H:%M:%S}", item.link, item.source, item.reason, repr(text))
    console.print(table)


def _write_json(rows: Iterable[object]) -> None:
    for row in rows:
        sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
