"""Messages per CPU-second from a real Mosquitto to the journal, acknowledged once they are on disk.

A publisher in a process of its own sends QoS 1 messages of six points for 10,000 devices as fast as the
broker takes them; only the CPU time of the receiving process counts. The peer in the same run is bare
aiomqtt, which acknowledges at once and does nothing. The first message of every device is a device never
seen before: how long they take is told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import aiomqtt
import uvloop

from drivers.mqtt.driver import open_driver
from hub import Clock, Device, Link, Outcome, Poison, Reading, SystemClock, load_profiles
from hub.ingest import Ingest
from hub.journal import Journal, open_journal

DEVICES = 10_000
GOAL, NEW_DEVICES_GOAL_S = 3_000, 5.0
WINDOW = 2_000  # messages of the publisher that may wait for the broker's word
TIMEOUT_S = 600.0
FILTER = "dormhub/up/+/state"


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One way of receiving: what it cost, and what arrived."""

    name: str
    received: int
    stored: int
    cpu_s: float
    wall_s: float
    new_devices_s: float


def packets(per_device: int, start_s: int) -> list[bytes]:
    """Every PUBLISH, with its packet number: first one of each device, then the next of each."""
    made: list[bytes] = []
    for turn in range(per_device):
        for number in range(DEVICES):
            payload = (
                b'{"ts":%d,"seq":%d,"energy_import_wh":%d,"power_w":%.1f,"voltage_l1_v":229.8,'
                b'"current_l1_a":5.37,"frequency_hz":50.01}'
                % (start_s + 60 * turn, turn, 1_000_000 + 20 * turn, 1200 + number % 97)
            )
            topic = b"dormhub/up/m-%05d/state" % number
            packet_id = len(made) % 65_000 + 1
            body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", packet_id) + payload
            made.append(bytes([0x32, len(body) & 127 | 128, len(body) >> 7]) + body)
    return made


