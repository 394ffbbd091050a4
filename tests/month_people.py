"""Who lives in a town for a month: rooms, their meters, what people use, and when they pay. All by seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from hub.campus.accounts.accounts import Room
from tests.month_meter import HOUR_MS, DormMeter, Load

ZONE = ZoneInfo("Asia/Shanghai")
FIRST_DAY = date(2026, 9, 28)  # a Monday; with it begin two months, a week of holidays, a price
HOLIDAYS = frozenset(date(2026, 10, day) for day in range(1, 8))
WORKDAYS = frozenset({date(2026, 10, 10)})  # a Saturday that is made up for
RATES = {date(2026, 9, 1): "0.5483", date(2026, 10, 16): "0.5867"}  # yuan for a kWh, from a day on
_MORNING_W = (60, 45, 40, 38, 38, 45, 110, 190, 120, 80, 75, 95)
_EVENING_W = (150, 120, 85, 80, 90, 130, 210, 280, 320, 330, 260, 130)
_CURVE_W = _MORNING_W + _EVENING_W
_FLOOR = 10  # rooms of a floor
_ROLLOVER = 9_999_990
_PREPAID_RATE = 54_830
_DAYS_MAX = 40


class Kind(StrEnum):
    """What a room's meter is, and so who holds the credit."""

    HUB = "generic_meter"
    COUNTED = "dorm_meter"  # its counter begins anew
    METER = "acrel_ddsy1352"


class Habit(StrEnum):
    """How much a room uses."""

    THRIFTY = "thrifty"
    USUAL = "usual"
    HEAVY = "heavy"
    AWAY = "away"  # at home on workdays only


class Payer(StrEnum):
    """When a room pays."""

    EARLY = "early"  # while there is much left
    WARNED = "warned"  # when little is left
    LATE = "late"  # when it is dark
    NEVER = "never"


_SHARE = {Habit.THRIFTY: 0.4, Habit.USUAL: 1.0, Habit.HEAVY: 2.2, Habit.AWAY: 0.9}
_BELOW_FEN = {Payer.EARLY: 2_500, Payer.WARNED: 500}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How large a month is, and how rough: `period_s` is between two readings of a meter.

    While nothing happens, time moves on by `stride_s`.
    """

    rooms: int
    days: int = 31
    seed: int = 1
    kills: int = 6
    period_s: int = 1_800
    faults: float = 0.03
    stride_s: float = 300.0

    @property
    def notice_ms(self) -> int:
        """Within this the hub must have acted upon what the meters say."""
        return max(3 * 3_600_000, 3_000 * self.period_s)


@dataclass(kw_only=True, slots=True)
class Household:
    """A room with its people; `meter` is the device that serves it now."""

    room: Room
    kind: Kind
    habit: Habit
    payer: Payer
    meter: str
    served: list[str] = field(default_factory=list)  # every device that ever did, in order

    def wants_to_pay(self, left_fen: int, *, is_dark: bool) -> bool:
        """Whether somebody pays, with so much left."""
        if self.payer is Payer.LATE:
            return is_dark and left_fen <= 0
        return left_fen < _BELOW_FEN.get(self.payer, left_fen)


def begin_ms() -> int:
    """When the month begins: at noon of its first day."""
    return moment_ms(FIRST_DAY, 12)


def moment_ms(day: date, hour: int, minute: int = 0) -> int:
    """A moment of the town's clocks."""
    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZONE)
    return round(local.timestamp() * 1000)


def is_workday(day: date) -> bool:
    """Whether people are at work."""
    return day in WORKDAYS or (day.weekday() < 5 and day not in HOLIDAYS)


def households(plan: Plan) -> Iterator[Household]:
    """Every room: one in five has a meter that holds its credit, one in ten one that rolls over."""
    chance = random.Random(f"{plan.seed} people")
    for number in range(plan.rooms):
        building, place = ("B1", "B2")[number % 2], number // 2
        room = Room(building=building, room=f"{place // _FLOOR + 1}{place % _FLOOR + 1:02}")
        meter = f"m-{building.lower()}-{room.room}"
        yield Household(
            room=room,
            kind=_kind(number),
            habit=list(Habit)[number // 3 % 4],
            payer=chance.choices(list(Payer), (2, 3, 6, 2))[0],
            meter=meter,
            served=[meter],
        )


def make_meter(plan: Plan, home: Household, name: str, *, is_new: bool = False) -> DormMeter:
    """A meter for a room, as it comes from the store, or as it has hung there for years."""
    chance = random.Random(f"{plan.seed} {name}")
    start_wh = 0 if is_new else chance.randrange(1_000_000, 9_000_000)
    if home.kind is Kind.COUNTED and not is_new:
        start_wh = _ROLLOVER - chance.randrange(5_000, 60_000)
    prepaid = home.kind is Kind.METER
    return DormMeter(
        id=name,
        load=load_of(plan, home),
        start_wh=start_wh,
        rollover=_ROLLOVER if home.kind is Kind.COUNTED else 0,
        rate=_PREPAID_RATE if prepaid else 0,
        credit_fen=chance.randrange(1_000, 4_000) if prepaid else 0,
        purchases=chance.randrange(1, 90) if prepaid else 0,
    )


def load_of(plan: Plan, home: Household) -> Load:
    """What a household would draw, hour for hour."""
    chance = random.Random(f"{plan.seed} load {home.room.account}")
    begin, share = begin_ms(), _SHARE[home.habit]
    watts = []
    for hour in range(_DAYS_MAX * 24):
        local = datetime.fromtimestamp((begin + hour * HOUR_MS) / 1000, ZONE)
        there = home.habit is not Habit.AWAY or is_workday(local.date())
        noise = chance.uniform(0.6, 1.4)
        watts.append(round(_CURVE_W[local.hour] * share * noise) if there else 15)
    return Load(begin, watts)


def days(plan: Plan) -> Iterator[date]:
    """Every day that begins within the month."""
    for number in range(1, plan.days + 1):
        yield FIRST_DAY + timedelta(days=number)


def _kind(number: int) -> Kind:
    if number % 5 == 4:
        return Kind.METER
    return Kind.COUNTED if number % 10 == 3 else Kind.HUB
