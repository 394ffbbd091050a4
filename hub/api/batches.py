"""Batches: planned, taken, shown, approved, stopped. The rules are those of `hub.campus.batches`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from hub.api.orders import IdempotencyKey, WaitAsked
from hub.api.parts import ApiParts, Parts
from hub.api.problems import NOT_ALLOWED, NOT_FOUND
from hub.api.rights import EVERYONE, OPERATORS, RESOLVERS, Who, allow
from hub.api.shapes import NAME_PATTERN, Asked, DeviceId, Given, Scalar, Shown
from hub.auth import EVERYWHERE, Caller, Role
from hub.campus.batches import rows
from hub.campus.batches.batch import (
    ALLOWANCE,
    PER_S,
    PER_S_MAX,
    PER_S_MIN,
    Asker,
    Batch,
    BatchState,
    Item,
    ItemState,
    Part,
    Plan,
    Wish,
)
from hub.campus.batches.scope import Scope
from hub.commands import CommandError, Refusal
from hub.sheets.device_export import protected_csv

PAGE_MAX = 1_000
ROOMS_MAX = 20_000  # of one export
_RUNNERS = (Role.OPERATOR, Role.FINANCE, Role.ADMIN)
_MARK = "\ufeff".encode()  # by which spreadsheet programs know UTF-8
_COLUMNS = ("building", "floor", "room", "device", "account", "state", "reason", "command")

router = APIRouter(prefix="/v1/batches", tags=["batches"])

BatchId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,64}$")]
_Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]*$")]


class FloorGiven(Given):
    """A floor of a building."""

    building: _Name
    floor: _Name


class RoomGiven(Given):
    """A room of a building."""

    building: _Name
    room: _Name


class ScopeGiven(Given):
    """Which rooms: all of these together."""

    buildings: Annotated[list[_Name], Field(default_factory=list, max_length=500)]
    floors: Annotated[list[FloorGiven], Field(default_factory=list, max_length=2_000)]
    rooms: Annotated[list[RoomGiven], Field(default_factory=list, max_length=10_000)]
    devices: Annotated[list[DeviceId], Field(default_factory=list, max_length=10_000)]


class ScopeShown(Shown):
    """Which rooms were named."""

    buildings: list[str]
    floors: list[FloorGiven]
    rooms: list[RoomGiven]
    devices: list[str]


class BatchGiven(Given):
    """`action` is a command of the rooms' devices, `read`, or `allowance` (amount in Wh or ml, utility).

    With `dry_run` nothing is written or told: the answer says what would be done to each room.
    """

    action: Annotated[str, Field(pattern=NAME_PATTERN)]
    arguments: Annotated[dict[_Name, Scalar], Field(default_factory=dict, max_length=32)]
    scope: ScopeGiven
    cause: Annotated[str, Field(min_length=1, max_length=200)]
    per_s: Annotated[float, Field(ge=PER_S_MIN, le=PER_S_MAX)] = PER_S
    dry_run: bool = False


class BatchShown(Shown):
    """A batch as it stands; `items` counts its rooms by state. One that `waits` does so until `expires_ms`.

    `finished_ms` is null while something of it is open.
    """

    id: str
    action: str
    arguments: dict[str, Scalar]
    scope: ScopeShown
    cause: str
    actor: str
    approver: str
    state: BatchState
    reason: str
    per_s: float
    created_ms: int
    begun_ms: int | None
    expires_ms: int
    finished_ms: int | None
    items: dict[str, int]


class PartShown(Shown):
    """What would be done to one device, or account; `left_out` says why not, empty where it would."""

    building: str
    floor: str
    room: str
    device: str
    account: str
    left_out: str


class PlanShown(Shown):
    """What a batch would do; nothing of it is written."""

    wanted: int
    needs_second_person: bool
    parts: list[PartShown]


class BatchList(Shown):
    """The newest first; `next` is the `after` of the next page."""

    batches: list[BatchShown]
    next: str | None


class ItemShown(Shown):
    """One room's part; `command` tells more, once there is one."""

    place: int
    building: str
    floor: str
    room: str
    device: str
    account: str
    state: ItemState
    reason: str
    command: str


