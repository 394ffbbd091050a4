"""`dormhub import` and `dormhub export`: devices.csv from a spreadsheet, and as one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn

from hub.cli.options import DEFAULT_CONFIG, BuildingOption, ConfigOption, JsonOption
from hub.errors import ConfigError, ConfigErrors
from hub.sheets.columns import Language
from hub.sheets.device_export import sheet_bytes
from hub.sheets.device_import import Import, Row, Wishes, device_rows, plan_import
from hub.sheets.memory import IMPORT_FILE, by_word, explained_headers, memory_text, read_memory
from hub.sheets.reading import read_sheet
from hub.sheets.saving import alone_in, save, save_out
from hub.sheets.sheet import Progress
from hub.sheets.table import Table, table_of
from hub.site import surroundings_of
from hub.site_files import DEVICES_FILE, read_files

EXIT_MISTAKE = 2
_SHOWN = 20

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .xlsx file.")]


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, or would do, for machines."""

    file: str
    sheet: str = ""
    rows: int = 0
    added: tuple[str, ...] = ()
    changed: dict[str, tuple[str, ...]] = {}
    unchanged: int = 0
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mistakes: tuple[str, ...] = ()
    written: bool = False


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What was written for so many devices, for machines."""

    devices: int
    files: tuple[str, ...]


def import_(
    file: FileArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    sheet: Annotated[str, typer.Option(help="Which sheet; else the first.")] = "",
    link: Annotated[str, typer.Option(help="The link of rows that name none.")] = "",
    profile: Annotated[str, typer.Option(help="The product of rows that name none.")] = "",
    explained: Annotated[
        list[str] | None,
        typer.Option("--map", help="HEADER=COLUMN, such as 表号=address; remembered."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="The sheet is the whole list: other devices go.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    json: JsonOption = False,
) -> None:
    """Take a spreadsheet of rooms and meters into devices.csv. Applies nothing; nothing is half taken."""
    wishes = Wishes(link=link, profile=profile, whole=replace)
    try:
        with shown_progress() as progress, alone_in(config):
            headers = explained_headers(explained or [])
            memory = read_memory(config) | headers
            mapped = by_word(memory)
            progress(f"reading {file.name}", 0)
            table = table_of(read_sheet(file, sheet, mapped, progress), mapped, headers)
            found = plan_import(config, table, wishes, progress)
            if not dry_run:
                _save(config, found, memory_text(memory) if headers else "")
    except ConfigError as error:
        _refuse(file, error, json=json)
        raise typer.Exit(EXIT_MISTAKE) from None
    if json:
        print_json(_report(file, table, found, written=not dry_run and found.content is not None))
    else:
        _print(file, table, found, config / DEVICES_FILE, dry_run=dry_run)


def export(
    file: FileArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    language: Annotated[Language, typer.Option(help="Of the headers.")] = Language.CHINESE,
    building: BuildingOption = "",
    json: JsonOption = False,
) -> None:
    """Write devices.csv as a spreadsheet that `dormhub import` takes back; not among the hub's files."""
    rows = rows_of(config, building)
    save_out(file, sheet_bytes(file, rows, language), config)
    if json:
        print_json(Written(devices=len(rows), files=(str(file),)))
    else:
        typer.echo(f"{len(rows)} devices in {file}")


def rows_of(config: Path, building: str) -> list[Row]:
    """The rows of devices.csv; with `building`, by its id, name or alias, only those of it."""
    rows = [origin.row for origin in device_rows(config)]
    if not building:
        return rows
    known = surroundings_of(read_files(config, devices=b"")).buildings.find(building)
    name = known.id if known else building
    kept = [row for row in rows if row.get("building") == name]
    if not kept:
        there = sorted({row.get("building", "") for row in rows} - {""})
        hint = "there are devices in " + ", ".join(there[:_SHOWN])
        found = f"no device in {building!r}"
        raise ConfigError(file="command line", key="--building", found=found, hint=hint)
    return kept


def _save(config: Path, found: Import, memory: str) -> None:
    if found.content is not None:
        save(config / DEVICES_FILE, found.content)
    if memory:
        save(config / IMPORT_FILE, memory.encode())


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Shows, on a terminal only, what is being done and to how many rows."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("")

        def progress(what: str, rows: int) -> None:
            bar.update(task, description=f"{what}: {rows:,} rows" if rows else what)

        yield progress


def _refuse(file: Path, error: ConfigError, *, json: bool) -> None:
    mistakes = error.errors if isinstance(error, ConfigErrors) else (error,)
    if json:
        print_json(ImportReport(file=str(file), mistakes=tuple(map(str, mistakes))))
        return
    for mistake in mistakes:
        typer.echo(f"dormhub: {mistake}", err=True)
    typer.echo(f"{len(mistakes)} to mend; nothing was written", err=True)


def _report(file: Path, table: Table, found: Import, *, written: bool) -> ImportReport:
    return ImportReport(
        file=str(file),
        sheet=table.sheet.name,
        rows=len(table.rows),
        added=found.added,
        changed=dict(found.changed),
        unchanged=found.unchanged,
        removed=found.removed,
        notes=tuple(table.notes()),
        written=written,
    )


def print_json(report: object) -> None:
    """One line for a machine."""
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")


def _print(file: Path, table: Table, found: Import, target: Path, *, dry_run: bool) -> None:
    for note in table.notes():
        typer.echo(f"note: {note}")
    changed = [f"{name} ({', '.join(columns)})" for name, columns in found.changed.items()]
    for verb, names in (("add", found.added), ("change", changed), ("remove", found.removed)):
        for name in names[:_SHOWN]:
            typer.echo(f"{verb} {name}")
        if len(names) > _SHOWN:
            typer.echo(f"{verb} {len(names) - _SHOWN} more")
    typer.echo(
        f"{file.name}: {len(found.added)} added, {len(changed)} changed, "
        f"{found.unchanged} as they were, {len(found.removed)} removed"
    )
    if dry_run:
        typer.echo("only tried: nothing was written")
    elif found.content is None:
        typer.echo(f"nothing new: {target} stays as it is")
    else:
        typer.echo(f"{target} is written; nothing is applied yet: see `dormhub plan`")
