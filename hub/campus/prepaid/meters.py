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
from hub.points import POINTS
from hub.profile import Profile
from hub.site import Site

# The counters of the vocabulary that a room is charged by.
_COUNTERS: Mapping[str, Utility] = {
    "energy_import": Utility.ELECTRICITY,
    "energy_total": Utility.ELECTRICITY,
}
_OPENED = 500  # rooms looked up at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Meter:
    """A device that measures what a room of a charged building buys.

    `holds_credit`: it deducts what is used by itself, and the hub never charges it.
    """

    device: str
    room: Room
    register: Register
    holds_credit: bool


def room_meters(site: Site, rules: Rules) -> Iterator[Meter]:
    """Every meter of a room that pays for what it uses."""
    for device in site.devices():
        place, point = device.place, _counter(device.profile)
        if point and place.room and rules.of(place.building).charges(place.room):
            yield Meter(
                device=device.id,
                room=Room(building=place.building, room=place.room, utility=_COUNTERS[point]),
                register=_register(device.profile, point),
                holds_credit=holds_credit(device.profile),
            )


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


def _counter(profile: Profile) -> str | None:
    """The first of the product's points, in its own order, that a room may be charged by."""
    return next((name for name in profile.points if name in _COUNTERS), None)


def _register(profile: Profile, point: str) -> Register:
    limited = POINTS[point].unit == Utility.ELECTRICITY.unit
    return Register(
        point=point,
        rated_w=math.ceil(profile.rated_power_w) if limited else 0,
        rollover=int(profile.points[point].rollover or 0),
    )
