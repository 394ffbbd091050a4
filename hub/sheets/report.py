"""Figures that a person takes away, as a CSV or an XLSX: numbers are numbers, no text is a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from hub.errors import ConfigError
from hub.sheets.text_cells import protected

Figure: TypeAlias = str | int
ROWS_MAX = 1_000_000  # what a page of a spreadsheet program holds, and its header
_BYTE_ORDER_MARK = "\ufeff"  # by which spreadsheet programs know UTF-8
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CELL_MAX = 32_767


def report_bytes(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Figure]]) -> bytes:
    """The content of a file of this name; raises ConfigError for a name or size that cannot be."""
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        hint = "name a file that ends in .csv or .xlsx"
        raise ConfigError(file="command line", key="FILE", found=f"found {path.name!r}", hint=hint)
    if len(rows) > ROWS_MAX:
        found, hint = f"{len(rows)} rows", f"at most {ROWS_MAX}: choose a shorter span"
        raise ConfigError(file="command line", key="FILE", found=found, hint=hint)
    return writer(columns, rows)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Figure]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([protected(cell) if isinstance(cell, str) else cell for cell in row])
    return (_BYTE_ORDER_MARK + out.getvalue()).encode()


def _xlsx(columns: Sequence[str], rows: Sequence[Sequence[Figure]]) -> bytes:
    from openpyxl import Workbook  # takes a while, and few commands need it
    from openpyxl.cell import Cell, WriteOnlyCell

    book = Workbook(write_only=True)
    page = book.create_sheet("dormhub")
    page.freeze_panes = "A2"

    def cell(value: Figure) -> Cell:
        if isinstance(value, int):
            return WriteOnlyCell(page, value=value)
        made = WriteOnlyCell(page, value=_NOT_IN_XML.sub("?", value)[:_CELL_MAX])
        made.data_type = "s"  # also what begins with =, or looks like a number
        made.number_format = "@"
        return made

    for row in (columns, *rows):
        page.append([cell(value) for value in row])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


_WRITERS: Mapping[str, Callable[[Sequence[str], Sequence[Sequence[Figure]]], bytes]] = {
    ".csv": _csv,
    ".xlsx": _xlsx,
}
