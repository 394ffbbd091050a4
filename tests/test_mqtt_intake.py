"""The judgement of single messages: floods, backlogs, retained leftovers, heartbeats, gaps."""

from __future__ import annotations

import json
from zoneinfo import ZoneInfo

import pytest

from drivers.mqtt.intake import Intake, Moment
from drivers.mqtt.routes import Routes
from drivers.mqtt.session import Message
from drivers.mqtt.settings import MqttSettings
from hub import Poison, Reading
from tests.mqtt_link import T0_S, device, mqtt_link

STATE, ONLINE = "dormhub/up/m-1/state", "dormhub/up/m-1/online"
ALIVE = "device/cam/message/up/keep_alive"
NOW_MS = (T0_S + 86_400) * 1000


class Line:
    """One intake with a meter and a camera, and a clock that stands still unless told."""

    def __init__(self) -> None:
        link = mqtt_link(1883, [device("m-1"), device("cam", "zhenshi_lpr")])
        routes = Routes(link, ZoneInfo("Asia/Shanghai"))
        self.intake = Intake("broker", MqttSettings(host="x"), routes)
        self.now_s = 0.0

    def hear(
        self, topic: str, payload: object, *, retained: bool = False
    ) -> Reading | Poison | None:
        message = Message(topic, json.dumps(payload).encode(), retained, 1)
        now = Moment(ms=NOW_MS + round(self.now_s * 1000), s=self.now_s)
        return self.intake.take(message, now)

    def state(self, at_s: int, seq: int = 0) -> dict[str, int]:
        return {"ts": T0_S + 86_400 + at_s, "seq": seq, "power_w": 1}


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_flood_is_cut_to_the_burst_and_the_rate(line: Line) -> None:
    taken = [line.hear(STATE, {"power_w": 1}) for _ in range(100)]
    line.now_s = 5.0
    later = [line.hear(STATE, {"power_w": 1}) for _ in range(100)]
    assert sum(map(bool, taken)) == 20
    assert sum(map(bool, later)) == 10
    assert line.intake.counts["refused", "flood"] == 170


def test_a_backlog_is_no_flood(line: Line) -> None:
    taken = [line.hear(STATE, line.state(60 * n - 86_400, n)) for n in range(1440)]
    assert all(taken)


def test_a_backlog_after_a_fresh_message_is_no_flood(line: Line) -> None:
    assert line.hear(STATE, line.state(0, 1500))
    assert all([line.hear(STATE, line.state(60 * n - 86_400, n)) for n in range(1440)])


def test_a_backlog_that_comes_again_in_a_new_session_is_no_flood(line: Line) -> None:
    for _ in range(3):
        line.intake.begin_session(line.now_s)
        assert all([line.hear(STATE, line.state(60 * n - 86_400, n)) for n in range(1440)])


def test_a_lying_clock_does_not_open_the_gate(line: Line) -> None:
    taken = [line.hear(STATE, line.state(86_400 * n)) for n in range(1, 1000)]
    assert sum(map(bool, taken)) == 20
    taken = [line.hear(STATE, line.state(-86_400 * (n % 6))) for n in range(1000)]
    assert sum(map(bool, taken)) <= 60


def test_retained_telemetry_without_a_time_is_poison(line: Line) -> None:
    result = line.hear(STATE, {"power_w": 1}, retained=True)
    assert isinstance(result, Poison)
    assert result.reason == "retained"


def test_a_retained_state_is_believed_when_it_is_newer_than_what_is_known(line: Line) -> None:
    assert isinstance(line.hear(STATE, line.state(-60, 1), retained=True), Reading)
    assert line.hear(STATE, line.state(-60, 1), retained=True) is None
    assert isinstance(line.hear(STATE, line.state(-30, 2), retained=True), Reading)
    assert line.intake.counts["skipped", "retained and known"] == 1


def test_a_gap_across_two_sessions_is_counted(line: Line) -> None:
    line.hear(STATE, line.state(0, 10))
    line.intake.begin_session(line.now_s)
    line.hear(STATE, line.state(60, 15))
    assert line.intake.counts["sequence_gap", ""] == 1


def test_a_retained_state_is_believed_again_in_a_new_session(line: Line) -> None:
    first = line.hear(STATE, line.state(-60, 1), retained=True)
    line.intake.begin_session(line.now_s)
    assert line.hear(STATE, line.state(-60, 1), retained=True) == first


def test_a_retained_presence_is_told_once(line: Line) -> None:
    assert isinstance(line.hear(ONLINE, False, retained=True), Reading)
    assert line.hear(ONLINE, False, retained=True) is None


def test_a_heartbeat_is_a_reading_at_most_once_in_a_period(line: Line) -> None:
    heard = []
    for second in range(0, 60, 5):
        line.now_s = float(second)
        heard.append(line.hear(ALIVE, {"any": "thing"}))
    readings = [reading for reading in heard if isinstance(reading, Reading)]
    assert [reading.values for reading in readings] == [{"online": True}] * 3


def test_a_skipped_number_is_a_gap_and_a_restart_is_not(line: Line) -> None:
    for at_s, number in enumerate([1, 2, 5, 6, 1, 2]):
        line.hear(STATE, line.state(at_s, number))
    assert line.intake.counts["sequence_gap", ""] == 1


def test_a_late_message_moves_no_number(line: Line) -> None:
    for at_s, number in [(10, 10), (1, 1), (11, 11)]:
        line.hear(STATE, line.state(at_s, number))
    assert line.intake.counts["sequence_gap", ""] == 0


def test_a_message_that_comes_again_is_the_same_reading(line: Line) -> None:
    first, again = (line.hear(STATE, line.state(-5, 77)) for _ in range(2))
    assert first == again
    assert isinstance(first, Reading)
    assert first.time_ms == NOW_MS - 5000 + 77


def test_a_message_without_its_time_gets_the_hubs_and_is_counted(line: Line) -> None:
    reading = line.hear(STATE, {"power_w": 1, "ts": "soon"})
    assert isinstance(reading, Reading)
    assert reading.time_ms == reading.received_ms == NOW_MS
    assert line.intake.counts["no device time", "state"] == 1


def test_two_messages_without_a_time_in_one_millisecond_are_kept_apart(line: Line) -> None:
    first, second = line.hear(STATE, {"power_w": 1}), line.hear(STATE, {"power_w": 2})
    assert isinstance(first, Reading)
    assert isinstance(second, Reading)
    assert (first.time_ms, second.time_ms) == (NOW_MS, NOW_MS + 1)
