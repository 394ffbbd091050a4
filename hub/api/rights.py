"""Who may do what: roles by route, places by device, and what is masked. Deny by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

from fastapi import Depends, Request, params

from hub.api.parts import ApiParts
from hub.api.problems import NOT_ALLOWED, NOT_FOUND
from hub.auth import EVERYWHERE, Caller, Role
from hub.command import Hazard
from hub.inventory.installed import is_retired
from hub.model import Device, Value
from hub.points import POINTS

EVERYONE = tuple(role for role in Role if role is not Role.ROOM)  # of the house
SENDERS = (Role.OPERATOR, Role.FINANCE, Role.INSTALLER, Role.ADMIN)
OPERATORS = (Role.OPERATOR, Role.ADMIN)
INSTALLERS = (Role.INSTALLER, Role.ADMIN)
RESOLVERS = (Role.FINANCE, Role.ADMIN)
ADMINS = (Role.ADMIN,)
_SENDS: Mapping[Role, frozenset[Hazard]] = {
    Role.VIEWER: frozenset(),
    Role.OPERATOR: frozenset(Hazard) - {Hazard.CREDIT},
    Role.FINANCE: frozenset({Hazard.CREDIT}),
    Role.INSTALLER: frozenset({Hazard.NONE}),
    Role.ADMIN: frozenset(Hazard),
    Role.ROOM: frozenset(),
}
_SHOWN_FIRST, _SHOWN_LAST = 3, 1


async def _caller(request: Request) -> Caller:
    return cast(Caller, request.state.caller)


Who = Annotated[Caller, Depends(_caller)]


def allow(*roles: Role, everywhere: bool = False) -> params.Depends:
    """Let only these roles in; `everywhere` also refuses a key that is good for one building only."""

    async def check(who: Who) -> None:
        if who.role not in roles or (everywhere and who.place != EVERYWHERE):
            raise NOT_ALLOWED

    return cast(params.Depends, Depends(check))


def may_send(who: Caller, hazard: Hazard) -> bool:
    """Whether this role sends commands of this hazard: credits are finance's, the rest operators'."""
    return hazard in _SENDS[who.role]


def sees(parts: ApiParts, who: Caller, device: str) -> bool:
    """Whether this key may know of this device; one that is configured no more is known everywhere only."""
    known = parts.registry.device(device)
    return who.covers(known.place.building) if known else who.place == EVERYWHERE


def device_for(parts: ApiParts, who: Caller, name: str) -> Device:
    """The device; one out of the key's place is not found, as one that does not exist."""
    device = parts.registry.device(name)
    if device is None or not who.covers(device.place.building):
        raise NOT_FOUND
    return device


def is_room(parts: ApiParts, building: str, room: str) -> bool:
    """Whether a configured device serves this room."""
    places = (device.place for device in parts.registry.devices())
    return any((place.building, place.room) == (building, room) for place in places)


async def past_of(parts: ApiParts, who: Caller, name: str) -> Device | None:
    """The device whose past is asked for; None for a retired one, which is for administrators of the site."""
    if (
        parts.registry.device(name) is None
        and who.role is Role.ADMIN
        and who.place == EVERYWHERE
        and await parts.ledger.read(lambda connection: is_retired(connection, name))
    ):
        return None
    return device_for(parts, who, name)


def shown(who: Caller, point: str, value: Value) -> Value:
    """The value as this role may see it: plates and credentials are whole for an administrator only."""
    described = POINTS.get(point)
    if who.role is Role.ADMIN or described is None or not described.secret:
        return value
    return masked(str(value))


def masked(text: str) -> str:
    """`ABC**9`: enough to know it again, not enough to find its owner."""
    if len(text) <= _SHOWN_FIRST + _SHOWN_LAST:
        return "**"
    return f"{text[:_SHOWN_FIRST]}**{text[-_SHOWN_LAST:]}"
