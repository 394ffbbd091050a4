"""Which devices measure what rooms buy, and who holds the credit: the meter itself, or the hub."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from hub.campus.accounts.accounts import Room, Utility, correction, ensure, grant, revenue
from hub.campus.prepaid.charge import Register
from hub.campus.prepaid.rules import Rules
from hub.command import Hazard
from hub.inventory.counts import COUNTERS_OF, counter_of
from hub.model import Device
from hub.points import POINTS
from hub.profile import Profile
from hub.site import Site

# The counters of the vocabulary that a room is charged by.
_COUNTERS: Mapping[str, Utility] = {
    point: Utility(name) for name, points in COUNTERS_OF.items() for point in points
}
_OPENED = 500  # rooms looked up at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Meter:
    """A device that measures what a room buys.

    `holds_credit`: it deducts what is used by itself, and the hub never charges it.
    """

    device: str
    room: Room
    register: Register
    holds_credit: bool


def room_meters(site: Site, rules: Rules) -> Iterator[Meter]:
    """Every meter of a room that pays for what it uses."""
    for meter in _meters_in(site.devices()):
        if rules.of(meter.room.building).charges(meter.room.room):
            yield meter


def paid_meters(devices: Iterable[Device]) -> dict[Room, str]:
    """The device that the payments of each room are for; a room of which nothing is counted has none."""
    found: dict[Room, list[Meter]] = {}
    for meter in _meters_in(devices):
        found.setdefault(meter.room, []).append(meter)
    return {room: paid_of(meters).device for room, meters in found.items()}


def paid_of(meters: Iterable[Meter]) -> Meter:
    """Which of a room's meters, at least one, is paid for: one that takes credit first, then by id."""
    return min(meters, key=lambda meter: (not meter.holds_credit, meter.device))


def holds_credit(profile: Profile) -> bool:
    """Whether devices of this product keep the credit themselves: it can be told to them."""
    return any(spec.hazard is Hazard.CREDIT for spec in profile.commands.values())


def open_rooms(connection: Connection, rooms: Iterable[Room], *, now_ms: int) -> None:
    """Open the accounts of rooms that have none yet, and those of the house for their utilities."""
    wanted = list(dict.fromkeys(rooms))
    for utility in {room.utility for room in wanted}:
        ensure(connection, revenue(utility), grant(utility), correction(utility), now_ms=now_ms)
    for begin in range(0, len(wanted), _OPENED):
        step = wanted[begin : begin + _OPENED]
        ids = [id for room in step for id in (room.account, room.held, room.meter)]
        ensure(connection, *ids, now_ms=now_ms)


def _meters_in(devices: Iterable[Device]) -> Iterator[Meter]:
    for device in devices:
        place, point = device.place, counter_of(device.profile.points)
        if place.room and point:
            yield Meter(
                device=device.id,
                room=Room(building=place.building, room=place.room, utility=_COUNTERS[point]),
                register=_register(device.profile, point),
                holds_credit=holds_credit(device.profile),
            )


def _register(profile: Profile, point: str) -> Register:
    return Register(
        point=point,
        rated_w=math.ceil(profile.hourly_max(POINTS[point].unit)),
        rollover=int(profile.points[point].rollover or 0),
    )
