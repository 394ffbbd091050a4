"""The MQTT driver against the contract every driver keeps: simulated washers on a real Mosquitto."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.mqtt.driver import open_driver
from hub import Link, Reading, load_site
from hub.plugin import DriverFactory
from simulators.campus import Campus, Play, playing
from simulators.contract_driver import *  # noqa: F403
from simulators.contract_driver import Behaviour, DriverCase, OtherSide
from simulators.faults import FaultKind, Window
from simulators.ledger import Deed
from tests.servers import Server, mosquitto_server, running
from tests.sim_site import write_site

_FAULTS = {
    Behaviour.SILENT: FaultKind.SILENCE,
    Behaviour.GARBAGE: FaultKind.GARBAGE,
    Behaviour.LATE: FaultKind.LATE,
}
ROWS = (
    "id,profile,link,address,period_s\n"
    "washer-1,generic_washer,broker,washer-1,0.5\nwasher-2,generic_washer,broker,washer-2,0.5\n"
)


class SimulatedWashers:
    """Two washers on a broker; what is true is what their ledger says was published."""

    def __init__(self, campus: Campus, broker: Server) -> None:
        self._campus = campus
        self._broker = broker

    @property
    def link(self) -> Link:
        return self._campus.reachable().links[0]

    async def behave(self, how: Behaviour) -> None:
        self._campus.faults.windows[:] = (
            [Window(device="*", kind=_FAULTS[how])] if how in _FAULTS else []
        )
        if how is Behaviour.DEAD:
            await asyncio.to_thread(self._broker.kill)
        elif self._broker.process is None:
            await asyncio.to_thread(self._broker.start)

    def is_true(self, reading: Reading) -> bool:
        said = [
            dict(entry.values)
            for entry in self._campus.ledger.entries(reading.device, Deed.PUBLISHED)
        ]
        values = dict(reading.values)
        return set(values) == {"online"} or any(values.items() <= entry.items() for entry in said)


class MqttCase:
    """The driver as its entry point names it."""

    patience_s = 30.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def factory(self) -> DriverFactory:
        return open_driver

    @asynccontextmanager
    async def other_side(self) -> AsyncIterator[OtherSide]:
        with (
            tempfile.TemporaryDirectory() as folder,
            running(mosquitto_server(self._folder / "mosquitto")) as broker,
        ):
            link = {"driver": "mqtt", "host": "127.0.0.1", "port": broker.port, "timeout_s": 2.0}
            site = write_site(Path(folder), {"broker": link}, [])
            (site / "devices.csv").write_text(ROWS, "utf-8")
            async with playing(Campus(load_site(site), Play(here=True))) as campus:
                yield SimulatedWashers(campus, broker)


@pytest.fixture
def driver_case(tmp_path: Path) -> DriverCase:
    return MqttCase(tmp_path)
