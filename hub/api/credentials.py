"""What devices prove themselves with at the broker; for installers and administrators of the whole site."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from hub.api.parts import ApiParts, Parts
from hub.api.problems import FieldProblem, Problem
from hub.api.rights import Who, allow
from hub.api.shapes import Asked, DeviceId, Given, Shown
from hub.auth import Role
from hub.broker import AT_ONCE, RESERVED, Credential, Issued, Kind, Why

router = APIRouter(prefix="/v1/credentials", tags=["credentials"])

_INSTALLERS = allow(Role.INSTALLER, Role.ADMIN, everywhere=True)
_Text = Annotated[str, Field(max_length=200)]
_DAY_S = 86_400


class _Chosen(Given):
    """These devices, or those of a building, or all that have a broker; a page of them after `after`."""

    devices: Annotated[list[DeviceId], Field(max_length=1000)] | None = None
    building: _Text = ""
    after: _Text = ""
    limit: Annotated[int, Field(ge=1, le=AT_ONCE)] = AT_ONCE


class IssueGiven(_Chosen):
    """Who gets a first credential, and of which kind."""

    kind: Annotated[Kind, Field(strict=False)]


class RotateGiven(IssueGiven):
    """Whose credential is replaced; the old one stays good for `overlap_s`, and 0 ends it at once.

    `again`: the new one of a rotation that is not over was lost; it is replaced, and the old one stays.
    """

    overlap_s: Annotated[int, Field(ge=0, le=90 * _DAY_S)] = 7 * _DAY_S
    again: bool = False


class RevokeGiven(_Chosen):
    """Whose credentials end: all of theirs, or only the `credential` of this id."""

    credential: Annotated[str, Field(pattern=r"^[0-9a-z]{0,64}$")] = ""
    cause: _Text = ""


class CredentialsAsked(Asked):
    """Which credentials: of one device, of a building; without `all` only good ones."""

    device: Annotated[str, Field(pattern=r"^[a-z0-9-]{0,64}$")] = ""
    building: _Text = ""
    all: bool = False
    after: _Text = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class SecretShown(Shown):
    """What a device needs to connect: a password, or a certificate with its key. It cannot be shown again."""

    id: str
    device: str
    username: str
    kind: Kind
    expires_ms: int | None
    password: Annotated[str, Field(repr=False)]
    certificate: str
    key: Annotated[str, Field(repr=False)]


class LeftShown(Shown):
    """A device that got nothing, and id and serial of its newest credential of this kind, if it has one."""

    device: str
    why: Why
    credential: str
    serial: str


class SecretPage(Shown):
    """New secrets. `left` are devices that got none, and why; `next` is the next `after`.

    `authority` is what the device must trust, in PEM. The broker knows them when the last page is there,
    unless `broker` says why not.
    """

    secrets: list[SecretShown]
    left: list[LeftShown]
    authority: str
    broker: str
    next: str | None


class CredentialShown(Shown):
    """A credential without what would open anything; revoked and not evicted it may still be connected."""

    id: str
    device: str
    kind: Kind
    username: str
    serial: str
    issued_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    evicted_ms: int | None
    actor: str


class CredentialPage(Shown):
    """Credentials in the order in which they were made; `next` is the `after` of the next page."""

    credentials: list[CredentialShown]
    next: str | None


class RevokedPage(Shown):
    """What was ended. `disconnected`: nobody is connected by it any more; null on all pages but the last."""

    revoked: list[CredentialShown]
    disconnected: bool | None
    broker: str
    next: str | None


class HubAccount(Shown):
    """The hub's own account at the broker: what its link in site.toml names."""

    username: str
    password_file: str
    authority_file: str
    broker: str


@router.get("", dependencies=[_INSTALLERS])
async def list_credentials(
    parts: Parts, asked: Annotated[CredentialsAsked, Query()]
) -> CredentialPage:
    """Credentials, never what would open anything."""
    devices = {asked.device} if asked.device else None
    if asked.building:
        there = {one.id for one in parts.registry.devices() if one.place.building == asked.building}
        devices = there if devices is None else devices & there
    found = await parts.broker.credentials.find(
        devices, good=not asked.all, after=asked.after, limit=asked.limit
    )
    return CredentialPage(
        credentials=[_credential(one) for one in found],
        next=found[-1].id if len(found) == asked.limit else None,
    )


