"""What proves that money came on a meter: it has counted, and its balance has risen by the amount. Pure.

    confirm = [
        { point = "purchase_count", equals = "@count" },
        { point = "credit_money", rises = "@amount", from = "@balance", used = "@energy", alive = "…" },
    ]

Between the two looks at a balance the meter also deducts what is used. How much that may be is bounded: by
what can flow in that time, by the meter's own energy counter, and by what a kWh can cost at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from hub.points import Scalar

ALIVE_S = 10.0  # how long a point that never stands still may do so

_HIDDEN = "so much may have been used meanwhile that its balance proves nothing"
_NOT_RISEN = "it has counted the purchase, and its balance has not risen"
_OTHERWISE = "it has counted a purchase, and its balance has not risen by this amount"
_NOT_COUNTED = "its balance has risen by this amount, and it has not counted it"
_MOVED = "it has not counted, and its balance is not what use has left of it"
_ANOTHER = "its count is neither the one before nor the next"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rise:
    """A balance that must have risen by an argument, in the point's own unit (fen or Wh).

    `balance` and `energy` name the arguments that hold what balance and energy counter said before the
    first try; `energy` and its `counter` (a point, Wh) are empty where the meter has none. `price_max` is
    the most that a kWh can take from the balance. `alive` is a point that never stands still: while it
    does, the meter's word that nothing has happened is not believed; empty where there is none.
    """

    point: str
    amount: str
    balance: str
    energy: str = ""
    counter: str = ""
    price_max: float
    alive: str = ""

    @property
    def remembered(self) -> frozenset[str]:
        """The arguments that are kept for the proof alone and never leave the hub."""
        return frozenset({self.balance, self.energy} - {""})

    @property
    def points(self) -> frozenset[str]:
        """What must be heard of the meter beside its count."""
        return frozenset({self.point, self.counter, self.alive} - {""})


class Risen(StrEnum):
    """What a balance has done since the first try."""

    BY_AMOUNT = "by the amount"
    NOT = "not"
    OTHERWISE = "otherwise"
    HIDDEN = "hidden"  # what may have been used is as much as the amount: nothing can be told


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What count and balance say together: done, not done, or None and why they contradict each other."""

    shown: bool | None = None
    contradiction: str = ""


def used_most_wh(
    rise: Rise,
    values: Mapping[str, Scalar],
    arguments: Mapping[str, Scalar],
    *,
    flowed_wh: float,
    step_wh: float,
) -> float:
    """How much energy was used at most: no more than can have flowed, or than the meter has counted.

    `step_wh` is what one of the counter's own units is worth. A counter that went back counts for nothing.
    """
    if rise.counter not in values or rise.energy not in arguments:
        return flowed_wh
    counted_wh = float(values[rise.counter]) - float(arguments[rise.energy])
    return flowed_wh if counted_wh < 0 else min(flowed_wh, counted_wh + step_wh)


def risen(
    rise: Rise, values: Mapping[str, Scalar], arguments: Mapping[str, Scalar], used_wh: float
) -> Risen | None:
    """What the balance has done, where `used_wh` were used at most; None when it was not heard."""
    if rise.point not in values:
        return None
    slack = math.ceil(used_wh * rise.price_max / 1000)
    amount = int(arguments[rise.amount])
    moved = int(values[rise.point]) - int(arguments[rise.balance])
    if slack >= amount:
        return Risen.HIDDEN
    if amount - slack <= moved <= amount:
        return Risen.BY_AMOUNT
    return Risen.NOT if -slack <= moved <= 0 else Risen.OTHERWISE


def weigh(steps: int | None, risen: Risen | None) -> Told:
    """Count and balance together. `steps` is how far the count has moved; None when it was not heard."""
    if steps is None or risen is None:
        return Told()
    if risen is Risen.HIDDEN:
        return Told(contradiction=_HIDDEN)
    match steps, risen:
        case 1, Risen.BY_AMOUNT:
            return Told(shown=True)
        case 0, Risen.NOT:
            return Told(shown=False)
        case 1, Risen.NOT:
            return Told(contradiction=_NOT_RISEN)
        case 1, _:
            return Told(contradiction=_OTHERWISE)
        case 0, Risen.BY_AMOUNT:
            return Told(contradiction=_NOT_COUNTED)
        case 0, _:
            return Told(contradiction=_MOVED)
        case _:
            return Told(contradiction=_ANOTHER)
