"""A platform's bill of one day: asked for page by page, or read from a file that it published.

The file is a CSV in UTF-8 with a line of headers, in any order:

    number,amount_yuan,state,paid
    T20261122-17,50.00,paid,2026-11-22 18:01:12

`amount_fen` may stand for `amount_yuan`, and `paid_ms` (UTC milliseconds) for `paid` (the site's clock). What
was paid earlier stands on the bill of a later day only as refunded.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec

from hub.campus.orders.asking import PAGES_MAX, Asker, ListError
from hub.campus.orders.notices import NUMBER_PATTERN, fen_of
from hub.campus.orders.platforms import Platform
from hub.campus.reconcile.compare import Line, LineState
from hub.campus.reconcile.days import Day
from hub.errors import HubError

LINES_MAX = 100_000
_AMOUNT_MAX_FEN = 10**9
_NUMBER = re.compile(NUMBER_PATTERN, re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,16}", re.ASCII)
_FILE_MAX_CELL = 200


class BillError(HubError):
    """This is no bill of that day; nothing of it was taken. The text says where, and what would be right."""


class BillLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One payment as a platform of the standard form writes it."""

    number: Annotated[str, msgspec.Meta(pattern=NUMBER_PATTERN)]
    amount_fen: int
    state: Literal["paid", "refunded"]
    paid_ms: int


class BillPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the bill of `day`; `next` is the `after` of the next one."""

    day: str
    lines: list[BillLine]
    next: str | None = None


_pages = msgspec.json.Decoder(BillPage)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bill:
    """A platform's bill of one day; `source` is asked or file."""

    platform: str
    day: Day
    source: str
    lines: tuple[Line, ...]

    @property
    def digest(self) -> str:
        """The same for the same lines, in whatever order they came."""
        made = hashlib.sha256()
        for one in sorted(self.lines, key=lambda line: line.number):
            said = f"{one.number} {one.amount_fen} {one.state} {one.paid_ms}\n"
            made.update(said.encode())
        return made.hexdigest()


async def ask_bill(asker: Asker, platform: Platform, day: Day) -> Bill:
    """The bill that stands at the platform's `bill_url`. Raises ListError, also for lines that cannot be."""
    lines: list[Line] = []
    edges = {"day": day.name, "since_ms": str(day.start_ms), "until_ms": str(day.end_ms)}
    after = ""
    for _ in range(PAGES_MAX):
        page = await asker.page(platform, platform.bill_url, {**edges, "after": after}, _pages)
        if page.day != day.name:
            raise ListError(f"the bill of another day, {page.day[:10]!r}")
        lines += [_line(one) for one in page.lines]
        after = page.next or ""
        if not after:
            break
    else:
        raise ListError(f"more than {PAGES_MAX} pages")
    try:
        return _checked(platform.name, day, "asked", enumerate(lines, start=1))
    except BillError as error:
        raise ListError(str(error)) from None


def read_bill(platform: str, day: Day, text: str, timezone: ZoneInfo) -> Bill:
    """The bill in a file's text; raises BillError for the first thing that is not as it must be."""
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        reader = _Reader.of(next(rows, []), timezone)
        found = [(rows.line_num, reader.line(row, rows.line_num)) for row in rows if row]
    except csv.Error as error:
        raise BillError(f"line {rows.line_num}: {error}; save it as a CSV in UTF-8") from None
    return _checked(platform, day, "file", found)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reader:
    """Reads the rows of a file by its headers."""

    headers: tuple[str, ...]
    timezone: ZoneInfo

    @classmethod
    def of(cls, headers: list[str], timezone: ZoneInfo) -> _Reader:
        names = tuple(header.strip() for header in headers)
        said = set(names)
        wanted = (
            {"number", "state"},
            {"amount_fen"} if "amount_fen" in said else {"amount_yuan"},
            {"paid_ms"} if "paid_ms" in said else {"paid"},
        )
        if said != set().union(*wanted) or len(said) != len(names):
            hint = "number, state, amount_yuan or amount_fen, and paid or paid_ms, each once"
            raise BillError(f"line 1: the headers are {', '.join(names)[:200]!r}; write {hint}")
        return cls(headers=names, timezone=timezone)

    def line(self, row: list[str], place: int) -> Line:
        if len(row) != len(self.headers):
            raise BillError(f"line {place}: {len(row)} cells, not {len(self.headers)}")
        cells = {name: cell.strip() for name, cell in zip(self.headers, row, strict=True)}
        number = cells["number"]
        if not _NUMBER.fullmatch(number):
            hint = "write 0-9, A-Z, a-z, _ and -, at most 64"
            raise BillError(f"line {place}: number {number[:_FILE_MAX_CELL]!r}; {hint}")
        return Line(
            number=number,
            amount_fen=self._number(cells, place, "amount_fen", "amount_yuan", _yuan),
            state=_state(cells["state"], place),
            paid_ms=self._number(cells, place, "paid_ms", "paid", self._local_ms),
        )

    def _number(
        self,
        cells: Mapping[str, str],
        place: int,
        whole: str,
        other: str,
        read: Callable[[str], int],
    ) -> int:
        name = whole if whole in cells else other
        try:
            return read(cells[other]) if name == other else _whole(cells[whole])
        except ValueError as error:
            found = cells[name][:_FILE_MAX_CELL]
            raise BillError(f"line {place}: {name} {found!r}; {error}") from None

    def _local_ms(self, text: str) -> int:
        try:
            moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
            return round(moment.replace(tzinfo=self.timezone).timestamp() * 1000)
        except (ValueError, OverflowError):
            raise ValueError("write the site's time: 2026-11-22 18:01:12") from None


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError("write a whole number")
    return int(text)


def _yuan(text: str) -> int:
    fen = fen_of(text)
    if fen is None:
        raise ValueError("write yuan with at most two places: 50.00")
    return fen


def _state(text: str, place: int) -> LineState:
    if text not in list(LineState):
        raise BillError(f"line {place}: state {text[:20]!r}; write paid or refunded")
    return LineState(text)


def _checked(platform: str, day: Day, source: str, found: Iterable[tuple[int, Line]]) -> Bill:
    """A bill whose lines are of this day, each number once."""
    places: dict[str, int] = {}
    lines: list[Line] = []
    for place, line in found:
        if len(lines) >= LINES_MAX:
            raise BillError(f"more than {LINES_MAX} lines")
        first = places.setdefault(line.number, place)
        if first != place:
            raise BillError(f"line {place}: {line.number} stands on line {first} too; keep one")
        if not 0 < line.amount_fen <= _AMOUNT_MAX_FEN:
            hint = f"write 1 to {_AMOUNT_MAX_FEN} fen"
            raise BillError(f"line {place}: {line.amount_fen} fen; {hint}")
        earlier = line.state is LineState.REFUNDED and 0 <= line.paid_ms < day.start_ms
        if not day.has(line.paid_ms) and not earlier:
            hint = "only what is refunded may have been paid before"
            raise BillError(f"line {place}: {line.number} was not paid on {day.name}; {hint}")
        lines.append(line)
    return Bill(platform=platform, day=day, source=source, lines=tuple(lines))


def _line(said: BillLine) -> Line:
    return Line(
        number=said.number,
        amount_fen=said.amount_fen,
        state=LineState(said.state),
        paid_ms=said.paid_ms,
    )
