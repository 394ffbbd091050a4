"""What each room must have been charged, by its meters' words and the price list, not by the hub's code."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from sqlalchemy import Connection, text

from hub.campus.orders.orders import Order, OrderState
from tests.month_meter import MILLION, Said
from tests.month_people import RATES, ZONE, Household, Kind, moment_ms
from tests.month_town import ALLOWANCE_WH, CARRIES_OVER, OVERDRAFT_FEN, UNBILLED, Town

NEVER_MS = 10**15


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """So much flowed from one word of a meter to its next."""

    meter: str
    begin_ms: int
    end_ms: int
    wh: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """What a room must have been charged by then, and what it must have left of its allowance."""

    time_ms: int
    fen: int
    free_wh: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Purse:
    """What one room had at each moment, by its meters' words and what came to it.

    `moved` are fen with the moment from which on they are the room's. A room that somebody left has nothing
    from `closed_ms` on.
    """

    course: Sequence[Due]
    moved: list[tuple[int, int]]
    closed_ms: int = NEVER_MS

    def left(self, now_ms: int) -> tuple[int, int]:
        """Fen and Wh of the allowance, by what was known at this moment."""
        due = self.course[bisect_right(self.course, now_ms, key=lambda one: one.time_ms) - 1]
        return sum(fen for at_ms, fen in self.moved if at_ms <= now_ms) - due.fen, due.free_wh

    def is_used_up(self, now_ms: int, unsure_fen: int = 0) -> bool:
        """Whether nothing is left, also if it had so much less than it seems."""
        fen, free_wh = self.left(now_ms)
        return free_wh <= 0 and fen - unsure_fen <= -OVERDRAFT_FEN


def purses_of(connection: Connection, town: Town, known: Sequence[Order]) -> dict[str, Purse]:
    """The purse of every room that the hub charges."""
    found = {
        home.room.account: Purse(
            course=course_of(town, home, list(given_ms_of(connection, home.room.account).values())),
            moved=[
                (order.changed_ms, order.amount_fen)
                for order in known
                if order.account == home.room.account and order.state is OrderState.DELIVERED
            ],
        )
        for home in town.homes
        if home.kind is not Kind.METER
    }
    for life in town.lives:  # in the order in which it happened
        at_ms = booked_ms(connection, life.key)
        if at_ms is None:
            continue
        if not life.other:
            found[life.account] = replace(found[life.account], closed_ms=at_ms)
            continue
        fen = found[life.account].left(at_ms)[0]
        fen -= found[life.other].left(at_ms)[0] if life.swap else 0
        found[life.account].moved.append((at_ms, -fen))
        found[life.other].moved.append((at_ms, fen))
    return found


def booked_ms(connection: Connection, key: str) -> int | None:
    """When the hub booked this; None where it did not."""
    query = text("SELECT time_ms FROM transactions WHERE key = :key")
    found: int | None = connection.scalar(query, {"key": key})
    return found


def course_of(town: Town, home: Household, given_ms: Sequence[int]) -> list[Due]:
    """What a room must have been charged at each word of its meters and at each allowance, in order."""
    served = home.served if is_charged(home) else []
    steps = [step for name in served for step in steps_of(town, name)]
    happened: list[tuple[int, Step | None]] = [
        *((step.end_ms, step) for step in steps),  # first: charged before an allowance is given
        *((at_ms, None) for at_ms in given_ms),
    ]
    free_wh, due, course = 0, Counter[str](), [Due(time_ms=0, fen=0, free_wh=0)]
    for time_ms, step in sorted(happened, key=lambda one: one[0]):
        if step is None:
            free_wh = ALLOWANCE_WH + (free_wh if home.room.building == CARRIES_OVER else 0)
        else:
            for day, wh in by_day(step):
                free = min(free_wh, wh)
                free_wh -= free
                due[step.meter] += (wh - free) * rate_of(day)
        fen = sum(parts // MILLION for parts in due.values())
        course.append(Due(time_ms=time_ms, fen=fen, free_wh=free_wh))
    return course


def steps_of(town: Town, name: str) -> Iterator[Step]:
    """What flowed between the sound words of a meter."""
    meter = town.meters[name]
    sound = [said for said in meter.said if said.sound]
    for before, after in pairwise(once(sound)):
        wh = after.counter - before.counter
        yield Step(
            meter=name,
            begin_ms=before.time_ms,
            end_ms=after.time_ms,
            wh=wh % meter.rollover if meter.rollover else wh,
        )


def by_day(step: Step) -> Iterator[tuple[date, int]]:
    """What of a step fell on each day, by time, as the documents say."""
    begun, reached, at_ms = _day(step.begin_ms), 0, step.begin_ms
    while at_ms < step.end_ms:
        next_ms = min(step.end_ms, moment_ms(begun + timedelta(days=1), 0))
        until = step.wh * (next_ms - step.begin_ms) // (step.end_ms - step.begin_ms)
        yield begun, until - reached
        begun, reached, at_ms = begun + timedelta(days=1), until, next_ms


def rate_of(day: date) -> int:
    """Millionths of a fen for a Wh on this day."""
    yuan = next(rate for begins, rate in reversed(RATES.items()) if begins <= day)
    return int(Decimal(yuan) * 100_000)


def delivered_fen(known: Sequence[Order]) -> int:
    """The money of those that were delivered."""
    return sum(order.amount_fen for order in known if order.state is OrderState.DELIVERED)


def once(sound: Sequence[Said]) -> list[Said]:
    """The words of a meter in order of time, each time once."""
    return [said for _, said in sorted({said.time_ms: said for said in sound}.items())]


def given_ms_of(connection: Connection, account: str) -> dict[str, int]:
    """When the hub gave this room its allowances, by month."""
    query = text("SELECT cause, time_ms FROM transactions WHERE key = 'allowance/' || cause || :of")
    return {month: at_ms for month, at_ms in connection.execute(query, {"of": f"/{account}"})}


def is_charged(home: Household) -> bool:
    """Whether the hub charges the room: it holds its credit, and the room pays for what it uses."""
    return home.kind is not Kind.METER and (home.room.building, home.room.room) != UNBILLED


def _day(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, ZONE).date()
