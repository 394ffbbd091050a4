"""`dormhub order`: paid orders, how each came to stand as it does, and what a person does about one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from hub.campus.accounts.accounts import Utility
from hub.campus.orders.orders import OrderState
from hub.cli.bindings import config_place
from hub.cli.hub_client import HubClient
from hub.cli.moments import moment_ms, when
from hub.cli.office import AuditRow
from hub.cli.options import DEFAULT_CONFIG, BuildingOption, ConfigOption, JsonOption
from hub.cli.plain import plain
from hub.cli.reports import FileOut, given, pages, print_rows, write_rows
from hub.clock import SystemClock
from hub.errors import ConfigError
from hub.inventory.installed import running_site

app = typer.Typer(help="Paid orders of the campus's platforms.", no_args_is_help=True)

_SHOWN = ("platform", "number", "account", "device", "amount_fen", "state", "reason")
_EXPORTED = (
    *("id", "platform", "number", "account", "device", "amount_fen", "state", "reason", "command"),
    *("received_ms", "deadline_ms", "changed_ms"),
)

OrderArgument = Annotated[
    str, typer.Argument(metavar="PLATFORM/NUMBER", help="An order, such as campus-pay/T1.")
]
PlatformOption = Annotated[str, typer.Option(help="Only of this platform.")]
RoomOption = Annotated[str, typer.Option(help="Only of this room, such as 101.")]
UtilityOption = Annotated[Utility | None, typer.Option(help="Only of this utility.")]
StateOption = Annotated[OrderState | None, typer.Option(help="Only those that stand so.")]
SinceOption = Annotated[
    str, typer.Option(help="2026-11-22T18:00 (the site's time), or 7d for ago.")
]
UntilOption = Annotated[str, typer.Option(help="Likewise; now when not given.")]


class Found(StrEnum):
    """What a person found out."""

    DONE = "done"
    NOT_DONE = "not-done"


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it stands."""

    id: str
    platform: str
    number: str
    account: str
    device: str
    amount_fen: int
    state: OrderState
    reason: str
    command: str
    received_ms: int
    deadline_ms: int
    changed_ms: int


class OrderRows(msgspec.Struct, frozen=True):
    """A page of orders."""

    orders: list[OrderRow]
    next: str | None


class CreditRow(msgspec.Struct, frozen=True):
    """A command that was made for an order."""

    id: str
    state: str
    reason: str
    attempts: int
    resolution: str


class ToldRow(msgspec.Struct, frozen=True):
    """A word for its platform."""

    id: str
    event: str
    attempts: int
    next_ms: int | None
    done_ms: int | None
    error: str


class OrderHistory(msgspec.Struct, frozen=True):
    """An order, and all that is written of it."""

    order: OrderRow
    audit: list[AuditRow]
    commands: list[CreditRow]
    told: list[ToldRow]


class StuckRow(msgspec.Struct, frozen=True):
    """A word that no try brought to its platform."""

    id: str
    platform: str
    number: str
    event: str
    attempts: int
    error: str


class StuckRows(msgspec.Struct, frozen=True):
    """Every one of them."""

    stuck: list[StuckRow]


class Compared(msgspec.Struct, frozen=True):
    """What was on a platform's list."""

    listed: int
    taken: int
    refunded: int


@app.command("list")
def list_orders(
    config: ConfigOption = DEFAULT_CONFIG,
    platform: PlatformOption = "",
    building: BuildingOption = "",
    room: RoomOption = "",
    utility: UtilityOption = None,
    state: StateOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    last: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 100,
    json: JsonOption = False,
) -> None:
    """Orders, the newest first."""
    query = given(
        platform=platform,
        building=building,
        room=room,
        utility=utility,
        state=state,
        **span_ms(config, since, until),
    )
    with HubClient(config) as hub:
        found = hub.get("/v1/orders", OrderRows, {"limit": last, **query}).orders
    print_rows(found, _SHOWN, json=json)


@app.command("show")
def show(
    order: OrderArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False
) -> None:
    """One order: every change, its commands, and what its platform was told."""
    with HubClient(config) as hub:
        found = hub.get(f"/v1/orders/{_path(order)}/history", OrderHistory, {})
    if json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    print_rows([found.order], _SHOWN, json=False)
    table = Table("when (UTC)", "what", "who", "why")
    for row in found.audit:
        table.add_row(when(row.time_ms), row.action, row.actor, row.cause)
    plain().print(table)
    print_rows(found.commands, ("id", "state", "reason", "attempts", "resolution"), json=False)
    print_rows(found.told, ("id", "event", "attempts", "done_ms", "error"), json=False)


@app.command("resolve")
def resolve(
    order: OrderArgument,
    found: Annotated[Found, typer.Argument(help="done: the meter shows the credit.")],
    note: Annotated[str, typer.Option(help="How you know, for the audit.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Say what the meter shows of an order that is unknown: delivered, or a refund is due."""
    body = {"outcome": found.value.replace("-", "_"), "note": note}
    with HubClient(config) as hub:
        after = hub.post(f"/v1/orders/{_path(order)}/resolve", OrderRow, body)
    typer.echo(f"{order}: {after.state}")


@app.command("stuck")
def stuck(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """What platforms could not be told in all the tries there are."""
    with HubClient(config) as hub:
        found = hub.get("/v1/callbacks", StuckRows, {}).stuck
    print_rows(found, ("id", "platform", "number", "event", "attempts", "error"), json=json)


@app.command("again")
def again(
    word: Annotated[str, typer.Argument(help="The id that `dormhub order stuck` shows.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Begin anew to tell a platform what is stuck."""
    with HubClient(config) as hub:
        hub.post(f"/v1/callbacks/{word}/again", type(None))
    typer.echo(f"{word} is told again")


@app.command("ask")
def ask(
    platform: Annotated[str, typer.Argument(help="Its name in site.toml.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Ask a platform for its list of orders now, and take what never came."""
    with HubClient(config) as hub:
        found = hub.post(f"/v1/platforms/{platform}/ask", Compared)
    typer.echo(f"{found.listed} on its list, {found.taken} new, {found.refunded} refunded")


@app.command("export")
def export(
    file: FileOut,
    config: ConfigOption = DEFAULT_CONFIG,
    platform: PlatformOption = "",
    building: BuildingOption = "",
    state: StateOption = None,
    since: SinceOption = "30d",
    until: UntilOption = "",
) -> None:
    """Orders of a span as a spreadsheet, the newest first; amounts in fen, times in UTC ms."""
    query = given(
        platform=platform, building=building, state=state, **span_ms(config, since, until)
    )
    with HubClient(config) as hub:
        found = [
            row
            for page in pages(hub, "/v1/orders", OrderRows, query, lambda page: page.next)
            for row in page.orders
        ]
    write_rows(file, found, _EXPORTED, config=config)


def span_ms(config: ConfigOption, since: str, until: str) -> dict[str, int | None]:
    """`since_ms` and `until_ms` of what a person wrote; None where nothing was. Raises ConfigError."""
    if not since and not until:
        return {}
    zone = running_site(config_place(config), config).timezone
    now_ms = SystemClock().now_ms()
    return {
        "since_ms": moment_ms(since, zone, now_ms, key="--since") if since else None,
        "until_ms": moment_ms(until, zone, now_ms, key="--until") if until else None,
    }


def _path(order: str) -> str:
    platform, slash, number = order.partition("/")
    if not slash or not platform or not number or "/" in number:
        hint = "write PLATFORM/NUMBER, such as campus-pay/T1"
        raise ConfigError(file="command line", key="order", found=f"found {order!r}", hint=hint)
    return order
