"""`dormhub batch`: many rooms at once. Planned first, told one after the other, stopped at once."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from hub.cli.hub_client import HubClient
from hub.cli.moments import when
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.cli.plain import plain
from hub.cli.tell import EXIT_CODES, EXIT_OPEN, Scalar, parse_arguments, submit
from hub.clock import SystemClock
from hub.command import State
from hub.errors import ConfigError

_STEP_S = 1.0
_PAGE = 1_000
_OPEN = ("waiting", "sent")

app = typer.Typer(help="Many rooms at once.", no_args_is_help=True)
BatchArgument = Annotated[str, typer.Argument(help="The batch's id.")]


class BatchWord(StrEnum):
    """Where a batch stands."""

    WAITS = "waits"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    EXPIRED = "expired"


class BatchRow(msgspec.Struct, frozen=True):
    """A batch as the hub shows it."""

    id: str
    action: str
    arguments: dict[str, Scalar]
    cause: str
    actor: str
    approver: str
    state: BatchWord
    reason: str
    created_ms: int
    expires_ms: int
    finished_ms: int | None
    items: dict[str, int]

    @property
    def ended(self) -> int:
        """How many rooms have their end."""
        return sum(number for state, number in self.items.items() if state not in _OPEN)

    @property
    def exit_code(self) -> int:
        """As of `dormhub send`, by the worst that became of a room."""
        if self.finished_ms is None:
            return EXIT_OPEN
        worst = [
            (self.items.get("unknown", 0), State.UNKNOWN),
            (self.items.get("failed", 0), State.FAILED),
            (self.state is BatchWord.EXPIRED, State.EXPIRED),
            (self.items.get("refused", 0) or self.state is BatchWord.STOPPED, State.REFUSED),
        ]
        return next((EXIT_CODES[state] for found, state in worst if found), 0)


class BatchRows(msgspec.Struct, frozen=True):
    """Batches, the newest first."""

    batches: list[BatchRow]


class PartRow(msgspec.Struct, frozen=True):
    """What would be done to one room, or why not."""

    building: str
    floor: str
    room: str
    device: str
    account: str
    left_out: str


class PlanRows(msgspec.Struct, frozen=True):
    """What a batch would do."""

    wanted: int
    needs_second_person: bool
    parts: list[PartRow]


class ItemRow(msgspec.Struct, frozen=True):
    """What became of one room."""

    building: str
    floor: str
    room: str
    device: str
    account: str
    state: str
    reason: str
    command: str


class ItemRows(msgspec.Struct, frozen=True):
    """Items in order."""

    items: list[ItemRow]
    next: int | None


@app.command("run")
def run(
    action: Annotated[
        str, typer.Argument(help="A command of the rooms' devices, read, or allowance.")
    ],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]…")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    building: Annotated[list[str] | None, typer.Option(help="All its rooms.")] = None,
    floor: Annotated[list[str] | None, typer.Option(help="BUILDING/FLOOR.")] = None,
    room: Annotated[list[str] | None, typer.Option(help="BUILDING/ROOM.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="The room's device itself.")] = None,
    cause: Annotated[str, typer.Option(help="Why, for the audit.")] = "command line",
    per_s: Annotated[float, typer.Option(help="How many a second.", min=0.1, max=20)] = 2.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")] = False,
    key: Annotated[
        str, typer.Option(help="Your name for this wish; repeated, it is done once.")
    ] = "",
    wait: Annotated[float, typer.Option(help="Seconds to wait for its end; 0: do not.", min=0)] = 0,
) -> None:
    """Tell many rooms something, one after the other.

    Exit code with --wait: 0 done, 10 refused or stopped, 11 failed, 12 expired, 13 unknown, 14 not ended; by
    the worst of its rooms.
    """
    body: dict[str, object] = {
        "action": action,
        "arguments": parse_arguments(arguments or []),
        "scope": {
            "buildings": building or [],
            "floors": [_pair("--floor", text, "floor") for text in floor or []],
            "rooms": [_pair("--room", text, "room") for text in room or []],
            "devices": device or [],
        },
        "cause": cause,
        "per_s": per_s,
    }
    with HubClient(config) as hub:
        if dry_run:
            headers = {"Idempotency-Key": "dry-run"}
            _show_plan(hub.post("/v1/batches", PlanRows, body | {"dry_run": True}, headers))
            return
        row = submit(hub, "/v1/batches", BatchRow, body, key or f"cli-{SystemClock().new_id()}")
        row = _ended(hub, row, wait) if wait else row
    typer.echo(_sentence(row))
    raise typer.Exit(row.exit_code if wait else 0)


@app.command("list")
def list_(
    config: ConfigOption = DEFAULT_CONFIG,
    state: Annotated[BatchWord | None, typer.Option(help="Only those in this state.")] = None,
    last: Annotated[int, typer.Option(help="How many of the newest.", min=1, max=1000)] = 50,
    json: JsonOption = False,
) -> None:
    """The newest batches and where they stand."""
    query: dict[str, str | int | float] = {"limit": last}
    if state is not None:
        query["state"] = state.value
    with HubClient(config) as hub:
        found = hub.get("/v1/batches", BatchRows, query).batches
    if json:
        for row in found:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    table = Table("when (UTC)", "id", "action", "state", "rooms", "actor", "approver", "cause")
    for row in found:
        place = (when(row.created_ms), row.id, row.action, row.state.value, _counts(row))
        table.add_row(*place, row.actor, row.approver, row.cause)
    plain().print(table)


@app.command("show")
def show(
    batch: BatchArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    wait: Annotated[float, typer.Option(help="Seconds to wait for its end.", min=0)] = 0,
    json: JsonOption = False,
) -> None:
    """One batch and what became of each room; the exit code is that of `batch run --wait`."""
    with HubClient(config) as hub:
        row = _ended(hub, hub.get(f"/v1/batches/{batch}", BatchRow, {}), wait)
        items = list(_items(hub, batch))
    if json:
        for item in items:
            sys.stdout.write(msgspec.json.encode(item).decode() + "\n")
        raise typer.Exit(row.exit_code)
    table = Table("room", "floor", "device", "state", "reason", "command")
    for item in items:
        name = item.device or item.account
        place = (f"{item.building}/{item.room}", item.floor, name)
        table.add_row(*place, item.state, item.reason, item.command)
    plain().print(table)
    typer.echo(_sentence(row))
    raise typer.Exit(row.exit_code)


@app.command("approve")
def approve(batch: BatchArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Let a waiting batch run; only a second person may, with a key of their own (DORMHUB_KEY)."""
    with HubClient(config) as hub:
        typer.echo(_sentence(hub.post(f"/v1/batches/{batch}/approve", BatchRow)))


