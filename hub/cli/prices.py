"""`dormhub price`: what a kWh or a cubic metre costs, from which day on."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from hub.campus.accounts.accounts import Utility
from hub.cli.accounts import UtilityOption
from hub.cli.hub_client import HubClient
from hub.cli.options import DEFAULT_CONFIG, BuildingOption, ConfigOption, JsonOption
from hub.cli.reports import print_rows

app = typer.Typer(help="What a kWh or a cubic metre costs.", no_args_is_help=True)


class PriceRow(msgspec.Struct, frozen=True):
    """A version of a price."""

    utility: str
    building: str
    from_day: str
    rate: int


class PriceRows(msgspec.Struct, frozen=True):
    """All versions."""

    prices: list[PriceRow]


@app.command("list")
def prices(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Every price ever entered; the rate is in millionths of a fen for one Wh or ml."""
    with HubClient(config) as hub:
        found = hub.get("/v1/prices", PriceRows, {}).prices
    print_rows(found, ("utility", "building", "from_day", "rate"), json=json)


@app.command("enter")
def enter(
    yuan: Annotated[str, typer.Argument(help="For a kWh or a m³, such as 0.5483.")],
    from_day: Annotated[str, typer.Option("--from", help="The local day it begins: 2026-12-01.")],
    config: ConfigOption = DEFAULT_CONFIG,
    utility: UtilityOption = Utility.ELECTRICITY,
    building: BuildingOption = "",
) -> None:
    """Enter a price; it holds from the midnight of its day on, tomorrow at the earliest."""
    body = {"utility": utility, "building": building, "from_day": from_day, "yuan": yuan}
    with HubClient(config) as hub:
        made = hub.post("/v1/prices", PriceRow, body)
    typer.echo(f"{made.utility} {made.building or 'everywhere'} from {made.from_day}: {yuan} yuan")
