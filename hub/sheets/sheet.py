"""A sheet as it was read: the texts of its cells, and what is doubtful about some of them.

A doubt becomes a mistake only where somebody wants the cell: a formula in a column that is not read
harms nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from hub.errors import ConfigError

FILE_MAX_BYTES = 50_000_000
ROWS_MAX = 200_000
COLUMNS_MAX = 256
SHOWN_MAX = 60
TOLD_EVERY = 1_000

Progress: TypeAlias = Callable[[str, int], None]  # what is being done, and to how many rows so far

_GUESSED = re.compile(
    r"[+-]?\d+(\.\d+)?[eE][+-]?\d+"  # 1.01E+05
    r"|\d{1,4}[/-]\d{1,2}[/-]\d{1,4}(\s.*)?"  # 2026/3/1
    r"|\d{1,2}[/-]\d{1,2}月|\d{1,2}月\d{1,2}日"  # 3月1日
    r"|\d{1,2}-[A-Z][a-z]{2}|[A-Z][a-z]{2}-\d{2}",  # 1-Mar, Mar-01
    re.ASCII | re.DOTALL,
)
_WHOLE = re.compile(r"(\d+)\.0+", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """Why a cell is not simply its text. A `guessed` one may be right in a note: a date, a number."""

    found: str
    hint: str
    guessed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SheetRow:
    """One row; `number` is the spreadsheet's own, from 1."""

    number: int
    texts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """Cells made one: rows by the spreadsheet's own numbers, places in the row from 0, both with the last."""

    name: str
    first_row: int
    last_row: int
    first_place: int
    last_place: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """Every row with something in it. `doubts` by row number and place in the row, from 0."""

    file: str
    name: str = ""
    rows: tuple[SheetRow, ...]
    doubts: Mapping[tuple[int, int], Doubt] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    merged: tuple[Merged, ...] = ()
    others: tuple[str, ...] = ()

    def place(self, key: str) -> str:
        """What a mistake at `key` of this sheet names."""
        return f"sheet {self.name}, {key}" if self.name else key

    def wrong(self, key: str, found: str, hint: str) -> ConfigError:
        """A mistake at `key` of this sheet."""
        return ConfigError(file=self.file, key=self.place(key), found=found, hint=hint)


def letters(index: int) -> str:
    """The letters over a column, counted from 0: A, B, … Z, AA."""
    text = ""
    while index >= 0:
        text = chr(ord("A") + index % 26) + text
        index = index // 26 - 1
    return text


def place_of(name: str) -> int:
    """Which column, from 0, the letters at the beginning of a cell's name are; -1 without any."""
    number = 0
    for letter in name:
        if not "A" <= letter <= "Z" or number > COLUMNS_MAX:
            break
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def shown(text: str) -> str:
    """A cell's text fit for a message."""
    return repr(text) if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]!r}… ({len(text)} long)"


def is_guessed(text: str) -> bool:
    """Whether a spreadsheet program may have made this of something else: 1.01E+05, 3月1日."""
    return _GUESSED.fullmatch(text) is not None


def guessed(text: str) -> Doubt:
    """The doubt about a number or date that was something else once."""
    hint = "format the column as text, and write it again"
    return Doubt(found=f"{shown(text)} was made by a spreadsheet", hint=hint, guessed=True)


def without_zeros(text: str) -> str:
    """`101.0` as the 101 it was."""
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text
