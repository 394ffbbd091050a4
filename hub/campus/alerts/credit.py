"""What a standing means for warnings: how much is left, by which levels, and for how long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy import Connection

from hub.campus.accounts.accounts import Room, Utility
from hub.campus.accounts.prices import MILLION, list_prices
from hub.campus.alerts.forecast import DayUse, Forecast, forecast
from hub.campus.alerts.kinds import ARREARS_USED_UP, Alert, Fact, Kind, Subject
from hub.campus.alerts.levels import levels_under
from hub.campus.prepaid.rules import Prepaid
from hub.campus.prepaid.standing import Standing

WORSE = "a worse one is told"
_UNIT = {True: "fen", False: "wh"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """What a room has left, its allowance within: money where it is counted in fen, else Wh.

    `levels` are those it is warned at, the highest first.
    """

    amount: int
    is_money: bool
    levels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """What a Wh, or ml, costs on one day, by utility and building ("" for all)."""

    found: Mapping[tuple[Utility, str], int] = field(default_factory=dict)

    def of(self, room: Room) -> int | None:
        """The rate of a room; None where there is none."""
        own = self.found.get((room.utility, room.building))
        return self.found.get((room.utility, "")) if own is None else own


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What began with a room, and the ids of what is over."""

    facts: Sequence[Fact] = ()
    ended: frozenset[str] = field(default_factory=frozenset)


def read_rates(connection: Connection, today: date) -> Rates:
    """The rates of this day."""
    found: dict[tuple[Utility, str], int] = {}
    for utility in Utility:
        for item in list_prices(connection, utility):  # in order of days
            if item.from_day <= today:
                found[utility, item.building] = item.rate
    return Rates(found=found)


def subject_of(standing: Standing) -> Subject:
    """The room as alerts know it."""
    room = standing.room
    return Subject(id=room.account, building=room.building, room=room.room)


def left_of(standing: Standing, policy: Prepaid, rate: int | None) -> Left | None:
    """What is left; None where nobody knows, or an allowance cannot be told in money."""
    if standing.balance_fen is not None:
        if standing.allowance and rate is None:
            return None
        worth = standing.allowance * (rate or 0) // MILLION
        amount = standing.balance_fen + worth
        return Left(amount=amount, is_money=True, levels=policy.alarms_fen)
    if standing.credit is None or standing.room.utility is not Utility.ELECTRICITY:
        return None  # levels are of money or energy
    amount = standing.credit + standing.allowance
    return Left(amount=amount, is_money=False, levels=policy.alarms_wh)


def energy_left(standing: Standing, rate: int | None) -> int | None:
    """What is left in Wh, at today's price; None where that is not sure."""
    if standing.doubt:
        return None
    if standing.balance_fen is None:
        return None if standing.credit is None else standing.credit + standing.allowance
    if not rate:
        return None
    return standing.balance_fen * MILLION // rate + standing.allowance


def outlook(standing: Standing, days: Sequence[DayUse], rate: int | None, today: date) -> Forecast:
    """How long what is left lasts; the overdraft, and what next month gives, are not counted."""
    if standing.room.utility is not Utility.ELECTRICITY:
        return Forecast(reason="only electricity is forecast")
    return forecast(energy_left(standing, rate), days, today)


def change_of(
    standing: Standing, policy: Prepaid, rate: int | None, known: Mapping[tuple[Kind, int], Alert]
) -> Change:
    """What is new with this room; `known` are its open alerts by kind and level.

    Nothing begins or ends while there is a doubt.
    """
    left = left_of(standing, policy, rate)
    if standing.doubt or left is None:
        return Change()
    before = {level for kind, level in known if kind is Kind.LOW_BALANCE}
    now = levels_under(left.amount, left.levels, before)
    arrears = known.get((Kind.ARREARS, ARREARS_USED_UP))
    ended = {known[Kind.LOW_BALANCE, level].id for level in before - now}
    if arrears and not standing.is_used_up:
        ended.add(arrears.id)
    facts = _begun(standing, left, sorted(now - before), arrears is None)
    return Change(facts=tuple(facts), ended=frozenset(ended))


def _begun(standing: Standing, left: Left, levels: Sequence[int], is_new: bool) -> Iterator[Fact]:
    subject, args = subject_of(standing), {_UNIT[left.is_money]: left.amount}
    used_up = standing.is_used_up
    for level in levels:
        worse = used_up or level != levels[-1]
        yield Fact(
            kind=Kind.LOW_BALANCE,
            subject=subject,
            level=level,
            args=args,
            quiet=WORSE if worse else "",
        )
    if used_up and is_new:
        yield Fact(kind=Kind.ARREARS, subject=subject, level=ARREARS_USED_UP, args=args)
