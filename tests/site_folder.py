"""Small sites for tests: a folder with site.toml, devices.csv and, where asked, hub.toml."""

from __future__ import annotations

from pathlib import Path

from hub.model import Device, Place
from hub.profile_file import read_profile

METER = """
name = "Test meter"
maker = "Nobody"
kind = "electricity_meter"
protocol = "modbus"
rated_power_w = 10000
[modbus]
function = 3
type = "u32"
[points]
energy_import = { at = 0, rollover = 9999990 }
voltage_l1 = { at = 2, maximum = VOLTAGE_MAX }
washer_state = { at = 4, type = "ascii", length = 4 }
count_in = { at = 6 }
"""


def meter(
    name: str = "meter-1",
    *,
    link: str = "bus-1",
    period_s: float = 60.0,
    voltage_max: float = 260.0,
) -> Device:
    """A device of a small made-up product, rated 10 kW, whose counter rolls over at 9,999.99 kWh."""
    text = METER.replace("VOLTAGE_MAX", f"{voltage_max}")
    profile = read_profile("test_meter", "test_meter.toml", text).apply({}, place="test")
    return Device(
        id=name,
        profile=profile,
        link=link,
        address="1",
        place=Place(building="B1", room="101"),
        period_s=period_s,
    )


def write_site(folder: Path, *, site: str, devices: str, hub: str = "") -> Path:
    """The folder, with these texts as its files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.toml").write_text(site, "utf-8")
    (folder / "devices.csv").write_text(devices, "utf-8")
    if hub:
        (folder / "hub.toml").write_text(hub, "utf-8")
    return folder
