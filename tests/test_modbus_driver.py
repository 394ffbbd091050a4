"""The driver as a whole: what a point, a device and a link are each held responsible for."""

from __future__ import annotations

import asyncio
import os
import pty
import random
import socket
from collections.abc import Callable

import pytest

from drivers.modbus.bus import Bus
from drivers.modbus.dialin import UNKNOWN_MAX
from drivers.modbus.driver import open_driver
from drivers.modbus.frames import write_coil
from drivers.modbus.settings import LinkSettings
from drivers.modbus.tap import Taps
from drivers.modbus.transports import TcpOpener
from hub import ConfigError, DeviceError
from tests.modbus_faults import Fault, FaultyServer, always, listening
from tests.modbus_site import link_of, meter_profile, polled, running
from tests.recording_host import RecordingHost
from tests.servers import free_port
from tests.test_modbus_faults import right_values, wrong_values

LOCAL = "127.0.0.1"


def tcp(port: int, timeout_s: float = 0.1) -> dict[str, object]:
    return {"host": LOCAL, "port": port, "timeout_s": timeout_s}


def serial_server(port: int, timeout_s: float = 0.1) -> dict[str, object]:
    return {**tcp(port, timeout_s), "transport": "rtu_over_tcp"}


async def test_a_point_the_device_does_not_have_is_bad_and_the_others_keep_coming() -> None:
    server = FaultyServer((1,), rtu=False, illegal=(11, 40))
    async with (
        listening(server) as port,
        polled(link_of(tcp(port), meter_profile("gaps = true"), (1,))) as host,
    ):
        await host.wait_for(4)
    reading = host.of("bus-1")[3]
    expected = right_values(1)
    del expected["energy_import"], expected["purchase_count"]
    assert reading.values == expected
    assert reading.bad == {
        "energy_import": "illegal address",
        "purchase_count": "illegal address",
    }
    assert host.misses == []


async def test_what_a_device_refused_is_remembered_and_not_asked_again() -> None:
    server = FaultyServer((1,), rtu=False, illegal=(40,))
    async with (
        listening(server) as port,
        polled(link_of(tcp(port), meter_profile("gaps = true"), (1,))) as host,
    ):
        await host.wait_for(2)
        asked = len(server.requests)
        await host.wait_for(6)
    refused = [start <= 40 < start + count for _, _, start, count in server.requests[asked:]]
    assert not any(refused)


async def test_a_busy_device_has_bad_points_and_no_miss() -> None:
    server = FaultyServer((1,), rtu=True)
    server.choose = always(Fault.EXCEPTION)
    async with (
        listening(server) as port,
        polled(link_of(serial_server(port), meter_profile(), (1,))) as host,
    ):
        await host.wait_for(2)
        server.choose = always(Fault.NONE)
        await host.wait_until(lambda: bool(host.of("bus-1")[-1].values))
    assert host.readings[0].values == {}
    assert set(host.readings[0].bad.values()) == {"busy"}
    assert host.of("bus-1")[-1].values == right_values(1)
    assert host.misses == []


@pytest.mark.parametrize("settings", [tcp, serial_server])
async def test_a_silent_device_is_missed_and_its_neighbours_go_on(
    settings: Callable[[int], dict[str, object]],
) -> None:
    server = FaultyServer((1, 3), rtu=settings is serial_server)
    async with (
        listening(server) as port,
        polled(link_of(settings(port), meter_profile(), (1, 2, 3))) as host,
    ):
        await host.wait_until(lambda: len(host.of("bus-1")) >= 20 and len(host.of("bus-3")) >= 20)
    assert set(host.misses) == {("bus-2", "timeout")}
    assert len(host.misses) == 2
    assert host.of("bus-2") == []
    assert wrong_values(host.readings) == []


async def test_a_silent_device_is_back_as_soon_as_it_answers() -> None:
    server = FaultyServer((1, 3), rtu=True, timeout_s=0.02)
    async with (
        listening(server) as port,
        polled(link_of(serial_server(port, 0.02), meter_profile(), (1, 2, 3))) as host,
    ):
        await host.wait_until(lambda: len(host.misses) >= 2)
        server.units.add(2)
        await host.wait_until(lambda: len(host.of("bus-2")) >= 3, 30)
    assert host.of("bus-2")[0].values == right_values(2)


async def test_a_block_without_answer_leaves_the_blocks_before_it() -> None:
    server = FaultyServer((1,), rtu=False)
    server.choose = lambda _: Fault.SILENCE if server.requests[-1][1] == 4 else Fault.NONE
    async with (
        listening(server) as port,
        polled(link_of(tcp(port, 0.05), meter_profile(), (1,))) as host,
    ):
        await host.wait_for(1)
    reading = host.readings[0]
    assert reading.bad == {"temperature": "timeout"}
    assert reading.values.keys() == right_values(1).keys() - {"temperature"}


