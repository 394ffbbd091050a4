"""How much of an RS-485 bus at 9600 baud the Modbus driver uses, healthy and with silent meters.

Eight buses of thirty meters are simulated in a process of their own, behind serial servers (RTU over TCP):
every frame takes its time on the wire, a meter answers 30 ms after the silence that ends the request, and
the simulation counts requests that come before the silence after an answer is over. The optimum is the
cheapest of all ways to cut the points into requests, found by trying all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import itertools
import logging
import multiprocessing
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection

import uvloop
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from drivers.modbus.driver import open_driver
from hub import Clock, Device, Link, Outcome, Poison, Reading, SystemClock
from hub.profile_file import read_profile

BUSES, METERS, SILENT = 8, 30, 3
BAUD, BITS = 9600, 10
CHAR_S = BITS / BAUD
SILENCE_S = 3.5 * CHAR_S
DELAY_S = 0.030
SPIN_S = 0.0003
TOLERANCE_S = 0.0002
TIMEOUT_S = 0.5
MAX_REGISTERS = 80
ADDRESSES = (0x00, 0x06, 0x0C, 0x12, 0x18, 0x1E, 0x46, 0x48, 0x4A, 0x4C)
NAMES = (
    "voltage_l1",
    "current_l1",
    "active_power_l1",
    "apparent_power_l1",
    "reactive_power_l1",
    "power_factor_l1",
    "frequency",
    "energy_import",
    "energy_export",
    "reactive_energy_import",
)
PROFILE = """
name = "Benchmark meter"
maker = "Benchmark"
kind = "electricity_meter"
protocol = "modbus"
[modbus]
function = 4
type = "float32"
max_registers = 80
align = 2
gaps = true
[points]
""" + "\n".join(f"{name} = {{ at = {at} }}" for name, at in zip(NAMES, ADDRESSES, strict=True))


def request_s(registers: int) -> float:
    """Wire time of one read: both frames, two silences, the meter's delay."""
    return (8 + 5 + 2 * registers) * CHAR_S + 2 * SILENCE_S + DELAY_S


def optimum() -> tuple[float, list[tuple[int, int]]]:
    """The least wire time of one poll, and its requests, over all ways to cut the points."""
    best: tuple[float, list[tuple[int, int]]] = (float("inf"), [])
    for cuts in itertools.product((False, True), repeat=len(ADDRESSES) - 1):
        reads = [[ADDRESSES[0], ADDRESSES[0] + 2]]
        for cut, at in zip(cuts, ADDRESSES[1:], strict=True):
            if cut:
                reads.append([at, at + 2])
            else:
                reads[-1][1] = at + 2
        if all(end - start <= MAX_REGISTERS for start, end in reads):
            cost = sum(request_s(end - start) for start, end in reads)
            best = min(best, (cost, [(start, end - start) for start, end in reads]))
    return best


# The buses, in a process of their own.


def crc16(data: bytes) -> bytes:
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


class SimulatedBus:
    """One RS-485 bus behind a serial server."""

    def __init__(self, silent: frozenset[int]) -> None:
        self.silent = silent
        self.received = b""
        self.quiet_from_s = 0.0
        self.too_soon = 0
        self.answers: dict[bytes, bytes] = {}

    def take(self, data: bytes, now_s: float) -> tuple[float, bytes] | None:
        """A whole request: when its answer has left the wire, and the answer; None for a silent meter.

        A request that comes before the silence after an answer is over is counted, and held back so long.
        """
        self.received += data
        if len(self.received) < 8:
            return None
        request, self.received = self.received[:8], self.received[8:]
        self.too_soon += now_s < self.quiet_from_s - TOLERANCE_S
        end_s = max(now_s, self.quiet_from_s) + 8 * CHAR_S
        self.quiet_from_s = end_s + SILENCE_S
        if request[0] in self.silent:
            return None
        if request not in self.answers:
            self.answers[request] = self._answer(request)
        answer = self.answers[request]
        due_s = end_s + SILENCE_S + DELAY_S + len(answer) * CHAR_S
        self.quiet_from_s = due_s + SILENCE_S
        return due_s, answer

    def _answer(self, request: bytes) -> bytes:
        unit, function, start, count = struct.unpack(">BBHH", request[:6])
        values = b"".join(
            struct.pack(">f", float(unit + at)) for at in range(start, start + count, 2)
        )
        body = bytes((unit, function, 2 * count)) + values
        return body + crc16(body)


