"""Which machine stands behind a device, told by the points of its product."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hub import Device
from simulators.barrier import Barrier
from simulators.camera import Camera
from simulators.chance import seed_of
from simulators.ledger import Diary, Ledger
from simulators.machine import Birth, Machine
from simulators.meter import Meter
from simulators.relay_board import RelayBoard
from simulators.turnstile import Turnstile
from simulators.washer import Washer
from simulators.water import WaterMeter

# The first kind whose mark is among the product's points; a meter shows anything.
_KINDS: tuple[tuple[str, Callable[[Birth], Machine]], ...] = (
    ("washer_state", Washer),
    ("plate", Camera),
    ("gate_state", Turnstile),
    ("limit_open", Barrier),
    ("relay_1", RelayBoard),
    ("valve_open", WaterMeter),
)


def zone_ms(timezone: ZoneInfo, now_ms: int) -> int:
    """How far local time is ahead of UTC now."""
    offset = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(timezone).utcoffset()
    return round(offset.total_seconds() * 1000) if offset else 0


def build_machine(
    device: Device, ledger: Ledger, *, seed: int, begin_ms: int, zone_ms: int
) -> Machine:
    """The machine of this device: the same seed and id give the same machine."""
    birth = Birth(
        seed=seed_of(seed, device.id),
        zone_ms=zone_ms,
        begin_ms=begin_ms,
        diary=Diary(device=device.id, ledger=ledger),
        points=tuple(device.profile.points),
    )
    for mark, kind in _KINDS:
        if mark in device.profile.points:
            return kind(birth)
    return Meter(birth)
