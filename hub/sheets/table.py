"""A sheet as a table of devices: where its headers are, which column each means, and its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hub.errors import ConfigError, ConfigErrors, RowError
from hub.sheets.columns import NOT_READ, column_of, known_headers, near_words, word
from hub.sheets.sheet import Sheet, SheetRow, letters, shown

_HEADER_ROWS = 20
_HEADERS_LEAST = 2
_FREE_TEXT = "note"  # the only column where a date or a large number may be meant
_LISTED = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """One header that is read: its place in the row from 0, and its words."""

    place: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The rows under the headers. `unread` are headers whose columns nobody takes."""

    sheet: Sheet
    headers: Mapping[str, Header]
    rows: Sequence[SheetRow]
    unread: tuple[str, ...]

    def wrong(self, number: int, column: str, found: str, hint: str) -> RowError:
        """A mistake in one cell; its `line` is the row's number."""
        header = self.headers.get(column)
        place = f"column {letters(header.place)} ({header.text})" if header else f"no {column}"
        return RowError(
            file=self.sheet.file,
            key=self.sheet.place(f"row {number}, {place}"),
            found=found,
            hint=hint,
            line=number,
            column=column,
        )

    def cells(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Each row's number and texts by column; a row without any text is left out."""
        for row in self.rows:
            cells = {
                column: _lines(row.texts[header.place]) if header.place < len(row.texts) else ""
                for column, header in self.headers.items()
            }
            if any(cells.values()):
                yield row.number, cells

    def doubts(self) -> Iterator[RowError]:
        """Each cell that cannot be taken as it is, and why."""
        columns = {header.place: column for column, header in self.headers.items()}
        numbers = {row.number for row in self.rows}
        for (number, place), doubt in self.sheet.doubts.items():
            column = columns.get(place)
            if column is None or number not in numbers:
                continue
            if not (doubt.guessed and column == _FREE_TEXT):
                yield self.wrong(number, column, doubt.found, doubt.hint)
        yield from self._merged(columns)

    def _merged(self, columns: Mapping[int, str]) -> Iterator[RowError]:
        first, last = (self.rows[0].number, self.rows[-1].number) if self.rows else (1, 0)
        for merged in self.sheet.merged:
            places = range(merged.first_place, merged.last_place + 1)
            column = next((columns[place] for place in sorted(columns) if place in places), None)
            number = max(merged.first_row, first)
            if column is not None and number <= min(merged.last_row, last):
                hint = "undo the merging and fill each cell"
                found = f"merged cells {merged.name}"
                yield self.wrong(number, column, found, hint)

    def notes(self) -> Iterator[str]:
        """What a person should know though it is no mistake."""
        hidden = [row.number for row in self.rows if row.number in self.sheet.hidden]
        if hidden:
            yield f"hidden rows were read too: {_listed(hidden)}"
        if self.unread:
            yield f"columns not read: {_listed(self.unread)}"
        if self.sheet.others:
            yield f"only sheet {self.sheet.name} was read, not: {_listed(self.sheet.others)}"


def _listed(items: Sequence[object]) -> str:
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return ", ".join(str(item) for item in items[:_LISTED]) + more


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def table_of(sheet: Sheet, mapped: Mapping[str, str], explained: Mapping[str, str]) -> Table:
    """The table in a sheet; raises ConfigErrors.

    `mapped` are all headers a person ever explained, by their `word`; `explained` are those of this time,
    as written, and must be there.
    """
    rows = sheet.rows
    counts = [known_headers(row.texts, mapped) for row in rows[:_HEADER_ROWS]]
    best = max(counts, default=0)
    if best < _HEADERS_LEAST:
        first = ", ".join(shown(text) for text in rows[0].texts if text) if rows else "nothing"
        hint = "name the columns in one row: " + near_words("") + "; or explain them with --map"
        raise ConfigErrors((sheet.wrong("headers", f"found {first}", hint),))
    start = counts.index(best)
    return _table(sheet, start, mapped, explained)


def _table(
    sheet: Sheet, start: int, mapped: Mapping[str, str], explained: Mapping[str, str]
) -> Table:
    errors: list[ConfigError] = []
    titles = sheet.rows[start].texts
    headers: dict[str, Header] = {}
    unread: list[str] = []
    # Who explained a header means that one; any other that seems to mean the same is not read.
    for place in sorted(range(len(titles)), key=lambda place: word(titles[place]) not in mapped):
        text = titles[place]
        column = column_of(text, mapped)
        known = headers.get(column or "")
        if not text or column == NOT_READ:
            continue
        if column is None or (known and word(known.text) in mapped and word(text) not in mapped):
            unread.append(text)
        elif known:
            found = f"{shown(known.text)} and {shown(text)} both mean {column}"
            hint = f'say which: --map "{text}={column}", or --map "{text}={NOT_READ}"'
            errors.append(sheet.wrong(f"row {sheet.rows[start].number}", found, hint))
        else:
            headers[column] = Header(place=place, text=text)
    for text in explained:
        if word(text) not in map(word, titles):
            found = f"no header {shown(text)}"
            hint = "it has: " + _listed([title for title in titles if title])
            errors.append(sheet.wrong("--map", found, hint))
    if errors:
        raise ConfigErrors(tuple(errors))
    rows = sheet.rows[start + 1 :]
    return Table(sheet=sheet, headers=headers, rows=rows, unread=tuple(unread))
