"""What a Wh, or a ml of water, costs: versions by local day, for all buildings or one; none is ever changed.

A rate is a whole number of millionths of a fen for one Wh or ml: 0.5483 yuan/kWh is 54,830, 3.85 yuan/m³ is
385. A version holds from the midnight of its day on. A building's own goes before the one for all.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation

from sqlalchemy import Connection, insert, select

from hub import audit
from hub.campus.accounts.accounts import BookError, Utility
from hub.ledger.tables import prices

MILLION = 1_000_000
RATE_MAX = 10**9  # a thousand fen for one Wh
_BY_KWH = 100_000  # yuan/kWh: 100 fen, 1,000 Wh, in millionths
_BY_M3 = 100  # yuan/m³: 100 fen, 1,000,000 ml, in millionths
_NUMBER_MAX = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """One version. `building` is empty for all."""

    utility: Utility
    building: str = ""
    from_day: date
    rate: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tariff:
    """The versions that hold for a building, in order of days."""

    own: tuple[Price, ...] = ()
    common: tuple[Price, ...] = ()

    @property
    def first_day(self) -> date | None:
        """The first day that has a rate; every later one has one too."""
        return min((price.from_day for price in (*self.own, *self.common)), default=None)

    def rate_on(self, day: date) -> int | None:
        """The rate of a local day; None before the first version."""
        price = _last(self.own, day) or _last(self.common, day)
        return price.rate if price else None


def parse_rate(text: str, utility: Utility) -> int:
    """The rate of "0.5483" yuan for a kWh, or of "3.85" yuan for a m³.

    Raises BookError for what is no number, is below 0, or is finer than a rate can say.
    """
    by = _BY_KWH if utility is Utility.ELECTRICITY else _BY_M3
    try:
        rate = Decimal(text if len(text) <= _NUMBER_MAX else "") * by
    except InvalidOperation:
        raise BookError(f"{text[:_NUMBER_MAX]!r} is no price; write yuan: 0.5483") from None
    if not rate.is_finite() or rate != rate.to_integral_value() or not 0 <= rate <= RATE_MAX:
        raise BookError(f"{text} yuan is no price that can be charged exactly")
    return int(rate)


def enter_price(
    connection: Connection, price: Price, *, today: date, actor: str, time_ms: int
) -> bool:
    """Take a version, with its audit row; false when it stands there already.

    Raises BookError for one that holds from today or before, unless nothing was priced then, and for a day
    that has another rate: what was charged stays as it was charged.
    """
    if price.rate.__class__ is not int or not 0 <= price.rate <= RATE_MAX:
        raise BookError(f"{price.rate!r} is no rate")
    tariff = read_tariff(connection, price.utility, price.building)
    own = tariff.own if price.building else tariff.common
    there = next((item for item in own if item.from_day == price.from_day), None)
    if there is not None:
        if there.rate == price.rate:
            return False
        raise BookError(f"from {price.from_day} another price holds already; enter a later day")
    if price.from_day <= today and tariff.rate_on(today) is not None:
        raise BookError(
            f"from {price.from_day}: that has begun; a new price holds from tomorrow on"
        )
    connection.execute(
        insert(prices),
        {
            "utility": price.utility,
            "building": price.building,
            "from_day": price.from_day.isoformat(),
            "rate": price.rate,
            "entered_ms": time_ms,
            "actor": actor,
        },
    )
    audit.append(
        connection,
        actor=actor,
        cause="price",
        subject=f"price/{price.utility}/{price.building or '*'}",
        action="entered",
        before="",
        after=json.dumps({"from_day": price.from_day.isoformat(), "rate": price.rate}),
        time_ms=time_ms,
    )
    return True


def read_tariff(connection: Connection, utility: Utility, building: str) -> Tariff:
    """The versions that hold for a building."""
    found = [item for item in list_prices(connection, utility) if item.building in (building, "")]
    return Tariff(
        own=tuple(price for price in found if price.building),
        common=tuple(price for price in found if not price.building),
    )


def list_prices(connection: Connection, utility: Utility) -> list[Price]:
    """Every version ever entered, by building and day."""
    query = (
        select(prices)
        .where(prices.c.utility == utility)
        .order_by(prices.c.building, prices.c.from_day)
    )
    return [
        Price(
            utility=utility,
            building=row.building,
            from_day=date.fromisoformat(row.from_day),
            rate=row.rate,
        )
        for row in connection.execute(query)
    ]


def _last(versions: Sequence[Price], day: date) -> Price | None:
    """The newest of the versions, in order of days, that has begun on this day."""
    place = bisect_right(versions, day, key=lambda price: price.from_day)
    return versions[place - 1] if place else None