def publish_all(port: int, per_device: int, start_s: int, word: Connection) -> None:
    """Runs in its own process: send everything, at most WINDOW without an answer; then say so."""
    messages = packets(per_device, start_s)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05bench")
        sock.recv(4, socket.MSG_WAITALL)
        word.recv()
        sent = answered = 0
        while answered < 4 * len(messages):
            room = WINDOW - (sent - answered // 4)
            if room >= WINDOW // 2 and sent < len(messages):
                sock.sendall(b"".join(messages[sent : sent + room]))
                sent = min(len(messages), sent + room)
            answered += len(sock.recv(65_536))
    word.send("all sent")


def start_broker(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Mosquitto with persistence and no limit on what waits."""
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n"
        f"persistence_location {folder}/\nautosave_interval 1800\nmax_queued_messages 0\n"
        "max_inflight_messages 1000\nset_tcp_nodelay true\nlog_type error\n",
        "utf-8",
    )
    process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process, port
        time.sleep(0.05)
    raise SystemExit("mosquitto does not start")


class DiskHost:
    """A Host that stores through `store` and remembers when the last new device was on disk."""

    def __init__(
        self, store: Callable[[Sequence[Reading]], Coroutine[None, None, object]], total: int
    ) -> None:
        self._clock = SystemClock()
        self._store = store
        self._total = total
        self.received = 0
        self.up = asyncio.Event()
        self.done = asyncio.Event()
        self.new_devices_at_s = 0.0
        self.trouble: list[str] = []

    @property
    def clock(self) -> Clock:
        return self._clock

    async def publish(self, readings: Sequence[Reading]) -> None:
        meters = [reading for reading in readings if reading.device != "broker"]
        await self._store(meters)
        self.received += len(meters)
        if not self.new_devices_at_s and self.received >= DEVICES:
            self.new_devices_at_s = time.monotonic()
        if self.received >= self._total:
            self.done.set()

    async def quarantine(self, poison: Sequence[Poison]) -> None:
        self.trouble.append(f"poison: {poison[0].reason}")

    def missed(self, device: str, reason: str) -> None:
        self.trouble.append(f"{device}: {reason}")

    def link_up(self) -> None:
        self.up.set()

    def tapped(self, device: str = "") -> bool:
        return False

    def link_down(self, reason: str) -> None:
        self.trouble.append(f"down: {reason}")

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        self.trouble.append(f"{name} {reason} {number}")

    def answered_late(self, device: str, command: str, outcome: Outcome) -> None:
        self.trouble.append(f"late answer of {device}")


def link_of(port: int) -> Link:
    """A broker with 10,000 meters."""
    profile = load_profiles().get("generic_meter", {}, place="benchmark")
    devices = tuple(
        Device(id=f"m-{number:05d}", profile=profile, link="broker", address=f"m-{number:05d}")
        for number in range(DEVICES)
    )
    settings = {"host": "127.0.0.1", "port": port}
    return Link(id="broker", driver="mqtt", settings=settings, devices=devices)


async def receive_with_driver(
    name: str, port: int, total: int, start: Callable[[], None], folder: Path | None, *, full: bool
) -> Result:
    """The driver into nothing, into the journal, or through plausibility and presence into the journal."""
    link = link_of(port)
    async with _store(folder, link, full=full) as (store, count):
        host = DiskHost(store, total)
        driver = asyncio.create_task(open_driver(link).run(host), name="driver")
        await host.up.wait()
        cpu_s, begun_s = time.process_time(), time.monotonic()
        start()
        async with asyncio.timeout(TIMEOUT_S):
            await host.done.wait()
        await asyncio.sleep(0)  # the last acknowledgements leave
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - begun_s
        driver.cancel()
        with suppress(asyncio.CancelledError):
            await driver
        for trouble in host.trouble[:5]:
            print(f"  {name}: {trouble}")
        return Result(
            name=name,
            received=host.received,
            stored=count(),
            cpu_s=cpu_s,
            wall_s=wall_s,
            new_devices_s=host.new_devices_at_s - begun_s,
        )


Store = Callable[[Sequence[Reading]], Coroutine[None, None, object]]


@asynccontextmanager
async def _store(
    folder: Path | None, link: Link, *, full: bool
) -> AsyncIterator[tuple[Store, Callable[[], int]]]:
    if folder is None:
        yield _forget, lambda: 0
        return
    clock = SystemClock()
    async with open_journal(folder / "journal.db", clock=clock) as journal:
        yield (
            (_ingest(journal, clock, link) if full else journal.append),
            lambda: journal.stats().stored,
        )


async def _forget(readings: Sequence[Reading]) -> None:
    """Nothing is stored."""


def _ingest(journal: Journal, clock: Clock, link: Link) -> Store:
    ingest = Ingest(
        store=journal,
        clock=clock,
        report=lambda change: None,
        count=lambda link, reason: print(f"  refused: {reason}"),
    )
    ingest.configure(link.devices, [link.id])
    return lambda readings: ingest.publish(link.id, readings)


async def receive_with_aiomqtt(
    name: str, port: int, total: int, start: Callable[[], None]
) -> Result:
    """The peer: acknowledged at once, thrown away."""
    async with aiomqtt.Client("127.0.0.1", port, identifier="peer", timeout=30) as client:
        await client.subscribe(FILTER, qos=1)
        cpu_s, begun_s = time.process_time(), time.monotonic()
        start()
        received = 0
        async with asyncio.timeout(TIMEOUT_S):
            async for _ in client.messages:
                received += 1
                if received == total:
                    break
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - begun_s
    return Result(
        name=name, received=received, stored=0, cpu_s=cpu_s, wall_s=wall_s, new_devices_s=0.0
    )


def measure(name: str, per_device: int) -> Result:
    """One way of receiving, with a broker, a publisher and a folder of its own."""
    total = DEVICES * per_device
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        broker, port = start_broker(folder)
        start_s = int(time.time()) - 3600
        arguments = (port, per_device, start_s, theirs)
        publisher = multiprocessing.get_context("spawn").Process(target=publish_all, args=arguments)
        publisher.start()

        def start() -> None:
            ours.send("go")

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                if name == PEER:
                    return runner.run(receive_with_aiomqtt(name, port, total, start))
                place = None if name == DRIVER else folder
                full = name == FULL
                return runner.run(receive_with_driver(name, port, total, start, place, full=full))
        finally:
            publisher.terminate()
            publisher.join()
            broker.terminate()
            broker.wait()


PEER = "bare aiomqtt, acknowledged at once"
DRIVER = "our driver, decoded, nothing stored"
JOURNAL = "our driver to the journal on disk"
FULL = "the same with plausibility and presence"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="3 messages a device, not 10")
    per_device = 3 if parser.parse_args().short else 10
    results = [measure(name, per_device) for name in (PEER, DRIVER, JOURNAL, FULL)]
    total = DEVICES * per_device
    print(f"{total:,} messages of six points from {DEVICES:,} devices, QoS 1\n")
    print(f"{'':42}{'per CPU-s':>10}{'us each':>9}{'per s':>8}{'new devices':>13}{'lost':>6}")
    for result in results:
        lost = total - (result.stored if result.name in (JOURNAL, FULL) else result.received)
        rate = result.received / result.cpu_s
        new = f"{result.new_devices_s:.2f} s" if result.new_devices_s else ""
        print(
            f"{result.name:42}{rate:>10,.0f}{1e6 / rate:>9.0f}"
            f"{result.received / result.wall_s:>8,.0f}{new:>13}{lost:>6}"
        )
    print(f"\ngoal, to the journal on disk: {GOAL:,} per CPU-s, 0 lost, ", end="")
    print(f"{DEVICES:,} devices never seen before in {NEW_DEVICES_GOAL_S:.0f} s")


if __name__ == "__main__":
    main()
