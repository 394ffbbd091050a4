"""`dormhub settle`, `transfer`, `credit`: somebody leaves a room or moves, and staff give credit."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from hub.campus.accounts.accounts import Utility
from hub.campus.life.jobs import JobKind, JobState
from hub.campus.orders.desk import Source
from hub.cli.bindings import config_place, place_of
from hub.cli.hub_client import Answered, HubClient
from hub.cli.moments import when
from hub.cli.options import DEFAULT_CONFIG, BuildingOption, ConfigOption, JsonOption
from hub.cli.plain import plain
from hub.errors import ConfigError
from hub.inventory.installed import running_site
from hub.site import Site

EXIT_REFUSED = 1
_ROOMS_MAX = 10_000

ReasonOption = Annotated[str, typer.Option(help="Why, for the audit.")]
UtilityOption = Annotated[Utility, typer.Option(help="What the room buys.")]
GiveBackOption = Annotated[
    bool, typer.Option("--give-back", help="Give orders back of which no meter was told yet.")
]
JobArgument = Annotated[str, typer.Argument(help="The job's id: dormhub settle list.")]

app = typer.Typer(help="Somebody leaves a room: check-out, step by step.", no_args_is_help=True)
transfer_app = typer.Typer(help="What a room has goes to another.", no_args_is_help=True)


class JobRow(msgspec.Struct, frozen=True):
    """A job as the hub shows it."""

    id: str
    kind: str
    state: str
    step: str
    account: str
    other: str
    waits: str
    opened_ms: int


class JobRows(msgspec.Struct, frozen=True):
    """Jobs, the newest first."""

    jobs: list[JobRow]


class StepRow(msgspec.Struct, frozen=True):
    """A step that was done."""

    name: str
    time_ms: int
    actor: str
    said: str


class JobWhole(msgspec.Struct, frozen=True):
    """A job with its steps."""

    job: JobRow
    steps: list[StepRow]


class OrderRow(msgspec.Struct, frozen=True):
    """An order of the desk."""

    number: str
    account: str
    amount_fen: int
    state: str


@app.command("run")
def run(
    reason: ReasonOption,
    rooms: Annotated[
        list[str] | None, typer.Argument(metavar="BUILDING/ROOM…", help="The rooms.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    file: Annotated[
        Path | None, typer.Option(help="A CSV with the columns building and room.")
    ] = None,
    building: BuildingOption = "",
    floor: Annotated[str, typer.Option(help="Only this floor of --building.")] = "",
    utility: UtilityOption = Utility.ELECTRICITY,
    cut: Annotated[bool, typer.Option("--cut", help="Cut the supply at the end.")] = False,
    give_back: GiveBackOption = False,
    payee: Annotated[str, typer.Option(help="Who is paid what is left.")] = "",
    json: JsonOption = False,
) -> None:
    """Settle each of these rooms: a job for each, which goes on by itself.

    Exit code 1 when one of them was refused; the others go on.
    """
    site = running_site(config_place(config), config)
    wanted = list(dict.fromkeys(_rooms(site, rooms or [], file, building, floor)))
    if not 0 < len(wanted) <= _ROOMS_MAX:
        raise _mistake("rooms", f"{len(wanted)} rooms", "name rooms, --file, or --building")
    refused = 0
    with HubClient(config) as hub:
        for where, room in wanted:
            body = {"building": where, "room": room, "utility": str(utility), "reason": reason}
            wish = body | {"cut": cut, "give_back": give_back, "payee": payee}
            try:
                job = hub.post("/v1/settlements", JobRow, wish)
            except Answered as error:
                refused += 1
                typer.echo(f"{where}/{room}: {error}", err=True)
            else:
                _say(job, json=json)
    raise typer.Exit(EXIT_REFUSED if refused else 0)


@app.command("list")
def list_(
    config: ConfigOption = DEFAULT_CONFIG,
    kind: Annotated[JobKind | None, typer.Option(help="Only these.")] = None,
    state: Annotated[JobState | None, typer.Option(help="Only those that stand so.")] = None,
    building: BuildingOption = "",
    last: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 100,
    json: JsonOption = False,
) -> None:
    """Settlements and transfers, the newest first, and for what they wait."""
    query: dict[str, str | int | float] = {"building": building, "limit": last}
    if kind:
        query["kind"] = str(kind)
    if state:
        query["state"] = str(state)
    with HubClient(config) as hub:
        found = hub.get("/v1/jobs", JobRows, query).jobs
    if json:
        for row in found:
            _say(row, json=True)
        return
    table = Table("id", "what", "account", "state", "step", "waits for")
    for row in found:
        account = f"{row.account} → {row.other}" if row.other else row.account
        table.add_row(row.id, row.kind, account, row.state, row.step, row.waits)
    plain().print(table)


@app.command("show")
def show(job: JobArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """A job with each step: when, by whom, and what was noted."""
    with HubClient(config) as hub:
        whole = hub.get(f"/v1/jobs/{job}", JobWhole, {})
    if json:
        sys.stdout.write(msgspec.json.encode(whole).decode() + "\n")
        return
    _say(whole.job, json=False)
    table = Table("when (UTC)", "step", "by", "noted")
    for step in whole.steps:
        said = "" if step.said == "null" else step.said
        table.add_row(when(step.time_ms), step.name, step.actor, said)
    plain().print(table)


@app.command("word")
def word(
    job: JobArgument,
    device: Annotated[str, typer.Argument(help="The meter.")],
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    counter: Annotated[
        int | None, typer.Option(help="What its counter shows, in Wh or ml.", min=0)
    ] = None,
    left: Annotated[
        str, typer.Option(help="Yuan that a meter showed which keeps money; you have emptied it.")
    ] = "",
) -> None:
    """Say what you read at a meter that the job waits for."""
    body = {
        "device": device,
        "counter": counter,
        "credit_fen": fen_of(left, "--left") if left else None,
        "reason": reason,
    }
    with HubClient(config) as hub:
        _say(hub.post(f"/v1/jobs/{job}/word", JobRow, body), json=False)


@app.command("resume")
def resume(job: JobArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Look at a job that waits now; jobs go on by themselves, also after a restart."""
    with HubClient(config) as hub:
        _say(hub.post(f"/v1/jobs/{job}/resume", JobRow), json=False)


