"""New secrets from the running hub, page by page, each kept on disk before the next is asked for.

The hub enters a page before it answers. Who is killed in between has lost what was in it; so the next run
looks for each device that got nothing whether its secret is really here, and says how to make it anew.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from hub.broker import Kind, Why
from hub.cli.hub_client import HubClient
from hub.cli.interrupt import EXIT_INTERRUPTED, Interrupt
from hub.cli.options import DEFAULT_CONFIG
from hub.cli.secrets_out import LeftRow, SecretRow, SecretsOut, open_out
from hub.errors import ConfigError

EXIT_LEFT = (
    1  # somebody who was named got nothing, a secret is lost, or the broker does not know it yet
)
_NAMED = 10
_DEVICES_AT_ONCE = 1000  # of one request


class SecretPage(msgspec.Struct, frozen=True):
    """Secrets as the hub gives them, once."""

    secrets: list[SecretRow]
    left: list[LeftRow]
    authority: str
    broker: str
    next: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is asked for: `path` of the hub with `body`, for these devices or for all; where secrets go."""

    config: Path
    path: str
    body: dict[str, object]
    devices: Sequence[str] | None
    kind: Kind
    out: Path | None
    json: bool


@dataclass(kw_only=True, slots=True)
class _Told:
    left: list[LeftRow] = field(default_factory=list)
    broker: str = ""
    after: str = ""  # where an interruption stopped


def fetch(order: Order) -> None:
    """Fetch and keep all of it, and say what came of it; raises typer.Exit for any code but 0."""
    if order.json and order.out is None:
        raise ConfigError(
            file="credentials",
            key="--out",
            found="nothing",
            hint="--json needs a place for secrets",
        )
    single = order.devices is not None and len(order.devices) == 1
    with (
        HubClient(order.config) as client,
        open_out(order.out, order.kind, single=single) as kept,
        Interrupt() as interrupt,
    ):
        told = _take_all(client, order, kept, interrupt)
        lost = [one for one in told.left if one.credential and not kept.holds(one)]
    _tell(order, told, lost, kept.number)
    if told.after:
        raise typer.Exit(EXIT_INTERRUPTED)
    if lost or (told.left and order.devices is not None):
        raise typer.Exit(EXIT_LEFT)


def _take_all(client: HubClient, order: Order, kept: SecretsOut, interrupt: Interrupt) -> _Told:
    told = _Told()
    with _progress() as progress:
        task = progress.add_task("credentials", total=None)
        for page, reached, more in _pages(client, order):
            kept.keep(page.secrets, page.authority)
            told.left += page.left
            told.broker = page.broker
            progress.update(task, completed=kept.number)
            if more and interrupt.asked:
                told.after = reached
                break
    return told


def _pages(client: HubClient, order: Order) -> Iterator[tuple[SecretPage, str, bool]]:
    """Each page, the last device it reached, and whether another follows."""
    parts = list(_parts(order.devices))
    for place, part in enumerate(parts, start=1):
        body = order.body | {"devices": part}
        while True:
            page = client.post(order.path, SecretPage, body)
            more = page.next is not None or place < len(parts)
            yield page, page.next or (part or [""])[-1], more
            if page.next is None:
                break
            body |= {"after": page.next}


def _parts(devices: Sequence[str] | None) -> Iterator[list[str] | None]:
    if devices is None:
        yield None
        return
    ordered = sorted(set(devices))
    for start in range(0, len(ordered), _DEVICES_AT_ONCE):
        yield ordered[start : start + _DEVICES_AT_ONCE]


def _tell(order: Order, told: _Told, lost: Sequence[LeftRow], number: int) -> None:
    typer.echo(f"{number} new credentials{f' in {order.out}' if order.out else ''}", err=True)
    here = {one.device for one in lost}
    for why in Why:
        names = [one.device for one in told.left if one.why is why and one.device not in here]
        if names:
            typer.echo(f"{len(names)} devices: {why}: {_names(names)}", err=True)
    command = _replacing(order, lost)
    if command:
        names = [one.device for one in lost]
        where = f"not in {order.out}" if order.out else "shown when it was made"
        typer.echo(f"{len(lost)} devices: {lost[0].why}, {where}: {_names(names)}", err=True)
        typer.echo(f"if it is lost: {command}", err=True)
    if told.broker:
        typer.echo(f"the broker does not know them yet: {told.broker}", err=True)
    if told.after:
        typer.echo(f"interrupted; {_going_on(order, told.after)}", err=True)
    if order.json:
        said = {
            "new": number,
            "left": [{"device": one.device, "why": one.why} for one in told.left],
            "lost": [one.device for one in lost],
            "command": command,
            "broker": told.broker,
            "interrupted_after": told.after,
        }
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")


def _going_on(order: Order, after: str) -> str:
    if order.body.get("overlap_s") == 0 or order.body.get("again"):
        return f"the same command goes on with --after {after}"
    return "the same command goes on where this one stopped"


def _replacing(order: Order, lost: Sequence[LeftRow]) -> str:
    """The command that makes the lost ones anew, and cuts nobody off who has one after all."""
    if not lost:
        return ""
    words = ["dormhub", "credentials", "rotate", "--kind", str(order.kind)]
    if lost[0].why is Why.BEING_REPLACED:
        words.append("--again")
    words += _written(order.out, lost) if order.out else [one.device for one in lost]
    if order.config != DEFAULT_CONFIG:
        words += ["--config", str(order.config)]
    return shlex.join(words)


def _written(out: Path, lost: Sequence[LeftRow]) -> list[str]:
    where = out.resolve()
    path = where.with_name(where.name + ".lost")
    names = [one.device for one in lost]
    try:
        path.write_text("".join(f"{name}\n" for name in names))
    except OSError:  # then the command is long
        return [*names, "--out", str(out)]
    return ["--devices-from", str(path), "--out", str(out)]


def _names(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
