"""A small campus, alive in this process, and what its devices' own ledgers say of the hub's journal.

The hub runs as a process of its own on a copy of the site whose links lead here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hub import Device, Reading, Value, load_site
from simulators.campus import Campus, Play, playing
from simulators.command import write_rehearsal
from simulators.ledger import Deed, Entry
from tests.hub_process import HubProcess, hub_process

HEADER = "id,profile,link,address,building,room,period_s,settings\n"
_SAME_MOMENT_MS = 100  # between what a device noted and what the hub stamped
_GATE = "fail_mode=open;egress=true;open_limit_s=600"
WAIT_S = 60.0
_HERE = 'driver = "modbus"\nhost = "127.0.0.1"\n'
_PRODUCTS = (
    "eastron_sdm120",
    "chint_ddsu666",
    "peacefair_pzem016",
    "acrel_ddsy1352",
    "eastron_sdm630",
    "schneider_iem3155",
)
_UNREADABLE = frozenset({"garbage", "truncation", "wrong_unit", "late"})
_POISON = frozenset({"garbage", "truncation", "wrong_unit", "exception"})


def small_site(*, timeout_s: float) -> tuple[str, str]:
    """site.toml and devices.csv: a bus of every kind, six meters each, and one of each MQTT product."""
    wait = f"timeout_s = {timeout_s}\n"
    site = (
        'name = "Judged campus"\ntimezone = "Asia/Shanghai"\n'
        f'[links.server]\n{_HERE}{wait}transport = "rtu_over_tcp"\nport = 4001\n'
        f'[links.gateway]\n{_HERE}{wait}transport = "tcp"\nport = 5020\n'
        f'[links.line]\ndriver = "modbus"\n{wait}transport = "rtu"\ndevice = "/dev/ttyUSB0"\n'
        f'[links.box]\ndriver = "modbus"\n{wait}transport = "dtu"\nlisten = "127.0.0.1:15000"\n'
        'registration = "BOX-1"\nheartbeat = "alive"\n'
        f'[links.board]\n{_HERE}{wait}transport = "tcp"\nport = 5021\n'
        '[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = 1883\n'
    )
    rows = [
        f"{link}-{unit},{product},{link},{unit},B1,{unit},1,\n"
        for link in ("server", "gateway", "line", "box")
        for unit, product in enumerate(_PRODUCTS, 1)
    ]
    rows.append("barrier-1,generic_barrier,board,1,gate,,1," + _GATE + "\n")
    rows += [f"washer-{n},generic_washer,broker,washer-{n},B1,laundry,1,\n" for n in range(3)]
    rows += [f"room-{n},generic_meter,broker,room-{n},B1,{n},1,\n" for n in range(3)]
    rows.append("turnstile-1,generic_turnstile,broker,turnstile-1,gate,,1," + _GATE + "\n")
    rows.append("camera-1,zhenshi_lpr,broker,camera-1,gate,,1,\n")
    rows.append("plug-1,shelly_plus1pm,broker,plug-1,B1,9,1,\n")
    return site, HEADER + "".join(rows)


@dataclass(frozen=True, kw_only=True)
class Town:
    """A living campus and the hub that serves it."""

    campus: Campus
    hub: HubProcess

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something; fails with TimeoutError when it never comes."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.1)

    def devices(self, driver: str) -> list[Device]:
        """The devices of all links of a driver."""
        links = [link for link in self.campus.site.links if link.driver == driver]
        return [device for link in links for device in link.devices]


@asynccontextmanager
async def town_of(
    folder: Path, site: tuple[str, str], play: Play, *, hub_toml: str = ""
) -> AsyncIterator[Town]:
    """The campus of a site's texts, played here, and the hub that reads it; both gone in the end."""
    real, copy = folder / "site", folder / "config"
    real.mkdir()
    (real / "site.toml").write_text(site[0], "utf-8")
    (real / "devices.csv").write_text(site[1], "utf-8")
    async with playing(Campus(load_site(real), play)) as campus:
        write_rehearsal(campus, copy)
        (copy / "hub.toml").write_text(hub_toml, "utf-8")
        serving = hub_process(copy)
        hub = await asyncio.to_thread(serving.__enter__)
        try:
            yield Town(campus=campus, hub=hub)
        finally:
            await asyncio.to_thread(serving.__exit__, None, None, None)


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a device said at one time, and the fault that met it on its way, if one did."""

    time_ms: int
    values: dict[str, Value]
    fault: str


def sayings(entries: Sequence[Entry], deed: Deed) -> list[Said]:
    """One device's answers or messages; a fault stands in the ledger just before what it spoils."""
    faults = ["", *(_fault(entry) for entry in entries)]
    return [
        Said(time_ms=entry.time_ms, values=dict(entry.values), fault=fault)
        for entry, fault in zip(entries, faults, strict=False)
        if entry.deed is deed
    ]


def _fault(entry: Entry) -> str:
    return str(entry.values["kind"]) if entry.deed is Deed.FAULT else ""


def never_answered(readings: Sequence[Reading], answers: Sequence[Said]) -> Iterator[str]:
    """Each value of a polled device's readings that no readable answer since its last reading gave."""
    since_ms = 0
    for reading in readings:
        given = {
            (name, value)
            for said in answers
            if since_ms <= said.time_ms <= reading.time_ms and said.fault not in _UNREADABLE
            for name, value in said.values.items()
        }
        for item in reading.values.items():
            if item not in given:
                yield f"{reading.device} {item} at {reading.time_ms}"
        since_ms = reading.time_ms


def not_stored(readings: Sequence[Reading], answers: Sequence[Said]) -> Iterator[str]:
    """Each value a polled device answered that the next reading does not have."""
    for said in answers:
        following = next((item for item in readings if item.time_ms >= said.time_ms), None)
        held = following.values if following else {}
        for name, value in said.values.items():
            if held.get(name) != value:
                yield f"{name} {value} at {said.time_ms}, stored {held.get(name)}"


def never_published(readings: Sequence[Reading], messages: Sequence[Said]) -> Iterator[str]:
    """Each reading of an MQTT device that is none of its messages; presence alone is not judged."""
    good = [dict(said.values) for said in messages if said.fault not in _POISON]
    for reading in readings:
        if set(reading.values) != {"online"} and dict(reading.values) not in good:
            yield f"{reading.device} {reading.values} at {reading.time_ms}"


def not_kept(readings: Sequence[Reading], messages: Sequence[Said]) -> Iterator[str]:
    """Each message with values that no reading holds."""
    held = [dict(reading.values) for reading in readings]
    for said in messages:
        if said.values and said.values not in held and not _is_said_by_another(said, readings):
            yield f"{said.values} at {said.time_ms}"


def _is_said_by_another(said: Said, readings: Sequence[Reading]) -> bool:
    """Whether a message of the same moment said all of it: of the same millisecond, two are one word."""
    return any(
        said.values.items() <= reading.values.items()
        and 0 <= reading.time_ms - said.time_ms < _SAME_MOMENT_MS
        for reading in readings
    )
