"""Values per CPU-second from Modbus TCP to decoded Readings, and to the journal with every batch on disk.

32 endpoints with 30 units of 10 float points each answer from a process of their own as fast as they can;
only the CPU time of the reading process counts. The limit is a C poller on libmodbus, the peer is
pymodbus' client with the same merged reads, both in the same run against the same slave.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from pymodbus.client import AsyncModbusTcpClient

from drivers.modbus.driver import open_driver
from hub import Clock, Device, Link, Outcome, Poison, Reading, SystemClock
from hub.journal import Journal, open_journal
from hub.profile_file import read_profile

ENDPOINTS, UNITS, POINTS = 32, 30, 10
REGISTERS = 2 * POINTS
NAMES = (
    "voltage_l1",
    "voltage_l2",
    "voltage_l3",
    "current_l1",
    "current_l2",
    "current_l3",
    "active_power_l1",
    "active_power_l2",
    "active_power_l3",
    "frequency",
)
PROFILE = """
name = "Benchmark meter"
maker = "Benchmark"
kind = "electricity_meter"
protocol = "modbus"
[modbus]
function = 4
type = "float32"
[points]
""" + "\n".join(f"{name} = {{ at = {2 * place} }}" for place, name in enumerate(NAMES))
WARM_S = 2.0
C_SOURCE = Path(__file__).parent / "c" / "libmodbus_poller.c"
READING_GOAL, STORED_GOAL, RATIO_GOAL = 60_000, 40_000, 0.35


class Slave(asyncio.Protocol):
    """Answers every read of input registers at once; one request a segment, as masters send them."""

    def __init__(self) -> None:
        self._answers: dict[bytes, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        question = data[6:12]
        answer = self._answers.get(question)
        if answer is None:
            unit, _, start, count = struct.unpack(">BBHH", question)
            values = (float(unit + at) for at in range(start, start + count, 2))
            floats = b"".join(struct.pack(">f", value) for value in values)
            body = bytes((unit, question[1], 2 * count)) + floats
            answer = self._answers[question] = struct.pack(">HH", 0, len(body)) + body
        self._transport.write(data[:2] + answer)  # type: ignore[attr-defined]


async def _serve(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Slave, "127.0.0.1", 0) for _ in range(ENDPOINTS)]
    pipe.send([server.sockets[0].getsockname()[1] for server in servers])
    ended = asyncio.Event()
    loop.add_reader(pipe.fileno(), ended.set)
    await ended.wait()


def serve(pipe: Connection) -> None:
    """The slave's process."""
    uvloop.run(_serve(pipe))


class CountingHost:
    """Counts values; with a journal, only those on disk."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.clock: Clock = SystemClock()
        self.values = 0
        self.failures = 0
        self.running = True  # pymodbus swallows a cancellation
        self._journal = journal

    async def publish(self, readings: Sequence[Reading]) -> None:
        if self._journal:
            await self._journal.append(readings)
        self.values += sum(len(reading.values) for reading in readings)

    async def quarantine(self, poison: Sequence[Poison]) -> None:
        raise AssertionError(poison)

    def missed(self, device: str, reason: str) -> None:
        self.failures += 1

    def link_up(self) -> None:
        pass

    def tapped(self, device: str = "") -> bool:
        return False

    def link_down(self, reason: str) -> None:
        self.failures += 1

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        self.failures += number

    def answered_late(self, device: str, command: str, outcome: Outcome) -> None:
        self.failures += 1


async def driver(ports: Sequence[int], host: CountingHost) -> None:
    """All endpoints by the driver, as fast as it can."""
    profile = read_profile("benchmark", "benchmark", PROFILE).apply({}, place="benchmark")
    async with asyncio.TaskGroup() as tasks:
        for endpoint, port in enumerate(ports):
            devices = tuple(
                Device(
                    id=f"m-{endpoint}-{unit}",
                    profile=profile,
                    link=f"e{endpoint}",
                    address=str(unit),
                    period_s=0.001,
                )
                for unit in range(1, UNITS + 1)
            )
            settings: dict[str, object] = {"host": "127.0.0.1", "port": port}
            link = Link(id=f"e{endpoint}", driver="modbus", settings=settings, devices=devices)
            tasks.create_task(open_driver(link).run(host), name=link.id)


async def library(ports: Sequence[int], host: CountingHost) -> None:
    """All endpoints by pymodbus' client, one merged read for each unit."""

    async def poll(port: int) -> None:
        client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=0.5, retries=0)
        await client.connect()
        while host.running:
            for unit in range(1, UNITS + 1):
                answer = await client.read_input_registers(0, count=REGISTERS, device_id=unit)
                values = client.convert_from_registers(answer.registers, client.DATATYPE.FLOAT32)
                host.values += len(dict(zip(NAMES, values, strict=True)))  # type: ignore[arg-type]

    async with asyncio.TaskGroup() as tasks:
        for port in ports:
            tasks.create_task(poll(port), name=f"library-{port}")


