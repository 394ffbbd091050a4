"""Payments through the signed door of a real hub to meters that keep their own money."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.campus.orders.orders import OrderState
from tests.payment_judge import complaints, told
from tests.payment_town import Plan, campaign

CREDIT = '{{"time_ms":1,"device":"{}","deed":"credited","values":{{"fen":{},"count":1}}}}'


async def test_what_is_paid_once_is_once_in_the_meter_and_one_credit_more_is_seen(
    tmp_path: Path, seed: int
) -> None:
    plan = Plan(orders=8, meters=2, kills=0, pace=16, delivery_s=60, seed=seed, rough=False)
    after = await campaign(tmp_path, plan)
    assert complaints(after) == []
    assert told(after) == {OrderState.DELIVERED: 8}
    with after.deeds.open("a", encoding="utf-8") as deeds:
        deeds.write(CREDIT.format("meter-0", 100) + "\n" + CREDIT.format("meter-1", 7) + "\n")
    assert sorted(complaints(after)) == [
        "meter-0 has 512 fen, 412 were delivered",
        "meter-1 has 423 fen, 416 were delivered",
        "nobody paid 7 fen of meter-1",
        "order/campus-pay/T00000001 is delivered (), credited 2 times",
    ]


@pytest.mark.timeout(300)
async def test_killed_at_any_moment_each_meter_has_exactly_what_was_delivered(
    tmp_path: Path, seed: int
) -> None:
    plan = Plan(orders=48, meters=8, kills=3, cuts=2, pace=6, delivery_s=15, seed=seed)
    after = await campaign(tmp_path, plan)
    print(f"{plan}: {dict(told(after))}, {after.resolved} found out by a person")
    assert complaints(after) == []
    assert told(after)[OrderState.DELIVERED] > 0
    assert min(after.teller.repeated, after.teller.concurrent, after.teller.overtaken) > 0