async def test_a_block_that_never_answers_is_given_up_and_the_others_keep_coming() -> None:
    server = FaultyServer((1,), rtu=True)
    server.choose = lambda _: Fault.SILENCE if server.requests[-1][1] == 4 else Fault.NONE
    async with (
        listening(server) as port,
        polled(link_of(serial_server(port, 0.03), meter_profile(), (1,))) as host,
    ):
        await host.wait_until(lambda: len(host.of("bus-1")) >= 4)
        asked = len(server.requests)
        await host.wait_until(lambda: len(host.of("bus-1")) >= 8)
    assert all(function != 4 for _, function, _, _ in server.requests[asked:])
    reading = host.of("bus-1")[7]
    assert reading.bad == {"temperature": "timeout"}
    assert reading.values.keys() == right_values(1).keys() - {"temperature"}


async def test_a_device_its_gateway_cannot_reach_is_missed() -> None:
    server = FaultyServer((1, 2), rtu=False)
    server.exception = 11
    server.choose = lambda _: Fault.EXCEPTION if server.requests[-1][0] == 2 else Fault.NONE
    async with (
        listening(server) as port,
        polled(link_of(tcp(port), meter_profile(), (1, 2))) as host,
    ):
        await host.wait_until(lambda: len(host.of("bus-1")) >= 10)
    assert set(host.misses) == {("bus-2", "gateway target silent")}
    assert host.of("bus-2") == []


async def test_a_slow_disk_does_not_hold_up_polling_until_its_bounded_buffer_is_full() -> None:
    server = FaultyServer((1,), rtu=False)
    async with (
        listening(server) as port,
        polled(link_of(tcp(port), meter_profile(), (1,), period_s=0.001)) as host,
    ):
        host.disk.clear()
        await host.wait_until(lambda: len(server.requests) >= 200)
        assert host.readings == []
        host.disk.set()
        await host.wait_for(30)
    assert wrong_values(host.readings) == []


async def test_readings_a_full_disk_refuses_are_counted_and_polling_goes_on() -> None:
    server = FaultyServer((1,), rtu=False)
    async with (
        listening(server) as port,
        polled(link_of(tcp(port), meter_profile(), (1,), period_s=0.01)) as host,
    ):
        host.refuses = True
        await host.wait_until(lambda: host.counts["readings_refused", "store"] >= 5)
        host.refuses = False
        await host.wait_for(3)
    assert host.readings[-1].values == right_values(1)


async def test_a_link_that_is_away_is_said_once_and_opened_again() -> None:
    server = FaultyServer((1,), rtu=False)
    port = free_port()
    async with polled(link_of(tcp(port), meter_profile(), (1,))) as host:
        await host.wait_until(lambda: len(host.misses) >= 2)
        listener = await asyncio.start_server(server.serve, LOCAL, port)
        await host.wait_until(lambda: bool(host.of("bus-1")))
        listener.close()
    assert host.link_events[0].startswith("down: ")
    assert host.link_events[1:] == ["up"]
    assert set(host.misses) == {("bus-1", "link down")}


async def test_a_hub_that_is_refused_comes_back_at_most_once_a_second() -> None:
    server = FaultyServer((1,), rtu=False)
    server.choose = always(Fault.HANG_UP)
    async with listening(server) as port:
        begun_s = asyncio.get_running_loop().time()
        async with polled(link_of(tcp(port), meter_profile(), (1,), period_s=0.01)) as host:
            await host.wait_until(lambda: server.connections >= 4)
            passed_s = asyncio.get_running_loop().time() - begun_s
    assert server.connections <= passed_s + 1


async def test_the_link_publishes_its_own_counts() -> None:
    server = FaultyServer((1,), rtu=False, illegal=(40,))
    async with (
        listening(server) as port,
        polled(link_of(tcp(port), meter_profile(), (1,))) as host,
    ):
        await host.wait_until(lambda: bool(host.of("bus")))
    counts = host.of("bus")[0].values
    assert counts["link_up"] is True
    assert counts["link_exceptions"] == 1
    assert counts["link_timeouts"] == 0
    assert 0 < float(counts["link_utilization"]) < 1


async def test_no_write_leaves_through_a_link_that_only_observes() -> None:
    server = FaultyServer((1,), rtu=False)
    async with listening(server) as port:
        settings = LinkSettings(host=LOCAL, port=port)
        host = RecordingHost()
        opener, taps = TcpOpener(LOCAL, port), Taps(host, {})
        bus = Bus(settings, host, opener, taps=taps, observe_only=True)
        await bus.open()
        with pytest.raises(DeviceError, match="observe_only"):
            await bus.ask(write_coil(1, 0, True), 0.1)
        await bus.close()
    assert server.requests == []


async def test_a_cancelled_driver_leaves_no_connection_behind() -> None:
    server = FaultyServer((1,), rtu=True)
    chance = random.Random(5)
    async with listening(server) as port:
        for _ in range(10):
            task = asyncio.create_task(
                open_driver(link_of(serial_server(port), meter_profile(), (1, 2))).run(
                    RecordingHost()
                )
            )
            await asyncio.wait((task,), timeout=0.05 * chance.random())
            task.cancel()
            await asyncio.wait((task,), timeout=1.0)
            assert task.cancelled()
        with socket.create_connection((LOCAL, port)):
            assert server.connections <= 11


# A box that dials in.


