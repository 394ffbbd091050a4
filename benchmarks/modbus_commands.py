"""How soon a command's frame is on the wire: alone, and on a link whose 30 meters are polled at full rate.

A server in a process of its own notes when each request has come in, by the machine's one monotonic clock.
What is measured is from the call of `execute` to that moment. The limit is a bare socket in the same run; the
peer is pymodbus' client, whose write waits for its turn behind the reads of a polling loop. On a simulated
bus of 9600 baud the frames are counted that come between the call and the command's own.

    python -m benchmarks.modbus_commands [--short]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import socket
import struct
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

import uvloop
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient

from benchmarks.bus import CHAR_S, DELAY_S, SILENCE_S, crc16
from hub import Answer
from tests.modbus_site import link_of
from tests.modbus_telling import CLOCK, at_work, command_for, markable_profile

METERS = tuple(range(1, 31))
WARM_S = 1.0
SERIAL_COMMANDS = 40
LOCAL = "127.0.0.1"
IDLE_GOAL_MS, BUSY_GOAL_MS, OVERTAKEN_GOAL = 20.0, 50.0, 1


# The server, in a process of its own.


class Meters(asyncio.Protocol):
    """Answers every request: at once over Modbus TCP, in the time of 9600 baud as RTU."""

    def __init__(self, came: list[tuple[float, int]], *, rtu: bool) -> None:
        self._came = came
        self._rtu = rtu
        self._buffer = b""
        self._free_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now_s = time.monotonic()
        self._buffer += data
        size = 8 if self._rtu else 12
        while len(self._buffer) >= size:
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            question = frame[:6] if self._rtu else frame[6:]
            self._came.append((now_s, int.from_bytes(question[4:]) if question[1] == 6 else -1))
            body = answer_to(question)
            if not self._rtu:
                self._send(frame[:2] + struct.pack(">HH", 0, len(body)) + body)
                continue
            wire_s = (8 + len(body) + 2) * CHAR_S + 2 * SILENCE_S + DELAY_S
            self._free_s = max(now_s, self._free_s) + wire_s
            loop = asyncio.get_running_loop()
            loop.call_later(self._free_s - now_s, self._send, body + crc16(body))

    def _send(self, data: bytes) -> None:
        self._transport.write(data)  # type: ignore[attr-defined]


def answer_to(question: bytes) -> bytes:
    """The echo of a write, or as many zero registers or coils as were asked for."""
    unit, function, _, count = struct.unpack(">BBHH", question)
    if function == 6:
        return question
    size = (count + 7) // 8 if function in (1, 2) else 2 * count
    return bytes((unit, function, size)) + bytes(size)


async def _serve(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    came: list[tuple[float, int]] = []
    servers = [
        await loop.create_server(lambda rtu=rtu: Meters(came, rtu=rtu), LOCAL, 0)  # type: ignore[misc]
        for rtu in (False, True)
    ]
    pipe.send([server.sockets[0].getsockname()[1] for server in servers])
    told = asyncio.Event()
    loop.add_reader(pipe.fileno(), told.set)
    while True:
        await told.wait()
        told.clear()
        if not pipe.recv():
            return
        pipe.send(list(came))
        came.clear()


def serve(pipe: Connection) -> None:
    """The server's process."""
    uvloop.run(_serve(pipe))


