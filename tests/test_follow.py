"""What the hub does for every sink: cursor, order, retry, back-off, patience."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from hub import BadValue, LinkError, Reading, SinkBusy, VirtualClock
from hub.follow import Follower, FollowerLimits
from tests.reading_log import NOW_MS, MemoryLog, following, meter_reading

READINGS = [meter_reading(number) for number in range(300)]


@dataclass(kw_only=True)
class ScriptedSink:
    """Takes everything, after `troubles` have been had, one each; None means no trouble."""

    clock: VirtualClock
    troubles: Iterator[Exception | None] = field(default_factory=lambda: iter(()))
    before: Callable[[], None] = lambda: None
    writes: list[list[Reading]] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    taken: list[Reading] = field(default_factory=list)
    closed: int = 0

    async def write(self, batch: Sequence[Reading]) -> None:
        self.before()
        self.writes.append(list(batch))
        self.times_s.append(self.clock.monotonic_s())
        await asyncio.sleep(0)
        trouble = next(self.troubles, None)
        if trouble is not None:
            raise trouble
        self.taken += batch

    async def close(self) -> None:
        self.closed += 1

    @property
    def pauses_s(self) -> list[float]:
        """The time between one write and the next."""
        return [after - before for before, after in itertools.pairwise(self.times_s)]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start_ms=NOW_MS)


async def test_every_reading_is_delivered_once_and_in_order(clock: VirtualClock) -> None:
    log, sink = MemoryLog(READINGS), ScriptedSink(clock=clock)
    async with following(Follower("influx", sink, log, clock)):
        await log.reached("influx", len(READINGS))
    assert sink.taken == READINGS
    assert max(len(batch) for batch in sink.writes) == FollowerLimits().batch_readings


async def test_readings_that_come_later_follow(clock: VirtualClock) -> None:
    log, sink = MemoryLog(), ScriptedSink(clock=clock)
    async with following(Follower("influx", sink, log, clock)):
        for reading in READINGS[:10]:
            await log.append([reading])
            await log.reached("influx", READINGS.index(reading) + 1)
    assert sink.taken == READINGS[:10]


async def test_a_caught_up_follower_lets_readings_gather(clock: VirtualClock) -> None:
    log, sink = MemoryLog(), ScriptedSink(clock=clock)
    limits = FollowerLimits(linger_s=3.0)
    async with following(Follower("influx", sink, log, clock, limits)):
        await log.append(READINGS[:1])
        await log.reached("influx", 1)
        await log.append(READINGS[1:2])
        await log.append(READINGS[2:3])
        await log.reached("influx", 3)
    assert sink.writes == [READINGS[:1], READINGS[1:3]]
    assert sink.pauses_s == [3.0]


async def test_the_cursor_moves_only_after_the_sink_has_taken_what_lies_before_it(
    clock: VirtualClock,
) -> None:
    log, seen = MemoryLog(READINGS), list[int]()
    sink = ScriptedSink(
        clock=clock,
        troubles=iter([None, LinkError("gone"), None]),
        before=lambda: seen.append(log.cursors.get("influx", 0)),
    )
    async with following(Follower("influx", sink, log, clock)):
        await log.reached("influx", len(READINGS))
    assert seen == [0, 128, 128, 256]
    assert sink.taken == READINGS


async def test_a_new_follower_begins_where_the_last_one_stood(clock: VirtualClock) -> None:
    log, sink = MemoryLog(READINGS), ScriptedSink(clock=clock)
    log.cursors["influx"] = 250
    async with following(Follower("influx", sink, log, clock)):
        await log.reached("influx", len(READINGS))
    assert sink.taken == READINGS[250:]


async def test_after_a_failure_the_same_readings_are_sent_again(clock: VirtualClock) -> None:
    log = MemoryLog(READINGS[:100])
    sink = ScriptedSink(clock=clock, troubles=iter([LinkError("cut")]))
    async with following(Follower("influx", sink, log, clock)):
        await log.reached("influx", 100)
    assert sink.writes == [READINGS[:100], READINGS[:100]]


async def test_pauses_grow_from_one_second_to_a_minute_and_no_further(
    clock: VirtualClock,
) -> None:
    log = MemoryLog(READINGS[:1])
    sink = ScriptedSink(clock=clock, troubles=iter([LinkError("refused")] * 20))
    async with following(Follower("influx", sink, log, clock)):
        await log.reached("influx", 1)
    assert len(sink.pauses_s) == 20
    assert 1.0 <= sink.pauses_s[0] <= 2.0
    assert 2.0 <= sink.pauses_s[1] <= 4.0
    assert all(30.0 <= pause_s <= 60.0 for pause_s in sink.pauses_s[6:])


async def test_after_a_success_pauses_are_short_again(clock: VirtualClock) -> None:
    log = MemoryLog(READINGS[:2])
    troubles = [*[LinkError("refused")] * 8, None, LinkError("refused")]
    sink = ScriptedSink(clock=clock, troubles=iter(troubles))
    limits = FollowerLimits(batch_readings=1)
    async with following(Follower("influx", sink, log, clock, limits)):
        await log.reached("influx", 2)
    assert sink.pauses_s[-1] <= 2.0


@pytest.mark.parametrize(
    ("asked_s", "pause_s"), [(0.0, 1.0), (7.0, 7.0), (600.0, 600.0), (86_400.0, 3600.0)]
)
async def test_a_busy_receiver_is_left_alone_as_long_as_it_asks_within_reason(
    clock: VirtualClock, asked_s: float, pause_s: float
) -> None:
    log = MemoryLog(READINGS[:10])
    sink = ScriptedSink(clock=clock, troubles=iter([SinkBusy("later", asked_s)]))
    async with following(Follower("influx", sink, log, clock)):
        await log.reached("influx", 10)
    assert sink.pauses_s == [pause_s]
    assert sink.taken == READINGS[:10]


async def test_a_busy_receiver_that_names_no_time_gets_the_usual_pause(
    clock: VirtualClock,
) -> None:
    log = MemoryLog(READINGS[:10])
    sink = ScriptedSink(clock=clock, troubles=iter([SinkBusy("later")]))
    async with following(Follower("influx", sink, log, clock)):
        await log.reached("influx", 10)
    assert 1.0 <= sink.pauses_s[0] <= 2.0


class SlowSink:
    """Never comes back with more than ten readings at once."""

    def __init__(self) -> None:
        self.taken: list[Reading] = []

    async def write(self, batch: Sequence[Reading]) -> None:
        if len(batch) > 20:
            await asyncio.Event().wait()
        self.taken += batch

    async def close(self) -> None:
        pass


async def test_a_sink_too_slow_for_large_batches_gets_smaller_ones(clock: VirtualClock) -> None:
    log, sink = MemoryLog(READINGS), SlowSink()
    limits = FollowerLimits(write_timeout_s=0.01)
    async with following(Follower("influx", sink, log, clock, limits)):
        await log.reached("influx", len(READINGS))
    assert sink.taken == READINGS


async def test_a_full_disk_is_waited_out_and_the_readings_sent_again(clock: VirtualClock) -> None:
    log, sink = MemoryLog(READINGS[:10]), ScriptedSink(clock=clock)
    log.full_disk = 3
    async with following(Follower("influx", sink, log, clock)) as follower:
        await log.reached("influx", 10)
    assert sink.writes == [READINGS[:10]] * 4
    assert follower.status.failures == 3


async def test_a_full_disk_at_the_start_is_waited_out(clock: VirtualClock) -> None:
    log, sink = MemoryLog(READINGS[:10]), ScriptedSink(clock=clock)
    log.unreadable = 3
    async with following(Follower("influx", sink, log, clock)) as follower:
        await log.reached("influx", 10)
    assert (sink.writes, follower.status.failures) == ([READINGS[:10]], 3)


@pytest.mark.parametrize("mistake", [KeyError("kind"), ConnectionResetError("cut"), BadValue("x")])
async def test_a_sinks_own_mistake_costs_a_pause_and_no_reading(
    clock: VirtualClock, mistake: Exception
) -> None:
    log = MemoryLog(READINGS)
    sink = ScriptedSink(clock=clock, troubles=iter([None, mistake, mistake]))
    async with following(Follower("influx", sink, log, clock)) as follower:
        await log.reached("influx", len(READINGS))
    assert sink.taken == READINGS
    assert (follower.status.failures, follower.status.rejected) == (2, 0)


async def test_status_tells_what_is_wrong_and_how_old_the_oldest_waiting_reading_is(
    clock: VirtualClock,
) -> None:
    log, told = MemoryLog(READINGS[:10]), list[tuple[str, int | None]]()
    sink = ScriptedSink(clock=clock, troubles=iter([LinkError("connection refused")]))
    follower = Follower("influx", sink, log, clock)
    sink.before = lambda: told.append((follower.status.last_error, follower.status.oldest_ms))
    async with following(follower):
        await log.reached("influx", 10)
        await log.append(READINGS[10:11])
        await log.reached("influx", 11)
    first_ms = READINGS[0].received_ms
    assert told == [
        ("", first_ms),
        ("connection refused", first_ms),
        ("", READINGS[10].received_ms),
    ]
    assert (follower.status.delivered, follower.status.cursor) == (11, 11)


async def test_cancelled_it_closes_the_sink_once_and_lets_go(clock: VirtualClock) -> None:
    log, sink = MemoryLog(READINGS), ScriptedSink(clock=clock)
    task = asyncio.create_task(Follower("influx", sink, log, clock).run())
    await log.reached("influx", 128)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sink.closed == 1


@pytest.mark.parametrize("turns", range(1, 60, 3))
async def test_cancelled_at_any_await_nothing_is_lost_for_the_next_follower(
    clock: VirtualClock, turns: int
) -> None:
    log, first, second = MemoryLog(READINGS), ScriptedSink(clock=clock), ScriptedSink(clock=clock)
    async with following(Follower("influx", first, log, clock)):
        for _ in range(turns):
            await asyncio.sleep(0)
    async with following(Follower("influx", second, log, clock)):
        await log.reached("influx", len(READINGS))
    assert first.closed == 1
    again = len(first.taken) + len(second.taken) - len(READINGS)
    assert 0 <= again <= FollowerLimits().batch_readings
    assert first.taken[: len(READINGS) - len(second.taken)] + second.taken == READINGS
