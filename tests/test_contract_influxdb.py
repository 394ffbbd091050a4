"""The InfluxDB sink against the contract every sink keeps, with an endpoint that records what it is sent."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hub import Directory, Sink, Value
from hub.plugin import open_sink
from simulators.contract_sink import *  # noqa: F403
from simulators.contract_sink import Receiver, ReceiverBehaviour, SinkCase, Stored
from tests.recording_influx import CUT, Answer, RecordingInflux, recording_influx

_ANSWERS = {
    ReceiverBehaviour.WELL: Answer(),
    ReceiverBehaviour.BUSY: Answer(status=503, headers=(("Retry-After", "7"),)),
    ReceiverBehaviour.REFUSING: Answer(status=400, body=b'{"code":"invalid","message":"no"}'),
}
_GONE = Answer(status=CUT)
_LINE = re.compile(r"\w+,(?:\\.|[^ \\])*?device=([^, ]+)(?:\\.|[^ \\])* (\S+) (\d+)")


class RecordedInflux:
    """The endpoint, and what its taken lines say, read without the sink's own code."""

    def __init__(self, endpoint: RecordingInflux) -> None:
        self._endpoint = endpoint

    def open(self, directory: Directory) -> Sink:
        settings = {"url": self._endpoint.url, "bucket": "campus", "org": "dorm", "timeout_s": 2.0}
        return open_sink("influxdb", settings, directory, file="test", key="sinks.x")

    async def behave(self, how: ReceiverBehaviour) -> None:
        answer = _ANSWERS.get(how, _GONE)
        self._endpoint.judge = lambda request: answer

    async def stored(self) -> Stored:
        held: dict[tuple[str, int, str], Value] = {}
        for line in self._endpoint.taken:
            found = _LINE.fullmatch(line)
            assert found, line
            device, fields, time_ms = found.groups()
            for field in fields.split(","):
                name, _, text = field.partition("=")
                value = int(text[:-1]) if text.endswith("i") else float(text)
                held[device, int(time_ms), name] = value
        return held


class InfluxCase:
    """A recording endpoint for each test."""

    @asynccontextmanager
    async def receiver(self) -> AsyncIterator[Receiver]:
        async with recording_influx() as endpoint:
            yield RecordedInflux(endpoint)


@pytest.fixture
def sink_case() -> SinkCase:
    return InfluxCase()