class ItemPage(Shown):
    """Items in the order in which they are told; `next` is the `after` of the next page."""

    items: list[ItemShown]
    next: int | None


class BatchesAsked(Asked):
    """Which batches."""

    state: BatchState | None = None
    after: Annotated[str, Field(pattern=r"^[0-9a-z]{0,64}$")] = ""
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 100


class ItemsAsked(Asked):
    """Which items."""

    state: ItemState | None = None
    after: Annotated[int, Field(ge=-1, le=2**31 - 1)] = -1
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 100


@router.post(
    "",
    status_code=202,
    dependencies=[allow(*_RUNNERS)],
    responses={200: {"model": PlanShown, "description": "A dry run"}},
)
async def run_batch(
    parts: Parts, who: Who, key: IdempotencyKey, given: BatchGiven, response: Response
) -> BatchShown | PlanShown:
    """Take a batch, or say what it would do. It is on disk when this answers, and then runs by itself.

    The same key with the same body answers with the first batch. One that cuts more than the brake lets
    through waits for a second person.
    """
    _check_right(who, given.action)
    wish, asker = _wish(given), _asker(who)
    if given.dry_run:
        response.status_code = 200
        return _plan(await parts.campus.batches.plan(wish, asker))
    batch = await parts.campus.batches.submit(wish, key, asker)
    response.headers["Location"] = f"{router.prefix}/{batch.id}"
    return await _shown(parts, batch)


@router.get("", dependencies=[allow(*EVERYONE)])
async def list_batches(
    parts: Parts, who: Who, asked: Annotated[BatchesAsked, Query()]
) -> BatchList:
    """The newest batches; a key for one building sees those wholly in it."""
    found = await parts.ledger.read(
        lambda connection: rows.recent(
            connection,
            building=_asker(who).building,
            state=asked.state,
            before=asked.after,
            limit=asked.limit + 1,
        )
    )
    page = found[: asked.limit]
    return BatchList(
        batches=await _all_shown(parts, page),
        next=page[-1].id if len(found) > asked.limit else None,
    )


@router.get("/{batch}", dependencies=[allow(*EVERYONE)])
async def get_batch(
    parts: Parts, who: Who, batch: BatchId, asked: Annotated[WaitAsked, Query()]
) -> BatchShown:
    """One batch with its counts; with `wait_s` it answers when nothing is open, or after that time."""
    found = await _mine(parts, who, batch)
    if asked.wait_s:
        found = await parts.campus.batches.wait(batch, asked.wait_s)
    return await _shown(parts, found)


@router.get("/{batch}/items", dependencies=[allow(*EVERYONE)])
async def list_items(
    parts: Parts, who: Who, batch: BatchId, asked: Annotated[ItemsAsked, Query()]
) -> ItemPage:
    """What became of each room, page by page."""
    await _mine(parts, who, batch)
    found = await parts.ledger.read(
        lambda connection: rows.items(
            connection, batch, state=asked.state, after=asked.after, limit=asked.limit + 1
        )
    )
    page = found[: asked.limit]
    return ItemPage(
        items=[_item(item) for item in page],
        next=page[-1].place if len(found) > asked.limit else None,
    )


