"""What the hub answers about accounts: rows of the books, as `dormhub account` reads them."""

from __future__ import annotations

import msgspec


class AccountRow(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the books for a room."""

    account: str
    building: str
    room: str
    utility: str
    unit: str
    fen: int
    free: int
    held_fen: int
    meter_fen: int


class AccountRows(msgspec.Struct, frozen=True):
    """A page of them."""

    accounts: list[AccountRow]
    next: str | None


class StandingRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a room has at its last reading."""

    holder: str
    devices: list[str]
    balance_fen: int | None
    credit: int | None
    allowance: int
    held_fen: int
    as_of_ms: int
    doubt: str
    is_used_up: bool


class AccountDetail(msgspec.Struct, frozen=True):
    """A room in the books, and how it stands."""

    account: AccountRow
    standing: StandingRow | None


class LineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One posting of an account."""

    number: int
    time_ms: int
    kind: str
    key: str
    unit: str
    amount: int
    actor: str
    cause: str


class LineRows(msgspec.Struct, frozen=True):
    """A page of a statement."""

    lines: list[LineRow]
    next: int | None


class Said(msgspec.Struct, frozen=True):
    """So much on one account."""

    account: str
    unit: str
    amount: int


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction."""

    number: int
    time_ms: int
    kind: str
    key: str
    actor: str
    cause: str
    postings: list[Said]


class BookedRows(msgspec.Struct, frozen=True):
    """A page of transactions."""

    transactions: list[Booked]
    next: int | None


class PostingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One posting with its transaction."""

    number: int
    time_ms: int
    kind: str
    account: str
    unit: str
    amount: int
    key: str
    cause: str
    actor: str


class Corrected(msgspec.Struct, frozen=True):
    """What became of a correction."""

    number: int
    unit: str
    balance: int
    fresh: bool


class Reversed(msgspec.Struct, frozen=True):
    """What became of a reversal."""

    number: int
    reverses: int
    fresh: bool


class HeldRow(msgspec.Struct, frozen=True, kw_only=True):
    """A metering that waits for a person."""

    binding: str
    device: str
    building: str
    room: str
    utility: str
    time_ms: int
    counter: int
    reason: str


class HeldRows(msgspec.Struct, frozen=True):
    """All that wait."""

    held: list[HeldRow]


class WrongRow(msgspec.Struct, frozen=True):
    """A sum that is wrong."""

    subject: str
    unit: str
    booked: int
    found: int


class WrongRows(msgspec.Struct, frozen=True):
    """Every one."""

    wrong: list[WrongRow]


class GrantedRow(msgspec.Struct, frozen=True):
    """What became of a month's allowances."""

    month: str
    given: int
    passed: int
