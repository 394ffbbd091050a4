"""`[safety]` of site.toml: what protects people from commands, as an engineer wrote it.

[safety]
fire = ["lane-1.fire_alarm"]   # any of them true, bad, doubtful, stale, away or not seen yet is fire
brake_percent = 1              # cut or open of more devices than this in 10 minutes …
brake_devices = 20             # … or than this waits for a second person
approval_s = 120               # how long it waits for that person
rate_per_minute = 30           # commands to one device
allow_unproven = ["acrel_ddsy1352.credit"]   # PRODUCT.COMMAND whose bytes are an assumption, tried by you
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hub.command import CommandSpec
from hub.model import Device
from hub.points import POINTS, PointType
from hub.profile import Profile
from hub.toml_table import Table

BRAKE_DEVICES_MAX = 20
_RATE_MAX = 600
_APPROVAL_MAX_S = 3_600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FireInput:
    """A flag of a device that is true while there is fire."""

    device: str
    point: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SafetyRules:
    """The rules of one site; without a fire input nothing may close, for nobody can say there is no fire."""

    fire: tuple[FireInput, ...] = ()
    brake_percent: float = 1.0
    brake_devices: int = BRAKE_DEVICES_MAX
    approval_s: float = 120.0
    rate_per_minute: int = 30
    allow_unproven: tuple[str, ...] = ()

    def brake_limit(self, devices: int) -> int:
        """How many devices of so many may be cut, or opened, within 10 minutes; at least one."""
        share = int(devices * self.brake_percent / 100)
        return max(1, min(self.brake_devices, share))


def read_safety(
    file: str, entries: Mapping[str, object], devices: Mapping[str, Device]
) -> SafetyRules:
    """The rules; raises ConfigError for the first mistake."""
    table = Table(file, "safety", entries)
    fire = tuple(_fire_input(table, text, devices) for text in table.texts("fire"))
    percent = table.positive("brake_percent", 1.0)
    if percent > 100:
        raise table.wrong("brake_percent", percent, "write a number above 0 and up to 100")
    brake = _whole(table, "brake_devices", BRAKE_DEVICES_MAX, BRAKE_DEVICES_MAX)
    rate = _whole(table, "rate_per_minute", 30, _RATE_MAX)
    approval_s = table.positive("approval_s", 120.0)
    if approval_s > _APPROVAL_MAX_S:
        raise table.wrong("approval_s", approval_s, f"write seconds up to {_APPROVAL_MAX_S:.0f}")
    unproven = table.texts("allow_unproven")
    for text in unproven:
        _check_command(table, text, devices)
    for key, value in table.rest().items():
        known = "fire, brake_percent, brake_devices, approval_s, rate_per_minute, allow_unproven"
        raise table.wrong(key, value, "an unknown key; known: " + known)
    return SafetyRules(
        fire=fire,
        brake_percent=percent,
        brake_devices=brake,
        approval_s=approval_s,
        rate_per_minute=rate,
        allow_unproven=unproven,
    )


def command_name(profile: Profile, spec: CommandSpec) -> str:
    """How a command is named in `allow_unproven`."""
    return f"{profile.id}.{spec.name}"


def _check_command(table: Table, text: str, devices: Mapping[str, Device]) -> None:
    known = (
        command_name(device.profile, spec)
        for device in devices.values()
        for spec in device.profile.commands.values()
    )
    if text not in known:
        hint = 'write "PRODUCT.COMMAND" of a configured device'
        raise table.wrong("allow_unproven", text, hint)


def _fire_input(table: Table, text: str, devices: Mapping[str, Device]) -> FireInput:
    name, _, point = text.partition(".")
    device = devices.get(name)
    if device is None or point not in device.profile.points:
        raise table.wrong("fire", text, 'write "DEVICE.POINT" of a configured device')
    if POINTS[point].type is not PointType.BOOL:
        raise table.wrong("fire", text, "name a flag, such as fire_alarm")
    return FireInput(device=name, point=point)


def _whole(table: Table, key: str, default: int, maximum: int) -> int:
    value = table.positive(key, float(default))
    if value != int(value) or value > maximum:
        raise table.wrong(key, value, f"write a whole number from 1 to {maximum}")
    return int(value)