@app.command("cancel")
def cancel(job: JobArgument, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """End a settlement or transfer before anything of it is booked."""
    with HubClient(config) as hub:
        _say(hub.post(f"/v1/jobs/{job}/cancel", JobRow, {"reason": reason}), json=False)


@app.command("paid")
def paid(job: JobArgument, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """What a settlement left was paid out, or its debt was paid; --reason says how."""
    with HubClient(config) as hub:
        _say(hub.post(f"/v1/jobs/{job}/paid", JobRow, {"reason": reason}), json=False)


@app.command("sheet")
def sheet(
    job: JobArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False
) -> None:
    """The settlement sheet, as CSV or JSON: readings, use, prices, payments, balance."""
    with HubClient(config) as hub:
        if json:
            content = hub.get(f"/v1/jobs/{job}/sheet", msgspec.Raw, {})
            sys.stdout.write(bytes(content).decode() + "\n")
        else:
            sys.stdout.write(hub.get_text(f"/v1/jobs/{job}/sheet.csv", {}))


@app.command("reopen")
def reopen(
    room: Annotated[str, typer.Argument(metavar="BUILDING/ROOM")],
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    utility: UtilityOption = Utility.ELECTRICITY,
) -> None:
    """Open the account of a settled room: somebody moves in."""
    where = place_of(room, running_site(config_place(config), config))
    path = f"/v1/rooms/{where.building}/{where.room}/reopen"
    with HubClient(config) as hub:
        hub.post(path, type(None), {"reason": reason, "utility": str(utility)})
    typer.echo(f"{where.building}/{where.room} is open")


@transfer_app.command("run")
def transfer(
    room: Annotated[str, typer.Argument(metavar="BUILDING/ROOM")],
    other: Annotated[str, typer.Argument(metavar="BUILDING/ROOM", help="Where it goes.")],
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    utility: UtilityOption = Utility.ELECTRICITY,
    swap: Annotated[bool, typer.Option("--swap", help="What the other has comes back.")] = False,
    give_back: GiveBackOption = False,
) -> None:
    """Move what a room has to another room. See it with: dormhub settle show JOB."""
    site = running_site(config_place(config), config)
    source, target = place_of(room, site), place_of(other, site)
    body = {
        "building": source.building,
        "room": source.room,
        "to_building": target.building,
        "to_room": target.room,
        "utility": str(utility),
        "swap": swap,
        "give_back": give_back,
        "reason": reason,
    }
    with HubClient(config) as hub:
        _say(hub.post("/v1/transfers", JobRow, body), json=False)


@transfer_app.command("credit")
def credit(
    room: Annotated[str, typer.Argument(metavar="BUILDING/ROOM")],
    yuan: Annotated[str, typer.Argument(help="How much, such as 12.30.")],
    number: Annotated[str, typer.Option(help="Your own number of it: done once, for ever.")],
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    source: Annotated[
        Source, typer.Option("--from", help="The house, the room's old meter, or its account.")
    ] = Source.STAFF,
    utility: UtilityOption = Utility.ELECTRICITY,
) -> None:
    """Give credit to a room, by the way of every paid order."""
    where = place_of(room, running_site(config_place(config), config))
    body = {
        "building": where.building,
        "room": where.room,
        "utility": str(utility),
        "number": number,
        "amount_fen": fen_of(yuan, "YUAN"),
        "source": str(source),
        "reason": reason,
    }
    with HubClient(config) as hub:
        order = hub.post("/v1/credits", OrderRow, body)
    typer.echo(f"desk/{order.number}: {order.amount_fen} fen for {order.account}, {order.state}")


def fen_of(text: str, key: str) -> int:
    """Yuan as whole fen; raises ConfigError."""
    try:
        fen = Decimal(text) * 100
    except InvalidOperation:
        fen = Decimal("NaN")
    if not fen.is_finite() or fen != fen.to_integral_value():
        raise _mistake(key, f"found {text!r}", "write yuan with at most two places: 12.30")
    return int(fen)


def _rooms(
    site: Site, named: Sequence[str], file: Path | None, building: str, floor: str
) -> Iterator[tuple[str, str]]:
    for text in named:
        place = place_of(text, site)
        yield place.building, place.room
    if file is not None:
        yield from _listed(site, file)
    if floor and not building:
        raise _mistake("--floor", f"found {floor!r}", "say --building too")
    known = site.buildings.find(building)
    wanted = known.id if known else building
    for device in site.devices():
        place = device.place
        if building and place.building == wanted and place.room and floor in ("", place.floor):
            yield place.building, place.room


def _listed(site: Site, file: Path) -> Iterator[tuple[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as table:
            rows = list(csv.DictReader(table))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(file=str(file), key="", found=str(error), hint="name a CSV") from None
    for number, row in enumerate(rows, start=2):
        if not row.get("building") or not row.get("room"):
            hint = "write the columns building and room"
            raise ConfigError(file=str(file), key=f"row {number}", found="no room", hint=hint)
        place = place_of(f"{row['building']}/{row['room']}", site)
        yield place.building, place.room


def _say(job: JobRow, *, json: bool) -> None:
    if json:
        sys.stdout.write(msgspec.json.encode(job).decode() + "\n")
        return
    waits = f", waits: {job.waits}" if job.waits else ""
    typer.echo(f"{job.id} {job.kind} of {job.account}: {job.state}, {job.step}{waits}")


def _mistake(key: str, found: str, hint: str) -> ConfigError:
    return ConfigError(file="command line", key=key, found=found, hint=hint)
