"""From a caller's HTTP request to the device: idle, and beside the whole reference campus.

Every process is the real one: broker, `campus-sim` with the 11,000 devices that are polled, a second
`campus-sim` with the twenty that are told, `dormhub run`, and a caller who orders over the HTTP API. A wait
ends at the time of receipt in the told device's own ledger, counted to the end of its millisecond. Both
rows, `queued` and `sent`, are on disk before the wire; beside it stands, under the same load and on the same
disk, what bare SQLite takes for two rows.

The devices are told in turn, at moments of chance, each on a link that nobody else polls hard: ten relay
boards over Modbus TCP, ten meters over MQTT. The campus is polled once at its own rate, a meter a minute, and
once at the full rate of its 320 buses at 9600 baud, a meter each six seconds.

    python -m benchmarks.wire [--short] [--folder DIR]
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.campus import START_TIMEOUT_S, cpu_s, need_status, process
from benchmarks.commands import bare, p99
from hub.config import load_config
from simulators.ledger import Deed, read_ledger
from simulators.links import free_ports, site_toml
from simulators.site_files import REFERENCE, Size, write_site
from tests.servers import free_port, mosquitto_server, running, wait_until

BOARDS = tuple(f"board-{number}" for number in range(1, 11))
METERS = tuple(f"told-{number}" for number in range(1, 11))
COMMANDS = {**dict.fromkeys(BOARDS, "restore_1"), **dict.fromkeys(METERS, "restore")}
PAUSE_MAX_S = 0.1
SAFETY = "[safety]\nrate_per_minute = 600\n"
IDLE_GOAL_MS, BUSY_GOAL_MS = 20.0, 50.0
SIM = (sys.executable, "-m", "simulators.command", "--speed", "0", "--config")


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What else there is: `size` of the campus (None: nothing), and how long it is left to settle."""

    name: str
    size: Size | None
    settle_s: float
    goal_ms: float


