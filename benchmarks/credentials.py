"""Credentials for 10,000 devices, and what a reload of so many costs the broker.

    python -m benchmarks.credentials [--short | --devices N] [--kind password|certificate]

Issues through the API's own parts, page by page, with ledger, audit and files; then, where Mosquitto is
installed, lets it run these files, and measures how long a connected client waits for an answer while the
broker takes them anew.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from hub import Device, Link, Place, SystemClock, audit, load_profiles
from hub.broker import AT_ONCE, BROKER_FOLDER, Broker, Kind, hub_password
from hub.broker.door import knock
from hub.config import BrokerConfig
from hub.ledger import Ledger, open_ledger
from tests.broker_site import guarded_server
from tests.servers import free_port, running

DEVICES, SHORT = 10_000, 1_000
GOAL_S = 300.0  # for 10,000 of a kind
EVICT_GOAL_S = 10.0
WAIT_GOAL_S = 0.5  # an order must not wait for the ledger
STALL_GOAL_S = 10.0  # a session must not miss its keep alive
PEER_CALLS = 20
CLOCK = SystemClock()


def campus(number: int) -> Link:
    profile = load_profiles().get("generic_meter", {}, place="benchmark")
    return Link(
        id="mqtt",
        driver="mqtt",
        settings={"host": "127.0.0.1"},
        devices=tuple(
            Device(
                id=f"b{place % 32:02}-{place:05}",
                profile=profile,
                link="mqtt",
                address=f"b{place % 32:02}-{place:05}",
                place=Place(building=f"B{place % 32:02}"),
            )
            for place in range(number)
        ),
    )


async def issue(broker: Broker, names: list[str], kind: Kind) -> float:
    """Every page as the API takes it; seconds until the broker's files are written."""
    began_s = time.monotonic()
    for start in range(0, len(names), AT_ONCE):
        issued = await broker.credentials.issue(names[start : start + AT_ONCE], kind, "benchmark")
        assert len(issued.secrets) == len(names[start : start + AT_ONCE])
    await broker.synchronise()
    assert broker.reason == ""
    return time.monotonic() - began_s


async def no_change(broker: Broker) -> float:
    began_s = time.monotonic()
    await broker.synchronise()
    return time.monotonic() - began_s


async def stall(folder: Path, config: BrokerConfig, process: int) -> float:
    """The longest a client waits for its welcome within three seconds from a reload on."""
    password = hub_password(folder / BROKER_FOLDER)
    longest_s, end_s = 0.0, time.monotonic() + 3.0
    os.kill(process, signal.SIGHUP)
    while time.monotonic() < end_s:
        began_s = time.monotonic()
        await knock(config.hub_port, "benchmark", "dormhub-hub", password)
        longest_s = max(longest_s, time.monotonic() - began_s)
    return longest_s


def peer(folder: Path, number: int) -> float:
    """The broker's own tool, one call for each device: a few calls, reckoned up to all of them."""
    path = folder / "peer"
    path.write_bytes((folder / "files" / "passwords").read_bytes())
    began_s = time.monotonic()
    for place in range(PEER_CALLS):
        words = ["mosquitto_passwd", "-b", str(path), f"peer-{place}", "not a secret"]
        subprocess.run(words, check=True, capture_output=True)
    return (time.monotonic() - began_s) / PEER_CALLS * number


async def revoke(broker: Broker, name: str) -> float:
    began_s = time.monotonic()
    await broker.credentials.revoke([name], "benchmark")
    assert await broker.evict()
    return time.monotonic() - began_s


async def revoke_all(broker: Broker, ledger: Ledger, names: list[str]) -> tuple[float, float]:
    """Seconds until all are revoked in the ledger, and the longest wait of another work meanwhile."""
    began_s = time.monotonic()
    revoking = asyncio.create_task(broker.credentials.revoke(names, "benchmark"))
    longest_s = 0.0
    while not revoking.done():
        asked_s = time.monotonic()
        await ledger.run(audit.touch)
        longest_s = max(longest_s, time.monotonic() - asked_s)
    await revoking
    return time.monotonic() - began_s, longest_s


async def measure(folder: Path, number: int, kinds: list[Kind]) -> list[tuple[str, float, float]]:
    files = folder / "files"
    files.mkdir()
    config = BrokerConfig(
        folder=files,
        pid_file=folder / "mosquitto.pid",
        hub_port=free_port(),
        certificate_port=free_port(),
        password_port=free_port(),
    )
    link = campus(number)
    names = [device.id for device in link.devices]
    found: list[tuple[str, float, float]] = []
    async with open_ledger(folder / "ledger.db", clock=CLOCK) as ledger:
        broker = Broker(ledger=ledger, clock=CLOCK, data=folder, config=config)
        broker.configure([link])
        await broker.renew_hub("benchmark")
        for kind in kinds:
            taken_s = await issue(broker, names, kind)
            found.append((f"{number:,} {kind}s issued", taken_s, GOAL_S * number / DEVICES))
        found.append(("files compared, none changed", await no_change(broker), 5.0))
        if shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists():
            with running(guarded_server(folder, config)) as server:
                assert server.process is not None
                process = server.process.pid
                found.append(
                    (
                        "broker stands at a reload",
                        await stall(folder, config, process),
                        STALL_GOAL_S,
                    )
                )
                found.append(
                    ("one revoked and evicted", await revoke(broker, names[0]), EVICT_GOAL_S)
                )
        taken_s, longest_s = await revoke_all(broker, ledger, names)
        found.append((f"{number:,} devices revoked in the ledger", taken_s, GOAL_S))
        found.append(("longest wait of another work meanwhile", longest_s, WAIT_GOAL_S))
        if shutil.which("mosquitto_passwd"):
            found.append((f"peer: mosquitto_passwd, {number:,} calls", peer(folder, number), 0.0))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"{SHORT} devices")
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--kind", choices=[str(kind) for kind in Kind])
    given = parser.parse_args()
    quiet = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=quiet)
    kinds = [Kind(given.kind)] if given.kind else list(Kind)
    number = SHORT if given.short else given.devices
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), number, kinds))
    table = Table("what", "measured s", "goal s")
    for what, taken_s, goal_s in found:
        table.add_row(what, f"{taken_s:.2f}", f"{goal_s:g}" if goal_s else "")
    Console().print(table)


if __name__ == "__main__":
    main()
