"""`dormhub credentials`: what devices prove themselves with at the broker. The running hub makes them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from hub.broker import Kind, drift
from hub.cli.hub_client import HubClient
from hub.cli.interrupt import EXIT_INTERRUPTED, Interrupt
from hub.cli.moments import when
from hub.cli.options import DEFAULT_CONFIG, BuildingOption, ConfigOption, JsonOption
from hub.cli.secrets_out import SecretRow, SecretsOut, open_out
from hub.clock import SystemClock
from hub.config import load_config
from hub.errors import ConfigError
from hub.ledger import open_reader
from hub.site import load_site

EXIT_LEFT = 1  # somebody who was named got nothing, or the broker does not know it yet
_NAMED = 10
_DAY_S = 86_400

app = typer.Typer(
    help="Passwords and certificates of devices, and the broker's files.", no_args_is_help=True
)

DevicesArgument: TypeAlias = Annotated[list[str] | None, typer.Argument(help="Ids of devices.")]
AllOption: TypeAlias = Annotated[
    bool, typer.Option("--all", help="Every device that has a broker.")
]
KindOption: TypeAlias = Annotated[Kind, typer.Option(help="What the devices get.")]
OutOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Passwords: a CSV file; certificates: a folder. For their owner alone."),
]


class SecretPage(msgspec.Struct, frozen=True):
    """Secrets as the hub gives them, once."""

    secrets: list[SecretRow]
    left: list[str]
    authority: str
    broker: str
    next: str | None


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
    kind: KindOption = Kind.PASSWORD,
    out: OutOption = None,
    hub: Annotated[bool, typer.Option("--hub", help="The hub's own account, anew.")] = False,
) -> None:
    """Make a first credential for each device that has none of this kind. Secrets are shown this once."""
    if hub:
        _renew_hub(config)
        return
    body = _chosen(devices, building, everything) | {"kind": kind.value}
    _fetch(config, "/v1/credentials", body, out)


@app.command("rotate")
def rotate(
    devices: DevicesArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    everything: AllOption = False,
    kind: KindOption = Kind.PASSWORD,
    out: OutOption = None,
    overlap_days: Annotated[
        float, typer.Option(help="How long the old one stays good; 0 ends it now.", min=0, max=90)
    ] = 7.0,
) -> None:
    """Replace credentials. The old ones stay good for a while, so that devices can be changed one by one."""
    overlap_s = round(overlap_days * _DAY_S)
    body = _chosen(devices, building, everything) | {"kind": kind.value, "overlap_s": overlap_s}
    _fetch(config, "/v1/credentials/rotate", body, out)


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
        Console().print(table)


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
    site = load_site(config)
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


def _fetch(config: Path, path: str, body: dict[str, object], out: Path | None) -> None:
    """Page by page: what is on disk here is the only copy."""
    named = body["devices"] is not None
    left: list[str] = []
    with (
        HubClient(config) as client,
        open_out(out, Kind(str(body["kind"])), single=_is_single(body)) as kept,
        Interrupt() as interrupt,
        _progress() as progress,
    ):
        task = progress.add_task("credentials", total=None)
        page = _take(client, path, body, kept)
        while page.next is not None and not interrupt.asked:
            left += page.left
            progress.update(task, completed=kept.number)
            page = _take(client, path, body | {"after": page.next}, kept)
        left += page.left
    typer.echo(f"{kept.number} new credentials{f' in {out}' if out else ''}", err=True)
    if page.next is not None:
        typer.echo("interrupted; the same command goes on where this one stopped", err=True)
        raise typer.Exit(EXIT_INTERRUPTED)
    _tell_left(left, rotating="overlap_s" in body)
    _warn(page.broker)
    if left and named:
        raise typer.Exit(EXIT_LEFT)


def _is_single(body: dict[str, object]) -> bool:
    devices = body["devices"]
    return isinstance(devices, list) and len(devices) == 1


def _take(client: HubClient, path: str, body: dict[str, object], kept: SecretsOut) -> SecretPage:
    page = client.post(path, SecretPage, body)
    kept.keep(page.secrets, page.authority)
    return page


def _tell_left(left: list[str], *, rotating: bool) -> None:
    if not left:
        return
    names = ", ".join(left[:_NAMED]) + (" …" if len(left) > _NAMED else "")
    why = "have none to replace: issue" if rotating else "had one already; if it is lost: rotate"
    typer.echo(f"{len(left)} devices {why}: {names}", err=True)


def _warn(broker: str) -> None:
    if broker:
        typer.echo(f"the broker does not know them yet: {broker}", err=True)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
