"""The Modbus driver against the contract every driver keeps, on a simulated bus."""

import math
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.modbus.driver import open_driver
from hub import Link, Reading, load_site
from hub.plugin import DriverFactory
from simulators.campus import Campus, Play, playing
from simulators.contract_driver import *  # noqa: F403
from simulators.contract_driver import Behaviour, DriverCase, OtherSide
from simulators.faults import FaultKind, Window
from simulators.ledger import Deed
from tests.sim_site import write_site

_FAULTS = {
    Behaviour.SILENT: FaultKind.SILENCE,
    Behaviour.GARBAGE: FaultKind.GARBAGE,
    Behaviour.LATE: FaultKind.LATE,
}


class SimulatedBus:
    """Two meters on a simulated bus; what is true is what its ledger says was answered."""

    def __init__(self, campus: Campus) -> None:
        self._campus = campus

    @property
    def link(self) -> Link:
        return self._campus.reachable().links[0]

    async def behave(self, how: Behaviour) -> None:
        self._campus.buses["bus"].cut_off(how is Behaviour.DEAD)
        faults = [Window(device="*", kind=_FAULTS[how])] if how in _FAULTS else []
        self._campus.faults.windows[:] = faults

    def is_true(self, reading: Reading) -> bool:
        shown = [
            entry.values for entry in self._campus.ledger.entries(reading.device, Deed.ANSWERED)
        ]
        return all(
            any(math.isclose(float(values.get(point, math.nan)), float(value)) for values in shown)
            for point, value in reading.values.items()
        )


class ModbusCase:
    """The driver as its entry point names it."""

    patience_s = 30.0

    def __init__(self, transport: str) -> None:
        self._transport = transport

    @property
    def factory(self) -> DriverFactory:
        return open_driver

    @asynccontextmanager
    async def other_side(self) -> AsyncIterator[OtherSide]:
        bus = {"driver": "modbus", "transport": self._transport, "host": "127.0.0.1", "port": 502}
        with tempfile.TemporaryDirectory() as folder:
            dtu = {"listen": "0.0.0.0:15000", "registration": "DTU-1"}
            site = write_site(Path(folder), {"bus": {**bus, **dtu, "timeout_s": 0.2}}, [])
            rows = "id,profile,link,address,period_s\na,eastron_sdm120,bus,1,0.2\nb,chint_ddsu666,bus,2,0.2\n"
            (site / "devices.csv").write_text(rows, "utf-8")
            async with playing(Campus(load_site(site), Play(here=True, speed=0.0))) as campus:
                yield SimulatedBus(campus)


@pytest.fixture(params=["tcp", "rtu_over_tcp", "dtu"])
def driver_case(request: pytest.FixtureRequest) -> DriverCase:
    return ModbusCase(request.param)
