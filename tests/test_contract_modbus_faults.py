"""R6: whatever goes wrong on a bus, no value is taken for another device's or another register's.

The Modbus driver reads a simulated bus on which a third of the answers is late, doubled, spoilt, cut, of
another unit, refused or missing. Every value it publishes must be one that this device did answer.
"""

import asyncio
from collections import defaultdict
from math import isclose
from pathlib import Path

import pytest

from drivers.modbus.driver import open_driver
from hub import Value, load_site
from simulators.campus import Campus, Play, playing
from simulators.faults import FaultKind
from simulators.ledger import Deed
from tests.recording_host import RecordingHost
from tests.sim_site import write_site

BRIEF = (
    FaultKind.DELAY,
    FaultKind.LATE,
    FaultKind.DOUBLED,
    FaultKind.GARBAGE,
    FaultKind.TRUNCATION,
    FaultKind.WRONG_UNIT,
    FaultKind.EXCEPTION,
)
PRODUCTS = ("eastron_sdm120", "chint_ddsu666", "peacefair_pzem016", "acrel_ddsy1352")
BUSES = 12
READINGS = 30  # for each round


def _site(folder: Path) -> Path:
    """Buses of four meters each, behind gateways and serial servers in turn."""
    kinds = ("tcp", "rtu_over_tcp")
    links: dict[str, dict[str, object]] = {
        f"bus-{bus}": {
            "driver": "modbus",
            "transport": kinds[bus % 2],
            "host": "127.0.0.1",
            "timeout_s": 0.1,
        }
        for bus in range(BUSES)
    }
    write_site(folder, links, [])
    rows = [
        f"m-{bus}-{unit},{product},bus-{bus},{unit},0.1"
        for bus in range(BUSES)
        for unit, product in enumerate(PRODUCTS, 1)
    ]
    text = "\n".join(["id,profile,link,address,period_s", *rows]) + "\n"
    (folder / "devices.csv").write_text(text, "utf-8")
    return folder


@pytest.mark.timeout(3600)
async def test_under_all_faults_every_value_is_one_that_its_device_answered(
    tmp_path: Path, rounds: int, seed: int
) -> None:
    play = Play(here=True, speed=0.0, seed=seed, fault_rate=0.2, fault_kinds=BRIEF)
    wanted = READINGS * rounds
    host = RecordingHost()
    async with playing(Campus(load_site(_site(tmp_path)), play)) as campus:
        drivers = [open_driver(link) for link in campus.reachable().links]
        tasks = [asyncio.create_task(driver.run(host)) for driver in drivers]
        await host.wait_until(lambda: len(host.readings) >= wanted, timeout_s=6 * rounds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        faults = {entry.values["kind"] for entry in campus.ledger.entries(deed=Deed.FAULT)}
        answered = _answered(campus)
    values = [
        (reading.device, point, value)
        for reading in host.readings
        for point, value in reading.values.items()
        if reading.device.startswith("m-")
    ]
    assert faults == {kind.value for kind in BRIEF}
    assert len(values) > wanted
    assert [item for item in values if not _among(item[2], answered[item[:2]])] == []


def _answered(campus: Campus) -> dict[tuple[str, str], set[Value]]:
    """What each device did answer for each point."""
    answered: dict[tuple[str, str], set[Value]] = defaultdict(set)
    for entry in campus.ledger.entries(deed=Deed.ANSWERED):
        for point, value in entry.values.items():
            answered[entry.device, point].add(value)
    return answered


def _among(value: Value, answered: set[Value]) -> bool:
    """Exactly, but for the last bits in which two ways to multiply a float may differ."""
    close = (isinstance(value, float) and isclose(value, float(one)) for one in answered)
    return value in answered or any(close)
