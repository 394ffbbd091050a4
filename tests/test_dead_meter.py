"""One meter of a bus falls silent: the others are read as before, it is said once, and it comes back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec

from hub.cli.show import DeviceRow
from hub.presence import Presence
from simulators.campus import Play
from simulators.faults import FaultKind, Window
from simulators.ledger import Deed
from tests.campus_judge import HEADER, Town, town_of
from tests.hub_process import HubProcess

UNITS = 8
READS = 3  # requests in a poll of this product
DEAD = "sick-3"
SILENCE = Window(device=DEAD, kind=FaultKind.SILENCE)


def two_buses() -> tuple[str, str]:
    """A bus with a meter that will fall silent, and one like it where none does."""
    link = 'driver = "modbus"\ntransport = "rtu_over_tcp"\nhost = "127.0.0.1"\ntimeout_s = 0.3\n'
    site = f"[links.sick]\n{link}port = 4001\n[links.well]\n{link}port = 4002\n"
    rows = (
        f"{name}-{unit},eastron_sdm120,{name},{unit},B1,{unit},1,\n"
        for name in ("sick", "well")
        for unit in range(1, UNITS + 1)
    )
    return site, HEADER + "".join(rows)


def polls(town: Town, since_ms: int) -> Counter[str]:
    """How often each meter answered since the moment, by its own ledger."""
    entries = town.campus.ledger.entries(deed=Deed.ANSWERED)
    return Counter(entry.device for entry in entries if entry.time_ms > since_ms)


def shown(hub: HubProcess) -> dict[str, Presence]:
    """What `dormhub devices --json` says."""
    command = [sys.executable, "-m", "hub.cli.main", "devices", "--json", "--config"]
    said = subprocess.run(
        [*command, str(hub.folder)], capture_output=True, check=True, timeout=30
    ).stdout
    rows = [msgspec.json.decode(line, type=DeviceRow) for line in said.splitlines()]
    return {row.id: row.presence for row in rows}


def lines(hub: HubProcess, text: str) -> list[str]:
    """The log's lines about the dead meter with this text."""
    return [line for line in hub.log.splitlines() if text in line and DEAD in line]


def away(hub: HubProcess) -> list[str]:
    return [device.id for device in hub.status.away] if hub.status else []


async def test_a_dead_meter_leaves_the_others_alone_and_is_welcome_back(tmp_path: Path) -> None:
    play = Play(here=True, speed=0)
    async with town_of(tmp_path, two_buses(), play) as town:
        hub = town.hub
        await town.until(lambda: hub.status is not None and hub.status.online == 2 * UNITS)
        town.campus.faults.windows.append(SILENCE)
        since_ms = town.campus.clock.now_ms()
        await town.until(lambda: polls(town, since_ms)["well-1"] >= 8 * READS)
        counts = polls(town, since_ms)
        beside = [counts[f"sick-{unit}"] for unit in range(1, UNITS + 1) if unit != 3]
        elsewhere = [counts[f"well-{unit}"] for unit in range(1, UNITS + 1)]
        assert counts[DEAD] == 0
        assert min(beside) >= 0.8 * max(elsewhere)
        assert away(hub) == [DEAD]
        # In a thread: the meters answer in this loop.
        present = await asyncio.to_thread(shown, hub)
        assert present.pop(DEAD) is Presence.OFFLINE
        assert set(present.values()) == {Presence.ONLINE}
        assert len(lines(hub, "device is offline")) == 1
        town.campus.faults.windows.clear()
        await town.until(lambda: away(hub) == [])
        assert len(lines(hub, "device is offline")) == 1
        assert len(lines(hub, "device is online")) == 2
        assert (await asyncio.to_thread(shown, hub))[DEAD] is Presence.ONLINE
