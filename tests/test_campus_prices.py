"""Prices: exact, by local day, for all buildings or one; what has begun is never changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub import VirtualClock, audit
from hub.campus.accounts.accounts import BookError, Utility
from hub.campus.accounts.prices import (
    Price,
    Tariff,
    enter_price,
    list_prices,
    parse_rate,
    read_tariff,
)
from hub.ledger import Ledger, open_ledger

START_MS = 1_700_000_000_000
TODAY = date(2026, 11, 22)
POWER = Utility.ELECTRICITY


def price(day: date, rate: int, building: str = "") -> Price:
    return Price(utility=POWER, building=building, from_day=day, rate=rate)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with open_ledger(tmp_path / "ledger.db", clock=VirtualClock(start_ms=START_MS)) as opened:
        yield opened


async def enter(ledger: Ledger, item: Price) -> bool:
    return await ledger.run(
        lambda connection: enter_price(
            connection, item, today=TODAY, actor="finance", time_ms=START_MS
        )
    )


async def tariff(ledger: Ledger, building: str = "B1") -> Tariff:
    return await ledger.read(lambda connection: read_tariff(connection, POWER, building))


@pytest.mark.parametrize(
    ("text", "utility", "rate"),
    [
        ("0.5483", POWER, 54_830),
        ("1", POWER, 100_000),
        ("0", POWER, 0),
        ("0.00001", POWER, 1),
        ("3.85", Utility.HOT_WATER, 385),
    ],
)
def test_a_price_in_yuan_is_an_exact_rate(text: str, utility: Utility, rate: int) -> None:
    assert parse_rate(text, utility) == rate


@pytest.mark.parametrize(
    "text", ["", "free", "-1", "NaN", "Infinity", "0.000001", "1e30", "9" * 99]
)
def test_what_cannot_be_charged_exactly_is_no_price(text: str) -> None:
    with pytest.raises(BookError, match="price"):
        parse_rate(text, POWER)


async def test_a_version_holds_from_its_day_on(ledger: Ledger) -> None:
    await enter(ledger, price(TODAY - timedelta(days=90), 54_830))
    await enter(ledger, price(TODAY + timedelta(days=1), 60_000))
    found = await tariff(ledger)
    assert found.rate_on(TODAY - timedelta(days=91)) is None
    assert found.rate_on(TODAY) == 54_830
    assert found.rate_on(TODAY + timedelta(days=1)) == 60_000
    assert found.rate_on(TODAY + timedelta(days=900)) == 60_000


async def test_a_building_s_own_price_goes_before_the_one_for_all(ledger: Ledger) -> None:
    await enter(ledger, price(TODAY, 54_830))
    await enter(ledger, price(TODAY + timedelta(days=2), 40_000, "B1"))
    await enter(ledger, price(TODAY + timedelta(days=3), 60_000))
    here, other = await tariff(ledger), await tariff(ledger, "B2")
    later = TODAY + timedelta(days=3)
    assert (here.rate_on(TODAY), here.rate_on(later), other.rate_on(later)) == (
        54_830,
        40_000,
        60_000,
    )


async def test_what_has_begun_is_never_changed(ledger: Ledger) -> None:
    await enter(ledger, price(TODAY, 54_830))
    with pytest.raises(BookError, match="begun"):
        await enter(ledger, price(TODAY - timedelta(days=3), 1))
    with pytest.raises(BookError, match="begun"):
        await enter(ledger, price(TODAY, 1, "B1"))
    with pytest.raises(BookError, match="another price"):
        await enter(ledger, price(TODAY, 54_831))
    found = await ledger.read(lambda connection: list_prices(connection, POWER))
    assert found == [price(TODAY, 54_830)]


async def test_the_same_once_more_changes_nothing_and_each_is_in_the_audit(ledger: Ledger) -> None:
    assert await enter(ledger, price(TODAY, 54_830))
    assert not await enter(ledger, price(TODAY, 54_830))
    rows = await ledger.read(lambda connection: audit.rows(connection))
    assert [(row.subject, row.actor) for row in rows] == [("price/electricity/*", "finance")]


@pytest.mark.parametrize("rate", [-1, 1.5, True, 10**9 + 1])
async def test_a_rate_is_a_whole_number_in_bounds(ledger: Ledger, rate: int) -> None:
    with pytest.raises(BookError, match="rate"):
        await enter(ledger, price(TODAY, rate))


@settings(deadline=None)
@given(
    days=st.lists(st.integers(0, 400), unique=True, max_size=8).map(sorted),
    asked=st.integers(0, 500),
)
def test_the_rate_of_a_day_is_that_of_the_last_version_begun(days: list[int], asked: int) -> None:
    begin = date(2026, 1, 1)
    versions = tuple(price(begin + timedelta(days=day), day) for day in days)
    expected = max((day for day in days if day <= asked), default=None)
    assert Tariff(common=versions).rate_on(begin + timedelta(days=asked)) == expected
