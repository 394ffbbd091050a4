"""Whether people were warned as they must: at each level that was crossed, once, and not again too soon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.month_meter import MILLION
from tests.month_people import ZONE
from tests.month_reckoning import Purse, is_charged, rate_of
from tests.month_town import Told, Town

LEVELS_FEN = (2_000, 500)
_COOLDOWN_MS = 6 * 3_600_000
_LOW = "low_balance"
_UNSURE_FEN = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """A room had a level, or less, from one moment to another; `worst`: no lower one began with it."""

    level: int
    begin_ms: int
    end_ms: int
    worst: bool


def alert_complaints(town: Town, purses: Mapping[str, Purse]) -> Iterator[str]:
    """Every warning that was missing, wrong, double or too soon, in words."""
    for home in town.homes:
        account = home.room.account
        told = [one for one in town.told if one.account == account]
        yield from _double(account, told)
        if is_charged(home):
            low = [one for one in told if one.kind == _LOW]
            yield from _unfounded(account, purses[account], low)
            yield from _missing(town, account, purses[account], low)


def worth_fen(purse: Purse, now_ms: int) -> int:
    """What is left, the allowance at the price of the day."""
    fen, free_wh = purse.left(now_ms)
    day = datetime.fromtimestamp(now_ms / 1000, ZONE).date()
    return fen + free_wh * rate_of(day) // MILLION


def crossings(purse: Purse, end_ms: int) -> list[Crossing]:
    """Every time that a room came down to a level; it is above again a tenth of the level higher."""
    moments = sorted(
        {due.time_ms for due in purse.course[1:]} | {at_ms for at_ms, _ in purse.moved}
    )
    found: list[Crossing] = []
    since: dict[int, tuple[int, bool]] = {}
    for at_ms in moments:
        worth = worth_fen(purse, at_ms)
        under = [number for number, level in enumerate(LEVELS_FEN, start=1) if worth <= level]
        for number in under:
            since.setdefault(number, (at_ms, number == under[-1]))
        for number, level in enumerate(LEVELS_FEN, start=1):
            if number in since and worth >= level + level // 10:
                found.append(_crossing(number, since.pop(number), at_ms))
    found += [_crossing(number, begun, end_ms) for number, begun in since.items()]
    return found


def _crossing(number: int, begun: tuple[int, bool], end_ms: int) -> Crossing:
    return Crossing(level=number, begin_ms=begun[0], end_ms=end_ms, worst=begun[1])


def _missing(town: Town, account: str, purse: Purse, low: Sequence[Told]) -> Iterator[str]:
    """Each crossing that lasted is told once, soon, or when the cool-down is over."""
    last_ms, within_ms = min(town.end_ms, purse.closed_ms), town.plan.notice_ms
    ended: dict[int, int] = {}
    for one in crossings(purse, last_ms):
        before_ms, ended[one.level] = ended.get(one.level, 0), one.end_ms
        if one.end_ms - one.begin_ms < within_ms or one.begin_ms > last_ms:
            continue
        said = f"{account} was at level {one.level} since {_clock(one.begin_ms)}"
        told = [
            alert
            for alert in low
            if alert.level == one.level and one.begin_ms <= alert.raised_ms <= one.end_ms
        ]
        if len(told) > 1:
            yield f"{said}, and was told {len(told)} times"
        recent = any(
            alert.level == one.level
            and one.begin_ms - _COOLDOWN_MS - within_ms < alert.heard_ms < one.begin_ms
            for alert in low
        )
        was_short = one.begin_ms - before_ms < within_ms  # the hub need not have seen it end
        excused = was_short or recent or _was_dead(town, one.begin_ms)
        if not told and one.worst and not excused:
            yield f"{said}, and was not told"


def _unfounded(account: str, purse: Purse, low: Sequence[Told]) -> Iterator[str]:
    for alert in low:
        worth, level = worth_fen(purse, alert.raised_ms), LEVELS_FEN[alert.level - 1]
        if worth > level + _UNSURE_FEN:
            yield f"{account} was told of {level} fen with {worth} left"


def _double(account: str, told: Sequence[Told]) -> Iterator[str]:
    """The same alert once; the same kind and level not again within the cool-down."""
    last: dict[tuple[str, int], int] = {}
    seen: set[str] = set()
    for alert in told:
        if alert.id in seen:
            yield f"{account} was told {alert.kind} {alert.level} twice"
        key, before_ms = (alert.kind, alert.level), -_COOLDOWN_MS
        before_ms = last.get(key, before_ms)
        if alert.heard_ms - before_ms < _COOLDOWN_MS and alert.id not in seen:
            soon_s = (alert.heard_ms - before_ms) / 1000
            yield f"{account} was told {alert.kind} {alert.level} again after {soon_s:.0f} s"
        last[key] = alert.heard_ms
        seen.add(alert.id)


def _was_dead(town: Town, now_ms: int) -> bool:
    return any(since - town.plan.notice_ms <= now_ms < until for since, until in town.down)


def _clock(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, ZONE).strftime("%d %b %H:%M:%S")
