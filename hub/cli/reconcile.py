"""`dormhub reconcile`: days compared, and what of them a person must end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from hub.cli.hub_client import HubClient
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.cli.plain import plain
from hub.errors import ConfigError

EXIT_DIFFERENT = 1
_PATH = "/v1/reconciliation"
_RUN_TIMEOUT_S = 180.0
_BILL_MAX_BYTES = 4 << 20
_PAGE = 1_000
_SIDES = ("billed", "ordered", "credited", "counted")

app = typer.Typer(
    help="Bills, orders, credits and counters, compared day by day.", no_args_is_help=True
)

DayArgument = Annotated[str, typer.Argument(help="A local day that is over: 2026-11-22.")]
DifferenceArgument = Annotated[str, typer.Argument(help="The difference's id.")]
PlatformOption = Annotated[
    str, typer.Option(help="Only this platform; `meters` are those of the house.")
]
ClassOption = Annotated[str, typer.Option("--class", help="Such as paid_without_effect.")]
OwnerOption = Annotated[str, typer.Option(help="Only this person's or desk's.")]
OpenOption = Annotated[bool, typer.Option("--open", help="Only those that nobody has ended.")]


class TallyRow(msgspec.Struct, frozen=True):
    """A sum of a day."""

    level: str
    what: str
    unit: str
    count: int
    amount: int


class ResultRow(msgspec.Struct, frozen=True):
    """What a day of a platform came to."""

    day: str
    platform: str
    number: int
    bill: str
    pending: int
    tallies: list[TallyRow]


class ResultRows(msgspec.Struct, frozen=True):
    """Results."""

    results: list[ResultRow]


class DifferenceRow(msgspec.Struct, frozen=True):
    """What is not equal."""

    id: str
    day: str
    platform: str
    level: str
    subject: str
    finding: str
    unit: str
    billed: int | None
    ordered: int | None
    credited: int | None
    counted: int | None
    detail: str
    owner: str
    ended_ms: int | None
    ended_by: str
    resolution: str


class DifferenceRows(msgspec.Struct, frozen=True):
    """A page of differences."""

    differences: list[DifferenceRow]
    next: str | None


@app.command("run")
def run(
    day: DayArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    platform: Annotated[str, typer.Option(help="Only this platform.")] = "",
    bill: Annotated[
        Path | None, typer.Option(help="A CSV with that day's bill of the platform.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare a day now; exit code 1 when something of it is different. Again, it changes nothing."""
    body = {"day": day, "platform": platform, "bill": _text(bill) if bill else None}
    with HubClient(config, timeout_s=_RUN_TIMEOUT_S) as hub:
        found = hub.post(f"{_PATH}/runs", ResultRows, body).results
    _print_results(found, json=json)
    settled = ("equal", "pending")
    compared = [one for row in found for one in row.tallies if one.level != "house"]
    different = any(one.what not in settled for one in compared)
    raise typer.Exit(EXIT_DIFFERENT if different else 0)


@app.command("list")
def list_(
    config: ConfigOption = DEFAULT_CONFIG,
    since: Annotated[str, typer.Option(help="From this day on.")] = "",
    platform: PlatformOption = "",
    last: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 30,
    json: JsonOption = False,
) -> None:
    """What days came to, the newest first."""
    query: dict[str, str | int | float] = {"since": since, "platform": platform, "limit": last}
    with HubClient(config) as hub:
        _print_results(hub.get(f"{_PATH}/runs", ResultRows, query).results, json=json)


