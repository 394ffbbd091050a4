"""Reads a CSV as people save it: UTF-8 or GBK, comma, semicolon or tab, one encoding and one separator."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from itertools import count

from hub.errors import ConfigError
from hub.sheets.columns import known_headers
from hub.sheets.sheet import (
    COLUMNS_MAX,
    ROWS_MAX,
    TOLD_EVERY,
    Doubt,
    Progress,
    Sheet,
    SheetRow,
    guessed,
    is_guessed,
    shown,
    without_zeros,
)
from hub.sheets.text_cells import is_protected, unprotected

_CHINESE = "gb18030"  # and with it GBK and GB 2312
_SEPARATORS = (",", ";", "\t")
_HEADER_LINES = 20
_FIRST_IDEOGRAPH = "\u2e80"


def read_csv(file: str, content: bytes, mapped: Mapping[str, str], progress: Progress) -> Sheet:
    """The sheet of a CSV; `mapped` are headers a person explained. Raises ConfigError."""
    text = _text(file, content)
    rows: list[SheetRow] = []
    doubts: dict[tuple[int, int], Doubt] = {}
    for number, cells in _records(file, text, _separator(text, mapped)):
        if number % TOLD_EVERY == 0:
            progress("reading", number)
        if not any(cells):
            continue
        if len(rows) >= ROWS_MAX:
            found = f"more than {ROWS_MAX:,} rows"
            raise ConfigError(file=file, key="rows", found=found, hint="split the file")
        if len(cells) > COLUMNS_MAX:
            found = f"{len(cells):,} cells in row {number}"
            raise ConfigError(file=file, key="columns", found=found, hint=f"at most {COLUMNS_MAX}")
        for place, cell in enumerate(cells):
            doubt = _doubt(cell)
            if doubt is not None:
                doubts[number, place] = doubt
        rows.append(SheetRow(number=number, texts=tuple(_plain(cell) for cell in cells)))
    return Sheet(file=file, rows=tuple(rows), doubts=doubts)


def _plain(cell: str) -> str:
    return unprotected(cell) if is_protected(cell) else without_zeros(cell)


def _doubt(cell: str) -> Doubt | None:
    if cell.startswith("="):
        hint = "write the value; a text that begins with = takes an apostrophe before it"
        return Doubt(found=f"a formula, {shown(cell)}", hint=hint)
    return guessed(cell) if is_guessed(cell) else None


def _wrong(file: str, line: int, found: str, hint: str) -> ConfigError:
    return ConfigError(file=file, key=f"line {line}", found=found, hint=hint)


def _text(file: str, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = _decoded(content, "utf-16")
    else:
        text = _decoded(content, "utf-8-sig")
        if text is None and not any(_is_utf8(line) for line in content.split(b"\n")):
            text = _decoded(content, _CHINESE)
    if text is None:
        raise _encoding_mistake(file, content)
    return text


def _is_utf8(line: bytes) -> bool:
    """Whether a line has ideographs in UTF-8; in GBK such bytes are possible, and never seen."""
    return not line.isascii() and max(_decoded(line, "utf-8-sig") or "\0") >= _FIRST_IDEOGRAPH


def _decoded(line: bytes, encoding: str) -> str | None:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return None


def _encoding_mistake(file: str, content: bytes) -> ConfigError:
    lines = list(enumerate(content.split(b"\n"), start=1))
    good = next((number for number, line in lines if _is_utf8(line)), 0)
    bad = [(number, line) for number, line in lines if _decoded(line, "utf-8-sig") is None]
    lost = [number for number, line in bad if _decoded(line, _CHINESE) is None]
    if good and not lost:
        place, found = bad[0][0], f"line {good} is UTF-8, line {bad[0][0]} GBK: mixed encodings"
    else:
        place, found = (lost or [1])[0], "neither UTF-8 nor GBK"
    return _wrong(file, place, found, "save the whole file as CSV UTF-8")


def _separator(text: str, mapped: Mapping[str, str]) -> str:
    """The separator under which the most headers are known."""
    head = text.splitlines()[:_HEADER_LINES]

    def headers(separator: str) -> int:
        split = (line.split(separator) for line in head)
        return max((known_headers(cells, mapped) for cells in split), default=0)

    return max(_SEPARATORS, key=headers)


def _records(file: str, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with its number, as a spreadsheet counts rows."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    for number in count(1):
        line = reader.line_num + 1
        try:
            yield number, [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            hint = "close the quote that opens here; a quote inside a cell is doubled"
            raise _wrong(file, line, str(error), hint) from None
