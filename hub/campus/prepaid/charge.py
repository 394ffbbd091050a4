"""From a counter's readings to what is due: pure, in whole numbers, nothing rounded away.

A step from one reading to the next is charged only when the counter can have made it. The first that it
cannot have made ends the track with a reason, and nothing after it is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hub.campus.accounts.prices import MILLION, Tariff
from hub.journal import Series
from hub.plausibility import ROLLED_OVER, step_is_possible

_STEP_MAX = 10**9  # of any counter, also one that no power limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """Where a counter stood, and when."""

    time_ms: int
    counter: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Register:
    """What a product says of its counter; 0 where nothing limits it, or where it never begins anew.

    `rated_w` is the most it goes on in an hour: watts of a counter in Wh, ml an hour of one of water.
    """

    point: str
    rated_w: int
    rollover: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """So much was used from one reading to the next."""

    begin_ms: int
    end_ms: int
    amount: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """What was used, where the counter stood last without doubt, and why no further, if so."""

    steps: tuple[Step, ...]
    mark: Mark
    held: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """What is due: of the allowance, in money, and the millionths of a fen left for the next time.

    `worth_fen` is what all of it would cost without an allowance.
    """

    free: int
    paid: int
    fen: int
    rest: int
    worth_fen: int


def marks_of(
    series: Series, end_ms: int | None = None, last: int | None = None
) -> list[tuple[Mark, bool]]:
    """The readings that may be charged, each with whether the counter rolled over there.

    One that stands with another doubt is left out: the next sure one has it within. `last` is what a person
    read at the end, where he did.
    """
    doubts = dict(series.uncertain)
    marks = [
        (Mark(time_ms=time_ms, counter=int(value)), doubts.get(time_ms) == ROLLED_OVER)
        for time_ms, value in zip(series.times, series.values, strict=True)
        if value.__class__ is int and doubts.get(time_ms, ROLLED_OVER) == ROLLED_OVER
    ]
    if end_ms is not None and last is not None:
        marks.append((Mark(time_ms=end_ms, counter=last), False))
    return marks


def reset_of(series: Series) -> int | None:
    """When a product first said that its counter began at another time than it said before; None: never."""
    said = [
        (time_ms, value)
        for time_ms, value in zip(series.times, series.values, strict=True)
        if isinstance(value, str)
    ]
    return next((time_ms for time_ms, value in said if value != said[0][1]), None)


def follow(
    start: Mark,
    marks: Iterable[tuple[Mark, bool]],
    register: Register,
    reset_ms: int | None = None,
) -> Track:
    """What was used since `start`; marks in order of time, those not after it are passed over.

    From `reset_ms` on its product says that it began anew: however far it has come, nobody knows what of it
    was used before.
    """
    steps: list[Step] = []
    last = start
    for mark, rolled in marks:
        if mark.time_ms <= last.time_ms:
            continue
        amount = mark.counter - last.counter
        if amount < 0 and rolled:
            amount += register.rollover
        passed_ms = mark.time_ms - last.time_ms
        possible = step_is_possible(register.rated_w / 3600, amount, passed_ms)
        if not possible or amount > _STEP_MAX:
            what = "fell" if amount < 0 else "jumped"
            held = f"counter {what} from {last.counter} to {mark.counter}"
            return Track(steps=tuple(steps), mark=last, held=held)
        if reset_ms is not None and mark.time_ms >= reset_ms:
            held = f"counter was reset between {last.counter} and {mark.counter}"
            return Track(steps=tuple(steps), mark=last, held=held)
        steps.append(Step(begin_ms=last.time_ms, end_ms=mark.time_ms, amount=amount))
        last = mark
    return Track(steps=tuple(steps), mark=last)


def by_day(steps: Iterable[Step], timezone: ZoneInfo) -> Mapping[date, int]:
    """What was used on each local day, in order; a step over midnight is shared by its time."""
    days: dict[date, int] = {}
    for step in steps:
        for day, amount in _shares(step, timezone):
            days[day] = days.get(day, 0) + amount
    return days


def price(days: Mapping[date, int], tariff: Tariff, *, free: int, rest: int) -> Charge | None:
    """What is due for what was used, the allowance first; None where a day to be paid has no price."""
    left, due, worth, paid = max(0, free), rest, 0, 0
    for day, amount in days.items():
        rate = tariff.rate_on(day)
        given = min(left, amount)
        left -= given
        if rate is None and amount > given:
            return None
        paid += amount - given
        due += (amount - given) * (rate or 0)
        worth += amount * (rate or 0)
    used = sum(days.values())
    return Charge(
        free=used - paid,
        paid=paid,
        fen=due // MILLION,
        rest=due % MILLION,
        worth_fen=worth // MILLION,
    )


def local_day(time_ms: int, timezone: ZoneInfo) -> date:
    """The day on the campus's calendar."""
    return datetime.fromtimestamp(time_ms / 1000, timezone).date()


def _shares(step: Step, timezone: ZoneInfo) -> Iterator[tuple[date, int]]:
    first, last = local_day(step.begin_ms, timezone), local_day(step.end_ms - 1, timezone)
    if first == last or not step.amount:
        yield first, step.amount
        return
    days = [first + timedelta(days=place) for place in range((last - first).days + 1)]
    bounds = [step.begin_ms, *(midnight_ms(day, timezone) for day in days[1:]), step.end_ms]
    length_ms = step.end_ms - step.begin_ms
    reached = [step.amount * (bound - step.begin_ms) // length_ms for bound in bounds]
    for day, (before, after) in zip(days, pairwise(reached), strict=True):
        yield day, after - before


def midnight_ms(day: date, timezone: ZoneInfo) -> int:
    """When a local day begins."""
    return round(datetime(day.year, day.month, day.day, tzinfo=timezone).timestamp() * 1000)
