"""`dormhub credentials`: what devices prove themselves with at the broker. The running hub makes them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import typer
from rich.table import Table

from hub.broker import Kind, drift
from hub.cli.hub_client import HubClient
from hub.cli.moments import when
from hub.cli.options import DEFAULT_CONFIG, BuildingOption, ConfigOption, JsonOption
from hub.cli.plain import plain
from hub.cli.secret_fetch import EXIT_LEFT, Order, fetch
from hub.clock import SystemClock
from hub.config import load_config
from hub.errors import ConfigError
from hub.inventory.installed import running_site
from hub.ledger import open_reader

_DAY_S = 86_400

app = typer.Typer(
    help="Passwords and certificates of devices, and the broker's files.", no_args_is_help=True
)

DevicesArgument: TypeAlias = Annotated[list[str] | None, typer.Argument(help="Ids of devices.")]
AllOption: TypeAlias = Annotated[
    bool, typer.Option("--all", help="Every device that has a broker.")
]
KindOption: TypeAlias = Annotated[Kind, typer.Option(help="What the devices get.")]
FromOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="A file with the ids of devices, one in each line.")
]
OutOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Passwords: a CSV file; certificates: a folder. For their owner alone."),
]


class CredentialRow(msgspec.Struct, frozen=True):
    """A credential without what would open anything."""

    id: str
    device: str
    kind: Kind
    username: str
    serial: str
    issued_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    evicted_ms: int | None
    actor: str


class CredentialRows(msgspec.Struct, frozen=True):
    """Credentials in the order in which they were made."""

    credentials: list[CredentialRow]
    next: str | None


class RevokedPage(msgspec.Struct, frozen=True):
    """What was ended."""

    revoked: list[CredentialRow]
    disconnected: bool | None
    broker: str
    next: str | None


class HubAccount(msgspec.Struct, frozen=True):
    """The hub's own account."""

    username: str
    password_file: str
    authority_file: str
    broker: str


@app.command("issue")
def issue(
    devices: DevicesArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    everything: AllOption = False,
    devices_from: FromOption = None,
    kind: KindOption = Kind.PASSWORD,
    out: OutOption = None,
    hub: Annotated[bool, typer.Option("--hub", help="The hub's own account, anew.")] = False,
    json: JsonOption = False,
) -> None:
    """Make a first credential for each device that has none of this kind. Secrets are shown this once."""
    if hub:
        _renew_hub(config)
        return
    body = _chosen(_named(devices, devices_from), building, everything) | {"kind": kind.value}
    fetch(_order(config, "/v1/credentials", body, kind, out, json))


@app.command("rotate")
def rotate(
    devices: DevicesArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    everything: AllOption = False,
    devices_from: FromOption = None,
    kind: KindOption = Kind.PASSWORD,
    out: OutOption = None,
    overlap_days: Annotated[
        float, typer.Option(help="How long the old one stays good; 0 ends it now.", min=0, max=90)
    ] = 7.0,
    again: Annotated[
        bool, typer.Option("--again", help="The new one was lost: another; the old one stays.")
    ] = False,
    after: Annotated[str, typer.Option(help="Only devices after this id.")] = "",
    json: JsonOption = False,
) -> None:
    """Replace credentials. The old ones stay good for a while, so that devices can be changed one by one."""
    body = _chosen(_named(devices, devices_from), building, everything)
    body |= {"kind": kind.value, "overlap_s": round(overlap_days * _DAY_S)}
    body |= {"again": again, "after": after}
    fetch(_order(config, "/v1/credentials/rotate", body, kind, out, json))


@app.command("revoke")
def revoke(
    devices: DevicesArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    credential: Annotated[str, typer.Option(help="Only the one of this id.")] = "",
    cause: Annotated[str, typer.Option(help="Why; for the audit.")] = "",
) -> None:
    """End credentials for good, and disconnect whoever is connected by them."""
    body = _chosen(devices, building, False) | {"credential": credential, "cause": cause}
    ended = 0
    with HubClient(config) as client:
        while True:
            page = client.post("/v1/credentials/revoke", RevokedPage, body)
            ended += len(page.revoked)
            if page.next is None:
                break
            body |= {"after": page.next}
    typer.echo(f"{ended} credentials ended")
    if not page.disconnected:
        reason = page.broker or "it does not run the new files yet"
        typer.echo(f"the broker may still have them connected: {reason}", err=True)
        raise typer.Exit(EXIT_LEFT)


@app.command("list")
def list_credentials(
    devices: DevicesArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    everything: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False,
    json: JsonOption = False,
) -> None:
    """Credentials, without what would open anything."""
    table = Table("id", "device", "kind", "username", "issued (UTC)", "expires", "ended")
    with HubClient(config) as client:
        for device in devices or [""]:
            query: dict[str, str | int | float] = {"device": device, "building": building}
            for row in _rows(client, query | {"all": str(everything).lower(), "limit": 1000}):
                if json:
                    sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
                times = [when(time) if time else "" for time in (row.expires_ms, row.revoked_ms)]
                told = (row.id, row.device, row.kind, row.username, when(row.issued_ms))
                table.add_row(*told, *times)
    if not json:
        plain().print(table)


@app.command("files")
def files(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Whether the broker's files are what ledger and site say; exit code 1 when not. Needs no hub."""
    settings = load_config(config)
    if settings.broker.folder is None:
        raise ConfigError(
            file=str(config / "hub.toml"),
            key="broker.folder",
            found="nothing",
            hint="name the folder of the broker's files: docs/broker.md",
        )
    site = running_site(settings.ledger_place(), config)
    with open_reader(settings.ledger_place()) as connection:
        wrong = drift(connection, settings, site.links, SystemClock().now_ms())
    for line in wrong:
        typer.echo(line, err=True)
    if wrong:
        raise typer.Exit(EXIT_LEFT)
    typer.echo(f"{settings.broker.folder}: as ledger and site say")


def _rows(client: HubClient, query: dict[str, str | int | float]) -> list[CredentialRow]:
    found: list[CredentialRow] = []
    while True:
        page = client.get("/v1/credentials", CredentialRows, query)
        found += page.credentials
        if page.next is None:
            return found
        query = query | {"after": page.next}


def _chosen(devices: list[str] | None, building: str, everything: bool) -> dict[str, object]:
    if not devices and not building and not everything:
        raise ConfigError(file="credentials", key="devices", found="nothing", hint="name devices")
    return {"devices": devices or None, "building": building}


def _renew_hub(config: Path) -> None:
    with HubClient(config) as client:
        made = client.post("/v1/credentials/hub", HubAccount)
    typer.echo(f'username = "{made.username}"\npassword_file = "{made.password_file}"')
    typer.echo(f"the authority is {made.authority_file}", err=True)
    _warn(made.broker)


def _named(devices: list[str] | None, file: Path | None) -> list[str] | None:
    if file is None:
        return devices
    try:
        return [*(devices or ()), *file.read_text("utf-8").split()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            file=str(file), key="--devices-from", found=str(error), hint="one id in each line"
        ) from None


def _order(
    config: Path, path: str, body: dict[str, object], kind: Kind, out: Path | None, json: bool
) -> Order:
    devices = body["devices"]
    named = [str(name) for name in devices] if isinstance(devices, list) else None
    return Order(config=config, path=path, body=body, devices=named, kind=kind, out=out, json=json)


def _warn(broker: str) -> None:
    if broker:
        typer.echo(f"the broker does not know them yet: {broker}", err=True)
