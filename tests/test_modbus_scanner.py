"""What a scan finds on simulated buses, judged by what the devices know of themselves and were asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from hub import ConfigError, Link, LinkError, Search, Sight, Sighting, load_profiles
from hub.scanner import open_scanner
from simulators.campus import Campus
from simulators.devices import build_machine
from simulators.ledger import Deed, Diary
from simulators.pytest_campus import CampusFactory
from simulators.registers import RegisterLayout
from simulators.slave import Slave
from tests.recording_host import RecordingHost
from tests.servers import free_port
from tests.sim_site import NOW_MS, ZONE_MS, write_site

LIBRARY = load_profiles()
PROFILES = [LIBRARY.example(name) for name in LIBRARY.ids()]
DEVICES = [
    "sdm120,eastron_sdm120,bus-1,1",
    "sdm630,eastron_sdm630,bus-1,2",
    "ddsu,chint_ddsu666,bus-1,3",
    "pzem,peacefair_pzem016,bus-1,4",
    "acrel,acrel_ddsy1352,bus-1,5",
    "iem,schneider_iem3155,bus-1,6",
    "board,waveshare_relay8,bus-1,7",
]
SEEN = {
    "1": (Sight.KNOWN, "eastron_sdm120"),
    "2": (Sight.PERHAPS, "eastron_sdm630"),
    "3": (Sight.PERHAPS, "chint_ddsu666"),
    "4": (Sight.PERHAPS, "peacefair_pzem016"),
    "5": (Sight.KNOWN, "acrel_ddsy1352"),
    "6": (Sight.PERHAPS, "schneider_iem3155"),
    "7": (Sight.STRANGER, ""),
    "8": (Sight.SILENT, ""),
}
ASKS_MAX = (
    40  # of one device: two greetings, two identities, the evidence of every product, each twice
)
WRITES = (Deed.WRITTEN, Deed.CREDITED, Deed.MOVED)


def bus_site(folder: Path, devices: Sequence[str] = DEVICES, **settings: object) -> Path:
    bus = {"driver": "modbus", "host": "127.0.0.1", "port": 502, **settings}
    return write_site(folder, {"bus-1": bus}, list(devices))


def link_of(town: Campus) -> Link:
    return town.reachable().links[0]


async def scanned(
    link: Link, units: str, *, timeout_s: float = 0.2, bauds: tuple[int, ...] = ()
) -> list[Sighting]:
    formats = ("8N1",) if bauds else ()
    search = Search(
        addresses=units, bauds=bauds, formats=formats, own_way=not bauds, timeout_s=timeout_s
    )
    scanner = open_scanner(link, PROFILES, search)
    async with aclosing(scanner.scan(scanner.spots(), RecordingHost())) as found:
        return [sighting async for sighting in found]


def seen(sightings: Sequence[Sighting]) -> dict[str, tuple[Sight, str]]:
    return {one.spot.address: (one.sight, one.profile) for one in sightings}


@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp", "rtu"])
async def test_every_product_is_told_by_its_identity_or_its_likeness(
    campus: CampusFactory, tmp_path: Path, transport: str
) -> None:
    device = {"device": "/dev/ttyUSB0"} if transport == "rtu" else {}
    async with campus(bus_site(tmp_path, transport=transport, **device)) as town:
        sightings = await scanned(link_of(town), "1-8")
        assert seen(sightings) == SEEN
        entries = Counter(entry.device for entry in town.ledger.entries())
        assert not [entry for entry in town.ledger.entries() if entry.deed in WRITES]
        assert max(entries.values()) <= ASKS_MAX
        refused = {entry.values["function"] for entry in town.ledger.entries(deed=Deed.REFUSED)}
        assert refused <= {1, 2, 3, 4}


async def test_the_values_shown_are_those_of_the_device(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with campus(bus_site(tmp_path, transport="tcp")) as town:
        sighting = (await scanned(link_of(town), "1"))[0]
        entries = list(town.ledger.entries("sdm120", Deed.ANSWERED))
        told = [entry.values["voltage_l1"] for entry in entries if "voltage_l1" in entry.values]
        assert f"voltage_l1 {told[-1]:.6g} V" in sighting.text
        assert town.ledger.last("sdm120", Deed.IDENTIFIED) is not None


async def test_two_meters_at_one_address_are_a_collision(
    campus: CampusFactory, tmp_path: Path
) -> None:
    devices = ["one,eastron_sdm120,bus-1,1", "other,eastron_sdm120,bus-1,2"]
    site = bus_site(tmp_path, devices, transport="rtu_over_tcp")
    async with campus(site) as town:
        device = replace(link_of(town).devices[0], id="double")
        machine = build_machine(device, town.ledger, seed=9, begin_ms=NOW_MS, zone_ms=ZONE_MS)
        diary = Diary(device="double", ledger=town.ledger)
        layout = RegisterLayout(device.profile)
        town.buses["bus-1"].doubles[1] = Slave(device, machine, layout=layout, diary=diary)
        sightings = await scanned(link_of(town), "1-3")
    assert [one.sight for one in sightings] == [Sight.COLLISION, Sight.KNOWN, Sight.SILENT]
    assert "two devices with one address" in sightings[0].text


async def test_a_meter_left_at_another_speed_is_found_at_its_own(
    campus: CampusFactory, tmp_path: Path
) -> None:
    site = bus_site(tmp_path, transport="rtu", device="/dev/ttyUSB0", baud=9600)
    async with campus(site) as town:
        town.buses["bus-1"].speaks[1] = 2400
        sightings = await scanned(link_of(town), "1,3", bauds=(2400, 9600), timeout_s=0.1)
    assert [(one.spot.way, one.spot.address, one.sight) for one in sightings] == [
        ("9600 8N1", "1", Sight.SILENT),
        ("9600 8N1", "3", Sight.PERHAPS),
        ("2400 8N1", "1", Sight.KNOWN),
        ("2400 8N1", "3", Sight.SILENT),
    ]


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"transport": "rtu_over_tcp"}, "set in the box: only 9600 8N1 is tried"),
        ({"transport": "tcp"}, "set in the gateway"),
    ],
)
def test_a_speed_that_cannot_be_changed_from_here_is_said(
    settings: dict[str, object], note: str
) -> None:
    link = Link(id="bus-1", driver="modbus", settings={"host": "127.0.0.1", **settings})
    scanner = open_scanner(link, PROFILES, Search(addresses="1-10", bauds=(2400, 9600)))
    assert len(scanner.spots()) == 10
    assert note in scanner.notes[0]


def test_the_time_is_told_before() -> None:
    settings = {"transport": "rtu", "device": "/dev/ttyUSB0"}
    link = Link(id="bus-1", driver="modbus", settings=settings)
    search = Search(bauds=(2400, 9600), formats=("8N1", "8E1"))
    scanner = open_scanner(link, PROFILES, search)
    spots = scanner.spots()
    assert len(spots) == 4 * 247
    assert scanner.expected_s(spots) == pytest.approx(4 * 247 * 0.85, rel=0.1)


@pytest.mark.parametrize("units", ["0", "248", "5-1", "1-", "a", "1,,2", "-3", "١"])
def test_an_address_that_cannot_be_is_refused(units: str) -> None:
    link = Link(id="bus-1", driver="modbus", settings={"host": "127.0.0.1"})
    with pytest.raises(ConfigError, match="units"):
        open_scanner(link, PROFILES, Search(addresses=units))


def test_a_link_whose_driver_cannot_scan_says_so() -> None:
    link = Link(id="broker", driver="mqtt", settings={"host": "127.0.0.1"})
    with pytest.raises(ConfigError, match="cannot scan"):
        open_scanner(link, PROFILES, Search())


async def test_a_link_that_is_not_there_ends_the_scan() -> None:
    settings = {"transport": "rtu_over_tcp", "host": "127.0.0.1", "port": free_port()}
    with pytest.raises(LinkError):
        await scanned(Link(id="bus-1", driver="modbus", settings=settings), "1-3")