@app.command("show")
def show(
    config: ConfigOption = DEFAULT_CONFIG,
    day: Annotated[str, typer.Option(help="Only of this day.")] = "",
    platform: PlatformOption = "",
    class_: ClassOption = "",
    owner: OwnerOption = "",
    open_: OpenOption = False,
    json: JsonOption = False,
) -> None:
    """Differences with their figures, owners and ends."""
    query = _query(day, platform, class_, owner, is_open=open_)
    found: list[DifferenceRow] = []
    with HubClient(config) as hub:
        after: str | None = ""
        while after is not None:
            page = hub.get(
                f"{_PATH}/differences",
                DifferenceRows,
                query | {"after": after, "limit": _PAGE},
            )
            found += page.differences
            after = page.next
    if json:
        for row in found:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    table = Table("id", "day", "platform", "level", "subject", "class", *_SIDES, "owner", "detail")
    for row in found:
        sides = [_figure(getattr(row, side), row.unit) for side in _SIDES]
        said = f"{row.ended_by}: {row.resolution}" if row.ended_ms is not None else row.detail
        place = (row.id, row.day, row.platform, row.level, row.subject, row.finding)
        table.add_row(*place, *sides, row.owner, said)
    plain().print(table)


@app.command("assign")
def assign(
    difference: DifferenceArgument,
    owner: Annotated[str, typer.Argument(help="Whose it is from now on.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Give a difference to somebody."""
    with HubClient(config) as hub:
        row = hub.post(f"{_PATH}/differences/{difference}/assign", DifferenceRow, {"owner": owner})
    typer.echo(f"{row.id} is {row.owner}'s")


@app.command("end")
def end(
    difference: DifferenceArgument,
    note: Annotated[str, typer.Option(help="How it was put right, for the audit.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """End a difference, and say how."""
    with HubClient(config) as hub:
        row = hub.post(f"{_PATH}/differences/{difference}/end", DifferenceRow, {"note": note})
    typer.echo(f"{row.id} is ended: {row.resolution}")


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="The CSV to write.")],
    config: ConfigOption = DEFAULT_CONFIG,
    day: Annotated[str, typer.Option(help="Only of this day.")] = "",
    platform: PlatformOption = "",
    class_: ClassOption = "",
    owner: OwnerOption = "",
    open_: OpenOption = False,
) -> None:
    """Write differences to a CSV for a spreadsheet."""
    query = _query(day, platform, class_, owner, is_open=open_)
    with HubClient(config, timeout_s=_RUN_TIMEOUT_S) as hub:
        text = hub.get_text(f"{_PATH}/differences.csv", query)
    try:
        file.write_text(text, "utf-8-sig", newline="")
    except OSError as error:
        raise _wrong("FILE", file, f"cannot be written: {error.strerror}") from None
    typer.echo(f"{max(0, text.count(chr(10)) - 1)} differences in {file}")


def _query(
    day: str, platform: str, finding: str, owner: str, *, is_open: bool
) -> dict[str, str | int | float]:
    said = {"day": day, "platform": platform, "finding": finding, "owner": owner}
    query: dict[str, str | int | float] = {name: text for name, text in said.items() if text}
    return query | ({"open": "true"} if is_open else {})


def _print_results(found: list[ResultRow], *, json: bool) -> None:
    if json:
        for row in found:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    table = Table("day", "platform", "no", "bill", "level", "class", "number", "sum")
    for row in found:
        head = (row.day, row.platform, str(row.number), row.bill or "none")
        for one in row.tallies:
            table.add_row(*head, one.level, one.what, str(one.count), _figure(one.amount, one.unit))
        if not row.tallies:
            table.add_row(*head, "", "nothing", "0", "")
    plain().print(table)


def _figure(amount: int | None, unit: str) -> str:
    if amount is None:
        return ""
    if unit != "fen":
        return f"{amount} {unit}"
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02}"


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if len(content) > _BILL_MAX_BYTES:
            raise _wrong("--bill", path, "is larger than 4 MiB: split it by day")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise _wrong("--bill", path, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _wrong("--bill", path, "is not in UTF-8: save it so") from None


def _wrong(key: str, path: Path, hint: str) -> ConfigError:
    return ConfigError(file="command line", key=key, found=f"found {str(path)!r}", hint=hint)
