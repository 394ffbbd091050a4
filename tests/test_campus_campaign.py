"""Payments through the signed door of a real hub to meters that keep their own money."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.campus.orders import OrderState
from tests.payment_judge import complaints, told
from tests.payment_town import Plan, campaign


async def test_what_is_paid_once_is_once_in_the_meter(tmp_path: Path, seed: int) -> None:
    plan = Plan(orders=8, meters=2, kills=0, pace=16, delivery_s=60, seed=seed, rough=False)
    after = await campaign(tmp_path, plan)
    assert complaints(after) == []
    assert told(after) == {OrderState.DELIVERED: 8}


@pytest.mark.timeout(300)
async def test_killed_at_any_moment_each_meter_has_exactly_what_was_delivered(
    tmp_path: Path, seed: int
) -> None:
    plan = Plan(orders=48, meters=8, kills=3, pace=6, delivery_s=15, seed=seed)
    after = await campaign(tmp_path, plan)
    print(f"{plan}: {dict(told(after))}, {after.resolved} found out by a person")
    assert complaints(after) == []
    assert told(after)[OrderState.DELIVERED] > 0
