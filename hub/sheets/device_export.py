"""devices.csv as a spreadsheet that an import takes back unchanged, in the language people read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hub.errors import ConfigError
from hub.sheets.columns import COLUMNS, Language, headers_in
from hub.sheets.device_import import Row
from hub.sheets.text_cells import protected

_BYTE_ORDER_MARK = "\ufeff"  # by which spreadsheet programs know UTF-8
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CELL_MAX = 32_767
_WIDTHS: Mapping[str, int] = {"id": 20, "profile": 20, "settings": 32, "note": 40}
_WIDTH = 12
_TITLE = "devices"


def sheet_bytes(path: Path, rows: Sequence[Row], language: Language) -> bytes:
    """The content of a file of this name; raises ConfigError for a name or a text that cannot be."""
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        hint = "name a file that ends in .csv or .xlsx"
        raise ConfigError(file="command line", key="FILE", found=f"found {path.name!r}", hint=hint)
    return writer(rows, headers_in(language, COLUMNS))


def protected_csv(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> bytes:
    """A CSV of these columns in which no cell is a formula to the program that opens it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([protected(row.get(column, "")) for column in columns])
    return out.getvalue().encode()


def _csv(rows: Sequence[Row], headers: Sequence[str]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(headers)
    for row in rows:
        writer.writerow([protected(row.get(column, "")) for column in COLUMNS])
    return (_BYTE_ORDER_MARK + out.getvalue()).encode()


def _xlsx(rows: Sequence[Row], headers: Sequence[str]) -> bytes:
    from openpyxl import Workbook  # takes a while, and few commands need it
    from openpyxl.cell import Cell, WriteOnlyCell
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    texts = [[_fit(row, column) for column in COLUMNS] for row in rows]
    book = Workbook(write_only=True)
    page = book.create_sheet(_TITLE)
    page.freeze_panes = "A2"
    for number, column in enumerate(COLUMNS, start=1):
        page.column_dimensions[get_column_letter(number)].width = _WIDTHS.get(column, _WIDTH)

    def cell(text: str) -> Cell:
        made = WriteOnlyCell(page, value=text)
        made.data_type = "s"  # also what begins with =, or looks like a number
        made.number_format = "@"
        made.quotePrefix = True
        return made

    heads = [cell(header) for header in headers]
    for head in heads:
        head.font = Font(bold=True)
    page.append(heads)
    for row_texts in texts:
        page.append([cell(text) if text else None for text in row_texts])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _fit(row: Row, column: str) -> str:
    text = row.get(column, "")
    if _NOT_IN_XML.search(text) or len(text) > _CELL_MAX:
        found = f"{column} of {row['id']} is no text for an XLSX"
        raise ConfigError(file="devices.csv", key=column, found=found, hint="export to a CSV")
    return text


_WRITERS: Mapping[str, Callable[[Sequence[Row], Sequence[str]], bytes]] = {
    ".csv": _csv,
    ".xlsx": _xlsx,
}