# What is measured.


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Milliseconds from the call to the frame at the server, and the most frames between the two."""

    p50_ms: float
    p99_ms: float
    worst_ms: float
    overtaken: int
    polls_s: float


def figures(called_s: Sequence[float], came: Sequence[tuple[float, int]]) -> Figures:
    """Put what was called beside what came in; every command has its own number on the wire."""
    arrived_s = {number: time_s for time_s, number in came if number >= 0}
    waits_ms = sorted(1000 * (arrived_s[at] - time_s) for at, time_s in enumerate(called_s))
    between = [
        sum(time_s < moment_s < arrived_s[at] for moment_s, _ in came)
        for at, time_s in enumerate(called_s)
    ]
    passed_s = came[-1][0] - came[0][0]
    return Figures(
        p50_ms=waits_ms[len(waits_ms) // 2],
        p99_ms=waits_ms[int(0.99 * len(waits_ms))],
        worst_ms=waits_ms[-1],
        overtaken=max(between),
        polls_s=(len(came) - len(called_s)) / passed_s,
    )


async def paced(number: int, tell: Callable[[int], Coroutine[None, None, None]]) -> list[float]:
    """Tell one command after the other, at moments of chance; when each was called."""
    called_s = []
    for value in range(number):
        await asyncio.sleep(0.02 * CLOCK.random())
        called_s.append(time.monotonic())
        await tell(value)
    return called_s


async def by_driver(port: int, number: int, *, polled: bool, rtu: bool) -> list[float]:
    """Commands to the meters of one link through the driver."""
    settings: dict[str, object] = {"host": LOCAL, "port": port, "timeout_s": 2.0}
    if rtu:
        settings["transport"] = "rtu_over_tcp"
    link = link_of(settings, markable_profile(), METERS, period_s=0.001 if polled else 3600)
    async with at_work(link) as work:
        await asyncio.sleep(WARM_S if polled else 6.0)

        async def tell(value: int) -> None:
            device = link.devices[value % len(METERS)]
            outcome = await work.driver.execute(command_for(device, "mark", {"value": value}))
            assert outcome.answer is Answer.ACKNOWLEDGED, outcome

        return await paced(number, tell)


async def by_library(port: int, number: int, *, rtu: bool) -> list[float]:
    """The same by pymodbus' client: a polling loop, and writes beside it."""
    framer = FramerType.RTU if rtu else FramerType.SOCKET
    client = AsyncModbusTcpClient(LOCAL, port=port, framer=framer, timeout=2, retries=0)
    await client.connect()

    async def poll() -> None:
        while client.connected:
            for unit in METERS:
                await client.read_holding_registers(0, count=3, device_id=unit)

    polling = asyncio.create_task(poll())
    await asyncio.sleep(WARM_S)

    async def tell(value: int) -> None:
        await client.write_register(50, value, device_id=METERS[value % len(METERS)])

    called_s = await paced(number, tell)
    client.close()
    polling.cancel()
    with suppress(Exception, asyncio.CancelledError):
        await polling
    return called_s


async def by_socket(port: int, number: int) -> list[float]:
    """A bare socket that sends the same frame and nothing else."""
    reader, writer = await asyncio.open_connection(LOCAL, port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def tell(value: int) -> None:
        writer.write(struct.pack(">HHHBBHH", 1, 0, 6, 1, 6, 50, value))
        await reader.readexactly(12)

    called_s = await paced(number, tell)
    writer.close()
    return called_s


def show(name: str, found: Figures, goal: str) -> None:
    """One row."""
    print(
        f"{name:<44}{found.p50_ms:9.2f}{found.p99_ms:9.2f}{found.worst_ms:9.2f}"
        f"{found.overtaken:8}{found.polls_s:9.0f}{goal:>16}"
    )


async def compare(ports: Sequence[int], pipe: Connection, number: int) -> None:
    """Measure all and print the table."""
    tcp, serial = ports
    print(f"{number} commands each, {SERIAL_COMMANDS} on the 9600 baud bus; {len(METERS)} meters\n")
    print(f"{'call → frame on the wire':<44}{'p50 ms':>9}{'p99 ms':>9}{'worst':>9}"
          f"{'frames':>8}{'polls/s':>9}{'goal':>16}")  # fmt: skip
    few, idle, busy = SERIAL_COMMANDS, f"p99 {IDLE_GOAL_MS:.0f}", f"p99 {BUSY_GOAL_MS:.0f}"
    frames = f"frames {OVERTAKEN_GOAL}"
    rows: list[tuple[str, Coroutine[None, None, list[float]], str]] = [
        ("bare socket, idle (limit)", by_socket(tcp, number), ""),
        ("idle TCP link", by_driver(tcp, number, polled=False, rtu=False), idle),
        ("TCP link polled at full rate", by_driver(tcp, number, polled=True, rtu=False), busy),
        ("the same by pymodbus", by_library(tcp, number, rtu=False), ""),
        ("9600 baud bus, full rate", by_driver(serial, few, polled=True, rtu=True), frames),
        ("the same by pymodbus", by_library(serial, few, rtu=True), ""),
    ]
    for name, work, goal in rows:
        called_s = await work
        pipe.send(True)
        show(name, figures(called_s, pipe.recv()), goal)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="200 commands instead of 2000")
    arguments = parser.parse_args()
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    ports: list[int] = ours.recv()
    try:
        uvloop.run(compare(ports, ours, 200 if arguments.short else 2000))
    finally:
        ours.send(False)
        server.join(5)
        server.kill()


if __name__ == "__main__":
    main()
