"""The search for a refused reading, and what is believed of a receiver that refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import LinkError, Reading, Rejected, VirtualClock
from hub.follow import DOUBT_S, Follower, FollowerLimits
from tests.reading_log import NOW_MS, MemoryLog, following, meter_reading


@dataclass(kw_only=True)
class PickySink:
    """Refuses any batch that holds a reading of a device in `hated`; is away for its first `outages`."""

    hated: frozenset[str] = frozenset({"bad"})
    outages: int = 0
    requests: int = 0
    taken: list[Reading] = field(default_factory=list)

    async def write(self, batch: Sequence[Reading]) -> None:
        self.requests += 1
        if self.requests <= self.outages:
            raise LinkError("connection refused")
        if any(reading.device in self.hated for reading in batch):
            raise Rejected("HTTP 400: no such luck")
        self.taken += batch

    async def close(self) -> None:
        pass


def readings(number: int, bad: frozenset[int]) -> list[Reading]:
    return [meter_reading(n, device="bad" if n in bad else "m-1") for n in range(number)]


async def deliver(log: MemoryLog, sink: PickySink, limits: FollowerLimits) -> Follower:
    """Follow the whole log."""
    clock = VirtualClock(start_ms=NOW_MS)
    async with following(Follower("influx", sink, log, clock, limits)) as follower:
        await log.reached("influx", len(log.stored))
    return follower


@pytest.mark.parametrize("position", range(128))
async def test_one_bad_reading_of_128_is_found_and_the_rest_delivered_within_10_requests(
    position: int,
) -> None:
    given_ = readings(128, frozenset({position}))
    log, sink = MemoryLog(given_), PickySink()
    follower = await deliver(log, sink, FollowerLimits())
    assert sink.requests <= 10
    assert sink.taken == given_[:position] + given_[position + 1 :]
    assert (follower.status.rejected, follower.status.delivered) == (1, 127)
    assert follower.status.failures == 0


@pytest.mark.parametrize("position", [0, 1, 2499, 2500, 4998, 4999])
async def test_one_bad_reading_of_5000_is_found_within_16_requests(position: int) -> None:
    given_ = readings(5000, frozenset({position}))
    log, sink = MemoryLog(given_), PickySink()
    await deliver(log, sink, FollowerLimits(batch_readings=5000))
    assert sink.requests <= 16
    assert len(sink.taken) == 4999


@given(st.integers(2, 128).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_every_good_reading_is_delivered_once_in_order_and_every_bad_one_kept_once(
    case: tuple[int, set[int]],
) -> None:
    number, positions = case
    given_ = readings(number, frozenset(positions - {number - 1}))  # one at least is good
    good = [reading for reading in given_ if reading.device != "bad"]
    bad = [reading for reading in given_ if reading.device == "bad"]
    log, sink = asyncio.run(_followed(given_))
    assert sink.taken == good
    assert [
        msgspec.json.decode(item.payload.split(b"\n")[1])["time_ms"] for item in log.poison
    ] == [reading.time_ms for reading in bad]
    assert sink.requests <= 1 + 3 * number


async def _followed(given_: list[Reading]) -> tuple[MemoryLog, PickySink]:
    log, sink = MemoryLog(given_), PickySink()
    await deliver(log, sink, FollowerLimits())
    return log, sink


async def test_a_refused_reading_is_kept_with_the_reason_and_without_its_secrets() -> None:
    passage = replace_values(meter_reading(1, device="bad"), {"plate": "MARKER", "direction": "in"})
    log, sink = MemoryLog([meter_reading(0), passage]), PickySink()
    await deliver(log, sink, FollowerLimits())
    (poison,) = log.poison
    assert (poison.link, poison.source, poison.reason) == ("influx", "bad", "refused")
    assert b"HTTP 400: no such luck" in poison.payload
    assert b'"direction":"in"' in poison.payload
    assert b"MARKER" not in poison.payload


def replace_values(reading: Reading, values: dict[str, str]) -> Reading:
    return msgspec.structs.replace(reading, values=values)


async def test_a_receiver_that_refuses_everything_is_not_believed_and_nothing_is_lost() -> None:
    given_ = readings(300, frozenset())
    log, sink, clock = MemoryLog(given_), PickySink(hated=frozenset({"m-1"})), _clock()
    async with following(Follower("influx", sink, log, clock)) as follower:
        await _requests(sink, 500)
        status = follower.status
        sink.hated = frozenset()
        await log.reached("influx", 300)
    assert status.last_error == "influx refuses everything: HTTP 400: no such luck"
    assert (status.rejected, status.cursor) == (0, 0)
    assert sink.taken == given_
    assert log.poison == []
    assert follower.status.last_error == ""


async def test_after_an_hour_without_success_a_refusal_of_everything_is_believed() -> None:
    given_ = readings(200, frozenset(range(200)))
    log, sink, clock = MemoryLog([*given_, meter_reading(200)]), PickySink(), _clock()
    async with following(Follower("influx", sink, log, clock)):
        await log.reached("influx", 201)
    assert clock.monotonic_s() >= DOUBT_S
    assert len(log.poison) == 200
    assert sink.taken == [meter_reading(200)]


async def test_a_bad_reading_alone_waits_until_another_shows_that_the_receiver_is_well() -> None:
    log, sink, clock = MemoryLog(readings(1, frozenset({0}))), PickySink(), _clock()
    async with following(Follower("influx", sink, log, clock)) as follower:
        await _requests(sink, 5)
        waiting = follower.status
        await log.append([meter_reading(1)])
        await log.reached("influx", 2)
    assert (waiting.cursor, waiting.rejected) == (0, 0)
    assert (follower.status.rejected, follower.status.delivered) == (1, 1)


async def test_a_bad_reading_first_after_an_outage_does_not_wait_for_company() -> None:
    given_ = readings(100, frozenset({0}))
    log, clock = MemoryLog(given_), _clock()
    sink = PickySink(outages=20)
    async with following(Follower("influx", sink, log, clock)):
        await log.reached("influx", 100)
    assert sink.taken == given_[1:]
    assert clock.monotonic_s() < DOUBT_S


async def test_a_full_disk_during_the_search_loses_no_refusal() -> None:
    given_ = readings(50, frozenset({20}))
    log, sink = MemoryLog(given_), PickySink()
    log.full_disk = 2
    await deliver(log, sink, FollowerLimits())
    assert len(log.poison) == 1
    assert {reading.time_ms for reading in sink.taken} == {
        reading.time_ms for reading in given_ if reading.device != "bad"
    }


def _clock() -> VirtualClock:
    return VirtualClock(start_ms=NOW_MS)


async def _requests(sink: PickySink, number: int) -> None:
    """Return when the sink has seen so many requests."""
    async with asyncio.timeout(20):
        while sink.requests < number:
            await asyncio.sleep(0)
