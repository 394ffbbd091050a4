"""Writes the configuration of a made-up campus: the demonstration's, or one of any size for a measurement."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from simulators.links import LOOPBACK, free_ports, site_toml

TIMEZONE = "Asia/Shanghai"
COLUMNS = (
    *("id", "profile", "link", "address", "building", "floor", "room", "circuit", "period_s"),
    "settings",
)
_BARRIER_SETTINGS = "fail_mode=open;egress=false;open_limit_s=600"
_TURNSTILE_SETTINGS = "fail_mode=open;egress=true;open_limit_s=3600"
_METERS = (
    "eastron_sdm120",
    "chint_ddsu666",
    "peacefair_pzem016",
    "eastron_sdm120",
    "acrel_ddsy1352",
    "eastron_sdm120",
    "eastron_sdm630",
)
_UNPROVEN = ("acrel_ddsy1352.credit", "acrel_ddsy1352.power_limit")
_BROKER = "broker"


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How big a campus is, and how its buses are reached (`baud` 0: Modbus TCP without serial timing)."""

    buses: int = 4
    meters: int = 60
    washers: int = 12
    turnstiles: int = 1
    cameras: int = 1
    barriers: int = 1
    buildings: int = 2
    baud: int = 9600
    meter_profiles: tuple[str, ...] = _METERS
    meter_period_s: float = 5.0
    washer_period_s: float = 5.0
    mqtt_version: str = "5"


DEMO = Size(mqtt_version="3.1.1")  # the broker inside the demonstration speaks no other
REFERENCE = Size(
    buses=320,
    meters=10_000,
    washers=1000,
    turnstiles=25,
    cameras=15,
    barriers=10,
    buildings=32,
    baud=0,
    meter_profiles=("eastron_sdm120",),
    meter_period_s=60.0,
    washer_period_s=10.0,
)

Row = Mapping[str, object]


def write_site(folder: Path, size: Size, *, name: str, broker_port: int) -> None:
    """Write `site.toml` and `devices.csv` of a campus on loopback, its buses on ports free now."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = free_ports(size.buses + size.barriers)
    links: dict[str, Mapping[str, object]] = {}
    for bus in range(size.buses):
        links[bus_name(bus, size)] = _bus_settings(ports[bus], size)
    for gate in range(size.barriers):
        port = ports[size.buses + gate]
        # A gate has a line of its own: it never waits behind meters.
        board = {"driver": "modbus", "transport": "tcp", "host": LOOPBACK, "port": port}
        links[f"gate-board-{gate + 1}"] = board
    broker = {"driver": "mqtt", "host": LOOPBACK, "port": broker_port}
    links[_BROKER] = {**broker, "version": size.mqtt_version}
    fire = [f"barrier-{gate + 1}.fire_alarm" for gate in range(size.barriers)]
    # One in a hundred of a few devices is none: a small site says itself how many are many.
    brake_percent = max(1.0, 500 / (size.meters + size.washers + 1))
    used = {row["profile"] for row in _rows(size)}
    # A simulated meter has the bytes that the product's profile assumes.
    unproven = [name for name in _UNPROVEN if name.partition(".")[0] in used]
    safety = {"fire": fire, "brake_percent": brake_percent, "allow_unproven": unproven}
    text = site_toml(name, TIMEZONE, links, safety)
    (folder / "site.toml").write_text(text, "utf-8")
    with (folder / "devices.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        rows.writeheader()
        for row in _rows(size):
            rows.writerow(row)


def write_demo(folder: Path, *, broker_port: int) -> None:
    """The demonstration: 2 buildings, 4 buses of 15 meters at 9600 baud, 12 washers, 3 gates."""
    write_site(folder, DEMO, name="Demonstration campus", broker_port=broker_port)


def write_reference(folder: Path, *, broker_port: int) -> None:
    """The reference campus: 10,000 meters on 320 buses without serial timing, 1,000 washers, 50 gates."""
    write_site(folder, REFERENCE, name="Reference campus", broker_port=broker_port)


def bus_name(bus: int, size: Size) -> str:
    """The id of a bus's link: building and bus of the building."""
    building, of_building = _place(bus, size)
    return f"b{building}-bus{of_building}"


def _place(bus: int, size: Size) -> tuple[int, int]:
    for_each = -(-size.buses // size.buildings)
    return bus // for_each + 1, bus % for_each + 1


def _bus_settings(port: int, size: Size) -> Mapping[str, object]:
    place = {"driver": "modbus", "host": LOOPBACK, "port": port}
    if size.baud:
        return {**place, "transport": "rtu_over_tcp", "baud": size.baud, "format": "8N1"}
    return {**place, "transport": "tcp"}


def _rows(size: Size) -> Iterator[Row]:
    yield from _meters(size)
    for number in range(1, size.washers + 1):
        yield {
            "id": f"washer-{number:02d}",
            "profile": "generic_washer",
            "link": _BROKER,
            "address": f"washer-{number:02d}",
            "building": f"B{(number - 1) % size.buildings + 1}",
            "floor": "1",
            "room": "laundry",
            "period_s": size.washer_period_s,
        }
    yield from _gates(size)


def _meters(size: Size) -> Iterator[Row]:
    for bus in range(size.buses):
        building, of_building = _place(bus, size)
        for unit, number in enumerate(range(bus, size.meters, size.buses), 1):
            room = f"{of_building}{unit:02d}"
            yield {
                "id": f"b{building}-{room}",
                "profile": size.meter_profiles[number // size.buses % len(size.meter_profiles)],
                "link": bus_name(bus, size),
                "address": unit,
                "building": f"B{building}",
                "floor": of_building,
                "room": room,
                "circuit": "socket",
                "period_s": size.meter_period_s,
            }


def _gates(size: Size) -> Iterator[Row]:
    for number in range(1, size.barriers + 1):
        yield {
            "id": f"barrier-{number}",
            "profile": "generic_barrier",
            "link": f"gate-board-{number}",
            "address": 1,
            "building": "gate",
            "period_s": 1,
            "settings": _BARRIER_SETTINGS,
        }
    kinds = (
        ("turnstile", "generic_turnstile", size.turnstiles, _TURNSTILE_SETTINGS),
        ("camera", "zhenshi_lpr", size.cameras, ""),
    )
    for kind, profile, count, settings in kinds:
        for number in range(1, count + 1):
            yield {
                "id": f"{kind}-{number}",
                "profile": profile,
                "link": _BROKER,
                "address": f"{kind}-{number}",
                "building": "gate",
                "period_s": 10,
                "settings": settings,
            }
