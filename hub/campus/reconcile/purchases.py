"""A meter's own count of purchases, and its balance, against the credits the hub's ledger has for it. Pure.

Purchases are matched by their count, not by their time: a credit sent before midnight and counted after it
belongs to the day on whose last reading it stands, once. What a meter shows at an edge is its last word
before it, so that one day begins exactly where the one before it ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hub.campus.reconcile.compare import Effect, EffectState
from hub.campus.reconcile.days import Day
from hub.campus.reconcile.results import Finding, Item, Level

_LISTED_MAX = 5
# No meter charges more for a Wh, in fen: ten yuan for a kWh. What it deducts itself is not known better.
_COST_MAX_FEN = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What a meter showed last before a moment: purchases, and where its product has them, fen and Wh."""

    time_ms: int
    count: int
    money_fen: int | None = None
    energy_wh: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Matched:
    """The purchases of a day by what is known of them."""

    claimed: tuple[Effect, ...]  # counted by the meter, and in the ledger
    missing: tuple[int, ...]  # counted, and in no ledger
    doubtful: tuple[int, ...]  # counted, and of a credit that ended unknown
    pending: tuple[int, ...]
    unseen: tuple[Effect, ...]  # in the ledger, and not counted, or a second time

    @property
    def ledger_fen(self) -> int:
        return sum(effect.amount_fen for effect in (*self.claimed, *self.unseen))


def compare_purchases(
    device: str, before: Shown | None, after: Shown | None, effects: Sequence[Effect], day: Day
) -> Item | None:
    """One meter on one day; None where nothing was bought on either side."""
    done = [one for one in effects if one.state is EffectState.DONE and one.count is not None]
    todays = [one for one in done if day.has(one.ended_ms)]
    if before is None or after is None or after.count < before.count:
        fell = before is not None and after is not None
        if not todays and not fell:
            return None
        text = "its count of purchases fell" if fell else "its count of purchases is not known"
        return _item(device, Finding.UNKNOWN, sum(one.amount_fen for one in todays), text)
    found = _matched(before, after, effects, todays)
    counted = after.count - before.count
    if not counted and not found.unseen:
        return None
    finding, detail = _finding(found, before, after)
    rise = _rise(before, after)
    return _item(device, finding, found.ledger_fen, detail, counted=rise)


def _item(
    device: str, finding: Finding, credited: int, detail: str, counted: int | None = None
) -> Item:
    return Item(
        level=Level.COUNTER,
        subject=device,
        finding=finding,
        credited=credited,
        counted=counted,
        detail=detail,
    )


def _matched(
    before: Shown, after: Shown, effects: Sequence[Effect], todays: Sequence[Effect]
) -> _Matched:
    by_count: defaultdict[int, list[Effect]] = defaultdict(list)
    for effect in effects:
        if effect.count is not None and effect.count > before.count:
            by_count[effect.count].append(effect)
    claimed: list[Effect] = []
    unseen = [
        one
        for one in todays
        if one.count is not None and one.count > after.count and one.ended_ms <= after.time_ms
    ]
    missing: dict[EffectState, list[int]] = {state: [] for state in EffectState}
    for count in range(before.count + 1, after.count + 1):
        claims = [one for one in by_count[count] if one.state is EffectState.DONE]
        claimed += claims[:1]
        unseen += claims[1:]
        if not claims:
            missing[_best({one.state for one in by_count[count]})].append(count)
    return _Matched(
        claimed=tuple(claimed),
        missing=tuple(missing[EffectState.NONE]),
        doubtful=tuple(missing[EffectState.DOUBTFUL]),
        pending=tuple(missing[EffectState.UNDER_WAY]),
        unseen=tuple(unseen),
    )


def _best(states: set[EffectState]) -> EffectState:
    """What may still explain a purchase of which no credit is known to be done."""
    hopes = (EffectState.UNDER_WAY, EffectState.DOUBTFUL)
    return next((hope for hope in hopes if hope in states), EffectState.NONE)


def _finding(found: _Matched, before: Shown, after: Shown) -> tuple[Finding, str]:
    if found.unseen:
        text = f"credits {_named(one.command for one in found.unseen)} were not counted"
        return Finding.PAID_WITHOUT_EFFECT, text
    if found.missing:
        text = f"nobody has paid for its purchases {_named(map(str, found.missing))}"
        doubled = len(found.missing) == len(found.claimed) and _fits(found, before, after, times=2)
        return (Finding.DOUBLE_EFFECT if doubled else Finding.EFFECT_WITHOUT_PAYMENT), text
    if found.doubtful:
        text = f"its purchases {_named(map(str, found.doubtful))} are of credits that ended unknown"
        return Finding.UNKNOWN, text
    if found.pending:
        text = f"its purchases {_named(map(str, found.pending))} are under way"
        return Finding.PENDING, text
    if _fits(found, before, after, times=1) is not False:
        return Finding.EQUAL, ""
    if _fits(found, before, after, times=2):
        return Finding.DOUBLE_EFFECT, "its balance rose by twice what was credited"
    return Finding.AMOUNT_DIFFERS, "its balance rose by another amount than was credited"


def _rise(before: Shown, after: Shown) -> int | None:
    if before.money_fen is None or after.money_fen is None:
        return None
    return after.money_fen - before.money_fen


def _fits(found: _Matched, before: Shown, after: Shown, *, times: int) -> bool | None:
    """Whether the balance rose as it must: by what was credited, less what was used. None: nobody knows."""
    rise = _rise(before, after)
    if rise is None or before.energy_wh is None or after.energy_wh is None:
        return None
    credited = found.ledger_fen * times
    used_wh = max(0, after.energy_wh - before.energy_wh)
    return credited - used_wh * _COST_MAX_FEN - 1 <= rise <= credited


def _named(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _LISTED_MAX} more" if len(listed) > _LISTED_MAX else ""
    return ", ".join(listed[:_LISTED_MAX]) + more
