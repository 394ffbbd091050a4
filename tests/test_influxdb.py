"""The InfluxDB sink against an endpoint that records what it is sent and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from hub import (
    ConfigError,
    Device,
    LinkError,
    Place,
    Reading,
    Rejected,
    VirtualClock,
    load_profiles,
)
from hub import SinkBusy as Busy
from hub.follow import Follower, FollowerLimits
from hub.plugin import open_sink, sink_names
from hub.sinks.influxdb import InfluxSettings, InfluxSink
from tests.reading_log import NOW_MS, MemoryLog, following, meter_reading
from tests.recording_influx import (
    CUT,
    NO_ANSWER,
    Answer,
    RecordingInflux,
    Request,
    recording_influx,
)

PROFILE = load_profiles().get("eastron_sdm120", {}, place="tests")
METER = Device(
    id="m-1",
    profile=PROFILE,
    link="b1-f1",
    address="1",
    place=Place(building="B 1", floor="1", room="101"),
)
SERIES = (
    r"electricity_meter,building=B\ 1,device=m-1,floor=1,link=b1-f1,profile=eastron_sdm120,room=101"
)
READINGS = [meter_reading(number) for number in range(100)]
LINES = [
    f"{SERIES} active_power_total={n + 0.5},energy_import={n * 10}i {NOW_MS + n * 60_000}"
    for n in range(100)
]


class Campus:
    """A directory whose devices may move."""

    def __init__(self, *devices: Device) -> None:
        self.devices = {device.id: device for device in devices}

    def device(self, name: str) -> Device | None:
        return self.devices.get(name)


def influx(url: str, **settings: object) -> InfluxSink:
    """The sink as the hub opens it."""
    wanted = {"url": url, "bucket": "campus", "org": "dorm", **settings}
    sink = open_sink("influxdb", wanted, Campus(METER), file="hub.toml", key="sinks.longterm")
    assert isinstance(sink, InfluxSink)
    return sink


@pytest.fixture
async def endpoint() -> AsyncIterator[RecordingInflux]:
    async with recording_influx() as recorder:
        yield recorder


@pytest.fixture
async def sink(endpoint: RecordingInflux) -> AsyncIterator[InfluxSink]:
    opened = influx(endpoint.url, timeout_s=1.0)
    yield opened
    await opened.close()


async def follow(endpoint: RecordingInflux, readings: Sequence[Reading]) -> Follower:
    """Follow these readings to the endpoint until all are done with; on virtual time."""
    log, clock = MemoryLog(readings), VirtualClock(start_ms=NOW_MS)
    sink = influx(endpoint.url, timeout_s=0.5)
    async with following(Follower("influx", sink, log, clock)) as follower:
        await log.reached("influx", len(readings))
    assert follower.status.rejected == len(log.poison)
    return follower


# What is sent


async def test_readings_become_lines_in_order_with_place_and_time(
    endpoint: RecordingInflux, sink: InfluxSink
) -> None:
    await sink.write(READINGS)
    (request,) = endpoint.requests
    assert request.lines == LINES
    assert request.query == {"org": ["dorm"], "bucket": ["campus"], "precision": ["ms"]}
    assert "content-encoding" not in request.headers
    assert "authorization" not in request.headers


async def test_with_gzip_the_lines_go_packed(endpoint: RecordingInflux) -> None:
    sink = influx(endpoint.url, gzip=True)
    await sink.write(READINGS[:2])
    await sink.close()
    assert endpoint.requests[0].headers["content-encoding"] == "gzip"
    assert endpoint.taken == LINES[:2]


async def test_the_token_is_read_from_its_file(endpoint: RecordingInflux, tmp_path: Path) -> None:
    sink = influx(endpoint.url, token_file=secret_file(tmp_path))
    await sink.write(READINGS[:1])
    await sink.close()
    assert endpoint.requests[0].headers["authorization"] == "Token s3cret"


async def test_with_a_user_name_the_file_holds_the_password(
    endpoint: RecordingInflux, tmp_path: Path
) -> None:
    sink = influx(endpoint.url, token_file=secret_file(tmp_path), username="hub")
    await sink.write(READINGS[:1])
    await sink.close()
    assert endpoint.requests[0].headers["authorization"] == "Basic aHViOnMzY3JldA=="


def secret_file(folder: Path, text: str = "s3cret\n", mode: int = 0o600) -> str:
    path = folder / "influx.token"
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return str(path)


async def test_plates_credentials_and_bad_points_never_leave(
    endpoint: RecordingInflux, sink: InfluxSink
) -> None:
    passage = Reading(
        device="m-1",
        time_ms=NOW_MS,
        received_ms=NOW_MS,
        values={"plate": "MARKER1", "credential": "MARKER2", "direction": "in"},
        bad={"frequency": "out of range"},
    )
    await sink.write([passage])
    assert endpoint.taken == [f'{SERIES} direction="in" {NOW_MS}']


async def test_a_reading_with_nothing_to_tell_is_skipped_and_counted(
    endpoint: RecordingInflux, sink: InfluxSink
) -> None:
    silent = msgspec.structs.replace(READINGS[0], values={"plate": "MARKER"})
    await sink.write([silent])
    await sink.write([silent, READINGS[1]])
    assert endpoint.taken == LINES[1:2]
    assert sink.skipped == 2


async def test_a_links_own_counts_and_a_retired_device_are_kept_apart_from_the_meters(
    endpoint: RecordingInflux, sink: InfluxSink
) -> None:
    own = msgspec.structs.replace(READINGS[0], device="b1-f1", values={"link_requests": 7})
    await sink.write([own, meter_reading(0, device="gone")])
    assert [text.split(" ")[0] for text in endpoint.taken] == [
        "link,device=b1-f1",
        "unknown,device=gone",
    ]


async def test_a_device_that_moved_writes_its_new_place_from_then_on(
    endpoint: RecordingInflux,
) -> None:
    campus = Campus(METER)
    sink = open_sink(
        "influxdb",
        {"url": endpoint.url, "bucket": "b"},
        campus,
        file="hub.toml",
        key="sinks.longterm",
    )
    await sink.write(READINGS[:1])
    campus.devices["m-1"] = Device(
        id="m-1", profile=PROFILE, link="b1-f1", address="1", place=Place(building="C")
    )
    await sink.write(READINGS[1:2])
    await sink.close()
    assert [r"building=B\ 1" in text for text in endpoint.taken] == [True, False]
    assert ["building=C" in text for text in endpoint.taken] == [False, True]


# What an answer means


@pytest.mark.parametrize("status", [400, 422])
async def test_400_and_422_are_about_the_content(
    endpoint: RecordingInflux, sink: InfluxSink, status: int
) -> None:
    endpoint.script.append(Answer(status=status, body=b'{"message": "field type conflict"}'))
    with pytest.raises(Rejected, match=f"^HTTP {status}: field type conflict$"):
        await sink.write(READINGS)


async def test_whatever_the_receiver_says_can_be_written_down(
    endpoint: RecordingInflux, sink: InfluxSink
) -> None:
    endpoint.script.append(Answer(status=400, body=b'{"message": "\\ud800 ' + b"x" * 999 + b'"}'))
    with pytest.raises(Rejected) as caught:
        await sink.write(READINGS)
    assert len(str(caught.value).encode()) < 250


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 405, 408, 500, 502, 504])
async def test_every_other_error_is_the_links_and_no_readings_fault(
    endpoint: RecordingInflux, sink: InfluxSink, status: int
) -> None:
    elsewhere = (("Location", endpoint.url + "/elsewhere"),)
    endpoint.script.append(Answer(status=status, headers=elsewhere, body=b"bucket not found"))
    with pytest.raises(LinkError, match=f"^HTTP {status}: .*bucket not found"):
        await sink.write(READINGS)
    assert len(endpoint.requests) == 1


async def test_a_200_is_not_the_answer_of_an_influxdb(
    endpoint: RecordingInflux, sink: InfluxSink
) -> None:
    endpoint.script.append(Answer(status=200, body=b"<html>Please log in</html>"))
    with pytest.raises(LinkError, match="look at the url"):
        await sink.write(READINGS)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("headers", "retry_after_s"),
    [
        ((("Retry-After", "17"),), 17.0),
        (
            (
                ("Date", "Sun, 22 Nov 2026 19:00:00 GMT"),
                ("Retry-After", "Sun, 22 Nov 2026 19:02:00 GMT"),
            ),
            120.0,
        ),
        (
            (
                ("Date", "Sun, 22 Nov 2026 19:00:00 GMT"),
                ("Retry-After", "Sun, 22 Nov 2026 18:00:00 GMT"),
            ),
            0.0,
        ),
        ((("Retry-After", "Sun, 22 Nov 2026 19:02:00 GMT"),), None),
        (
            (
                ("Date", "Sun, 22 Nov 2026 19:00:00 GMT"),
                ("Retry-After", "Sun, 22 Nov 2026 19:02:00 -0000"),
            ),
            120.0,
        ),
        ((("Retry-After", "soon"),), None),
        ((), None),
    ],
)
async def test_429_and_503_ask_for_patience_in_seconds_or_until_a_date(
    endpoint: RecordingInflux,
    sink: InfluxSink,
    status: int,
    headers: tuple[tuple[str, str], ...],
    retry_after_s: float | None,
) -> None:
    endpoint.script.append(Answer(status=status, headers=headers, body=b"busy"))
    with pytest.raises(Busy) as caught:
        await sink.write(READINGS)
    assert caught.value.retry_after_s == retry_after_s


async def test_413_makes_bodies_smaller_and_everything_arrives_in_order(
    endpoint: RecordingInflux, sink: InfluxSink
) -> None:
    endpoint.judge = lambda request: Answer(status=413 if len(request.lines) > 30 else 204)
    await sink.write(READINGS)
    await sink.write(READINGS[:50])
    assert endpoint.taken == LINES + LINES[:50]
    assert [len(request.lines) for request in endpoint.requests] == [100, 50, *[25] * 6]


async def test_a_single_line_that_is_too_large_is_refused_and_others_go_in_full_bodies_again(
    endpoint: RecordingInflux, sink: InfluxSink
) -> None:
    huge = msgspec.structs.replace(READINGS[0], values={"order": "x" * 200})
    endpoint.judge = lambda request: Answer(status=413 if b"xxx" in request.body else 204)
    with pytest.raises(Rejected, match=r"^HTTP 413"):
        await sink.write([huge, *READINGS])
    await sink.write(READINGS)
    assert endpoint.taken == LINES


async def test_silence_is_a_link_error_after_the_time_out(endpoint: RecordingInflux) -> None:
    sink = influx(endpoint.url, timeout_s=0.1)
    endpoint.script.append(Answer(status=NO_ANSWER))
    with pytest.raises(LinkError, match=r"no answer within 0\.1 s"):
        await sink.write(READINGS)
    await sink.close()


async def test_nobody_listening_is_a_link_error() -> None:
    async with recording_influx() as gone:
        url = gone.url
    sink = influx(url)
    with pytest.raises(LinkError, match="Cannot connect"):
        await sink.write(READINGS)
    await sink.close()


async def test_after_401_the_token_is_read_anew(endpoint: RecordingInflux, tmp_path: Path) -> None:
    endpoint.script.append(Answer(status=401, body=b'{"message": "unauthorized access"}'))
    sink = influx(endpoint.url, token_file=secret_file(tmp_path, "old"))
    with pytest.raises(LinkError, match="unauthorized access") as caught:
        await sink.write(READINGS)
    secret_file(tmp_path, "new")
    await sink.write(READINGS)
    await sink.close()
    assert endpoint.requests[1].headers["authorization"] == "Token new"
    assert "old" not in str(caught.value)


async def test_a_token_file_gone_while_running_is_a_link_error(
    endpoint: RecordingInflux, tmp_path: Path
) -> None:
    sink = influx(endpoint.url, token_file=secret_file(tmp_path))
    (tmp_path / "influx.token").unlink()
    with pytest.raises(LinkError, match="cannot read"):
        await sink.write(READINGS)


# Sink and follower together


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


# Settings


def test_the_sink_is_found_by_its_entry_point() -> None:
    assert "influxdb" in sink_names()


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"url": "influx:8086"}, "sinks.longterm.url"),
        ({"url": "ftp://influx"}, "sinks.longterm.url"),
        ({"url": "http://a:b@influx"}, "sinks.longterm.url"),
        ({"bucket": ""}, "sinks.longterm.bucket"),
        ({"timeout_s": 0.0}, "sinks.longterm.timeout_s"),
        ({"timeout_s": "10"}, "sinks.longterm.timeout_s"),
        ({"username": "hub"}, "sinks.longterm.token_file"),
        ({"token_file": "/nowhere/token"}, "sinks.longterm.token_file"),
        ({"ca_file": "/nowhere/ca.pem"}, "sinks.longterm.ca_file"),
        ({"token": "s3cret"}, "sinks.longterm"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        influx(str(settings.pop("url", "http://influx:8086")), **settings)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("text", "mode", "found"),
    [("", 0o600, "no token"), ("two\nlines", 0o600, "no token"), ("s3cret", 0o644, "everybody")],
)
def test_a_token_file_that_will_not_do_is_refused_without_showing_it(
    tmp_path: Path, text: str, mode: int, found: str
) -> None:
    with pytest.raises(ConfigError, match=found) as caught:
        influx("http://influx:8086", token_file=secret_file(tmp_path, text, mode))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("key", InfluxSettings.__struct_fields__)
def test_every_setting_is_explained(key: str) -> None:
    assert f"| `{key}` |" in Path("docs/influxdb.md").read_text("utf-8")