@router.get(
    "/{batch}/results.csv",
    dependencies=[allow(*EVERYONE)],
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def export_batch(parts: Parts, who: Who, batch: BatchId) -> Response:
    """What became of each room, as a table that a spreadsheet program opens without running anything."""
    await _mine(parts, who, batch)
    found = await parts.ledger.read(
        lambda connection: rows.items(connection, batch, limit=ROOMS_MAX)
    )
    lines = [{**_item(item).model_dump(mode="json", exclude={"place"})} for item in found]
    return Response(_MARK + protected_csv(lines, _COLUMNS), media_type="text/csv")


@router.post("/{batch}/approve", dependencies=[allow(*_RUNNERS)])
async def approve_batch(parts: Parts, who: Who, batch: BatchId) -> BatchShown:
    """Let a waiting batch run, now; only a second person may."""
    found = await _mine(parts, who, batch)
    _check_right(who, found.action)
    if await parts.keys.is_one_person(who.actor, found.actor):
        raise CommandError(
            Refusal.SAME_PERSON,
            "actor",
            "a second person must approve it, whose key you did not make",
        )
    return await _shown(parts, await parts.campus.batches.approve(batch, _asker(who)))


@router.post("/{batch}/stop", dependencies=[allow(*_RUNNERS)])
async def stop_batch(parts: Parts, who: Who, batch: BatchId) -> BatchShown:
    """Tell nobody anything new, from now on."""
    found = await _mine(parts, who, batch)
    _check_right(who, found.action)
    return await _shown(parts, await parts.campus.batches.stop(batch, _asker(who)))


def _check_right(who: Caller, action: str) -> None:
    """What is free is finance's to give, devices are operators' to tell."""
    if who.role not in (RESOLVERS if action == ALLOWANCE else OPERATORS):
        raise NOT_ALLOWED


async def _mine(parts: ApiParts, who: Caller, batch: str) -> Batch:
    found = await parts.campus.batches.get(batch)
    if who.place not in (EVERYWHERE, found.building):
        raise NOT_FOUND
    return found


def _asker(who: Caller) -> Asker:
    building = "" if who.place == EVERYWHERE else who.place
    return Asker(actor=who.actor, owner=who.name, building=building)


def _wish(given: BatchGiven) -> Wish:
    scope = given.scope
    return Wish(
        action=given.action,
        arguments=given.arguments,
        scope=Scope(
            buildings=tuple(scope.buildings),
            floors=tuple((one.building, one.floor) for one in scope.floors),
            rooms=tuple((one.building, one.room) for one in scope.rooms),
            devices=tuple(scope.devices),
        ),
        cause=given.cause,
        per_s=given.per_s,
    )


async def _shown(parts: ApiParts, batch: Batch) -> BatchShown:
    return (await _all_shown(parts, [batch]))[0]


async def _all_shown(parts: ApiParts, batches: Sequence[Batch]) -> list[BatchShown]:
    names = [batch.id for batch in batches]
    counted = await parts.ledger.read(lambda connection: rows.counts(connection, names))
    return [_batch(batch, counted.get(batch.id, {})) for batch in batches]


def _batch(batch: Batch, counted: Mapping[ItemState, int]) -> BatchShown:
    return BatchShown(
        id=batch.id,
        action=batch.action,
        arguments=dict(batch.arguments),
        scope=_scope(batch.scope),
        cause=batch.cause,
        actor=batch.actor,
        approver=batch.approver,
        state=batch.state,
        reason=batch.reason,
        per_s=1000 / batch.pause_ms,
        created_ms=batch.created_ms,
        begun_ms=batch.begun_ms,
        expires_ms=batch.expires_ms,
        finished_ms=batch.finished_ms,
        items={str(state): number for state, number in counted.items()},
    )


def _scope(text: str) -> ScopeShown:
    said = json.loads(text)
    return ScopeShown(
        buildings=said["buildings"],
        floors=[FloorGiven(building=building, floor=floor) for building, floor in said["floors"]],
        rooms=[RoomGiven(building=building, room=room) for building, room in said["rooms"]],
        devices=said["devices"],
    )


def _plan(plan: Plan) -> PlanShown:
    return PlanShown(
        wanted=plan.wanted,
        needs_second_person=plan.needs_second_person,
        parts=[_part(part) for part in plan.parts],
    )


def _part(part: Part) -> PartShown:
    return PartShown(
        building=part.where.building,
        floor=part.where.floor,
        room=part.where.room,
        device=part.device,
        account=part.account,
        left_out=part.hindrance,
    )


def _item(item: Item) -> ItemShown:
    return ItemShown(
        place=item.place,
        building=item.where.building,
        floor=item.where.floor,
        room=item.where.room,
        device=item.device,
        account=item.account,
        state=item.state,
        reason=item.reason,
        command=item.command,
    )
