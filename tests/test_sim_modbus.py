"""Simulated buses judged by strangers: pymodbus's client and Debian's mbpoll."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from hub import Value
from simulators.campus import Campus
from simulators.faults import FaultKind, Window
from simulators.ledger import Deed
from simulators.pytest_campus import CampusFactory
from tests.servers import find_program, free_port
from tests.sim_site import write_site

FLOAT32 = AsyncModbusTcpClient.DATATYPE.FLOAT32
UINT32 = AsyncModbusTcpClient.DATATYPE.UINT32
DEVICES = [
    "meter,eastron_sdm120,bus-1,1",
    "pzem,peacefair_pzem016,bus-1,2",
    "board,waveshare_relay8,bus-1,3",
]


def _site(folder: Path, **settings: object) -> Path:
    bus = {"driver": "modbus", "host": "127.0.0.1", "port": 502, **settings}
    return write_site(folder, {"bus-1": bus}, DEVICES)


@asynccontextmanager
async def _tcp_client(town: Campus, framer: FramerType) -> AsyncIterator[AsyncModbusTcpClient]:
    port = town.settings["bus-1"]["port"]
    assert isinstance(port, int)
    client = AsyncModbusTcpClient("127.0.0.1", port=port, framer=framer, timeout=0.5, retries=0)
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()


def _shown(town: Campus, device: str, point: str) -> Value:
    entry = town.ledger.last(device, Deed.ANSWERED)
    assert entry is not None
    return entry.values[point]


@pytest.mark.parametrize(
    ("transport", "framer"), [("tcp", FramerType.SOCKET), ("rtu_over_tcp", FramerType.RTU)]
)
async def test_pymodbus_reads_what_the_ledger_says_was_shown(
    campus: CampusFactory, tmp_path: Path, transport: str, framer: FramerType
) -> None:
    async with (
        campus(_site(tmp_path, transport=transport)) as town,
        _tcp_client(town, framer) as client,
    ):
        answer = await client.read_input_registers(0, count=2, device_id=1)
        voltage = client.convert_from_registers(answer.registers, FLOAT32)
        assert voltage == _shown(town, "meter", "voltage_l1")
        answer = await client.read_input_registers(5, count=2, device_id=2)
        energy = client.convert_from_registers(answer.registers, UINT32, word_order="little")
        assert energy == _shown(town, "pzem", "energy_import")


async def test_pymodbus_reads_a_serial_line(campus: CampusFactory, tmp_path: Path) -> None:
    site = _site(tmp_path, transport="rtu", device="/dev/ttyUSB0")
    async with campus(site) as town:
        port = str(town.settings["bus-1"]["device"])
        client = AsyncModbusSerialClient(port, baudrate=9600, timeout=2, retries=0)
        assert await client.connect()
        answer = await client.read_input_registers(0, count=2, device_id=1)
        client.close()
        voltage = client.convert_from_registers(answer.registers, FLOAT32)
        assert voltage == _shown(town, "meter", "voltage_l1")


async def test_mbpoll_reads_the_same_voltage(campus: CampusFactory, tmp_path: Path) -> None:
    program = find_program("mbpoll")
    async with campus(_site(tmp_path, transport="tcp")) as town:
        port = str(town.settings["bus-1"]["port"])
        options = ["-m", "tcp", "-p", port, "-a", "1", "-0", "-r", "0", "-t", "3:float", "-B", "-1"]
        run = await asyncio.to_thread(
            subprocess.run,
            [program, *options, "127.0.0.1"],
            capture_output=True,
            text=True,
            timeout=20,
        )
        found = re.search(r"\[0\]:\s+([\d.]+)", run.stdout)
        assert found, run.stdout + run.stderr
        assert float(found[1]) == pytest.approx(_shown(town, "meter", "voltage_l1"), abs=0.01)


async def test_an_unlisted_register_is_refused_and_the_ledger_knows(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with (
        campus(_site(tmp_path, transport="tcp")) as town,
        _tcp_client(town, FramerType.SOCKET) as client,
    ):
        answer = await client.read_input_registers(9, count=2, device_id=2)
        assert answer.exception_code == 2
        refused = town.ledger.last("pzem", Deed.REFUSED)
        assert refused is not None
        assert refused.values == {"function": 4, "code": 2}


async def test_an_unknown_unit_is_silence_and_its_neighbours_still_answer(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with (
        campus(_site(tmp_path, transport="rtu_over_tcp")) as town,
        _tcp_client(town, FramerType.RTU) as client,
    ):
        with pytest.raises(ModbusIOException):
            await client.read_input_registers(0, count=2, device_id=77)
        assert await client.connect()
        answer = await client.read_input_registers(0, count=2, device_id=1)
        assert not answer.isError()


async def test_coils_switch_relays_and_the_ledger_has_the_effect(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with (
        campus(_site(tmp_path, transport="tcp")) as town,
        _tcp_client(town, FramerType.SOCKET) as client,
    ):
        await client.write_coil(1, True, device_id=3)
        await client.write_coils(4, [True, False, True], device_id=3)
        answer = await client.read_coils(0, count=8, device_id=3)
        moved = [entry.values["relay"] for entry in town.ledger.entries("board", Deed.MOVED)]
        assert answer.bits == [False, True, False, False, True, False, True, False]
        assert moved == [2, 5, 7]


async def test_requests_sent_at_once_are_all_answered_in_order(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with campus(_site(tmp_path, transport="tcp")) as town:
        port = town.settings["bus-1"]["port"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(16):
            writer.write(bytes.fromhex(f"{number:04x} 0000 0006 01 04 0000 0002"))
        async with asyncio.timeout(10):
            answers = [await reader.readexactly(13) for _ in range(16)]
        writer.close()
        assert [answer[1] for answer in answers] == list(range(16))


async def test_a_dtu_calls_registers_and_answers(campus: CampusFactory, tmp_path: Path) -> None:
    settings = {"transport": "dtu", "listen": "0.0.0.0:5000", "registration": "DTU-42"}
    async with campus(_site(tmp_path, **settings)) as town:
        host, _, port = str(town.settings["bus-1"]["listen"]).rpartition(":")
        called: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue(4)
        server = await asyncio.start_server(lambda *pair: called.put_nowait(pair), host, int(port))
        async with asyncio.timeout(10), server:
            reader, writer = await called.get()
            assert await reader.readexactly(6) == b"DTU-42"
            writer.write(bytes.fromhex("01 04 00 00 00 02 71 CB"))
            answer = await reader.readexactly(9)
            writer.close()
        assert answer[:3] == bytes.fromhex("01 04 04")


async def test_an_ordered_fault_silences_a_device_until_it_is_healed(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with (
        campus(_site(tmp_path, transport="tcp")) as town,
        _tcp_client(town, FramerType.SOCKET) as client,
    ):
        town.faults.windows.append(Window(device="meter", kind=FaultKind.EXCEPTION))
        failed = await client.read_input_registers(0, count=2, device_id=1)
        town.faults.windows.clear()
        healed = await client.read_input_registers(0, count=2, device_id=1)
        assert failed.exception_code == 4
        assert not healed.isError()


async def test_a_cut_bus_throws_everyone_off_until_it_is_mended(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with campus(_site(tmp_path, transport="tcp")) as town:
        port = town.settings["bus-1"]["port"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        town.buses["bus-1"].cut_off(True)
        async with asyncio.timeout(5):
            assert await reader.read(1) == b""
        writer.close()
        town.buses["bus-1"].cut_off(False)
        async with _tcp_client(town, FramerType.SOCKET) as client:
            answer = await client.read_input_registers(0, count=2, device_id=1)
        assert not answer.isError()


async def test_no_file_stays_open_when_a_campus_has_ended(
    campus: CampusFactory, tmp_path: Path
) -> None:
    site = _site(tmp_path, transport="rtu", device="/dev/ttyUSB0")
    before = len(os.listdir("/proc/self/fd"))
    async with campus(site):
        pass
    assert len(os.listdir("/proc/self/fd")) == before
    assert free_port()
