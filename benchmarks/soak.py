"""Ten times the reference campus for an hour: does memory stay flat, and is anything lost silently?

10,000 meters send 2,900 MQTT messages a second of six points each, QoS 1, and one more meter floods with a
hundred times a meter's rate. Broker, publisher and hub are processes of their own; the hub's is measured.
In the end everything sent must be stored or counted as refused.

    python -m benchmarks.soak [--short] [--minutes N] [--rate N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import struct
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from benchmarks.campus import cpu_s, need_status, process, resident_mb
from benchmarks.mqtt import start_broker
from hub.config import load_config
from hub.journal import JournalReader
from hub.status import read_status
from tests.servers import wait_until

DEVICES = 10_000
RATE_PER_S = 2_900
FLOOD_TIMES = 100
FLOODER = DEVICES  # the number of the meter that floods
TICK_S = 0.02
WINDOW = 20_000  # messages that may wait for the broker's word
START_TIMEOUT_S = 60.0
DRAIN_TIMEOUT_S = 600.0
SAMPLE_S = 1.0
FLAT_MB = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The hub at one moment."""

    at_s: float
    cpu_s: float
    memory_mb: float
    readings: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What the publisher did."""

    sent: int
    flooded: int
    seconds: float


def write_config(folder: Path, port: int) -> Path:
    """A hub with 10,001 meters on one broker."""
    config = folder / "config"
    config.mkdir()
    site = f'[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {port}\n'
    rows = (f"m-{n:05d},generic_meter,broker,m-{n:05d}\n" for n in range(DEVICES + 1))
    (config / "site.toml").write_text(site, "utf-8")
    (config / "devices.csv").write_text("id,profile,link,address\n" + "".join(rows), "utf-8")
    (config / "hub.toml").write_text('[log]\nlevel = "warning"\n', "utf-8")
    return config


def packet(device: int, number: int, now_s: int, packet_id: int) -> bytes:
    """A PUBLISH with QoS 1: six points of one meter, its messages numbered."""
    payload = (
        b'{"ts":%d,"seq":%d,"energy_import_wh":%d,"power_w":%.1f,"voltage_l1_v":229.8,'
        b'"current_l1_a":5.37,"frequency_hz":50.01}'
        % (now_s, number, 1_000_000 + number, 1200 + number % 97)
    )
    topic = b"dormhub/up/m-%05d/state" % device
    body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", packet_id) + payload
    return bytes([0x32, len(body) & 127 | 128, len(body) >> 7]) + body


class Publisher:
    """All meters on one connection, and how many of their messages the broker has acknowledged."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04soak")
        self._sock.recv(4, socket.MSG_WAITALL)
        self.sent = self.flooded = self._answered_bytes = 0

    def run(self, rate_per_s: float, seconds: float) -> Load:
        """Send at this rate for so long, then wait for every acknowledgement."""
        began_s = time.monotonic()
        flood_per_s = FLOOD_TIMES * rate_per_s / DEVICES
        while (passed_s := time.monotonic() - began_s) < seconds:
            now_s = int(time.time())
            batch: list[bytes] = []
            while self.sent < passed_s * rate_per_s and len(batch) < 1000:
                batch.append(packet(self.sent % DEVICES, self.sent // DEVICES, now_s, self._id()))
                self.sent += 1
            while self.flooded < passed_s * flood_per_s and len(batch) < 1100:
                batch.append(packet(FLOODER, self.flooded, now_s, self._id()))
                self.flooded += 1
            self._sock.sendall(b"".join(batch))
            self._take_answers(WINDOW)
            time.sleep(TICK_S)
        self._take_answers(0)
        return Load(sent=self.sent, flooded=self.flooded, seconds=time.monotonic() - began_s)

    def _id(self) -> int:
        return (self.sent + self.flooded) % 65_000 + 1

    def _take_answers(self, may_wait: int) -> None:
        """Read what the broker has said, until at most so many messages wait for its word."""
        while True:
            waiting = self.sent + self.flooded - self._answered_bytes // 4
            flags = 0 if waiting > may_wait else socket.MSG_DONTWAIT
            try:
                answer = self._sock.recv(65_536, flags) if waiting else b""
            except BlockingIOError:
                return
            if not answer:
                return
            self._answered_bytes += len(answer)


def publish(port: int, rate_per_s: float, seconds: float, told: Connection) -> None:
    """The publisher's process."""
    told.send(Publisher(port).run(rate_per_s, seconds))


def take_sample(pid: int, data: Path, began_s: float) -> Sample:
    """The hub now."""
    store = need_status(data).store
    return Sample(
        at_s=time.monotonic() - began_s,
        cpu_s=cpu_s(pid),
        memory_mb=resident_mb(pid)[0],
        readings=store.readings,
        size_bytes=store.size_bytes,
    )


def own_readings(data: Path) -> int:
    """How many of the journal's readings are the link's own counts."""
    with JournalReader(data / "journal.db") as reader:
        return len(reader.history("broker", "link_up", 0, 2**52, 1_000_000).times)


def main() -> None:
    """Run once and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="3 minutes")
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=float(RATE_PER_S), help="messages a second")
    options = parser.parse_args()
    minutes = options.minutes or (3.0 if options.short else 60.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker, port = start_broker(folder)
        try:
            config = write_config(folder, port)
            command = [sys.executable, "-m", "hub.cli.main", "run", "--config", str(config)]
            with process(*command, log=folder / "hub.log") as hub:
                soak(hub.pid, load_config(config).data, port, options.rate, 60 * minutes)
            print((folder / "hub.log").read_text("utf-8")[:2000])
        finally:
            broker.terminate()
            broker.wait()


def soak(pid: int, data: Path, port: int, rate_per_s: float, seconds: float) -> None:
    """Load the hub for so long, let it finish what is left, and print what it took."""

    def is_up() -> bool:
        status = read_status(data)
        return bool(status and status.links[0].up)

    wait_until(is_up, timeout_s=START_TIMEOUT_S)
    ours, theirs = multiprocessing.Pipe()
    arguments = (port, rate_per_s, seconds, theirs)
    publisher = multiprocessing.get_context("spawn").Process(target=publish, args=arguments)
    publisher.start()
    began_s = time.monotonic()
    samples = [take_sample(pid, data, began_s)]
    while not ours.poll(SAMPLE_S):
        samples.append(take_sample(pid, data, began_s))
    load: Load = ours.recv()
    publisher.join()
    behind = load.sent + load.flooded - taken(data)

    def is_done() -> bool:
        return taken(data) >= load.sent + load.flooded

    drained_s = time.monotonic()
    while not is_done() and time.monotonic() - drained_s < DRAIN_TIMEOUT_S:
        time.sleep(SAMPLE_S)
    report(samples, load, behind, data)


def taken(data: Path) -> int:
    """Messages of meters that are stored or counted as refused."""
    status = need_status(data)
    return status.store.readings - own_readings(data) + refused(data)


def refused(data: Path) -> int:
    """Messages that were counted instead of stored, for whatever reason."""
    counters = need_status(data).links[0].counters
    return sum(
        number
        for name, number in counters.items()
        if name.split("/")[0] in ("refused", "poison", "skipped")
    )


def quarter(samples: list[Sample], number: int) -> float:
    """The mean memory in a quarter of the time, 0 to 3, after the first minute's growth to size."""
    steady = [sample for sample in samples if sample.at_s > 60] or samples
    size = max(1, len(steady) // 4)
    return mean(sample.memory_mb for sample in steady[number * size : (number + 1) * size])


def report(samples: list[Sample], load: Load, behind: int, data: Path) -> None:
    """What was measured beside what was promised."""
    first, last = samples[0], samples[-1]
    stored = need_status(data).store.readings - own_readings(data)
    offered = load.sent + load.flooded
    grown = quarter(samples, 3) - quarter(samples, 0)
    table = Table(title=f"Soak: {load.seconds / 60:.0f} minutes, {DEVICES:,} meters and a flood")
    for column in ("figure", "measured", "goal"):
        table.add_column(column)
    rows = [
        ("messages offered a second", f"{offered / load.seconds:,.0f}", f"{RATE_PER_S:,}"),
        ("cores", f"{(last.cpu_s - first.cpu_s) / (last.at_s - first.at_s):.2f}", ""),
        (
            "memory by quarter, after a minute",
            ", ".join(f"{quarter(samples, n):.0f}" for n in range(4)) + " MB",
            f"flat: last - first <= {FLAT_MB:.0f} MB",
        ),
        ("last quarter - first quarter", f"{grown:+.1f} MB", ""),
        ("largest memory", f"{max(s.memory_mb for s in samples):.0f} MB", ""),
        (
            "journal",
            f"{(last.size_bytes - first.size_bytes) / 1e6:.0f} MB, "
            f"{(last.size_bytes - first.size_bytes) / max(1, last.readings):.0f} bytes a reading",
            "before sealing",
        ),
        ("behind when the load ended", f"{behind:,}", "a second's worth"),
        ("sent by all meters / the flooder", f"{load.sent:,} / {load.flooded:,}", ""),
        ("stored", f"{stored:,}", ""),
        ("refused and counted", f"{refused(data):,}", "the flood beyond its allowance"),
        ("lost silently", f"{offered - stored - refused(data):,}", "0"),
    ]
    for row in rows:
        table.add_row(*row)
    console = Console(width=110)
    console.print(table)
    counters = need_status(data).links[0].counters
    console.print("counted:", {name: number for name, number in counters.items() if number})


if __name__ == "__main__":
    main()
