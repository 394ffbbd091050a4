"""Which devices the hub can switch for a room, what each said last of its relay, and on which feeder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hub.campus.accounts.accounts import Room
from hub.campus.prepaid.meters import holds_credit, utility_of
from hub.campus.prepaid.pace import feeder_of
from hub.campus.prepaid.rules import Restore, Rules
from hub.command import CommandSpec, Hazard
from hub.journal import Latest
from hub.model import Device, Value
from hub.profile import Profile
from hub.site import Site

CUT, RESTORE, ARM = "cut", "restore", "arm"
RELAY_ARMED, OVERLOADS = "relay_armed", "overload_count"
_CONTACTS = ("relay_closed", "breaker_l1_closed", "breaker_l2_closed", "breaker_l3_closed")
_VALVES = ("valve_open",)
# Said by the device of itself when it has opened its relay for what flowed, or for what was done to it.
TRIP_FLAGS = ("over_limit", "device_fault", "power_alarm")
POWERS = ("active_power_total", "active_power_l1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """A room device that takes `cut` and `restore`; `contacts` all conduct while the room is supplied."""

    device: Device
    room: Room
    feeder: str
    contacts: tuple[str, ...]
    holds_credit: bool
    can_arm: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """What a device said last of its supply, without what it said with a doubt; `time_ms` of its contacts.

    `closed` and `overloads` are None where nobody knows; `flag` is the point that tells of a trip.
    """

    closed: bool | None = None
    is_armed: bool = False
    overloads: int | None = None
    flag: str = ""
    time_ms: int = 0


def switches(site: Site) -> Iterator[Switch]:
    """Every device of a room that can be cut and restored, and shows whether it is."""
    for device in site.devices():
        profile, place = device.profile, device.place
        contacts = tuple(point for point in (*_CONTACTS, *_VALVES) if point in profile.points)
        if place.room and contacts and can_switch(profile):
            yield Switch(
                device=device,
                room=Room(
                    building=place.building, room=place.room, utility=utility_of(profile.points)
                ),
                feeder=feeder_of(place, device.link),
                contacts=contacts,
                holds_credit=holds_credit(profile),
                can_arm=_takes(profile, ARM, Hazard.RESTORE) and RELAY_ARMED in profile.points,
            )


def can_switch(profile: Profile) -> bool:
    """Whether the hub can cut and restore such a device: it is told both without a word more."""
    return _takes(profile, CUT, Hazard.CUT) and _takes(profile, RESTORE, Hazard.RESTORE)


def cannot_be_armed(site: Site, rules: Rules) -> list[str]:
    """Products whose rooms no payment brings back: the policy says arm, and they take no such command."""
    found = {
        switch.device.profile.id
        for switch in switches(site)
        for policy in [rules.of(switch.room.building)]
        if policy.charges(switch.room.room) and policy.restore is Restore.ARM
        if not (switch.can_arm or switch.holds_credit)
    }
    return sorted(found)


def word_of(switch: Switch, latest: Latest | None) -> Word:
    """The last word that can be believed."""
    if latest is None:
        return Word()
    sure = {
        point: value
        for point, value in latest.values.items()
        if point not in latest.bad and point not in latest.uncertain
    }
    told = [point for point in switch.contacts if point in sure]
    is_told = len(told) == len(switch.contacts)
    return Word(
        closed=all(sure[point] is True for point in told) if is_told else None,
        is_armed=sure.get(RELAY_ARMED) is True,
        overloads=_whole(sure.get(OVERLOADS)),
        flag=_flag(sure),
        # A device whose clock is ahead does not speak of what is yet to come.
        time_ms=min((latest.time_of(point) for point in told), default=0),
    )


def _flag(sure: Mapping[str, Value]) -> str:
    return next((point for point in TRIP_FLAGS if sure.get(point) is True), "")


def _takes(profile: Profile, name: str, hazard: Hazard) -> bool:
    spec = profile.commands.get(name)
    return spec is not None and spec.hazard is hazard and not _asks(spec)


def _asks(spec: CommandSpec) -> bool:
    return any(one.default is None and not one.from_point for one in spec.arguments.values())


def _whole(value: Value | None) -> int | None:
    return int(value) if value.__class__ is int and value is not None else None
