"""No value is ever stored for the wrong device or register, whatever the wire does."""

from __future__ import annotations

import os
import struct
from contextlib import AsyncExitStack

import pytest

from drivers.modbus.driver import open_driver
from hub import Reading
from tests.modbus_faults import (
    RTU_FAULTS,
    TCP_FAULTS,
    Fault,
    FaultyServer,
    always,
    bit_at,
    chosen_by,
    listening,
    word_at,
)
from tests.modbus_site import link_of, meter_profile, polled, running, twins_profile
from tests.recording_host import RecordingHost

POLLS = int(os.environ.get("MODBUS_FAULT_POLLS", "20000"))
LINKS = 60
UNITS = (1, 2, 3)
TIMEOUT_S = 0.05
LONE = 'energy_export = { at = 8, type = "u32" }'


def right_values(unit: int) -> dict[str, object]:
    """What the server of `modbus_faults` holds at the places of the test meter."""
    (power,) = struct.unpack(">h", struct.pack(">H", word_at(unit, 3, 2)))
    return {
        "voltage_l1": float(word_at(unit, 3, 0)),
        "current_l1": float(word_at(unit, 3, 1)),
        "active_power_total": float(power),
        "energy_import": word_at(unit, 3, 10) << 16 | word_at(unit, 3, 11),
        "frequency": float(word_at(unit, 3, 3)),
        "purchase_count": word_at(unit, 3, 40),
        "relay_closed": bit_at(unit, 1, 7),
        "input_1": bit_at(unit, 2, 3),
        "temperature": float(word_at(unit, 4, 5)),
    }


def held_values(unit: int) -> dict[str, object]:
    """The same for both test profiles."""
    return {
        **right_values(unit),
        "voltage_l2": float(word_at(unit, 3, 2)),
        "voltage_l3": float(word_at(unit, 3, 4)),
        "current_l2": float(word_at(unit, 3, 6)),
        "energy_export": word_at(unit, 3, 8) << 16 | word_at(unit, 3, 9),
    }


def wrong_values(readings: list[Reading]) -> list[tuple[str, str, object]]:
    """Every value stored for a device that is not the one of its register."""
    return [
        (reading.device, name, value)
        for reading in readings
        if "-" in reading.device
        for name, value in reading.values.items()
        if held_values(int(reading.device.rpartition("-")[2]))[name] != value
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
@pytest.mark.parametrize("share", [0.01, 0.2])
async def test_no_value_is_stored_for_the_wrong_register_under_all_faults(
    transport: str, share: float
) -> None:
    rtu = transport != "tcp"
    faults = RTU_FAULTS if rtu else TCP_FAULTS
    profiles = (meter_profile(), twins_profile(LONE), twins_profile())
    host = RecordingHost()
    servers = []
    async with AsyncExitStack() as stack:
        drivers = []
        for number in range(LINKS):
            # One unit alone: an old answer meets the next question to the same unit as soon as may be.
            units = UNITS[: 1 + number % 3]
            server = FaultyServer(units, rtu=rtu, seed=number, timeout_s=TIMEOUT_S)
            server.choose = chosen_by(faults, share)
            servers.append(server)
            port = await stack.enter_async_context(listening(server))
            settings: dict[str, object] = {
                "transport": transport,
                "host": "127.0.0.1",
                "port": port,
                "timeout_s": TIMEOUT_S,
                "baud": 115200,
            }
            profile = profiles[number // 3 % 3]
            link = link_of(settings, profile, units, link=f"l{number}", period_s=0.02)
            drivers.append(open_driver(link))
        await stack.enter_async_context(running(*drivers, host=host))
        polls = POLLS // 2 if share < 0.1 else POLLS // 20
        await host.wait_until(lambda: len(host.readings) + len(host.misses) >= polls, 250)
    committed = {fault for server in servers for fault in server.committed}
    assert wrong_values(host.readings) == []
    assert committed >= set(faults)


@pytest.mark.parametrize(
    ("transport", "faults"), [("rtu_over_tcp", RTU_FAULTS), ("tcp", TCP_FAULTS)]
)
async def test_a_device_with_one_constant_fault_never_gives_a_wrong_value(
    transport: str, faults: tuple[Fault, ...]
) -> None:
    host = RecordingHost()
    servers = [FaultyServer((1, 2), rtu=transport != "tcp", timeout_s=TIMEOUT_S) for _ in faults]
    async with AsyncExitStack() as stack:
        drivers = []
        for fault, server in zip(faults, servers, strict=True):
            server.choose = always(fault)
            port = await stack.enter_async_context(listening(server))
            settings: dict[str, object] = {
                "transport": transport,
                "host": "127.0.0.1",
                "port": port,
                "timeout_s": TIMEOUT_S,
            }
            link = link_of(settings, meter_profile(), (1, 2), link=fault.name.lower(), period_s=0.1)
            drivers.append(open_driver(link))
        await stack.enter_async_context(running(*drivers, host=host))
        await host.wait_until(lambda: all(len(server.requests) >= 4 for server in servers), 30)
    assert wrong_values(host.readings) == []


async def test_the_local_echo_of_a_two_wire_adapter_is_stripped() -> None:
    server = FaultyServer((1,), rtu=True)
    server.choose = always(Fault.ECHO)
    async with listening(server) as port:
        settings: dict[str, object] = {
            "transport": "rtu_over_tcp",
            "host": "127.0.0.1",
            "port": port,
        }
        async with polled(link_of(settings, meter_profile(), (1,))) as host:
            await host.wait_for(2)
    assert host.readings[0].values == right_values(1)
    assert host.misses == []