class Buses:
    """All buses on one thread: what is due is sent at its moment, with a short spin before it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(BUSES)]
        self._buses: dict[socket.socket, SimulatedBus] = {}
        self._due: list[tuple[float, int, socket.socket, bytes]] = []
        self._order = itertools.count()
        self._silent: frozenset[int] = frozenset()
        pipe.send([listener.getsockname()[1] for listener in self._listeners])

    def run(self) -> None:
        """Serve until told to end."""
        fixed: dict[int, Callable[[], None]] = {self._pipe.fileno(): self._told}
        for listener in self._listeners:
            fixed[listener.fileno()] = partial(self._accept, listener)
        while not self._pipe.closed:
            by_fd = {sock.fileno(): sock for sock in self._buses}
            left_s = self._due[0][0] - time.monotonic() if self._due else 1.0
            ready, _, _ = select.select([*fixed, *by_fd], [], [], max(0.0, left_s - SPIN_S))
            now_s = time.monotonic()
            for fd in ready:
                if fd in fixed:
                    fixed[fd]()
                else:
                    self._take(by_fd[fd], now_s)
            self._send_due()

    def _told(self) -> None:
        order = self._pipe.recv()
        if order is None:
            self._pipe.close()
            return
        self._silent = order
        self._pipe.send(sum(bus.too_soon for bus in self._buses.values()))
        for bus in self._buses.values():
            bus.silent, bus.too_soon = order, 0

    def _accept(self, listener: socket.socket) -> None:
        sock = listener.accept()[0]
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buses[sock] = SimulatedBus(self._silent)

    def _take(self, sock: socket.socket, now_s: float) -> None:
        try:
            data = sock.recv(4096)
        except OSError:
            data = b""
        if not data:
            del self._buses[sock]
            return
        answer = self._buses[sock].take(data, now_s)
        if answer:
            heapq.heappush(self._due, (answer[0], next(self._order), sock, answer[1]))

    def _send_due(self) -> None:
        while self._due and self._due[0][0] - time.monotonic() < SPIN_S:
            due_s, _, sock, answer = heapq.heappop(self._due)
            while time.monotonic() < due_s:
                pass
            if sock in self._buses:
                sock.sendall(answer)


def serve(pipe: Connection) -> None:
    """The buses' process."""
    Buses(pipe).run()


# The clients.


class CountingHost:
    """Counts readings of each device."""

    def __init__(self) -> None:
        self.clock: Clock = SystemClock()
        self.polls: Counter[str] = Counter()

    async def publish(self, readings: Sequence[Reading]) -> None:
        for reading in readings:
            assert not reading.bad
            self.polls[reading.device] += 1

    async def quarantine(self, poison: Sequence[Poison]) -> None:
        raise AssertionError(poison)

    def missed(self, device: str, reason: str) -> None:
        self.polls[reason] += 1

    def link_up(self) -> None:
        pass

    def tapped(self, device: str = "") -> bool:
        return False

    def link_down(self, reason: str) -> None:
        print("link down:", reason)

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        self.polls[f"{name} {reason}"] += number

    def answered_late(self, device: str, command: str, outcome: Outcome) -> None:
        self.polls["late answer"] += 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Polls a second of one bus, averaged over the buses, and of the worst."""

    mean: float
    worst: float


def rate_of(polls: Counter[str], seconds: float) -> Rate:
    buses = Counter[str]()
    for device, number in polls.items():
        if device.startswith("m-"):
            buses[device.split("-")[1]] += number
    rates = [number / seconds for number in buses.values()]
    return Rate(mean=sum(rates) / BUSES, worst=min(rates, default=0.0))


async def driver(ports: Sequence[int], host: CountingHost) -> None:
    profile = read_profile("benchmark", "benchmark", PROFILE).apply({}, place="benchmark")
    async with asyncio.TaskGroup() as tasks:
        for bus, port in enumerate(ports):
            devices = tuple(
                Device(
                    id=f"m-{bus}-{unit}",
                    profile=profile,
                    link=f"b{bus}",
                    address=str(unit),
                    period_s=0.1,
                )
                for unit in range(1, METERS + 1)
            )
            settings: dict[str, object] = {
                "transport": "rtu_over_tcp",
                "host": "127.0.0.1",
                "port": port,
                "timeout_s": TIMEOUT_S,
            }
            link = Link(id=f"b{bus}", driver="modbus", settings=settings, devices=devices)
            tasks.create_task(open_driver(link).run(host), name=link.id)


async def naive(ports: Sequence[int], host: CountingHost) -> None:
    """The library's client with the same merged reads: what a careful script does."""
    _, reads = optimum()

    async def sweep(bus: int, port: int) -> None:
        client = AsyncModbusTcpClient(
            "127.0.0.1", port=port, framer=FramerType.RTU, timeout=TIMEOUT_S, retries=0
        )
        await client.connect()
        for unit in itertools.cycle(range(1, METERS + 1)):
            try:
                for start, count in reads:
                    await client.read_input_registers(start, count=count, device_id=unit)
            except ModbusException:
                host.missed(f"m-{bus}-{unit}", "timeout")
                while not client.connected:
                    await client.connect()
                continue
            host.polls[f"m-{bus}-{unit}"] += 1

    async with asyncio.TaskGroup() as tasks:
        for bus, port in enumerate(ports):
            tasks.create_task(sweep(bus, port), name=f"naive-{bus}")


