"""InfluxDB sink and follower together, against an endpoint that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from hub import (
    Reading,
    VirtualClock,
)
from hub.follow import Follower, FollowerLimits
from tests.influx_case import LINES, READINGS, influx
from tests.reading_log import NOW_MS, MemoryLog, following
from tests.recording_influx import (
    CUT,
    NO_ANSWER,
    Answer,
    RecordingInflux,
    Request,
    recording_influx,
)


@pytest.fixture
async def endpoint() -> AsyncIterator[RecordingInflux]:
    async with recording_influx() as recorder:
        yield recorder


async def follow(endpoint: RecordingInflux, readings: Sequence[Reading]) -> Follower:
    """Follow these readings to the endpoint until all are done with; on virtual time."""
    log, clock = MemoryLog(readings), VirtualClock(start_ms=NOW_MS)
    sink = influx(endpoint.url, timeout_s=0.5)
    async with following(Follower("influx", sink, log, clock)) as follower:
        await log.reached("influx", len(readings))
    assert follower.status.rejected == len(log.poison)
    return follower


async def test_a_connection_cut_in_the_answer_sends_the_very_same_bytes_again(
    endpoint: RecordingInflux,
) -> None:
    endpoint.script.append(Answer(status=CUT))
    await follow(endpoint, READINGS)
    first, second = endpoint.requests
    assert first.body == second.body
    assert second.lines == LINES


async def test_a_time_out_sends_the_same_readings_again(endpoint: RecordingInflux) -> None:
    endpoint.script.append(Answer(status=NO_ANSWER))
    follower = await follow(endpoint, READINGS)
    assert [request.lines for request in endpoint.requests] == [LINES, LINES]
    assert follower.status.failures == 1


async def test_through_errors_of_every_kind_all_arrives_in_order(
    endpoint: RecordingInflux,
) -> None:
    troubles = [Answer(status=status) for status in (503, 500, 401, CUT, 404, 429, 413, NO_ANSWER)]
    endpoint.script.extend(troubles)
    follower = await follow(endpoint, READINGS)
    assert list(dict.fromkeys(endpoint.taken)) == LINES
    assert follower.status.rejected == 0


async def test_retry_after_is_obeyed(endpoint: RecordingInflux) -> None:
    clock, log = VirtualClock(start_ms=NOW_MS), MemoryLog(READINGS)
    endpoint.script.append(Answer(status=429, headers=(("Retry-After", "90"),)))
    times_s = list[float]()
    endpoint.judge = lambda request: (times_s.append(clock.monotonic_s()), Answer())[1]
    async with following(Follower("influx", influx(endpoint.url), log, clock)):
        await log.reached("influx", 100)
    assert times_s == [90.0]
    assert endpoint.taken == LINES


async def test_one_bad_line_is_found_within_ten_requests_and_the_others_arrive_in_order(
    endpoint: RecordingInflux,
) -> None:
    endpoint.judge = lambda request: Answer(
        status=400 if LINES[37] in request.lines else 204, body=b'{"message": "bad timestamp"}'
    )
    follower = await follow(endpoint, READINGS)
    assert len(endpoint.requests) <= 10
    assert endpoint.taken == LINES[:37] + LINES[38:]
    assert (follower.status.delivered, follower.status.rejected) == (99, 1)


async def test_a_missing_bucket_quarantines_nothing_and_all_arrives_once_it_is_there(
    endpoint: RecordingInflux,
) -> None:
    endpoint.script.extend([Answer(status=404, body=b'{"message": "bucket not found"}')] * 30)
    follower = await follow(endpoint, READINGS)
    assert endpoint.taken == LINES
    assert (follower.status.rejected, follower.status.failures) == (0, 30)


async def test_a_receiver_that_stores_a_part_and_refuses_the_rest_ends_with_every_good_line(
    endpoint: RecordingInflux,
) -> None:
    """InfluxDB writes the good lines of a refused body: the search sends them again, unchanged."""
    stored = dict[str, str]()

    def partly(request: Request) -> Answer:
        good = [text for text in request.lines if text != LINES[5]]
        for text in good:
            series, fields, time = text.rsplit(" ", 2)
            assert stored.setdefault(f"{series} {time}", fields) == fields
        return Answer(status=204 if good == request.lines else 422, body=b"partial write")

    endpoint.judge = partly
    await follow(endpoint, READINGS)
    assert len(stored) == 99


async def test_a_slow_receiver_gets_smaller_batches_until_it_answers_in_time(
    endpoint: RecordingInflux,
) -> None:
    endpoint.judge = lambda request: Answer(status=204 if len(request.lines) <= 10 else NO_ANSWER)
    log, clock = MemoryLog(READINGS[:40]), VirtualClock(start_ms=NOW_MS)
    sink = influx(endpoint.url, timeout_s=0.1)
    limits = FollowerLimits(batch_readings=40)
    async with following(Follower("influx", sink, log, clock, limits)):
        await log.reached("influx", 40)
    assert endpoint.taken == LINES[:40]


async def test_cancelled_while_the_receiver_is_silent_it_ends_at_once(
    endpoint: RecordingInflux,
) -> None:
    endpoint.script.append(Answer(status=NO_ANSWER))
    log, clock = MemoryLog(READINGS), VirtualClock(start_ms=NOW_MS)
    task = asyncio.create_task(Follower("influx", influx(endpoint.url), log, clock).run())
    await endpoint.wait_for(lambda: len(endpoint.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log.cursors == {}
