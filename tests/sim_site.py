"""Profiles, devices and sites for the simulators' own tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hub import Device, Profile, Value, load_profiles
from hub.profile_file import read_profile
from simulators.devices import build_machine
from simulators.ledger import Diary, Ledger
from simulators.links import site_toml
from simulators.machine import Birth, Happening, Machine
from simulators.registers import RegisterLayout
from simulators.relay_board import RelayBoard
from simulators.slave import Slave

PROFILES = load_profiles()
NOW_MS = 1_795_368_000_000  # 2026-11-22 18:40 UTC
ZONE_MS = 8 * 3_600_000


def profile(points: str, wire: str = "") -> Profile:
    """A Modbus product of these points."""
    text = f"""
name = "Test product"
maker = "Test"
kind = "electricity_meter"
protocol = "modbus"
[modbus]
{wire}
[points]
{points}
"""
    return read_profile("test_product", "test_product.toml", text).apply({}, place="test")


class Still:
    """A machine that shows what it is given, and takes every write."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = dict(values)
        self.board: RelayBoard | None = None

    def show(self, now_ms: int) -> Mapping[str, Value]:
        return self.values

    def happenings(self, now_ms: int) -> Sequence[Happening]:
        return ()

    def write(self, now_ms: int, point: str, value: Value) -> bool:
        self.values[point] = value
        return True


def device(name: str, product: str | Profile, address: str = "1") -> Device:
    """A device of a product."""
    known = PROFILES.example(product) if isinstance(product, str) else product
    return Device(id=name, profile=known, link="bus-1", address=address)


def birth(name: str, product: str, ledger: Ledger, seed: int = 7) -> Birth:
    """What a machine of a product is made from."""
    points = tuple(PROFILES.example(product).points)
    diary = Diary(device=name, ledger=ledger)
    return Birth(seed=seed, zone_ms=ZONE_MS, begin_ms=NOW_MS, diary=diary, points=points)


def machine(name: str, product: str, *, seed: int = 7, ledger: Ledger | None = None) -> Machine:
    """The machine of a product's device, begun at NOW_MS."""
    return build_machine(
        device(name, product),
        ledger or Ledger(),
        seed=seed,
        begin_ms=NOW_MS,
        zone_ms=ZONE_MS,
    )


def slave(of: Device, ledger: Ledger, behind: Machine | None = None) -> Slave:
    """A Modbus device without faults."""
    made = build_machine(of, ledger, seed=7, begin_ms=NOW_MS, zone_ms=ZONE_MS)
    return Slave(
        of,
        behind or made,
        layout=RegisterLayout(of.profile),
        diary=Diary(device=of.id, ledger=ledger),
    )


def write_site(folder: Path, links: dict[str, dict[str, object]], devices: list[str]) -> Path:
    """A site of these links and of devices as `id,profile,link,address`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.toml").write_text(site_toml("Test campus", "Asia/Shanghai", links), "utf-8")
    text = "\n".join(["id,profile,link,address", *devices]) + "\n"
    (folder / "devices.csv").write_text(text, "utf-8")
    return folder
