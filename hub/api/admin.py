"""Keys and the audit, for administrators of the whole site."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from hub import audit
from hub.api.parts import Parts
from hub.api.problems import NOT_FOUND, FieldProblem, Problem
from hub.api.rights import ADMINS, Who, allow, is_room
from hub.api.shapes import TIME_MAX, Asked, Given, Shown, TimeMs
from hub.auth import EVERYWHERE, Role, room_of_place

router = APIRouter(prefix="/v1", tags=["administration"])

KeyId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,64}$")]


_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+$"  # a name is shown on terminals


class KeyGiven(Given):
    """Who the key is for; `place` is a building, or `*` for all, or `BUILDING/ROOM` for the role room.

    `expires_ms` null means never.
    """

    name: Annotated[str, Field(max_length=100, pattern=_PRINTABLE)]
    role: Annotated[Role, Field(strict=False)]
    place: Annotated[str, Field(max_length=200, pattern=_PRINTABLE)] = EVERYWHERE
    expires_ms: TimeMs | None = None


class KeyMade(Shown):
    """The key; it cannot be shown again."""

    key: str


class KeyShown(Shown):
    """A key without what would open anything."""

    id: str
    name: str
    role: Role
    place: str
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    last_used_ms: int | None


class KeyList(Shown):
    """Every key there ever was, the oldest first."""

    keys: list[KeyShown]


class AuditAsked(Asked):
    """Rows after this number; of one subject when it is named."""

    subject: Annotated[str, Field(max_length=200)] = ""
    after: Annotated[int, Field(ge=0, le=TIME_MAX)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class AuditRowShown(Shown):
    """One change of state: who did what to which subject, why, and how it stood before and after."""

    number: int
    time_ms: int
    actor: str
    cause: str
    subject: str
    action: str
    before: str
    after: str


class AuditPage(Shown):
    """Rows in order; `next` is the `after` of the next page."""

    rows: list[AuditRowShown]
    next: int | None


@router.get("/keys", dependencies=[allow(*ADMINS, everywhere=True)])
async def list_keys(parts: Parts) -> KeyList:
    """Every key."""
    keys = await parts.keys.all()
    return KeyList(keys=[KeyShown.model_validate(key, from_attributes=True) for key in keys])


@router.post("/keys", status_code=201, dependencies=[allow(*ADMINS, everywhere=True)])
async def add_key(parts: Parts, who: Who, given: KeyGiven) -> KeyMade:
    """Make a key. It is shown this once."""
    if given.expires_ms is not None and given.expires_ms <= parts.clock.now_ms():
        wrong = FieldProblem(field="body.expires_ms", reason="it has passed")
        raise Problem(422, "invalid", "the key would never be good", (wrong,))
    room = room_of_place(given.place)
    if given.role is Role.ROOM and not (room and is_room(parts, *room)):
        wrong = FieldProblem(field="body.place", reason="name BUILDING/ROOM that a device serves")
        raise Problem(422, "invalid", "no such room", (wrong,))
    key = await parts.keys.add(
        name=given.name,
        role=given.role,
        place=given.place,
        expires_ms=given.expires_ms,
        actor=who.actor,
    )
    return KeyMade(key=key)


@router.delete("/keys/{key}", status_code=204, dependencies=[allow(*ADMINS, everywhere=True)])
async def revoke_key(parts: Parts, who: Who, key: KeyId) -> None:
    """End a key, now and for good."""
    if not await parts.keys.revoke(key, who.actor):
        raise NOT_FOUND


@router.get("/audit", dependencies=[allow(*ADMINS, everywhere=True)])
async def list_audit(parts: Parts, asked: Annotated[AuditAsked, Query()]) -> AuditPage:
    """What was changed, by whom and why."""
    rows = await parts.ledger.read(
        lambda connection: audit.rows(
            connection, subject=asked.subject, after=asked.after, limit=asked.limit
        )
    )
    return AuditPage(
        rows=[AuditRowShown.model_validate(row, from_attributes=True) for row in rows],
        next=rows[-1].number if len(rows) == asked.limit else None,
    )