def dtu(port: int, registration: str, **more: object) -> dict[str, object]:
    return {
        "transport": "dtu",
        "listen": f"{LOCAL}:{port}",
        "registration": registration,
        "timeout_s": 0.2,
        **more,
    }


async def call(port: int, registration: bytes, server: FaultyServer) -> asyncio.StreamWriter:
    """Dial in as a box would; the connection is then served by its units."""
    for _ in range(200):
        try:
            reader, writer = await asyncio.open_connection(LOCAL, port)
            break
        except ConnectionError:
            await asyncio.wait((asyncio.create_task(asyncio.sleep(0.01)),))
    writer.write(registration)
    task = asyncio.create_task(server.serve(reader, writer))
    writer.transport.get_extra_info("socket")
    task.add_done_callback(lambda _: writer.close())
    return writer


async def test_boxes_that_dial_in_share_a_port_and_are_told_apart_by_their_registration() -> None:
    port = free_port()
    links = [
        link_of(dtu(port, name, heartbeat="BEAT"), meter_profile(), (unit,), link=name.lower())
        for name, unit in (("DTU1", 1), ("DTU10", 2))
    ]
    servers = [FaultyServer((1,), rtu=True), FaultyServer((2,), rtu=True)]
    async with running(*(open_driver(link) for link in links), host=RecordingHost()) as host:
        writers = [await call(port, b"DTU1", servers[0]), await call(port, b"DTU10", servers[1])]
        await host.wait_until(lambda: bool(host.of("dtu1-1") and host.of("dtu10-2")))
        heard = len(host.readings)
        for writer in writers:
            writer.write(b"BEATBEAT")
        await host.wait_for(heard + 6)
        for writer in writers:
            writer.close()
    assert wrong_values(host.readings) == []
    assert ("frame_errors", "wrong unit") not in host.counts


async def test_a_caller_that_nobody_knows_is_refused_and_counted() -> None:
    port = free_port()
    async with polled(link_of(dtu(port, "DTU1"), meter_profile(), (1,))) as host:
        writer = await call(port, b"HELLO", FaultyServer((1,), rtu=True))
        await host.wait_until(lambda: host.counts["callers_refused", "unknown registration"] == 1)
        await asyncio.wait_for(writer.wait_closed(), 5)


async def test_a_box_that_dials_in_again_replaces_its_dead_connection() -> None:
    port = free_port()
    first, second = FaultyServer((1,), rtu=True), FaultyServer((1,), rtu=True)
    async with polled(link_of(dtu(port, "hex:01 02 03 04"), meter_profile(), (1,))) as host:
        await call(port, b"\1\2\3\4", first)
        await host.wait_for(2)
        await call(port, b"\1\2\3\4", second)
        await host.wait_until(lambda: len(second.requests) > 20)
    assert wrong_values(host.readings) == []


# Configuration.


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "links.bus.host"),
        ({"host": "h", "port": 0}, "links.bus.port"),
        ({"host": "h", "prot": 502}, "links.bus"),
        ({"transport": "rtu"}, "links.bus.device"),
        ({"transport": "rtu", "device": "/dev/x", "format": "8X1"}, "links.bus.format"),
        ({"transport": "dtu", "listen": "15000", "registration": "a"}, "links.bus.listen"),
        ({"transport": "dtu"}, "links.bus.registration"),
        ({"transport": "dtu", "registration": "hex:0G"}, "links.bus.registration"),
        ({"transport": "pigeon"}, "links.bus.transport"),
    ],
)
def test_a_wrong_setting_is_told_with_its_key(settings: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_driver(link_of(settings, meter_profile(), (1,)))
    assert caught.value.key == key


@pytest.mark.parametrize("units", [(0,), (256,), (1, 248), (1, 1)])
def test_a_unit_number_that_cannot_be_used_is_told_with_its_device(units: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        open_driver(link_of(tcp(502), meter_profile(), units))
    assert caught.value.key == f"devices.bus-{units[-1]}.address"


def test_a_reserved_unit_number_is_for_a_device_alone_on_its_link() -> None:
    assert open_driver(link_of(tcp(502), meter_profile(), (255,)))


async def test_a_serial_port_that_is_pulled_out_takes_the_link_down() -> None:
    ours, theirs = pty.openpty()
    settings: dict[str, object] = {"transport": "rtu", "device": os.ttyname(theirs)}
    async with polled(link_of(settings, meter_profile(), (1,), period_s=0.1)) as host:
        await host.wait_until(lambda: host.link_events == ["up"])
        os.close(ours)
        os.close(theirs)
        await host.wait_until(lambda: len(host.link_events) == 2)
    assert host.link_events[1].startswith("down: ")


async def test_callers_that_say_nothing_are_kept_few() -> None:
    port = free_port()
    async with polled(link_of(dtu(port, "DTU1"), meter_profile(), (1,))) as host:
        first = await call(port, b"", FaultyServer((1,), rtu=True))
        others = [socket.create_connection((LOCAL, port)) for _ in range(UNKNOWN_MAX + 5)]
        await host.wait_until(lambda: host.counts["callers_refused", "too many callers"] == 6)
        for other in others:
            other.close()
        first.close()
