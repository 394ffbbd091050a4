"""The nouns everything speaks in: reading, device, link, place, and what could not become a reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from hub.profile import Profile

Value: TypeAlias = bool | int | float | str
_NONE: dict[str, str] = {}
POISON_KEPT_BYTES = 4096
_CAMPUS_ZONE = ZoneInfo("Asia/Shanghai")


class Reading(msgspec.Struct, frozen=True, kw_only=True, gc=False, eq=False):
    """What one device said at one time. One poll, or one message, is one Reading.

    `time_ms` is the device's own time where it has one that can be trusted, else when it was received;
    both are UTC milliseconds. Every value is in its point's one unit. A point that was asked for but
    gave nothing usable stands in `bad` with the reason, and not in `values`; one that was used with a
    doubt stands in `values` and, with the reason, in `uncertain`. What is missing is missing, never 0.
    The same device, time and content is the same reading, however often it comes.
    `received_s` is the clock's monotonic second of its receipt: it orders readings and sends within this
    run of the hub, is not kept, and is no part of what makes two readings equal; 0 means not known.
    A struct, not a dataclass, because one is made for every poll and message.
    """

    device: str
    time_ms: int
    received_ms: int
    values: Mapping[str, Value]
    bad: Mapping[str, str] = msgspec.field(default_factory=lambda: _NONE)
    uncertain: Mapping[str, str] = msgspec.field(default_factory=lambda: _NONE)
    received_s: float = 0.0

    def __eq__(self, other: object) -> bool:
        """Whether both say the same."""
        if not isinstance(other, Reading):
            return NotImplemented
        names = ("device", "time_ms", "received_ms", "values", "bad", "uncertain")
        return all(getattr(self, name) == getattr(other, name) for name in names)


@dataclass(frozen=True, kw_only=True, slots=True)
class Poison:
    """A message that could not become a reading: where it came from, why, and its first bytes."""

    time_ms: int
    link: str
    source: str
    reason: str
    payload: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """What went over the wire of one device, for a person who looks on.

    `data` is the frame as it travelled (of MQTT the topic, a line end and the payload), empty when the
    device gave nothing; `text` is what the driver makes of it: function, addresses, points and values,
    exception, fault.
    """

    time_ms: int
    device: str
    outgoing: bool
    data: bytes
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a device is; empty text where the level does not apply."""

    building: str = ""
    floor: str = ""
    room: str = ""
    circuit: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """An installed device. `profile` already has this device's settings applied.

    `address` is written in the words of the link's protocol (a unit number, a topic name). `period_s` is
    how often it is read, or how often it is expected to speak.
    """

    id: str
    profile: Profile
    link: str
    address: str
    place: Place = Place()
    period_s: float = 60.0
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One bus, serial server or broker with its devices: what one driver object serves.

    `settings` are the protocol's own (host, baud rate …), not yet checked: the driver's factory does
    that and raises ConfigError. `source` names the file for such errors. With `observe_only` no write
    may leave. A `visit` is a short look beside the running hub: the driver takes nobody's session and
    leaves nothing behind. `timezone` is where device clocks without a zone stand. `id` is also a device
    id, under which the driver publishes its own counts.
    """

    id: str
    driver: str
    settings: Mapping[str, object] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    observe_only: bool = False
    visit: bool = False
    timezone: ZoneInfo = _CAMPUS_ZONE
    source: str = "site.toml"


def drive_alike(one: Link, other: Link) -> bool:
    """Whether a driver would do the same for both: all is equal but places, notes and the devices' order."""
    if replace(one, devices=()) != replace(other, devices=()):
        return False
    mine, yours = ({device.id: device for device in link.devices} for link in (one, other))
    return mine.keys() == yours.keys() and all(
        _driven(mine[name]) == _driven(yours[name]) for name in mine
    )


def _driven(device: Device) -> tuple[Profile, str, str, float]:
    return device.profile, device.link, device.address, device.period_s
