"""Rows of the hub's answers, page after page: shown as a table or JSON, or written to a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import msgspec
import typer
from rich.table import Table

from hub.cli.hub_client import HubClient
from hub.cli.plain import plain
from hub.sheets.report import ROWS_MAX, Figure, report_bytes
from hub.sheets.saving import check_out, save_out

PAGE = 1_000
Query: TypeAlias = Mapping[str, str | int | float]
FileOut: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .xlsx file.")]
Page = TypeVar("Page")
Row = TypeVar("Row")


def pages(
    hub: HubClient, path: str, shape: type[Page], query: Query, following: Callable[[Page], object]
) -> Iterator[Page]:
    """Every page of a list: `following` says the `after` of the next one, or None after the last."""
    asked: dict[str, str | int | float] = {"limit": PAGE, **query}
    for _ in range(ROWS_MAX // PAGE + 1):
        page = hub.get(path, shape, asked)
        yield page
        after = following(page)
        if after is None:
            return
        asked["after"] = after if isinstance(after, int) else str(after)


def given(**values: str | int | None) -> dict[str, str | int | float]:
    """A query of those values that say something."""
    return {name: value for name, value in values.items() if value not in ("", None)}


def print_rows(rows: Sequence[object], columns: Sequence[str], *, json: bool) -> None:
    """These rows: as one JSON object per line, or these of their fields as a table."""
    if json:
        for row in rows:
            sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_text(getattr(row, column)) for column in columns))
    plain().print(table)


def write_rows(path: Path, rows: Sequence[object], columns: Sequence[str], *, config: Path) -> None:
    """These fields of rows as a file, never in the configuration folder; raises ConfigError."""
    check_out(path, config)
    figures = [[_figure(getattr(row, column)) for column in columns] for row in rows]
    save_out(path, report_bytes(path, columns, figures), config)
    typer.echo(f"{len(rows)} rows in {path}")


def _figure(value: object) -> Figure:
    return value if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value)
