"""`dormhub audit` and `dormhub keys`: who did what, and who may."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Annotated, TextIO

import msgspec
import typer
from rich.table import Table

from hub import audit as chain
from hub.auth import EVERYWHERE, Role, room_place
from hub.cli.hub_client import HubClient
from hub.cli.moments import when
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.cli.plain import plain
from hub.clock import SystemClock
from hub.config import load_config
from hub.errors import ConfigError
from hub.inventory.installed import running_site
from hub.ledger import open_reader

_DAY_MS = 86_400_000
EXIT_BROKEN = 1

audit_app = typer.Typer(
    help="Every change of state: who, why, before and after.", no_args_is_help=True
)
keys_app = typer.Typer(help="API keys.", no_args_is_help=True)


class AuditRow(msgspec.Struct, frozen=True):
    """One change of state."""

    number: int
    time_ms: int
    actor: str
    cause: str
    subject: str
    action: str
    before: str
    after: str


class AuditRows(msgspec.Struct, frozen=True):
    """Changes in order."""

    rows: list[AuditRow]
    next: int | None


class KeyRow(msgspec.Struct, frozen=True):
    """A key without its secret."""

    id: str
    name: str
    role: Role
    place: str
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    last_used_ms: int | None


class KeyRows(msgspec.Struct, frozen=True):
    """Every key."""

    keys: list[KeyRow]


class KeyMade(msgspec.Struct, frozen=True):
    """A new key, shown once."""

    key: str


@audit_app.command("list")
def audit_list(
    config: ConfigOption = DEFAULT_CONFIG,
    subject: Annotated[str, typer.Option(help="Only this subject, such as command/ID.")] = "",
    after: Annotated[int, typer.Option(help="Rows after this number.", min=0)] = 0,
    last: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 100,
    json: JsonOption = False,
) -> None:
    """Rows of the audit, in order."""
    query: dict[str, str | int | float] = {"subject": subject, "after": after, "limit": last}
    with HubClient(config) as hub:
        found = hub.get("/v1/audit", AuditRows, query).rows
    if json:
        for row in found:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    table = Table("no", "when (UTC)", "actor", "cause", "subject", "action", "after")
    for row in found:
        place = (str(row.number), when(row.time_ms), row.actor, row.cause)
        table.add_row(*place, row.subject, row.action, row.after)
    plain().print(table)


@audit_app.command("verify")
def audit_verify(
    config: ConfigOption = DEFAULT_CONFIG,
    noted: Annotated[
        str, typer.Option(help="NUMBER:HASH, as the hub's log said it at some earlier time.")
    ] = "",
) -> None:
    """Check the whole chain; exit code 1 names the first row that was edited, removed, added or moved.

    Reads the ledger itself: the hub need not run. Whoever can write the ledger can make a whole new chain;
    that the chain still leads through an end that was `noted` elsewhere proves that nobody did.
    """
    before = _noted(noted)
    with open_reader(load_config(config).ledger_place()) as connection:
        broken = chain.verify(connection, noted=before)
        head = chain.head(connection)
    if broken is not None:
        typer.echo(f"the audit is broken at row {broken.number}: {broken.reason}", err=True)
        raise typer.Exit(EXIT_BROKEN)
    typer.echo(f"{head.number} rows, all as written; the last is {head.hash}")


def _noted(text: str) -> chain.Head:
    number, _, digest = text.partition(":")
    if not text:
        return chain.BEGINNING
    if not (number.isdecimal() and digest):
        raise ConfigError(
            file="command line", key="--noted", found=f"found {text[:80]!r}", hint="NUMBER:HASH"
        )
    return chain.Head(number=int(number), hash=digest)


@keys_app.command("list")
def keys_list(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Every key, without what would open anything."""
    with HubClient(config) as hub:
        found = hub.get("/v1/keys", KeyRows, {}).keys
    if json:
        for row in found:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    table = Table("id", "name", "role", "place", "made (UTC)", "expires", "last used", "revoked")
    for row in found:
        times = [when(time) if time else "" for time in (row.expires_ms, row.last_used_ms)]
        revoked = when(row.revoked_ms) if row.revoked_ms else ""
        table.add_row(row.id, row.name, row.role, row.place, when(row.created_ms), *times, revoked)
    plain().print(table)


@keys_app.command("add")
def keys_add(
    name: Annotated[str, typer.Argument(help="Who the key is for.")],
    role: Annotated[Role, typer.Option(help="What it is for.")],
    config: ConfigOption = DEFAULT_CONFIG,
    place: Annotated[
        str, typer.Option(help="One building, or * for all; BUILDING/ROOM for the role room.")
    ] = EVERYWHERE,
    days: Annotated[int, typer.Option(help="Days until it ends; 0: never.", min=0)] = 365,
) -> None:
    """Make a key. It is shown this once."""
    expires_ms = SystemClock().now_ms() + days * _DAY_MS if days else None
    body = {"name": name, "role": role.value, "place": place, "expires_ms": expires_ms}
    with HubClient(config) as hub:
        typer.echo(hub.post("/v1/keys", KeyMade, body).key)


@keys_app.command("rooms")
def keys_rooms(
    building: Annotated[str, typer.Option(help="Of this building.")],
    out: Annotated[Path, typer.Option(help="The new file, which only its owner may read.")],
    config: ConfigOption = DEFAULT_CONFIG,
    days: Annotated[int, typer.Option(help="Days until they end; 0: never.", min=0)] = 365,
) -> None:
    """Make a key for each room of a building, as CSV: building, room, key.

    Broken off, the file has every key that was made.
    """
    site = running_site(load_config(config).ledger_place(), config)
    places = {(one.place.building, one.place.room) for one in site.devices() if one.place.room}
    wanted = sorted(place for place in places if place[0] == site.buildings.id_of(building))
    if not wanted:
        found = f"no room in {building[:80]!r}"
        raise ConfigError(file="command line", key="--building", found=found, hint="name another")
    expires_ms = SystemClock().now_ms() + days * _DAY_MS if days else None
    with HubClient(config) as hub, _private_file(out) as file:
        rows = csv.writer(file)
        rows.writerow(("building", "room", "key"))
        for place in wanted:
            body = {
                "name": f"room {place[0]} {place[1]}"[:100],
                "role": Role.ROOM.value,
                "place": room_place(*place),
                "expires_ms": expires_ms,
            }
            rows.writerow((*place, hub.post("/v1/keys", KeyMade, body).key))
            file.flush()
    typer.echo(f"{len(wanted)} keys in {out}")


def _private_file(path: Path) -> TextIO:
    """A new file for its owner alone; one that is there is never written over."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        found = str(error.strerror)
        hint = "name a new file in a folder where you may write"
        raise ConfigError(file=str(path), key="--out", found=found, hint=hint) from None
    return os.fdopen(handle, "w", encoding="utf-8", newline="")


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="The key's id.")], config: ConfigOption = DEFAULT_CONFIG
) -> None:
    """End a key, now and for good."""
    with HubClient(config) as hub:
        hub.delete(f"/v1/keys/{key}")
    typer.echo(f"{key} opens nothing any more")
