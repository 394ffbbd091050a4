"""Reads one sheet of an XLSX. openpyxl gives the cells; hidden rows and merged cells are read beside it,
for it tells them only to who takes the whole workbook into memory.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import IO, Protocol, TypeGuard, cast
from xml.etree.ElementTree import ParseError
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile

from hub.errors import ConfigError
from hub.sheets.sheet import (
    COLUMNS_MAX,
    ROWS_MAX,
    SHOWN_MAX,
    TOLD_EVERY,
    Doubt,
    Merged,
    Progress,
    Sheet,
    SheetRow,
    place_of,
    shown,
)

UNPACKED_MAX_BYTES = 160_000_000
_PARTS_MAX = 1_000
_MERGED_MAX = 10_000
_ROW_LAST = 1_048_576
_DIGITS_LAST = 10**15  # above it a spreadsheet does not keep every digit
_RANGE = re.compile(r"([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})")
_UNREADABLE = (
    *(BadZipFile, zlib.error, ParseError, expat.ExpatError, OSError, EOFError),
    *(KeyError, IndexError, ValueError, TypeError, AttributeError, NotImplementedError),
    RuntimeError,
)  # what openpyxl raises for a file that is none; it has no error of its own


class _Cell(Protocol):
    @property
    def value(self) -> object: ...
    @property
    def data_type(self) -> str: ...
    @property
    def number_format(self) -> str | None: ...


class _Page(Protocol):
    title: str
    sheet_state: str
    _worksheet_path: str

    def reset_dimensions(self) -> None: ...
    def iter_rows(self, *, max_col: int) -> Iterator[Sequence[_Cell]]: ...


def read_xlsx(file: str, content: IO[bytes], wanted: str, progress: Progress) -> Sheet:
    """The sheet called `wanted`, or the first that is not hidden. Raises ConfigError."""
    try:
        # The warnings speak of drawings and colours, which nobody wants here.
        with warnings.catch_warnings(action="ignore"):
            _check_parts(file, content)
            return _read(file, content, wanted, progress)
    except _UNREADABLE as error:
        found = f"not a workbook that can be read ({type(error).__name__})"
        hint = "open it in a spreadsheet program and save it as XLSX anew"
        raise ConfigError(file=file, key="file", found=found, hint=hint) from None


def _check_parts(file: str, content: IO[bytes]) -> None:
    """Refuse what would unpack to more than a campus needs; the sizes an archive states are kept to."""
    with ZipFile(content) as archive:
        parts = archive.infolist()
    size = sum(part.file_size for part in parts)
    if size > UNPACKED_MAX_BYTES or len(parts) > _PARTS_MAX:
        found = f"{len(parts):,} parts that unpack to {size / 1e6:,.0f} MB"
        hint = f"at most {UNPACKED_MAX_BYTES / 1e6:.0f} MB: split the sheet"
        raise ConfigError(file=file, key="file", found=found, hint=hint)
    if any(part.filename == "mimetype" for part in parts):
        found, hint = "an OpenDocument file", "save it as XLSX or CSV"
        raise ConfigError(file=file, key="file", found=found, hint=hint)


def _read(file: str, content: IO[bytes], wanted: str, progress: Progress) -> Sheet:
    from openpyxl import load_workbook  # takes a while, and few commands need it

    book = load_workbook(content, read_only=True)
    try:
        pages = cast(list[_Page], book.worksheets)
        page = _page(file, pages, wanted)
        outline = _Outline(file)
        with ZipFile(content) as archive, archive.open(page._worksheet_path.lstrip("/")) as part:
            outline.read(part)
        page.reset_dimensions()
        rows, doubts = _rows(file, page.iter_rows(max_col=outline.width), progress)
        return Sheet(
            file=file,
            name=page.title,
            rows=rows,
            doubts=doubts,
            hidden=frozenset(outline.hidden),
            merged=tuple(outline.merged),
            others=tuple(other.title for other in pages if other is not page),
        )
    finally:
        book.close()


def _page(file: str, pages: Sequence[_Page], wanted: str) -> _Page:
    for page in pages:
        if page.title == wanted or (not wanted and page.sheet_state == "visible"):
            return page
    known = ", ".join(page.title for page in pages)
    found = f"no sheet {wanted!r}" if wanted else "no visible sheet"
    raise ConfigError(file=file, key="sheet", found=found, hint=f"it has: {known}")


def _rows(
    file: str, cells: Iterator[Sequence[_Cell]], progress: Progress
) -> tuple[tuple[SheetRow, ...], dict[tuple[int, int], Doubt]]:
    rows: list[SheetRow] = []
    doubts: dict[tuple[int, int], Doubt] = {}
    for number, row in enumerate(cells, start=1):
        if number % TOLD_EVERY == 0:
            progress("reading", number)
        texts = []
        for place, cell in enumerate(row):
            text, doubt = _text(cell)
            texts.append(text)
            if doubt is not None:
                doubts[number, place] = doubt
        if any(texts):
            rows.append(SheetRow(number=number, texts=tuple(texts)))
        if len(rows) > ROWS_MAX:
            found = f"more than {ROWS_MAX:,} rows"
            raise ConfigError(file=file, key="rows", found=found, hint="split the sheet")
    return tuple(rows), doubts


def _text(cell: _Cell) -> tuple[str, Doubt | None]:
    value, kind = cell.value, cell.data_type
    if value is None:
        return "", None
    if kind == "f":
        text = str(getattr(value, "text", value))  # of an array formula, its text
        hint = "copy the column and paste it as values"
        return text, Doubt(found=f"a formula, {shown(text)}", hint=hint)
    if kind == "e":
        return str(value), Doubt(found=f"the error {value}", hint="mend the formula's cell")
    if isinstance(value, bool):
        return str(value).lower(), None
    if isinstance(value, int | float):
        return _number(value, cell.number_format or "")
    if isinstance(value, datetime | date | time | timedelta):
        text = value.date().isoformat() if _is_day(value) else str(value)
        hint = "format the column as text, and write it again"
        return text, Doubt(found=f"a date, {text}", hint=hint, guessed=True)
    return str(value).strip(), None


def _is_day(value: object) -> TypeGuard[datetime]:
    return isinstance(value, datetime) and value.time() == time()


def _number(value: float, number_format: str) -> tuple[str, Doubt | None]:
    """A number as a person sees it: 101.0 is 101, and 7 under the format 000 is 007."""
    if abs(value) >= _DIGITS_LAST:
        text = f"{value:.2E}"
        found = f"the number {text}, of which the last digits are lost"
        hint = "format the column as text, and write it again"
        return text, Doubt(found=found, hint=hint, guessed=True)
    if value != int(value):
        return repr(value), None
    width = len(number_format) if set(number_format) == {"0"} else 0
    return f"{int(value):0{width}}", None


class _Outline:
    """Hidden rows, merged cells and width of a sheet; refuses rows and columns beyond all sheets."""

    def __init__(self, file: str) -> None:
        self.hidden: set[int] = set()
        self.merged: list[Merged] = []
        self.width = 1
        self._file = file
        self._row = 0
        self._column = 0  # of the cell at hand, from 1

    def read(self, part: IO[bytes]) -> None:
        """One pass over the sheet's XML."""
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.StartDoctypeDeclHandler = self._doctype
        parser.ParseFile(part)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        match name.rpartition(":")[2]:
            case "row":
                self._begin_row(attributes)
            case "c":
                # A cell that does not say where it is stands right of the one before.
                name = attributes.get("r", "")
                self._column = place_of(name) + 1 if name else self._column + 1
            case "v" | "f" | "is":
                self._widen()
            case "mergeCell":
                self._merge(attributes.get("ref", ""))

    def _begin_row(self, attributes: Mapping[str, str]) -> None:
        self._column = 0
        self._row = int(attributes.get("r", self._row + 1))
        if not 1 <= self._row <= _ROW_LAST:
            raise self._wrong("rows", f"row {self._row}", f"at most {_ROW_LAST}")
        if attributes.get("hidden") in ("1", "true"):
            self.hidden.add(self._row)

    def _widen(self) -> None:
        if self._column > COLUMNS_MAX:
            found = f"a cell in row {self._row} beyond"
            raise self._wrong("columns", found, f"at most {COLUMNS_MAX}")
        self.width = max(self.width, self._column)

    def _merge(self, name: str) -> None:
        ends = _RANGE.fullmatch(name)
        if ends is None or len(self.merged) >= _MERGED_MAX:
            raise self._wrong("merged cells", name[:SHOWN_MAX], "undo the merging")
        self.merged.append(
            Merged(
                name=name,
                first_row=int(ends[2]),
                last_row=int(ends[4]),
                first_place=place_of(ends[1]),
                last_place=place_of(ends[3]),
            )
        )

    def _doctype(self, *_: object) -> None:
        raise self._wrong("file", "a document type", "save it as XLSX anew")

    def _wrong(self, key: str, found: str, hint: str) -> ConfigError:
        return ConfigError(file=self._file, key=key, found=found, hint=hint)