LOADS = (
    Load(name="idle", size=None, settle_s=8.0, goal_ms=IDLE_GOAL_MS),
    Load(name="reference campus", size=REFERENCE, settle_s=70.0, goal_ms=BUSY_GOAL_MS),
    Load(
        name="the same, buses at full rate",
        size=replace(REFERENCE, meter_period_s=6.0),
        settle_s=30.0,
        goal_ms=BUSY_GOAL_MS,
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One command: when its order left the caller, in nanoseconds of the wall clock."""

    id: str
    device: str
    ordered_ns: int


class Caller:
    """Somebody who orders over the API, one wish at a time, on one connection that stays open."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        # A key's first use costs a hash that is meant to be slow; that is not what is measured.
        self._ask("GET", "/v1/devices?limit=1", b"", self._headers)

    def order(self, number: int, device: str) -> Told:
        """Tell a device, and wait until the command has ended."""
        body = json.dumps(
            {"device": device, "name": COMMANDS[device], "cause": "benchmark"}
        ).encode()
        headers = {**self._headers, "Idempotency-Key": f"order-{number}"}
        ordered_ns = time.time_ns()
        command = str(self._ask("POST", "/v1/commands", body, headers)["id"])
        self._ask("GET", f"/v1/commands/{command}?wait_s=20", b"", self._headers)
        return Told(id=command, device=device, ordered_ns=ordered_ns)

    def _ask(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> dict[str, object]:
        self._connection.request(method, path, body, dict(headers))
        response = self._connection.getresponse()
        said = response.read()
        assert response.status < 300, said
        found: dict[str, object] = json.loads(said)
        return found


def write_told(folder: Path, broker_port: int) -> None:
    """The site of the devices that are told, each board on a link of its own."""
    folder.mkdir(parents=True)
    board = {"driver": "modbus", "transport": "tcp", "host": "127.0.0.1"}
    ports = free_ports(len(BOARDS))
    links: dict[str, Mapping[str, object]] = {
        f"line-{name}": {**board, "port": port} for name, port in zip(BOARDS, ports, strict=True)
    }
    links["told"] = {"driver": "mqtt", "host": "127.0.0.1", "port": broker_port}
    rows = [f"{name},waveshare_relay8,line-{name},1,5" for name in BOARDS]
    rows += [f"{name},generic_meter,told,{name},5" for name in METERS]
    text = "\n".join(["id,profile,link,address,period_s", *rows]) + "\n"
    (folder / "devices.csv").write_text(text, "utf-8")
    (folder / "site.toml").write_text(site_toml("Told", "Asia/Shanghai", links) + "\n" + SAFETY)


def write_hub(folder: Path, told: Path, campus: Path | None, port: int) -> None:
    """The hub's site: the told devices, and the campus where there is one."""
    folder.mkdir(parents=True)
    site = (told / "site.toml").read_text("utf-8")
    head, *rows = (told / "devices.csv").read_text("utf-8").splitlines()
    if campus is not None:
        links = site[site.index("[links.") : site.index("[safety]")]
        site = (campus / "site.toml").read_text("utf-8").replace("[safety]\n", SAFETY) + links
        head, *others = (campus / "devices.csv").read_text("utf-8").splitlines()
        rows = [_as_reference(row) for row in rows] + others
    (folder / "site.toml").write_text(site, "utf-8")
    (folder / "devices.csv").write_text("\n".join([head, *rows]) + "\n", "utf-8")
    (folder / "hub.toml").write_text(f'[api]\nlisten = "127.0.0.1:{port}"\n', "utf-8")


def _as_reference(row: str) -> str:
    """The row with the columns of the reference campus: place and settings are empty."""
    device, profile, link, address, period_s = row.split(",")
    return f"{device},{profile},{link},{address},,,,,{period_s},"


def received_ms(file: Path) -> tuple[dict[str, int], dict[str, list[int]]]:
    """When each command came to a meter, by its id, and when a relay was written, board by board."""
    by_id: dict[str, int] = {}
    by_board: dict[str, list[int]] = {name: [] for name in BOARDS}
    with file.open(encoding="utf-8") as lines:
        for entry in read_ledger(iter(lines)):
            if entry.deed is Deed.HEARD and entry.values.get("command") == "restore":
                by_id.setdefault(str(entry.values["id"]), entry.time_ms)
            elif entry.deed is Deed.WRITTEN and entry.device in by_board:
                by_board[entry.device].append(entry.time_ms)
    return by_id, by_board


def arrivals(told: Sequence[Told], file: Path) -> dict[str, int]:
    """When each command came to its device; fails when a board was written more or less often than told."""
    by_id, by_board = received_ms(file)
    for board in BOARDS:
        mine = [one.id for one in told if one.device == board]
        by_id |= dict(zip(mine, by_board[board], strict=True))
    return by_id


def rows_before(ledger: Path, came_ms: Mapping[str, int]) -> int:
    """How many commands have their rows `queued` and `sent` in the ledger, made before they came."""
    db = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    found = db.execute(
        "SELECT substr(subject, 9), max(time_ms) FROM audit WHERE action IN ('queued', 'sent')"
        " GROUP BY subject HAVING count(DISTINCT action) = 2"
    ).fetchall()
    db.close()
    return sum(name in came_ms and time_ms <= came_ms[name] for name, time_ms in found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What one load came to; `told` in the order they were told."""

    told: Sequence[Told]
    readings_s: float
    cores: float
    bare_s: Sequence[float]


def tell(hub: int, config: Path, port: int, commands: int) -> Found:
    """Order one command after the other, and see what the hub (a process) did meanwhile."""
    data, chance = load_config(config).data, random.Random(1)
    caller = Caller(port, (data / "admin.key").read_text("utf-8").strip())
    began_s, began_cpu_s = time.monotonic(), cpu_s(hub)
    began_readings = need_status(data).store.readings
    told, names = [], (*BOARDS, *METERS)
    for number in range(commands):
        time.sleep(PAUSE_MAX_S * chance.random())
        told.append(caller.order(number, names[number % len(names)]))
    passed_s = time.monotonic() - began_s
    readings = need_status(data).store.readings - began_readings
    cores = (cpu_s(hub) - began_cpu_s) / passed_s
    alone = bare(config, commands)  # while the load goes on
    time.sleep(2.0)  # the deeds are flushed once a second
    return Found(told=told, readings_s=readings / passed_s, cores=cores, bare_s=alone)


def play(stack: ExitStack, log: Path, site: Path, *options: str) -> None:
    """Simulated devices of a site, while the stack is open; returns when they can be reached."""
    stack.enter_context(process(*SIM, str(site), *options, log=log))
    wait_until(lambda: "ready" in log.read_text("utf-8"), timeout_s=START_TIMEOUT_S)


def measure(load: Load, folder: Path, commands: int) -> None:
    """One load, with processes and folders of its own; prints its rows."""
    told, campus, config, deeds = (folder / name for name in ("told", "campus", "hub", "deeds"))
    with ExitStack() as stack:
        broker = stack.enter_context(running(mosquitto_server(folder / "broker")))
        if load.size:
            write_site(campus, load.size, name="Reference campus", broker_port=broker.port)
            play(stack, folder / "campus.log", campus)
        # Ports are chosen when the campus holds its own, so that none is given twice.
        write_told(told, broker.port)
        play(stack, folder / "told.log", told, "--ledger", str(deeds))
        port = free_port()
        write_hub(config, told, campus if load.size else None, port)
        run = [sys.executable, "-m", "hub.cli.main", "run", "--config", str(config)]
        hub = stack.enter_context(process(*run, log=folder / "hub.log"))
        key = load_config(config).data / "admin.key"
        wait_until(lambda: key.exists() or hub.poll() is not None, timeout_s=START_TIMEOUT_S)
        assert hub.poll() is None, (folder / "hub.log").read_text("utf-8")[-2000:]
        time.sleep(load.settle_s)
        found = tell(hub.pid, config, port, commands)
    came_ms = arrivals(found.told, deeds)
    show(load, found, came_ms)
    written = rows_before(load_config(config).data / "ledger.db", came_ms)
    print(
        f"  both rows before the wire: {written} of {len(found.told)};"
        f" {found.readings_s:,.0f} readings/s stored, {found.cores:.2f} cores of the hub"
    )


def show(load: Load, found: Found, came_ms: Mapping[str, int]) -> None:
    """The two rows of a load."""
    for kind, names in (("Modbus", BOARDS), ("MQTT", METERS)):
        waits_s = sorted(
            (came_ms[one.id] + 1) / 1000 - one.ordered_ns / 1e9
            for one in found.told
            if one.device in names
        )
        half_ms, worst_ms = waits_s[len(waits_s) // 2] * 1000, waits_s[-1] * 1000
        print(
            f"{f'{load.name}, {kind}':44}{half_ms:9.1f}{p99(waits_s):9.1f}{worst_ms:9.1f}"
            f"{f'p99 {load.goal_ms:.0f}':>12}{p99(list(found.bare_s)):12.1f}",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="200 commands a load, not 2,000")
    parser.add_argument(
        "--folder", type=Path, help="where the stores are made; the disk to measure"
    )
    options = parser.parse_args()
    commands = 200 if options.short else 2000
    print(f"{commands} commands a load, to {len(BOARDS)} boards and {len(METERS)} meters in turn\n")
    print(
        f"{'HTTP request → received by the device':44}{'p50 ms':>9}{'p99 ms':>9}{'worst':>9}"
        f"{'goal':>12}{'bare p99':>12}"
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for number, load in enumerate(LOADS):
            measure(load, Path(folder) / str(number), commands)


if __name__ == "__main__":
    main()