@router.post("", status_code=201, dependencies=[_INSTALLERS])
async def issue(parts: Parts, who: Who, given: IssueGiven) -> SecretPage:
    """A first credential of this kind for each of these devices that has none. It is shown this once."""
    names, following = await _page(parts, given)
    issued = await parts.broker.credentials.issue(names, given.kind, who.actor)
    return await _secrets(parts, issued, following)


@router.post("/rotate", status_code=201, dependencies=[_INSTALLERS])
async def rotate(parts: Parts, who: Who, given: RotateGiven) -> SecretPage:
    """Replace credentials; the old ones stay good for a while. Who is being replaced already is left."""
    names, following = await _page(parts, given)
    issued = await parts.broker.credentials.rotate(
        names, given.kind, who.actor, overlap_s=given.overlap_s, again=given.again
    )
    return await _secrets(parts, issued, following)


@router.post("/revoke", dependencies=[_INSTALLERS])
async def revoke(parts: Parts, who: Who, given: RevokeGiven) -> RevokedPage:
    """End credentials for good; whoever is connected by them is disconnected, within ten seconds."""
    if given.devices is None and not given.building:
        wrong = FieldProblem(field="body.devices", reason="name devices or a building")
        raise Problem(422, "invalid", "nothing is named", (wrong,))
    names, following = await _page(parts, given, known_only=False)
    revoked = await parts.broker.credentials.revoke(
        names, who.actor, cause=given.cause, credential=given.credential
    )
    if following is None:
        disconnected = await parts.broker.evict()
    else:
        parts.broker.later()
    return RevokedPage(
        revoked=[_credential(one) for one in revoked],
        disconnected=disconnected if following is None else None,
        broker=parts.broker.reason,
        next=following,
    )


@router.post("/hub", status_code=201, dependencies=[_INSTALLERS])
async def renew_hub(parts: Parts, who: Who) -> HubAccount:
    """A new password for the hub's own account, in a file on the hub's box. The old one ends at once."""
    path = await parts.broker.renew_hub(who.actor)
    return HubAccount(
        username=RESERVED[0],
        password_file=str(path),
        authority_file=str(parts.broker.authority_file),
        broker=parts.broker.reason,
    )


async def _page(
    parts: ApiParts, given: _Chosen, *, known_only: bool = True
) -> tuple[list[str], str | None]:
    """The devices of this page, and where the next begins."""
    access = await parts.broker.access()
    names = set(access.devices if given.devices is None else given.devices)
    if known_only and given.devices is not None:
        _check(given.devices, set(access.devices))
    if given.building:
        names = {
            one.id
            for one in parts.registry.devices()
            if one.id in names and one.place.building == given.building
        }
    page = sorted(name for name in names if name > given.after)[: given.limit + 1]
    more = len(page) > given.limit
    return page[: given.limit], page[given.limit - 1] if more else None


def _check(devices: list[str], known: set[str]) -> None:
    wrong = [
        FieldProblem(field=f"body.devices.{place}", reason="no such device, or it has no broker")
        for place, name in enumerate(devices)
        if name not in known
    ]
    if wrong:
        raise Problem(422, "invalid", "nothing was issued", tuple(wrong[:20]))


async def _secrets(parts: ApiParts, issued: Issued, following: str | None) -> SecretPage:
    if following is not None:
        parts.broker.later()
    else:
        await parts.broker.synchronise()
        await parts.broker.evict()
    return SecretPage(
        secrets=[SecretShown.model_validate(one, from_attributes=True) for one in issued.secrets],
        left=[LeftShown.model_validate(one, from_attributes=True) for one in issued.left],
        authority=(
            await asyncio.to_thread(parts.broker.credentials.authority)
        ).certificate.decode(),
        broker=parts.broker.reason,
        next=following,
    )


def _credential(one: Credential) -> CredentialShown:
    return CredentialShown.model_validate(one, from_attributes=True)
