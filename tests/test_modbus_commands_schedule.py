"""A device asked for out of its turn, and the right of way on a bus."""

from __future__ import annotations

import asyncio

import pytest

from drivers.modbus.right_of_way import POLLING, RightOfWay
from drivers.modbus.schedule import Schedule, Turn
from hub import LinkError, Priority

PERIOD_S = 10.0
NAMES = tuple(f"m-{number}" for number in range(20))


def schedule(period_s: float = PERIOD_S) -> Schedule:
    turns = [Turn(name, period_s) for name in NAMES]
    return Schedule(turns, now_s=0.0, wall_s=0.0, attempt_s=1.0)


def served(made: Schedule, wanted: tuple[str, ...], turns: int, turn_s: float) -> list[str]:
    """Who has these many turns, each so long, while `wanted` are asked for again and again."""
    now_s, names = 100.0, []
    for _ in range(turns):
        for name in wanted:
            made.refresh(name)
        turn = made.take(now_s)
        assert turn is not None
        names.append(turn.device)
        now_s += turn_s
        made.answered(turn, now_s)
    return names


def test_a_device_asked_for_is_next() -> None:
    made = schedule()
    made.refresh("m-7")
    assert made.wait_s(0.0, 5.0) == 0.0
    turn = made.take(0.0)
    assert turn is not None
    assert turn.device == "m-7"


def test_whoever_asks_again_and_again_gets_every_second_turn_and_nobody_starves() -> None:
    names = served(schedule(0.1), ("m-7", "m-8"), 80, 1.0)
    assert names.count("m-7") + names.count("m-8") <= 44
    assert set(names) == set(NAMES)


def test_a_device_asked_for_during_its_turn_has_another_one() -> None:
    made = schedule()
    made.refresh("m-7")
    first = made.take(0.0)
    assert first is not None
    made.refresh("m-7")
    assert made.take(0.0) is None
    made.answered(first, 0.1)
    assert made.take(0.1) is first


def test_asking_for_a_device_does_not_move_its_own_period() -> None:
    asked, left = schedule(), schedule()
    asked.refresh("m-7")
    turn = asked.take(0.0)
    assert turn is not None
    asked.answered(turn, 0.1)
    assert asked.wait_s(0.2, 60.0) == left.wait_s(0.2, 60.0)


def test_a_silent_device_asked_for_is_next_and_is_not_looked_for_less_often() -> None:
    silent = Turn("m-7", PERIOD_S)
    made = Schedule([silent], now_s=0.0, wall_s=0.0, attempt_s=1.0)
    now_s = 0.0
    for _ in range(6):
        made.refresh("m-7")
        assert made.take(now_s) is silent
        now_s += 1.0
        made.missed(silent, now_s, 1.0)
    assert made.silent_count == 1
    assert silent.misses == 2
    assert made.wait_s(now_s, 600.0) <= 5.0


def test_a_device_that_rests_is_not_asked_even_when_that_is_wished() -> None:
    made = schedule()
    made.rest("m-7", 30.0)
    made.refresh("m-7")
    names = [turn.device for turn in iter(lambda: made.take(29.0), None)]
    assert "m-7" not in names
    assert made.wait_s(29.0, 60.0) == 1.0
    turn = made.take(30.0)
    assert turn is not None
    assert turn.device == "m-7"


async def test_the_most_urgent_goes_first_and_polling_last() -> None:
    way, order = RightOfWay(), []
    await way.take(POLLING)

    async def go(urgency: int) -> None:
        await way.take(urgency)
        order.append(urgency)
        way.give_back()

    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(go(urgency)) for urgency in (POLLING, *reversed(Priority))]
        first = tasks.create_task(asyncio.wait(waits, timeout=0.01))
        await first
        assert way.is_wanted(POLLING)
        way.give_back()
    assert order == [0, 1, 2, 3, POLLING]


async def test_whoever_is_cancelled_while_waiting_keeps_nobody_from_going() -> None:
    way = RightOfWay()
    await way.take(POLLING)
    waits = [asyncio.create_task(way.take(Priority.SAFETY)) for _ in range(3)]
    await asyncio.wait(waits, timeout=0.01)
    waits[0].cancel()
    way.give_back()
    waits[1].cancel()  # it has just been given the way
    async with asyncio.timeout(5):
        await waits[2]
    way.give_back()
    assert not way.is_wanted(POLLING)


async def test_nobody_waits_for_a_closed_bus() -> None:
    way = RightOfWay()
    await way.take(POLLING)
    waits = asyncio.create_task(way.take(Priority.SAFETY))
    await asyncio.wait((waits,), timeout=0.01)
    way.close()
    with pytest.raises(LinkError, match="closed"):
        await waits
    with pytest.raises(LinkError, match="closed"):
        await way.take(Priority.SAFETY)
