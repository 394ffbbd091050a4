"""What the books charged for a counter, in energy, against the counter's own advance. Pure.

The books keep fen, and Wh only where they were free: what was charged is reckoned back from the money by the
price of its days. So the two sides have nothing in common but the times between which they look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hub.campus.accounts.accounts import Unit
from hub.campus.accounts.prices import MILLION
from hub.campus.prepaid.charge import Mark
from hub.campus.reconcile.results import Finding, Item, Level

UNLIMITED = 10**15
_ROUNDED_FEN = 2  # parts of a fen that stay for the next time, at both ends


@dataclass(frozen=True, kw_only=True, slots=True)
class Charged:
    """One booking of use: from where on, in money, and what of it was free."""

    start_ms: int
    fen: int
    free: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """The lowest and the highest rate of the days that were charged, in millionths of a fen."""

    low: int
    high: int

    def energy(self, charges: Sequence[Charged]) -> tuple[int, int]:
        """The least and the most that these charges can stand for."""
        fen = sum(charge.fen for charge in charges)
        free = sum(charge.free for charge in charges)
        least = max(0, fen - _ROUNDED_FEN) * MILLION // self.high if self.high else 0
        return free + least, free + self.worth(fen + _ROUNDED_FEN)

    def worth(self, fen: int) -> int:
        """The most energy that this money buys; without a price it is no limit."""
        return -(-fen * MILLION // self.low) if self.low else UNLIMITED


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """How far a metering is charged, and what its counter said.

    `begin` and `end` are the ends of what was charged for the day, by the journal; `last` is the day's last
    sure word. `released` is what persons took out of the charge; `step_fen` may be due and wait. `held` says
    why nothing is charged.
    """

    metering: str
    unit: Unit = Unit.WH
    mark: Mark
    begin: Mark | None = None
    end: Mark | None = None
    last: Mark | None = None
    rollover: int = 0
    released: int = 0
    step_fen: int = 0
    held: str = ""

    @property
    def advance(self) -> int | None:
        """What the counter moved while it was charged; None where its words are not kept."""
        if self.begin is None or self.end is None:
            return None
        return self._moved(self.begin, self.end) - self.released

    @property
    def behind(self) -> int:
        """What was used until the day's end, and is not charged."""
        return self._moved(self.mark, self.last) if self.last else 0

    def _moved(self, begin: Mark, end: Mark) -> int:
        moved = end.counter - begin.counter if end.time_ms > begin.time_ms else 0
        return moved + self.rollover if moved < 0 else moved


def compare_energy(counted: Counted, charges: Sequence[Charged], rates: Rates) -> Item | None:
    """One metering on one day; None where nothing was charged, and nothing is to be."""
    if counted.held:
        return _item(counted, Finding.UNKNOWN, None, None, f"held: {counted.held}")
    advance = counted.advance if charges else 0
    if advance is None:
        return _item(counted, Finding.UNKNOWN, None, None, "the counter's words are not kept")
    least, most = rates.energy(charges)
    charged = (least + most) // 2 if rates.low else least
    if advance > most:
        return _item(counted, Finding.EFFECT_WITHOUT_PAYMENT, charged, advance, "used, not charged")
    if advance < least:
        doubled = 0 < least <= 2 * advance <= most
        text = "charged twice" if doubled else "charged, and not used"
        finding = Finding.DOUBLE_EFFECT if doubled else Finding.PAID_WITHOUT_EFFECT
        return _item(counted, finding, charged, advance, text)
    if counted.behind > rates.worth(counted.step_fen + _ROUNDED_FEN):
        late = advance + counted.behind
        text = f"charged only to {counted.mark.counter}"
        return _item(counted, Finding.EFFECT_WITHOUT_PAYMENT, advance, late, text)
    return _item(counted, Finding.EQUAL, advance, advance, "") if charges else None


def _item(
    counted: Counted, finding: Finding, charged: int | None, advance: int | None, detail: str
) -> Item:
    return Item(
        level=Level.COUNTER,
        subject=counted.metering,
        finding=finding,
        unit=counted.unit,
        credited=charged,
        counted=advance,
        detail=detail,
    )
