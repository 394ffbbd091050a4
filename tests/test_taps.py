"""Looking at the frames of one device: every fault in words, and nothing while nobody looks."""

from __future__ import annotations

import pytest

from hub import POINTS, Trace, in_words
from hub.taps import KEPT_MAX, Taps
from tests.modbus_faults import Fault, FaultyServer, always, listening
from tests.modbus_site import link_of, meter_profile, polled
from tests.mqtt_link import device, mqtt_link, say, serving, state, until_up
from tests.recording_host import RecordingHost
from tests.servers import Server
from tests.test_modbus_driver import serial_server, tcp


def shown(host: RecordingHost, outgoing: bool, word: str) -> list[Trace]:
    return [one for one in host.traces if one.outgoing is outgoing and word in one.text]


async def test_a_poll_is_shown_as_frames_with_addresses_points_and_values() -> None:
    server = FaultyServer((1, 2), rtu=True)
    async with (
        listening(server) as port,
        polled(link_of(serial_server(port), meter_profile(), (1, 2))) as host,
    ):
        await host.wait_for(2)
        assert host.traces == []
        host.looks_at.add("bus-1")
        await host.wait_until(lambda: bool(shown(host, False, "voltage_l1")))
        asked = shown(host, True, "voltage_l1")[0]
        told = shown(host, False, "voltage_l1")[0]
        reading = host.of("bus-1")[-1]
    assert asked.text.startswith("unit 1: read holding registers 0x0000 to 0x0003: voltage_l1, ")
    assert asked.data[:6] == bytes((1, 3, 0, 0, 0, 4))
    assert in_words("voltage_l1", reading.values["voltage_l1"]) in told.text
    assert told.data[:3] == bytes((1, 3, 8))
    assert {trace.device for trace in host.traces} == {"bus-1"}


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (Fault.WRONG_CRC, "wrong crc"),
        (Fault.EXCEPTION, "exception 6: busy"),
        (Fault.SILENCE, "timeout: no answer within"),
        (Fault.TRUNCATED, "timeout: only part of an answer"),
        (Fault.FOREIGN_UNIT, "wrong unit"),
    ],
)
async def test_what_is_wrong_with_an_answer_is_said(fault: Fault, word: str) -> None:
    server = FaultyServer((1,), rtu=True)
    async with (
        listening(server) as port,
        polled(link_of(serial_server(port), meter_profile(), (1,))) as host,
    ):
        host.looks_at.add("bus-1")
        server.choose = always(fault)
        await host.wait_until(lambda: bool(shown(host, False, word)))


async def test_over_tcp_the_whole_frame_is_shown() -> None:
    server = FaultyServer((1,), rtu=False)
    async with (
        listening(server) as port,
        polled(link_of(tcp(port), meter_profile(), (1,))) as host,
    ):
        host.looks_at.add("bus-1")
        await host.wait_until(lambda: bool(shown(host, False, "voltage_l1")))
    assert shown(host, True, "voltage_l1")[0].data[2:8] == bytes((0, 0, 0, 6, 1, 3))


async def test_a_message_is_shown_with_its_topic_payload_and_values(mosquitto: Server) -> None:
    host = RecordingHost()
    link = mqtt_link(mosquitto.port, [device("m-1"), device("m-2")])
    async with serving(link, host):
        await until_up(host)
        host.looks_at.add("m-1")
        topics = ("dormhub/up/m-1/state", "dormhub/up/m-2/state")
        await say(mosquitto, [(topic, state(1, power_w=42)) for topic in topics])
        await say(mosquitto, [("dormhub/up/m-1/state", b"{nonsense")])
        await host.wait_until(lambda: len(host.traces) >= 2)
    told, refused = host.traces
    assert told.text.startswith("state: ")
    assert told.data.startswith(b"dormhub/up/m-1/state\n{")
    assert "42" in told.text
    assert "refused: " in refused.text


def test_a_listener_that_takes_nothing_loses_the_oldest_and_is_told_how_many() -> None:
    taps = Taps()
    with taps.listening("a") as listener:
        for number in range(KEPT_MAX + 3):
            taps.tap(Trace(time_ms=number, device="a", outgoing=False, data=b"", text=""))
        taps.tap(Trace(time_ms=0, device="b", outgoing=False, data=b"", text=""))
        traces, skipped = listener.take()
        assert (len(traces), skipped, traces[0].time_ms) == (KEPT_MAX, 3, 3)
        assert (taps.open("a"), taps.open("b"), taps.open("")) == (True, False, True)
    assert not taps.open("")


def test_values_in_words_have_their_unit() -> None:
    assert in_words("voltage_l1", 230.25) == "voltage_l1 230.25 V"
    assert in_words("relay_closed", True) == "relay_closed true"
    assert POINTS["voltage_l1"].unit == "V"
