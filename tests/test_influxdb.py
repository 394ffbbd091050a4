"""The InfluxDB sink against an endpoint that records what it is sent: lines, and what an answer means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from hub import (
    Device,
    LinkError,
    Place,
    Reading,
    Rejected,
)
from hub import SinkBusy as Busy
from hub.plugin import open_sink
from hub.sinks.influxdb import InfluxSink
from tests.influx_case import LINES, METER, PROFILE, READINGS, SERIES, Campus, influx, secret_file
from tests.reading_log import NOW_MS, meter_reading
from tests.recording_influx import (
    NO_ANSWER,
    Answer,
    RecordingInflux,
    recording_influx,
)


@pytest.fixture
async def endpoint() -> AsyncIterator[RecordingInflux]:
    async with recording_influx() as recorder:
        yield recorder


@pytest.fixture
async def sink(endpoint: RecordingInflux) -> AsyncIterator[InfluxSink]:
    opened = influx(endpoint.url, timeout_s=1.0)
    yield opened
    await opened.close()


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