@app.command("stop")
def stop(batch: BatchArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Tell nobody anything new, from now on."""
    with HubClient(config) as hub:
        typer.echo(_sentence(hub.post(f"/v1/batches/{batch}/stop", BatchRow)))


@app.command("export")
def export(
    batch: BatchArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    out: Annotated[Path | None, typer.Option(help="File to write; else it is printed.")] = None,
) -> None:
    """What became of each room, as a CSV that spreadsheet programs open."""
    with HubClient(config) as hub:
        content = hub.content(f"/v1/batches/{batch}/results.csv")
    if out is None:
        sys.stdout.buffer.write(content)
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        hint = "name a file in a folder that exists"
        found = str(error.strerror)
        raise ConfigError(file="command line", key="--out", found=found, hint=hint) from None
    typer.echo(f"{out} is written")


def _pair(option: str, text: str, name: str) -> Mapping[str, str]:
    building, slash, rest = text.partition("/")
    if not (building and slash and rest):
        hint = f"write BUILDING/{name.upper()}"
        raise ConfigError(file="command line", key=option, found=f"found {text[:80]!r}", hint=hint)
    return {"building": building, name: rest}


def _ended(hub: HubClient, row: BatchRow, wait_s: float) -> BatchRow:
    """The batch when nothing of it is open, or when the time to wait is over; progress meanwhile."""
    clock, screen = SystemClock(), Console(stderr=True)
    end_s = clock.monotonic_s() + wait_s
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task(row.action, total=sum(row.items.values()))
        while row.finished_ms is None and (left_s := end_s - clock.monotonic_s()) > 0:
            progress.update(task, completed=row.ended, description=row.state.value)
            query = {"wait_s": min(_STEP_S, left_s)}
            row = hub.get(f"/v1/batches/{row.id}", BatchRow, query)
    return row


def _items(hub: HubClient, batch: str) -> Iterator[ItemRow]:
    after: int | None = -1
    while after is not None:
        page = hub.get(f"/v1/batches/{batch}/items", ItemRows, {"after": after, "limit": _PAGE})
        yield from page.items
        after = page.next


def _show_plan(plan: PlanRows) -> None:
    table = Table("room", "floor", "device", "left out")
    for part in plan.parts:
        name = part.device or part.account
        table.add_row(f"{part.building}/{part.room}", part.floor, name, part.left_out)
    plain().print(table)
    waits = ", waits for a second person" if plan.needs_second_person else ""
    left_out = Counter(part.left_out for part in plan.parts if part.left_out)
    said = "".join(f", {number} left out: {reason}" for reason, number in left_out.most_common())
    typer.echo(f"{plan.wanted} would be told{waits}{said}")


def _counts(row: BatchRow) -> str:
    return ", ".join(f"{number} {state}" for state, number in row.items.items())


def _sentence(row: BatchRow) -> str:
    reason = f": {row.reason}" if row.reason else ""
    waits = ""
    if row.state is BatchWord.WAITS:
        waits = f" for a second person, at the latest {when(row.expires_ms)} UTC"
    return f"{row.id} {row.action} {row.state}{waits}{reason}; {_counts(row)}"
