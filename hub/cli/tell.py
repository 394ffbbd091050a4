"""`dormhub send`, `commands`, `why`, `approve`, `resolve`: telling devices, and what became of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.table import Table

from hub.cli.hub_client import Answered, HubClient
from hub.cli.moments import when
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, DeviceArgument, JsonOption
from hub.cli.plain import plain
from hub.clock import SystemClock
from hub.command import State
from hub.errors import ConfigError, HubError
from hub.points import PointType

EXIT_CODES = {
    State.CONFIRMED: 0,
    State.REFUSED: 10,
    State.FAILED: 11,
    State.EXPIRED: 12,
    State.UNKNOWN: 13,
}
EXIT_OPEN = 14  # not ended yet: queued, held, sent or acknowledged
_STEP_S = 20.0
_REFUSALS = (403, 409, 422, 429)  # the hub has read the wish and does not take it
Scalar = bool | int | float | str
Taken = TypeVar("Taken")


class Found(StrEnum):
    """What a person may find out."""

    DONE = "done"
    NOT_DONE = "not-done"


class CommandRow(msgspec.Struct, frozen=True):
    """A command as the hub shows it."""

    id: str
    device: str
    name: str
    arguments: dict[str, Scalar]
    actor: str
    cause: str
    key: str
    priority: str
    state: State
    reason: str
    held: bool
    created_ms: int
    expires_ms: int
    sent_ms: int | None
    finished_ms: int | None
    attempts: int
    proof: str
    resolution: str = ""


class FrameRow(msgspec.Struct, frozen=True):
    """Raw bytes of one try, as hexadecimal text."""

    time_ms: int
    outgoing: bool
    data: str


class AttemptRow(msgspec.Struct, frozen=True):
    """One try."""

    number: int
    sent_ms: int
    answered_ms: int | None
    answer: str
    reason: str
    frames: list[FrameRow]
    before: str = ""


class CommandWhole(msgspec.Struct, frozen=True):
    """A command with its tries."""

    command: CommandRow
    attempts: list[AttemptRow]


class CommandRows(msgspec.Struct, frozen=True):
    """Commands, the newest first."""

    commands: list[CommandRow]


class ArgumentSpec(msgspec.Struct, frozen=True):
    """What a command takes, as far as it matters for typing it."""

    name: str
    type: PointType


class CommandSpec(msgspec.Struct, frozen=True):
    """A command a device knows."""

    name: str
    arguments: list[ArgumentSpec]


class DeviceCommands(msgspec.Struct, frozen=True):
    """The commands of a device."""

    commands: list[CommandSpec]

    def texts_of(self, command: str) -> frozenset[str]:
        """The arguments of this command that are texts, whatever they look like."""
        return frozenset(
            argument.name
            for spec in self.commands
            for argument in spec.arguments
            if spec.name == command and argument.type is PointType.TEXT
        )


def parse_arguments(texts: list[str], are_texts: frozenset[str] = frozenset()) -> dict[str, Scalar]:
    """`name=value` pairs; numbers, true and false are taken as such unless a text is meant."""
    arguments: dict[str, Scalar] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name in arguments:
            raise ConfigError(
                file="command line",
                key="ARG",
                found=f"found {text!r}",
                hint="write NAME=VALUE, once",
            )
        arguments[name] = value if name in are_texts else _scalar(value)
    return arguments


def _scalar(text: str) -> Scalar:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if isinstance(value, bool | int | float) else text


def send(
    device: DeviceArgument,
    command: Annotated[str, typer.Argument(help="One of its commands, see docs/profile-list.md.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]…")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    deadline: Annotated[float, typer.Option(help="Seconds; 0: the product's own.", min=0)] = 0,
    key: Annotated[
        str, typer.Option(help="Your name for this wish; repeated, it is sent once.")
    ] = "",
    cause: Annotated[str, typer.Option(help="Why, for the audit.")] = "command line",
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for its end; 0: do not.", min=0)
    ] = 90,
) -> None:
    """Tell a device something, and wait until it is proved.

    Exit code 0 confirmed, 10 refused, 11 failed, 12 expired, 13 unknown (a person must look), 14 not ended.
    """
    parse_arguments(arguments or [])  # mistakes in the words themselves, before anybody is asked
    with HubClient(config) as hub:
        order = {
            "device": device,
            "name": command,
            "arguments": parse_arguments(arguments or [], _texts_of(hub, device, command)),
            "cause": cause,
            "deadline_s": deadline or None,
        }
        row = submit(hub, "/v1/commands", CommandRow, order, key or f"cli-{SystemClock().new_id()}")
        row = _ended(hub, row, wait)
    typer.echo(_sentence(row))
    raise typer.Exit(EXIT_CODES.get(row.state, EXIT_OPEN))


def _texts_of(hub: HubClient, device: str, command: str) -> frozenset[str]:
    try:
        return hub.get(f"/v1/devices/{device}", DeviceCommands, {}).texts_of(command)
    except Answered:
        return frozenset()  # the order itself will be answered in better words


def submit(
    hub: HubClient, path: str, kind: type[Taken], wish: Mapping[str, object], key: str
) -> Taken:
    """What the hub has taken under this key; where it takes nothing, the command ends as refused."""
    try:
        return hub.post(path, kind, wish, {"Idempotency-Key": key})
    except Answered as refused:
        if refused.status not in _REFUSALS:
            raise
        typer.echo(f"dormhub: refused: {refused}", err=True)
        raise typer.Exit(EXIT_CODES[State.REFUSED]) from None
    except HubError as error:
        # It may have been taken: with the same key it is never done twice.
        raise HubError(f"{error}; it may have been taken: ask again with --key {key}") from None


def _ended(hub: HubClient, row: CommandRow, wait_s: float) -> CommandRow:
    """The command at its end, or when the time to wait is over."""
    clock = SystemClock()
    end_s = clock.monotonic_s() + wait_s
    while not row.state.final and (left_s := end_s - clock.monotonic_s()) > 0:
        query = {"wait_s": min(_STEP_S, left_s)}
        row = hub.get(f"/v1/commands/{row.id}", CommandWhole, query).command
    return row


def _sentence(row: CommandRow) -> str:
    held = ""
    if row.held and not row.state.final:
        held = f", held until a second person approves it, at the latest {when(row.expires_ms)} UTC"
    reason = f": {row.reason}" if row.reason else ""
    found = f", resolved as {row.resolution}" if row.resolution else ""
    return f"{row.id} {row.device} {row.name} {row.state}{reason}{held}{found}"


def commands(
    config: ConfigOption = DEFAULT_CONFIG,
    device: Annotated[str, typer.Option(help="Only this device's.")] = "",
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    last: Annotated[int, typer.Option(help="How many of the newest.", min=1, max=1000)] = 50,
    json: JsonOption = False,
) -> None:
    """The newest commands and where they stand."""
    query: dict[str, str | int | float] = {"device": device, "limit": last}
    if state is not None:
        query["state"] = state.value
    with HubClient(config) as hub:
        rows = hub.get("/v1/commands", CommandRows, query).commands
    if json:
        for row in rows:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    table = Table("when (UTC)", "id", "device", "command", "state", "tries", "actor", "reason")
    for row in rows:
        told = f"{row.name} {_arguments(row)}".strip()
        state_text = "held" if row.held and not row.state.final else row.state.value
        made = when(row.created_ms)
        tries = str(row.attempts)
        table.add_row(made, row.id, row.device, told, state_text, tries, row.actor, row.reason)
    plain().print(table)


def why(
    command: Annotated[str, typer.Argument(help="The command's id.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Everything known of one command: who, when, every try with its raw frames, and the proof."""
    with HubClient(config) as hub:
        whole = hub.get(f"/v1/commands/{command}", CommandWhole, {})
    row = whole.command
    typer.echo(f"{row.device} {row.name} {_arguments(row)}".rstrip())
    typer.echo(f"{when(row.created_ms)} ordered by {row.actor}: {row.cause or 'no cause given'}")
    typer.echo(f"{when(row.expires_ms)} latest moment to be sent; priority {row.priority}")
    for attempt in whole.attempts:
        already = ", the device was already so" if attempt.before == "so" else ""
        typer.echo(f"{when(attempt.sent_ms)} try {attempt.number}{already}")
        for frame in attempt.frames:
            arrow = "->" if frame.outgoing else "<-"
            typer.echo(f"{when(frame.time_ms)}   {arrow} {frame.data}")
        answered = when(attempt.answered_ms) if attempt.answered_ms else " " * len(when(0))
        typer.echo(f"{answered} {attempt.answer or 'no answer yet'} {attempt.reason}".rstrip())
    ended = when(row.finished_ms) if row.finished_ms else "still"
    typer.echo(f"{ended} {row.state} {row.reason}".rstrip())
    if row.proof:
        typer.echo(f"proved by {row.proof}")
    if row.resolution:
        typer.echo(
            f"resolved as {row.resolution}; by whom: dormhub audit list --subject command/{row.id}"
        )


def approve(
    command: Annotated[str, typer.Argument(help="The held command's id.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Let a held command go; only a second person may, with a key of their own (DORMHUB_KEY)."""
    with HubClient(config) as hub:
        typer.echo(_sentence(hub.post(f"/v1/commands/{command}/approve", CommandRow)))


def resolve(
    command: Annotated[str, typer.Argument(help="The id of a command that ended unknown.")],
    outcome: Annotated[Found, typer.Argument(help="What you have found out.")],
    config: ConfigOption = DEFAULT_CONFIG,
    note: Annotated[str, typer.Option(help="How you know, for the audit.")] = "",
) -> None:
    """Say what became of a command that ended unknown; for finance and administrators."""
    body = {"outcome": outcome.value.replace("-", "_"), "note": note}
    with HubClient(config) as hub:
        typer.echo(_sentence(hub.post(f"/v1/commands/{command}/resolve", CommandRow, body)))


def _arguments(row: CommandRow) -> str:
    return " ".join(f"{name}={value}" for name, value in row.arguments.items())
