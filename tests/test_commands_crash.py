"""The hub is killed at random moments, start-up included, while devices are told things."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from hub import State, audit
from hub.ledger import open_reader
from tests.crash_judge import complaints
from tests.crash_town import DEVICES, Aftermath, campaign
from tests.servers import Server

KILLS_A_ROUND = 5
ROUNDS_A_CAMPAIGN = 10  # more are several campaigns, each on a campus of its own


def told(after: Aftermath) -> Counter[tuple[str, str]]:
    return Counter((DEVICES[row.device], row.state.value) for row in after.known)


@pytest.mark.timeout(86_400)
async def test_killed_at_any_moment_nothing_taken_is_missing_or_done_twice_or_called_done_wrongly(
    mosquitto: Server, tmp_path: Path, rounds: int, seed: int
) -> None:
    chance = random.Random(seed)
    for number, first in enumerate(range(0, rounds, ROUNDS_A_CAMPAIGN)):
        kills = KILLS_A_ROUND * min(ROUNDS_A_CAMPAIGN, rounds - first)
        after = await campaign(tmp_path / f"campaign-{number}", mosquitto.port, kills, chance)
        print(
            f"{kills} kills, {after.caller.lost} answers lost:", dict(sorted(told(after).items()))
        )
        assert complaints(after) == []
        assert {kind for kind, state in told(after) if state == State.CONFIRMED} >= {
            "board",
            "lane",
        }
        with open_reader(after.data / "ledger.db") as connection:
            assert audit.verify(connection) is None
