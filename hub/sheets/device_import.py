"""What devices.csv says after a spreadsheet was taken in. Writes nothing; `hub.sheets.saving` does."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from hub.device_table import Surroundings, read_devices, read_rows
from hub.errors import ConfigError, ConfigErrors, RowError
from hub.plugin import link_mistakes
from hub.sheets.columns import COLUMNS, WORDS, Language
from hub.sheets.made_ids import HINT as ID_HINT
from hub.sheets.made_ids import made_id
from hub.sheets.products import NoProduct, Products
from hub.sheets.sheet import Progress, shown
from hub.sheets.table import Table
from hub.site import site_of, surroundings_of
from hub.site_files import DEVICES_FILE, read_files

_DRIVER_ROUNDS = 300  # a driver may name one wrong device at a time; a bus has at most 247
_NEEDED = ("profile", "link", "address")

Row: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a row of the new devices.csv comes from: the sheet's row `number`, else the old file's `line`."""

    row: Row
    number: int = 0
    line: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """How a sheet is taken: link and profile of rows that name none; whether it is the whole list."""

    link: str = ""
    profile: str = ""
    whole: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """What would change. `content` is the new devices.csv, None when it says nothing new."""

    added: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unchanged: int
    removed: tuple[str, ...]
    content: bytes | None


def plan_import(folder: Path, table: Table, wishes: Wishes, progress: Progress) -> Import:
    """The import of a table into the files of `folder`; raises ConfigErrors with every mistake."""
    around = surroundings_of(read_files(folder, devices=b""))
    old = device_rows(folder)
    rows = _SheetRows(table, around, wishes, {origin.row["id"]: origin.row for origin in old})
    new = rows.read()
    merged = new if wishes.whole else _merged(old, new)
    content = csv_bytes([origin.row for origin in merged])
    progress("checking devices", len(merged))
    if not new and not rows.errors:
        rows.errors.append(table.sheet.wrong("rows", "nothing under the headers", "add devices"))
    errors = [*rows.errors, *_Judge(folder, table, merged, rows.doubtful).mistakes(content, around)]
    if errors:
        raise ConfigErrors(tuple(sorted(errors, key=_row_number)))
    site_of(read_files(folder, devices=content))
    return _changes(old, merged, content)


def _row_number(error: ConfigError) -> int:
    return error.line if isinstance(error, RowError) else 0


def csv_bytes(rows: Sequence[Row]) -> bytes:
    """A devices.csv of these rows: the columns of the first, and those that another needs."""
    first = list(rows[0]) if rows else list(COLUMNS)
    used = {column for row in rows for column, text in row.items() if text}
    header = [*first, *(column for column in COLUMNS if column in used and column not in first)]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, header, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: _lines(text) for column, text in row.items()} for row in rows)
    return out.getvalue().encode()


def _lines(text: str) -> str:
    # A lone carriage return would end a row that is not quoted for it.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def device_rows(folder: Path) -> list[Origin]:
    """The rows of devices.csv as they are, none when there is no file; raises ConfigErrors."""
    path = folder / DEVICES_FILE
    if not path.exists():
        return []
    errors: list[ConfigError] = []
    content = read_files(folder).devices
    rows = [Origin(row=row, line=line) for line, row in read_rows(str(path), content, errors)]
    if errors:
        raise ConfigErrors(tuple(errors))
    return rows


def _merged(old: Sequence[Origin], new: Sequence[Origin]) -> list[Origin]:
    """Old rows in their order, those of the sheet in place of their namesakes, then the added ones."""
    first: dict[str, Origin] = {}
    rest: list[Origin] = []
    known = {origin.row["id"] for origin in old}
    for origin in new:
        name = origin.row["id"]
        if name in known and name not in first:
            first[name] = origin
        else:
            rest.append(origin)
    return [*(first.get(origin.row["id"], origin) for origin in old), *rest]


def _changes(old: Sequence[Origin], merged: Sequence[Origin], content: bytes) -> Import:
    before = {origin.row["id"]: origin.row for origin in old}
    after = {origin.row["id"]: origin.row for origin in merged}
    changed = {
        name: columns
        for name, row in after.items()
        if name in before and (columns := _differing(before[name], row))
    }
    added = tuple(name for name in after if name not in before)
    removed = tuple(name for name in before if name not in after)
    return Import(
        added=added,
        changed=changed,
        unchanged=len(after) - len(added) - len(changed),
        removed=removed,
        content=content if added or changed or removed or not old else None,
    )


def _differing(before: Row, after: Row) -> tuple[str, ...]:
    return tuple(
        column
        for column in COLUMNS
        if before.get(column, "").splitlines() != after.get(column, "").splitlines()
    )


