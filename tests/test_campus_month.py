"""A town's month in virtual time: what was used, paid, cut and settled is what the books say."""

from __future__ import annotations

import pytest

from hub.campus.orders.orders import OrderState
from tests.month_judge import complaints, told
from tests.month_people import Plan
from tests.month_town import Town, live

LEDGER_TABLES = ("postings", "balances")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Town:
    """A month of twenty rooms, read hourly; the judge has looked at nothing yet."""
    seed: int = request.config.getoption("--seed")
    plan = Plan(rooms=20, seed=seed, kills=4, period_s=3_600, stride_s=3_600)
    return live(tmp_path_factory.mktemp("month") / "town", plan)


@pytest.mark.timeout(300)
def test_after_a_month_every_room_has_what_it_paid_less_what_it_used(town: Town) -> None:
    assert complaints(town) == []
    assert told(town)[OrderState.DELIVERED] > 10
    assert len(town.down) >= 4
    assert len(town.swaps) == 3