Client = Callable[[Sequence[int], CountingHost], Coroutine[None, None, None]]


async def measure(
    client: Client, ports: Sequence[int], host: CountingHost, seconds: float
) -> tuple[float, float]:
    """Values per CPU-second of this process, and per second."""
    task = asyncio.create_task(client(ports, host))
    await asyncio.sleep(WARM_S)
    values, cpu_s, wall_s = host.values, time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    values = host.values - values
    cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    if host.failures:
        print(f"  {host.failures} failures")
    host.running = False
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return values / cpu_s, values / wall_s


async def stored(ports: Sequence[int], seconds: float) -> tuple[float, float]:
    """The same with a journal in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_journal(Path(folder) / "journal.db", clock=SystemClock()) as journal:
            return await measure(driver, ports, CountingHost(journal), seconds)


async def compiled(ports: Sequence[int], seconds: float) -> tuple[float, float] | None:
    """The C poller on libmodbus; None where there is no compiler or library."""
    if not shutil.which("cc"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "poller")
        flags = ["-O2", "-I/usr/include/modbus", "-o", program, str(C_SOURCE), "-lmodbus"]
        compiler = await asyncio.create_subprocess_exec("cc", *flags, stderr=subprocess.DEVNULL)
        if await compiler.wait():
            return None
        words = [program, str(seconds), str(UNITS), str(POINTS), *map(str, ports)]
        poller = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
        output, _ = await poller.communicate()
    values, cpu_s, wall_s, _ = (float(word) for word in output.split())
    return values / cpu_s, values / wall_s


async def compare(ports: Sequence[int], seconds: float) -> None:
    """Measure all and print the table."""
    print(f"{ENDPOINTS} endpoints, {UNITS} units each, {POINTS} float points, {seconds:.0f} s each")
    limit = await compiled(ports, seconds)
    reading = await measure(driver, ports, CountingHost(), seconds)
    on_disk = await stored(ports, seconds)
    peer = await measure(library, ports, CountingHost(), seconds)
    print(f"\n{'':<34}{'values/CPU-s':>14}{'values/s':>11}{'of C':>8}{'goal':>9}")
    rows = [
        ("libmodbus in C", limit, ""),
        ("dormhub, wire to Reading", reading, f"{READING_GOAL}"),
        ("dormhub, wire to disk", on_disk, f"{STORED_GOAL}"),
        ("pymodbus client, merged reads", peer, ""),
    ]
    for name, figures, goal in rows:
        if figures is None:
            print(f"{name:<34}{'no compiler or libmodbus-dev':>28}")
            continue
        ratio = f"{figures[0] / limit[0]:.2f}" if limit else ""
        print(f"{name:<34}{figures[0]:14.0f}{figures[1]:11.0f}{ratio:>8}{goal:>9}")
    print(f"goal of wire to Reading against C: {RATIO_GOAL}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="5 s for each figure instead of 20 s")
    arguments = parser.parse_args()
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    ports: list[int] = ours.recv()
    try:
        uvloop.run(compare(ports, 5.0 if arguments.short else 20.0))
    finally:
        ours.send(None)
        server.join(5)
        server.kill()


if __name__ == "__main__":
    main()
