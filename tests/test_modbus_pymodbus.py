"""The driver against a server that others wrote: pymodbus over TCP, RTU over TCP and a serial line."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tests.modbus_site import link_of, meter_profile, polled
from tests.servers import free_port

REGISTERS = 64


def _device(unit: int) -> SimDevice:
    words = [1000 * unit + at for at in range(REGISTERS)]
    bits = [bool(at * unit % 3) for at in range(REGISTERS)]
    return SimDevice(
        id=unit,
        simdata=(
            [SimData(0, values=bits, datatype=DataType.BITS)],
            [SimData(0, values=bits, datatype=DataType.BITS)],
            [SimData(0, values=words, datatype=DataType.REGISTERS)],
            [SimData(0, values=words, datatype=DataType.REGISTERS)],
        ),
    )


def _expected(unit: int) -> dict[str, object]:
    word = 1000 * unit
    return {
        "voltage_l1": float(word),
        "current_l1": float(word + 1),
        "active_power_total": float(word + 2),
        "energy_import": (word + 10) << 16 | word + 11,
        "frequency": float(word + 3),
        "purchase_count": word + 40,
        "relay_closed": bool(7 * unit % 3),
        "input_1": bool(3 * unit % 3),
        "temperature": float(word + 5),
    }


@asynccontextmanager
async def tcp_server(framer: FramerType) -> AsyncIterator[int]:
    port = free_port()
    devices = [_device(unit) for unit in (1, 2, 3)]
    server = ModbusTcpServer(devices, framer=framer, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield port
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def serial_server() -> AsyncIterator[str]:
    """A pymodbus server on one end of a null-modem cable of two pseudo terminals; gives the other end."""
    near, near_end = pty.openpty()
    far, far_end = pty.openpty()
    for end in (near_end, far_end):
        tty.setraw(end)
    loop = asyncio.get_running_loop()
    loop.add_reader(near, lambda: os.write(far, os.read(near, 1024)))
    loop.add_reader(far, lambda: os.write(near, os.read(far, 1024)))
    devices = [_device(unit) for unit in (1, 2, 3)]
    server = ModbusSerialServer(
        devices, framer=FramerType.RTU, port=os.ttyname(far_end), baudrate=19200
    )
    await server.serve_forever(background=True)
    try:
        yield os.ttyname(near_end)
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]
        for end in (near, far):
            loop.remove_reader(end)
        for end in (near, near_end, far, far_end):
            os.close(end)


async def test_atcp_server_is_read_point_by_point() -> None:
    async with tcp_server(FramerType.SOCKET) as port:
        settings: dict[str, object] = {"host": "127.0.0.1", "port": port}
        async with polled(link_of(settings, meter_profile(), (1, 2, 3))) as host:
            await host.wait_for(6)
            for unit in (1, 2, 3):
                assert host.of(f"bus-{unit}")[0].values == _expected(unit)


async def test_aserial_server_is_read_over_tcp() -> None:
    async with tcp_server(FramerType.RTU) as port:
        settings: dict[str, object] = {
            "transport": "rtu_over_tcp",
            "host": "127.0.0.1",
            "port": port,
        }
        async with polled(link_of(settings, meter_profile(), (1, 2, 3))) as host:
            await host.wait_for(6)
            for unit in (1, 2, 3):
                assert host.of(f"bus-{unit}")[0].values == _expected(unit)


async def test_a_serial_line_is_read_through_its_port() -> None:
    async with serial_server() as port:
        settings: dict[str, object] = {"transport": "rtu", "device": port, "baud": 19200}
        async with polled(link_of(settings, meter_profile(), (1, 2, 3))) as host:
            await host.wait_for(6)
            for unit in (1, 2, 3):
                assert host.of(f"bus-{unit}")[0].values == _expected(unit)
