"""`dormhub account`: what rooms have, every movement of it, and what a person does about one."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from hub.campus.accounts.accounts import AccountKind, Unit, Utility
from hub.cli.account_rows import (
    AccountDetail,
    AccountRow,
    AccountRows,
    BookedRows,
    Corrected,
    GrantedRow,
    HeldRows,
    LineRows,
    PostingRow,
    Reversed,
    WrongRows,
)
from hub.cli.bindings import config_place
from hub.cli.hub_client import HubClient
from hub.cli.moments import moment_ms
from hub.cli.options import DEFAULT_CONFIG, BuildingOption, ConfigOption, JsonOption
from hub.cli.orders import SinceOption, UntilOption, span_ms
from hub.cli.reports import FileOut, given, pages, print_rows, write_rows
from hub.clock import SystemClock
from hub.errors import ConfigError
from hub.inventory.installed import running_site

EXIT_WRONG = 1
app = typer.Typer(help="Rooms' accounts: what they have, and why.", no_args_is_help=True)

_LISTED = ("building", "room", "utility", "fen", "free", "unit", "held_fen", "meter_fen")
_STANDING = (
    *("balance_fen", "credit", "allowance", "held_fen", "holder", "as_of_ms", "doubt"),
    "is_used_up",
)
_LINES = ("number", "time_ms", "kind", "unit", "amount", "cause", "actor")
_POSTINGS = ("number", "time_ms", "kind", "account", "unit", "amount", "key", "cause", "actor")
_HELD = ("binding", "device", "building", "room", "utility", "time_ms", "counter", "reason")

RoomArgument = Annotated[
    str, typer.Argument(metavar="BUILDING/ROOM", help="The room, such as B1/101.")
]
UtilityOption = Annotated[Utility, typer.Option(help="What it buys.")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the books and the audit.")]


class What(StrEnum):
    """What is exported."""

    BALANCES = "balances"
    POSTINGS = "postings"


@app.command("show")
def show(
    room: RoomArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    utility: UtilityOption = Utility.ELECTRICITY,
    json: JsonOption = False,
) -> None:
    """How a room stands: at its last reading, with every doubt, and in the books."""
    with HubClient(config) as hub:
        found = hub.get(_path(room, utility), AccountDetail, {})
    if json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    if found.standing is not None:
        print_rows([found.standing], _STANDING, json=False)
    print_rows([found.account], _LISTED, json=False)


@app.command("list")
def list_accounts(
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    utility: Annotated[Utility | None, typer.Option(help="Only of this utility.")] = None,
    below: Annotated[int | None, typer.Option(help="Only with less than so many fen.")] = None,
    owing: Annotated[bool, typer.Option("--owing", help="Only those that owe.")] = False,
    json: JsonOption = False,
) -> None:
    """What rooms have by the books: all of them, those below a balance, or those that owe."""
    most = 0 if owing else below
    print_rows(_accounts(config, building, utility, most), _LISTED, json=json)


@app.command("statement")
def statement(
    room: RoomArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    utility: UtilityOption = Utility.ELECTRICITY,
    account: Annotated[AccountKind, typer.Option(help="room, held or meter.")] = AccountKind.ROOM,
    last: Annotated[int, typer.Option(help="How many at most.", min=10, max=1000)] = 100,
    json: JsonOption = False,
) -> None:
    """Every movement of a room's account, the newest first."""
    query = given(account=account, limit=last)
    with HubClient(config) as hub:
        found = hub.get(f"{_path(room, utility)}/statement", LineRows, query).lines
    print_rows(found, _LINES, json=json)


def _whole(text: str) -> int:
    """A whole number as it is written; typer takes 5.00 for 5, and a clerk means 5 yuan by it."""
    if not re.fullmatch(r"[+-]?[0-9]{1,15}", text):
        raise typer.BadParameter(f"{text!r} is no whole number; 5 yuan are 500")
    return int(text)


@app.command("correct")
def correct(
    room: RoomArgument,
    amount: Annotated[
        int,
        typer.Argument(
            parser=_whole,
            metavar="AMOUNT",
            help="Whole fen (500 is 5 yuan), above 0 in favour of the room; -- before -500.",
        ),
    ],
    reason: ReasonOption,
    key: Annotated[str, typer.Option(help="Your own name for it: said again, it is done once.")],
    config: ConfigOption = DEFAULT_CONFIG,
    utility: UtilityOption = Utility.ELECTRICITY,
    unit: Annotated[
        Unit, typer.Option(help="fen, or the utility's unit of what is free.")
    ] = Unit.FEN,
) -> None:
    """Put a room's account right, with a reason. What was booked stays; this is booked beside it."""
    body = {"unit": unit, "amount": amount, "reason": reason}
    with HubClient(config) as hub:
        done = hub.post(
            f"{_path(room, utility)}/corrections", Corrected, body, {"Idempotency-Key": key}
        )
    said = "booked" if done.fresh else "booked before"
    typer.echo(f"{said} as transaction {done.number}; {room} has {done.balance} {done.unit}")


