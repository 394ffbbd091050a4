"""The supply of rooms, and timetables. The rules are those of `hub.campus.supply`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from hub.api.parts import ApiParts, Parts
from hub.api.problems import NOT_FOUND, Problem
from hub.api.rights import EVERYONE, OPERATORS, Who, allow
from hub.api.shapes import ID_PATTERN, Asked, Given, Shown, TimeMs
from hub.auth import Caller
from hub.campus.supply.desired import SupplyState
from hub.campus.supply.service import Shown as Supply
from hub.campus.supply.timetables import Timetable
from hub.campus.supply.trips import Trip

router = APIRouter(prefix="/v1", tags=["supply"])

DeviceName = Annotated[str, Path(pattern=ID_PATTERN)]
TimetableName = Annotated[str, Path(min_length=1, max_length=100)]
_Reason = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]


class UnlockGiven(Given):
    """Why it may have supply again."""

    reason: _Reason


class HoldGiven(Given):
    """Until when nobody cuts it, 30 days at most, and why; a time that has passed ends that."""

    until_ms: TimeMs
    reason: _Reason


class SuppliesAsked(Asked):
    """Which supplies: of a building, of a state."""

    building: Annotated[str, Field(max_length=64)] = ""
    state: SupplyState | None = None


class SupplyShown(Shown):
    """A room's supply as the hub knows it: `cause` is what it was cut for, `wish` what is under way by
    `command`, `why` what was decided of it last, `hindrance` what kept the hub from what is due.

    `trips` count since staff unlocked it, `locked` says why it stays off; it is not cut before
    `held_until_ms`.
    """

    device: str
    building: str
    floor: str
    room: str
    feeder: str
    state: SupplyState
    cause: str
    reason: str
    since_ms: int
    wish: str
    command: str
    episode: int
    tries: int
    trips: int
    locked: str
    batch: str
    held_until_ms: int
    held_by: str
    held_reason: str
    why: str
    hindrance: str


class TripShown(Shown):
    """One trip; the power before and after it is null where nobody knows."""

    kind: str
    time_ms: int
    number: int
    power_before_w: int | None
    power_after_w: int | None


class SupplyList(Shown):
    """Supplies by device; `hindrances` counts what keeps the hub from what is due."""

    supplies: list[SupplyShown]
    hindrances: dict[str, int]


class SupplyDetail(Shown):
    """A supply with its trips, the newest first."""

    supply: SupplyShown
    trips: list[TripShown]


class TimetableShown(Shown):
    """A timetable in its form of now; `approver` is empty while it waits for a second person."""

    name: str
    digest: str
    actor: str
    seen_ms: int
    approver: str
    approved_ms: int | None


class TimetableList(Shown):
    """Every timetable of the site."""

    timetables: list[TimetableShown]


@router.get("/supplies", dependencies=[allow(*EVERYONE)])
async def list_supplies(
    parts: Parts, who: Who, asked: Annotated[SuppliesAsked, Query()]
) -> SupplyList:
    """How the supply of each room stands."""
    found = [
        one
        for one in await parts.campus.supplies.all(asked.building)
        if who.covers(one.switch.room.building) and asked.state in (None, one.row.state)
    ]
    counts: dict[str, int] = {}
    for one in found:
        if one.why.hindrance:
            counts[one.why.hindrance] = counts.get(one.why.hindrance, 0) + 1
    return SupplyList(supplies=[_supply(one) for one in found], hindrances=counts)


@router.get("/supplies/{device}", dependencies=[allow(*EVERYONE)])
async def get_supply(parts: Parts, who: Who, device: DeviceName) -> SupplyDetail:
    """One supply with its trips."""
    _check_place(parts, who, device)
    shown, trips = await parts.campus.supply_desk.show(device)
    return SupplyDetail(supply=_supply(shown), trips=[_trip(trip) for trip in trips])


@router.post("/supplies/{device}/unlock", dependencies=[allow(*OPERATORS)])
async def unlock_supply(
    parts: Parts, who: Who, device: DeviceName, given: UnlockGiven
) -> SupplyShown:
    """Give a supply back to the rules after trips, a hand, or a person's cut."""
    _check_place(parts, who, device)
    return _supply(await parts.campus.supply_desk.unlock(device, who.actor, given.reason))


@router.post("/supplies/{device}/hold", dependencies=[allow(*OPERATORS)])
async def hold_supply(parts: Parts, who: Who, device: DeviceName, given: HoldGiven) -> SupplyShown:
    """Keep a room from being cut until a time."""
    _check_place(parts, who, device)
    desk = parts.campus.supply_desk
    return _supply(await desk.keep(device, given.until_ms, who.actor, given.reason))


@router.get("/timetables", dependencies=[allow(*EVERYONE)])
async def list_timetables(parts: Parts) -> TimetableList:
    """The timetables of the site, and who approved each."""
    found = await parts.campus.supply_desk.timetables()
    return TimetableList(timetables=[_timetable(one) for one in found])


@router.post("/timetables/{name}/approve", dependencies=[allow(*OPERATORS, everywhere=True)])
async def approve_timetable(parts: Parts, who: Who, name: TimetableName) -> TimetableShown:
    """Let a timetable run in its form of now; only a second person may."""
    found = await parts.campus.supply_desk.timetable(name)
    if await parts.keys.is_one_person(who.actor, found.actor):
        raise Problem(403, "same-person", "a second person must approve it")
    return _timetable(await parts.campus.supply_desk.approve(name, who.actor))


def _check_place(parts: ApiParts, who: Caller, device: str) -> None:
    switch = parts.campus.supplies.switch(device)
    if switch is None or not who.covers(switch.room.building):
        raise NOT_FOUND


def _supply(shown: Supply) -> SupplyShown:
    row, switch = shown.row, shown.switch
    return SupplyShown(
        device=row.device,
        building=switch.room.building,
        floor=switch.device.place.floor,
        room=switch.room.room,
        feeder=switch.feeder,
        state=row.state,
        cause=row.cause,
        reason=row.reason,
        since_ms=row.since_ms,
        wish=row.wish,
        command=row.command,
        episode=row.episode,
        tries=row.tries,
        trips=row.trips,
        locked=row.locked,
        batch=row.batch,
        held_until_ms=row.kept_until_ms,
        held_by=row.kept_by,
        held_reason=row.kept_reason,
        why=shown.why.reason,
        hindrance=shown.why.hindrance,
    )


def _trip(trip: Trip) -> TripShown:
    return TripShown(
        kind=trip.kind,
        time_ms=trip.time_ms,
        number=trip.number,
        power_before_w=trip.power_before_w,
        power_after_w=trip.power_after_w,
    )


def _timetable(one: Timetable) -> TimetableShown:
    return TimetableShown(
        name=one.name,
        digest=one.digest,
        actor=one.actor,
        seen_ms=one.seen_ms,
        approver=one.approver,
        approved_ms=one.approved_ms,
    )
