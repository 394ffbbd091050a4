"""The InfluxDB sink against a real receiver: VictoriaMetrics, written to through influxdb-client."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hub import Device, Place, Reading, VirtualClock, load_profiles
from hub.follow import Follower
from hub.plugin import Sink, open_sink
from tests.reading_log import NOW_MS, MemoryLog, following, meter_reading
from tests.servers import Server, http_get, running, victoria_metrics_server

pytestmark = pytest.mark.needs("victoria-metrics")

PROFILE = load_profiles().get("eastron_sdm120", {}, place="tests")
METERS = tuple(
    Device(
        id=f"m-{number}",
        profile=PROFILE,
        link="b1-f1",
        address=str(number),
        place=Place(building="B 1, west", floor="1", room=f'1="0{number}"'),
    )
    for number in range(1, 6)
)
DAY_MINUTES = 24 * 60
DAY = [meter_reading(n, device=meter.id) for n in range(DAY_MINUTES) for meter in METERS]

Samples = dict[tuple[str, str, int], float]


class Campus:
    def device(self, name: str) -> Device | None:
        return {meter.id: meter for meter in METERS}.get(name)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Server]:
    """VictoriaMetrics as docs/influxdb.md says to start it: of equal times it keeps one value."""
    server = victoria_metrics_server(tmp_path / "victoria-metrics")
    server.command.append("-dedup.minScrapeInterval=1ms")
    with running(server):
        yield server


def influx(server: Server) -> Sink:
    settings = {"url": f"http://127.0.0.1:{server.port}", "bucket": "campus", "timeout_s": 5.0}
    return open_sink("influxdb", settings, Campus(), file="hub.toml", key="sinks.longterm")


def stored(server: Server) -> Samples:
    """Everything the server holds: (metric, device, time) → value. Fails for anything held twice."""
    http_get(server.port, "/internal/force_flush")
    rows = [
        json.loads(row)
        for row in http_get(server.port, '/api/v1/export?match[]={__name__!=""}').splitlines()
    ]
    samples = [
        ((row["metric"]["__name__"], row["metric"]["device"], time_ms), value)
        for row in rows
        for time_ms, value in zip(row["timestamps"], row["values"], strict=True)
    ]
    assert Counter(key for key, _ in samples).most_common(1)[0][1] == 1
    return dict(samples)


def expected(readings: list[Reading]) -> Samples:
    return {
        (f"{PROFILE.kind}_{name}", reading.device, reading.time_ms): float(value)
        for reading in readings
        for name, value in reading.values.items()
    }


async def test_readings_appear_once_with_their_values_and_place(receiver: Server) -> None:
    sink = influx(receiver)
    await sink.write(DAY[:50])
    await sink.close()
    assert stored(receiver) == expected(DAY[:50])
    (row,) = http_get(
        receiver.port,
        f'/api/v1/export?match[]={PROFILE.kind}_energy_import{{device="m-3"}}',
    ).splitlines()
    labels = json.loads(row)["metric"]
    assert labels == labels | {
        "building": "B 1, west",
        "room": '1="03"',
        "floor": "1",
        "link": "b1-f1",
        "profile": "eastron_sdm120",
    }
    assert "circuit" not in labels


async def test_sending_again_changes_nothing(receiver: Server) -> None:
    sink = influx(receiver)
    await sink.write(DAY[:50])
    await sink.write(DAY[:50])
    await sink.write(DAY[20:60])
    await sink.close()
    assert stored(receiver) == expected(DAY[:60])


async def test_no_reading_however_odd_spoils_the_lines_beside_it(receiver: Server) -> None:
    odd = [
        msgspec.structs.replace(DAY[0], values={"order": text, "energy_import": 2**53 - 1})
        for text in ('"', "\\", 'a\nb",c=1 2', "\\\n", "#", "中文", "")
    ]
    spread = [msgspec.structs.replace(r, time_ms=NOW_MS - n) for n, r in enumerate(odd, 1)]
    sink = influx(receiver)
    await sink.write([*DAY[:5], *spread, *DAY[5:10]])
    await sink.close()
    found = stored(receiver)
    assert expected(DAY[:10]).items() <= found.items()
    energies = [
        found[f"{PROFILE.kind}_energy_import", "m-1", reading.time_ms] for reading in spread
    ]
    assert energies == [2**53 - 1] * len(spread)
    assert {device for _, device, _ in found} == {meter.id for meter in METERS}


async def test_after_a_day_of_outage_everything_arrives(receiver: Server) -> None:
    receiver.stop()
    log, clock = MemoryLog(DAY), VirtualClock(start_ms=NOW_MS)
    async with following(Follower("influx", influx(receiver), log, clock)) as follower:
        await failed(follower, 5)
        receiver.start()
        await log.reached("influx", len(DAY))
    assert stored(receiver) == expected(DAY)
    assert follower.status.rejected == 0


async def test_a_receiver_stopped_in_the_middle_and_started_again_has_everything(
    receiver: Server,
) -> None:
    log, clock = MemoryLog(DAY), VirtualClock(start_ms=NOW_MS)
    async with following(Follower("influx", influx(receiver), log, clock)) as follower:
        await log.reached("influx", len(DAY) // 4)
        receiver.stop()
        await failed(follower, 3)
        receiver.start()
        await log.reached("influx", len(DAY))
    assert stored(receiver) == expected(DAY)
    assert follower.status.delivered == len(DAY)


async def failed(follower: Follower, times: int) -> None:
    """Return when the follower has failed so often."""
    async with asyncio.timeout(20):
        while follower.status.failures < times:
            await asyncio.sleep(0)