@app.command("reverse")
def reverse(
    number: Annotated[int, typer.Argument(help="As `dormhub account statement` shows.", min=1)],
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Take a whole transaction back by another, once: a charge, an allowance, a correction, a transfer."""
    with HubClient(config) as hub:
        done = hub.post(f"/v1/transactions/{number}/reverse", Reversed, {"reason": reason})
    said = "taken back" if done.fresh else "taken back before"
    typer.echo(f"{number} is {said} by transaction {done.number}")


@app.command("held")
def held(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Counters that fell or jumped: not charged until a person says where they stood."""
    with HubClient(config) as hub:
        found = hub.get("/v1/meterings/held", HeldRows, {}).held
    print_rows(found, _HELD, json=json)


@app.command("release")
def release(
    binding: Annotated[str, typer.Argument(help="The id that `dormhub account held` shows.")],
    counter: Annotated[int, typer.Option(help="Where the counter stood, in Wh or ml.", min=0)],
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    at: Annotated[str, typer.Option(help="When; now when not given.")] = "",
) -> None:
    """Charge a held counter again, from where it stood then. What flowed before is not charged."""
    at_ms = None
    if at:
        zone = running_site(config_place(config), config).timezone
        at_ms = moment_ms(at, zone, SystemClock().now_ms(), key="--at")
    body = {"counter": counter, "at_ms": at_ms, "reason": reason}
    with HubClient(config) as hub:
        hub.post(f"/v1/meterings/{binding}/release", type(None), body)
    typer.echo(f"{binding} is charged again from {counter}")


@app.command("check")
def check(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Add every balance up anew; exit code 1 when one is wrong."""
    with HubClient(config) as hub:
        wrong = hub.post("/v1/books/check", WrongRows).wrong
    if wrong or json:
        print_rows(wrong, ("subject", "unit", "booked", "found"), json=json)
    else:
        typer.echo("every sum is right")
    raise typer.Exit(EXIT_WRONG if wrong else 0)


@app.command("allowance")
def allowance(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Give this month's allowances now, where they are still to be given."""
    with HubClient(config, timeout_s=200.0) as hub:
        done = hub.post("/v1/allowance", GrantedRow)
    typer.echo(f"{done.month}: {done.given} rooms given, {done.passed} had theirs or have none")


@app.command("export")
def export(
    file: FileOut,
    config: ConfigOption = DEFAULT_CONFIG,
    what: Annotated[What, typer.Option(help="Balances now, or the postings of a span.")] = (
        What.BALANCES
    ),
    building: BuildingOption = "",
    since: SinceOption = "30d",
    until: UntilOption = "",
) -> None:
    """Balances now, or every posting of a span, as a spreadsheet; times in UTC ms."""
    if what is What.BALANCES:
        write_rows(file, _accounts(config, building, None, None), _LISTED, config=config)
        return
    if building:
        hint = "postings are of the whole house; leave it out"
        raise ConfigError(file="command line", key="--building", found="found it", hint=hint)
    write_rows(file, _postings(config, since, until), _POSTINGS, config=config)


def _accounts(
    config: ConfigOption, building: str, utility: Utility | None, below_fen: int | None
) -> list[AccountRow]:
    query = given(building=building, utility=utility, below_fen=below_fen)
    with HubClient(config) as hub:
        found = pages(hub, "/v1/accounts", AccountRows, query, lambda page: page.next)
        return [row for page in found for row in page.accounts]


def _postings(config: ConfigOption, since: str, until: str) -> list[PostingRow]:
    query = given(**span_ms(config, since, until))
    with HubClient(config) as hub:
        found = pages(hub, "/v1/transactions", BookedRows, query, lambda page: page.next)
        return [
            PostingRow(
                number=one.number,
                time_ms=one.time_ms,
                kind=one.kind,
                account=said.account,
                unit=said.unit,
                amount=said.amount,
                key=one.key,
                cause=one.cause,
                actor=one.actor,
            )
            for page in found
            for one in page.transactions
            for said in one.postings
        ]


def _path(room: str, utility: Utility) -> str:
    building, slash, name = room.partition("/")
    if not slash or not building or not name:
        hint = "write BUILDING/ROOM, such as B1/101"
        raise ConfigError(file="command line", key="room", found=f"found {room!r}", hint=hint)
    return f"/v1/accounts/{quote(building)}/{quote(name, safe='')}/{utility}"