Client = Callable[[Sequence[int], CountingHost], Coroutine[None, None, None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One client's figures."""

    healthy: Rate
    degraded: Rate
    too_soon: int
    cpu: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A client and how long it is warmed up and measured, healthy and with silent meters."""

    name: str
    client: Client
    warm_s: float
    healthy_s: float
    silent_warm_s: float
    silent_s: float


async def measure(run: Run, ports: Sequence[int], pipe: Connection) -> Result:
    """Run a client against the buses: all healthy, then with three meters of each bus silent."""
    host = CountingHost()

    def tell(silent: frozenset[int]) -> int:
        pipe.send(silent)
        too_soon: int = pipe.recv()
        return too_soon

    async def rate(warm_s: float, seconds: float) -> Rate:
        await asyncio.sleep(warm_s)
        host.polls.clear()
        begun_s = time.monotonic()
        await asyncio.sleep(seconds)
        return rate_of(host.polls, time.monotonic() - begun_s)

    tell(frozenset())
    task = asyncio.create_task(run.client(ports, host))
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    healthy = await rate(run.warm_s, run.healthy_s)
    cpu = (time.process_time() - begun_cpu_s) / (time.monotonic() - begun_s)
    silent = frozenset(range(7, 7 + SILENT))
    too_soon = tell(silent)
    degraded = await rate(run.silent_warm_s, run.silent_s)
    too_soon += tell(silent)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return Result(healthy=healthy, degraded=degraded, too_soon=too_soon, cpu=cpu)


async def compare(ports: Sequence[int], pipe: Connection, short: bool) -> None:
    """Measure both clients and print the table."""
    poll_s, reads = optimum()
    best = 1 / poll_s
    print(f"{BUSES} buses, {METERS} meters each, {BAUD} baud 8N1, {len(ADDRESSES)} float points")
    print(f"meters answer after {DELAY_S * 1000:.0f} ms; silent: {SILENT} on each bus")
    print(f"optimum: {poll_s * 1000:.1f} ms a poll, {best:.3f} polls/s a bus, reads {reads}")
    healthy_s = 12.0 if short else 60.0
    # One attempt at a silent meter a minute is what 2 % allow: a shorter window would see one or none.
    ours = Run(
        name="dormhub",
        client=driver,
        warm_s=6,
        healthy_s=healthy_s,
        silent_warm_s=25,
        silent_s=60 if short else 120,
    )
    peer = replace(ours, name="pymodbus client", client=naive, silent_warm_s=6, silent_s=healthy_s)
    results = [(run.name, await measure(run, ports, pipe)) for run in (ours, peer)]
    print(f"\n{'':<16}{'healthy':^26}{f'{SILENT} of {METERS} silent':^34}")
    print(
        f"{'':<16}{'polls/s':>8}{'of opt.':>9}{'worst':>9}{'polls/s':>10}{'of opt.':>9}"
        f"{'each of 27':>14}{'too soon':>10}{'CPU':>7}"
    )
    for name, result in results:
        each = result.degraded.mean / (METERS - SILENT) / (result.healthy.mean / METERS)
        print(
            f"{name:<16}{result.healthy.mean:8.3f}{result.healthy.mean / best:9.3f}"
            f"{result.healthy.worst / best:9.3f}{result.degraded.mean:10.3f}"
            f"{result.degraded.mean / best:9.3f}{each:14.3f}{result.too_soon:10d}{result.cpu:7.1%}"
        )
    print(f"{'goal, at least':<16}{'':8}{0.97:9.2f}{'':9}{'':10}{0.95:9.2f}{0.95:14.2f}{0:10d}")
    print("each of 27: polls/s of a living meter against its rate while all were healthy")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="12 s for each figure instead of 60 s")
    arguments = parser.parse_args()
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    ports: list[int] = ours.recv()
    try:
        uvloop.run(compare(ports, ours, arguments.short))
    finally:
        ours.send(None)
        server.join(5)
        server.kill()


if __name__ == "__main__":
    main()
