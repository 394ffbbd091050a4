"""`dormhub share`: a month's common use and loss of a building or a floor, and charging it to its rooms."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from hub.campus.accounts.accounts import Utility
from hub.campus.sharing.sharing import By
from hub.cli.hub_client import HubClient
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.cli.reports import FileOut, given, print_rows, write_rows

TIMEOUT_S = 200.0
app = typer.Typer(help="What feeders measured that no room did.", no_args_is_help=True)
_REPORT = ("fed", "taken", "common", "common_percent", "unit", "fen", "flag")
_SHARES = ("room", "amount", "fen")

BuildingOption = Annotated[str, typer.Option(help="The building.")]
MonthOption = Annotated[str, typer.Option(help="Such as 2026-11.")]
FloorOption = Annotated[str, typer.Option(help="Only this floor, by the feeders it has.")]
ByOption = Annotated[By, typer.Option(help="By what each room used, or equally.")]
UtilityOption = Annotated[Utility, typer.Option(help="Of what.")]


class ShareRow(msgspec.Struct, frozen=True):
    """A room's part."""

    room: str
    amount: int
    fen: int


class SharedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A month's common use."""

    building: str
    floor: str
    month: str
    by: str
    unit: str
    feeders: list[str]
    fed: int
    taken: int
    common: int
    common_percent: float
    flag: str
    fen: int | None
    shares: list[ShareRow]


class PostedRow(msgspec.Struct, frozen=True):
    """The transaction of a share."""

    number: int
    fresh: bool
    fen: dict[str, int]


@app.command("show")
def show(
    building: BuildingOption,
    month: MonthOption,
    config: ConfigOption = DEFAULT_CONFIG,
    floor: FloorOption = "",
    by: ByOption = By.USE,
    utility: UtilityOption = Utility.ELECTRICITY,
    json: JsonOption = False,
) -> None:
    """What was fed, what rooms took, what is left, and what each room's part would be. Charges nothing."""
    found = _ask(config, building, month, floor, by, utility)
    if json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    print_rows([found], _REPORT, json=False)
    print_rows(found.shares, _SHARES, json=False)


@app.command("export")
def export(
    file: FileOut,
    building: BuildingOption,
    month: MonthOption,
    config: ConfigOption = DEFAULT_CONFIG,
    floor: FloorOption = "",
    by: ByOption = By.USE,
    utility: UtilityOption = Utility.ELECTRICITY,
) -> None:
    """The parts of the rooms as a spreadsheet."""
    found = _ask(config, building, month, floor, by, utility)
    write_rows(file, found.shares, _SHARES, config=config)


@app.command("book")
def book(
    building: BuildingOption,
    month: MonthOption,
    config: ConfigOption = DEFAULT_CONFIG,
    floor: FloorOption = "",
    by: ByOption = By.USE,
    utility: UtilityOption = Utility.ELECTRICITY,
    accept: Annotated[
        bool, typer.Option("--accept", help="Also what a person should look at first.")
    ] = False,
) -> None:
    """Charge a month that is over to the rooms: once for ever for this place and month."""
    body = {
        "building": building,
        "floor": floor,
        "month": month,
        "by": by,
        "utility": utility,
        "accept": accept,
    }
    with HubClient(config, timeout_s=TIMEOUT_S) as hub:
        done = hub.post("/v1/sharing", PostedRow, body)
    said = "booked" if done.fresh else "booked before"
    total = sum(done.fen.values())
    typer.echo(f"{said} as transaction {done.number}: {total} fen from {len(done.fen)} rooms")


def _ask(
    config: ConfigOption, building: str, month: str, floor: str, by: By, utility: Utility
) -> SharedRow:
    query = given(building=building, month=month, floor=floor, by=by, utility=utility)
    with HubClient(config, timeout_s=TIMEOUT_S) as hub:
        return hub.get("/v1/sharing", SharedRow, query)
