"""What comparing brings: items, each in exactly one class, their sums, and one digest of them all."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hub.campus.accounts.accounts import Unit


class Level(StrEnum):
    """Which two books were compared; of the house's own entries nothing is."""

    BILL = "bill"  # the platform's bill and the orders
    DEVICE = (
        "device"  # the orders and the device ledger: commands with their proofs, deliveries booked
    )
    COUNTER = "counter"  # the device ledger and the devices' own counters
    HOUSE = "house"  # allowances, corrections, staff credits: no payment belongs to them


class Finding(StrEnum):
    """The six classes, and what is not one yet."""

    EQUAL = "equal"
    PAID_WITHOUT_EFFECT = "paid_without_effect"
    EFFECT_WITHOUT_PAYMENT = "effect_without_payment"
    AMOUNT_DIFFERS = "amount_differs"
    DOUBLE_EFFECT = "double_effect"
    UNKNOWN = "unknown"
    PENDING = "pending"  # within its deadline: looked at again the next day

    @property
    def is_difference(self) -> bool:
        """Whether a person must end it."""
        return self not in (Finding.EQUAL, Finding.PENDING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One subject at one level: an order's number, a device or a metering, with the figures of all sides.

    A side that says nothing is None. `detail` is for a person, and the same whenever the facts are.
    """

    level: Level
    subject: str
    finding: Finding
    unit: Unit = Unit.FEN
    billed: int | None = None
    ordered: int | None = None
    credited: int | None = None
    counted: int | None = None
    detail: str = ""

    @property
    def amount(self) -> int:
        """What it is about: the figure of the first side that has one."""
        sides = (self.billed, self.ordered, self.credited, self.counted)
        return next((side for side in sides if side is not None), 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How many items of a level came to this, and their sum; `what` is a finding, or a kind of entry."""

    level: Level
    what: str
    unit: Unit
    count: int
    amount: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a day of a platform came to; `platform` is empty for the meters of the house.

    `number` counts the results of the day, from 1; `bill` says where its bill came from.
    """

    day: str
    platform: str
    number: int
    time_ms: int
    bill: str
    digest: str
    tallies: tuple[Tally, ...]
    pending: int


def tallies_of(items: Iterable[Item], house: Sequence[Tally] = ()) -> tuple[Tally, ...]:
    """The sums by level, finding and unit, in order; then those of the house."""
    counts: Counter[tuple[Level, Finding, Unit]] = Counter()
    amounts: Counter[tuple[Level, Finding, Unit]] = Counter()
    for item in items:
        key = (item.level, item.finding, item.unit)
        counts[key] += 1
        amounts[key] += item.amount
    levels, findings = list(Level), list(Finding)
    ordered = sorted(counts, key=lambda key: (levels.index(key[0]), findings.index(key[1]), key[2]))
    made = (
        Tally(level=key[0], what=str(key[1]), unit=key[2], count=counts[key], amount=amounts[key])
        for key in ordered
    )
    return (*made, *house)


def digest_of(items: Iterable[Item], house: Sequence[Tally], bill: str) -> str:
    """SHA-256 of everything that was found: the same for the same facts."""
    made = hashlib.sha256(bill.encode())
    made.update("".join(sorted(map(_line, items))).encode())
    for tally in house:
        made.update(f"{tally.what} {tally.unit} {tally.count} {tally.amount}\n".encode())
    return made.hexdigest()


def _line(item: Item) -> str:
    sides = f"{item.billed}\t{item.ordered}\t{item.credited}\t{item.counted}"
    name = f"{item.level}\t{item.subject}\t{item.finding}"
    return f"{name}\t{item.unit}\t{sides}\t{item.detail}\n"


def written(tallies: Iterable[Tally]) -> str:
    """Tallies as they stand in the ledger."""
    rows = [[one.level, one.what, one.unit, one.count, one.amount] for one in tallies]
    return json.dumps(rows, separators=(",", ":"))


def tallies_in(text: str) -> tuple[Tally, ...]:
    """The tallies that were written."""
    return tuple(
        Tally(level=Level(level), what=what, unit=Unit(unit), count=count, amount=amount)
        for level, what, unit, count, amount in json.loads(text)
    )