class _SheetRows:
    """The sheet's rows in the words of devices.csv; what cannot be said so is an error."""

    def __init__(
        self, table: Table, around: Surroundings, wishes: Wishes, old: Mapping[str, Row]
    ) -> None:
        self.errors: list[ConfigError] = []
        self.doubtful: set[tuple[int, str]] = set()  # cells that need no second word
        self._table = table
        self._wishes = wishes
        self._old = old
        self._buildings = around.buildings
        self._products = Products(around.profiles)
        self._meant: dict[str, str | NoProduct] = {}

    def read(self) -> list[Origin]:
        """Every row that says something."""
        for error in self._table.doubts():
            self._refuse(error)
        rows = [self._row(number, cells) for number, cells in self._table.cells()]
        for column in _NEEDED:
            if column not in self._table.headers:
                self._need(column, [origin for origin in rows if not origin.row.get(column)])
        return rows

    def _refuse(self, error: RowError) -> None:
        if (error.line, error.column) not in self.doubtful:
            self.doubtful.add((error.line, error.column))
            self.errors.append(error)

    def _need(self, column: str, rows: Sequence[Origin]) -> None:
        """One word about a column that is not there, instead of one for each row."""
        self.doubtful.update((origin.number, column) for origin in rows)
        if rows:
            words = WORDS[Language.CHINESE][column][0]
            hint = f"add a column {words} or {column}"
            hint += f", or give --{column}" if column != "address" else ""
            error = self._table.sheet.wrong("headers", f"no column for the {column}", hint)
            self.errors.append(error)

    def _row(self, number: int, cells: dict[str, str]) -> Origin:
        building = self._buildings.find(cells.get("building", ""))
        if building is not None:
            cells["building"] = building.id
        if "id" not in cells:
            cells["id"] = self._made_id(number, cells)
        row = dict(self._old.get(cells["id"]) or dict.fromkeys(COLUMNS, "")) | cells
        row["link"] = row["link"] or self._wishes.link
        row["profile"] = row["profile"] or self._wishes.profile
        if row["profile"]:
            row["profile"] = self._profile(number, row["profile"])
        return Origin(row=row, number=number)

    def _made_id(self, number: int, cells: Row) -> str:
        name = made_id(cells, self._buildings)
        if name is None:
            place = ", ".join(filter(None, map(cells.get, ("building", "room", "circuit"))))
            found = f"no id can be made of {shown(place)}"
            self._refuse(self._table.wrong(number, "id", found, ID_HINT))
        return name or ""

    def _profile(self, number: int, text: str) -> str:
        meant = self._meant.get(text) or self._products.find(text)
        self._meant[text] = meant
        if isinstance(meant, str):
            return meant
        self._refuse(self._table.wrong(number, "profile", meant.found, meant.hint))
        return text


class _Judge:
    """Checks the new devices.csv as the hub would, and brings each mistake to its row of the sheet."""

    def __init__(
        self,
        folder: Path,
        table: Table,
        merged: Sequence[Origin],
        doubtful: set[tuple[int, str]],
    ) -> None:
        self._file = str(folder / DEVICES_FILE)
        self._table = table
        self._merged = merged
        self._doubtful = doubtful
        self._lines: dict[int, Origin] = {}
        # Of rows with the same id the first is the device that is judged.
        self._devices = {origin.row["id"]: origin for origin in reversed(merged)}

    def mistakes(self, content: bytes, around: Surroundings) -> Iterator[ConfigError]:
        """Every mistake of the rows, and of the drivers that would serve them."""
        found: list[ConfigError] = []
        lines = (line for line, _ in read_rows(self._file, content, found))
        self._lines = dict(zip(lines, self._merged, strict=True))
        devices = read_devices(self._file, content, around, found)
        for name, link in around.links.items():
            link = replace(link, devices=tuple(devices.get(name, ())))
            for _ in range(_DRIVER_ROUNDS):
                wrong = link_mistakes([link])
                found += wrong
                named = {error.device for error in wrong if isinstance(error, RowError)}
                if not named:
                    break
                good = tuple(device for device in link.devices if device.id not in named)
                link = replace(link, devices=good)
        for error in found:
            yield from self._placed(error)

    def _placed(self, error: ConfigError) -> Iterator[ConfigError]:
        if not isinstance(error, RowError):
            yield error
            return
        origin = self._lines.get(error.line) or self._devices.get(error.device)
        if origin is None:
            yield error
        elif origin.number == 0:
            key = f"line {origin.line}, {error.column}"
            yield ConfigError(file=self._file, key=key, found=error.found, hint=error.hint)
        elif (origin.number, error.column) not in self._doubtful:
            yield self._table.wrong(
                origin.number, error.column, self._found(error, origin), error.hint
            )

    def _found(self, error: RowError, origin: Origin) -> str:
        also = self._lines.get(error.also)
        if also is not None:
            place = f"row {also.number}" if also.number else f"line {also.line} of {self._file}"
            return f"{shown(origin.row[error.column])} stands in {place} too"
        if error.column in ("settings", "profile") and not error.key.startswith("line "):
            return f"{error.key}: {error.found}"
        return error.found
