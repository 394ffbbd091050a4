"""What count and balance prove of a credit, whatever is used and whoever else buys meanwhile."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.rise import Rise, Risen, risen, used_most_wh, weigh

PRICE_MAX = 500.0
RISE = Rise(
    point="credit_money",
    amount="amount",
    balance="balance",
    energy="energy",
    counter="energy_import",
    price_max=PRICE_MAX,
)
AMOUNTS = st.integers(1, 100_000)
BALANCES = st.integers(-10_000, 1_000_000)
USES = st.integers(0, 2_000)  # Wh
PRICES = st.floats(0, PRICE_MAX)  # fen for a kWh


def moved(amount: int, balance: int, by: int, used_wh: float) -> Risen | None:
    """What a balance that moved by so much is taken for."""
    arguments = {"amount": amount, "balance": balance}
    return risen(RISE, {"credit_money": balance + by}, arguments, used_wh)


@given(AMOUNTS, BALANCES, USES, PRICES)
def test_a_credit_is_seen_whatever_was_used_or_nothing_is_said(
    amount: int, balance: int, used_wh: int, price: float
) -> None:
    cost = int(used_wh * price / 1000)
    found = moved(amount, balance, amount - cost, used_wh)
    assert found in (Risen.BY_AMOUNT, Risen.HIDDEN)
    assert (found is Risen.HIDDEN) == (math.ceil(used_wh * PRICE_MAX / 1000) >= amount)


@given(AMOUNTS, BALANCES, USES, PRICES)
def test_what_was_only_used_is_never_taken_for_a_credit(
    amount: int, balance: int, used_wh: int, price: float
) -> None:
    found = moved(amount, balance, -int(used_wh * price / 1000), used_wh)
    assert found in (Risen.NOT, Risen.HIDDEN)


@given(AMOUNTS, AMOUNTS, BALANCES, USES, PRICES)
def test_another_s_money_is_never_taken_for_a_credit_that_differs_by_more_than_was_used(
    amount: int, others: int, balance: int, used_wh: int, price: float
) -> None:
    cost = int(used_wh * price / 1000)
    found = moved(amount, balance, others - cost, used_wh)
    slack = math.ceil(used_wh * PRICE_MAX / 1000)
    assert found is not Risen.BY_AMOUNT or -slack <= amount - others <= slack


@given(AMOUNTS, BALANCES, USES)
def test_the_signs_of_done_and_not_done_never_overlap(
    amount: int, balance: int, used_wh: int
) -> None:
    slack = math.ceil(used_wh * PRICE_MAX / 1000)
    seen = {by: moved(amount, balance, by, used_wh) for by in (0, -slack, amount, amount - slack)}
    assert seen[0] is seen[-slack]
    assert seen[amount] is seen[amount - slack]
    assert seen[0] is not seen[amount] or seen[0] is Risen.HIDDEN


def test_a_balance_that_was_not_heard_says_nothing() -> None:
    assert risen(RISE, {}, {"amount": 500, "balance": 0}, 0.0) is None


@pytest.mark.parametrize(
    ("values", "arguments", "most_wh"),
    [
        ({"energy_import": 5_020}, {"energy": 5_000}, 30.0),  # as counted, and a step more
        ({"energy_import": 9_000}, {"energy": 5_000}, 100.0),  # more than can have flowed
        ({"energy_import": 20}, {"energy": 5_000}, 100.0),  # the counter began anew
        ({}, {"energy": 5_000}, 100.0),
        ({"energy_import": 5_020}, {}, 100.0),  # taken before the profile named a counter
    ],
)
def test_no_more_was_used_than_can_have_flowed_or_was_counted(
    values: dict[str, int], arguments: dict[str, int], most_wh: float
) -> None:
    assert used_most_wh(RISE, values, arguments, flowed_wh=100.0, step_wh=10.0) == most_wh


@pytest.mark.parametrize(
    ("steps", "found", "shown", "word"),
    [
        (1, Risen.BY_AMOUNT, True, ""),
        (0, Risen.NOT, False, ""),
        (None, Risen.BY_AMOUNT, None, ""),
        (1, None, None, ""),
        (1, Risen.NOT, None, "its balance has not risen"),
        (1, Risen.OTHERWISE, None, "by this amount"),
        (0, Risen.BY_AMOUNT, None, "has not counted it"),
        (0, Risen.OTHERWISE, None, "not what use has left"),
        (2, Risen.BY_AMOUNT, None, "neither"),
        (-7, Risen.NOT, None, "neither"),
        (1, Risen.HIDDEN, None, "so much may have been used"),
        (0, Risen.HIDDEN, None, "so much may have been used"),
    ],
)
def test_only_count_and_balance_together_say_done_or_not_done(
    steps: int | None, found: Risen | None, shown: bool | None, word: str
) -> None:
    told = weigh(steps, found)
    assert told.shown is shown
    assert word in told.contradiction
    assert bool(word) is bool(told.contradiction)
