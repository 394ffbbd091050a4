"""One meter, its readings as lines, and the sink that writes them."""

from __future__ import annotations

from pathlib import Path

from hub import (
    Device,
    Place,
    load_profiles,
)
from hub.plugin import open_sink
from hub.sinks.influxdb import InfluxSink
from tests.reading_log import NOW_MS, meter_reading

PROFILE = load_profiles().get("eastron_sdm120", {}, place="tests")
METER = Device(
    id="m-1",
    profile=PROFILE,
    link="b1-f1",
    address="1",
    place=Place(building="B 1", floor="1", room="101"),
)
SERIES = (
    r"electricity_meter,building=B\ 1,device=m-1,floor=1,link=b1-f1,profile=eastron_sdm120,room=101"
)
READINGS = [meter_reading(number) for number in range(100)]
LINES = [
    f"{SERIES} active_power_total={n + 0.5},energy_import={n * 10}i {NOW_MS + n * 60_000}"
    for n in range(100)
]


class Campus:
    """A directory whose devices may move."""

    def __init__(self, *devices: Device) -> None:
        self.devices = {device.id: device for device in devices}

    def device(self, name: str) -> Device | None:
        return self.devices.get(name)


def influx(url: str, **settings: object) -> InfluxSink:
    """The sink as the hub opens it."""
    wanted = {"url": url, "bucket": "campus", "org": "dorm", **settings}
    sink = open_sink("influxdb", wanted, Campus(METER), file="hub.toml", key="sinks.longterm")
    assert isinstance(sink, InfluxSink)
    return sink


def secret_file(folder: Path, text: str = "s3cret\n", mode: int = 0o600) -> str:
    path = folder / "influx.token"
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return str(path)
