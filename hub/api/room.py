"""What whoever lives in a room may read of it with the room's own key, for scripts of their own."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from hub.api.alerts import AlertShown, Kinds, alert_shown
from hub.api.bindings import SliceShown, UseAsked, use_of
from hub.api.parts import Parts
from hub.api.problems import NOT_ALLOWED, FieldProblem, Problem
from hub.api.rights import Who, allow
from hub.api.shapes import Asked, Given, Shown, TimeMs
from hub.auth import Caller, Role
from hub.campus.accounts.accounts import Room, Unit, Utility, opened_ms
from hub.campus.alerts.kinds import Kind
from hub.campus.alerts.rooms import RoomState
from hub.campus.alerts.rows import DESK_SIDE, ROOM_SIDE
from hub.campus.alerts.rows import Chosen as ChosenAlerts
from hub.campus.prepaid.standing import Holder
from hub.inventory.bindings import Chosen
from hub.inventory.counts import DAY_MS
from hub.inventory.use import By

_ALERTS_SHOWN = 20
_SPANS_MS = {By.HOUR: (DAY_MS, 31 * DAY_MS), By.DAY: (30 * DAY_MS, 400 * DAY_MS)}  # default, most

router = APIRouter(prefix="/v1/room", tags=["room"], dependencies=[allow(Role.ROOM)])


class ForecastShown(Shown):
    """About how many whole days what is left lasts, 60 for more; null where nobody knows, with the reason."""

    days: int | None
    daily_wh: int | None
    reason: str


class HoldingShown(Shown):
    """What the room has of one utility.

    `balance_fen` is below 0 where the room owes, null where the meter counts no money or nobody knows;
    `credit` is what such a meter has left and `allowance` what is free, in `unit`. `held_fen` was paid and is
    not in the meter yet. All of it is as of `as_of_ms`; `doubt` says why it is not sure, empty when it is.
    The room is warned at `levels`, in `levels_unit`. `supply` is what was done with it last: cut, armed,
    restored, tripped, locked, unlocked; empty when nothing ever was.
    """

    utility: Utility
    unit: Unit
    holder: Holder
    balance_fen: int | None
    credit: int | None
    allowance: int
    held_fen: int
    as_of_ms: int
    doubt: str
    used_up: bool
    levels: list[int]
    levels_unit: Unit
    supply: str
    forecast: ForecastShown


class RoomShown(Shown):
    """The room of the key; no `holdings` where it does not pay for what it uses."""

    building: str
    room: str
    now_ms: int
    holdings: list[HoldingShown]


class RoomUseAsked(Asked):
    """By the hour (at most 31 days; the last one) or by the day (at most 400; the last 30)."""

    by: Literal["hour", "day"] = "hour"
    since_ms: TimeMs | None = None
    until_ms: TimeMs | None = None
    utility: Utility = Utility.ELECTRICITY


class RoomUseShown(Shown):
    """What the room used, span by span; `estimated` where a counter was not sure."""

    building: str
    room: str
    unit: str
    used: int
    estimated: bool
    slices: list[SliceShown]


class RoomAlertsShown(Shown):
    """What the room wants to hear nothing of, what the desk said so of, and its newest alerts."""

    muted: list[Kind]
    muted_by_desk: list[Kind]
    alerts: list[AlertShown]


class MutedGiven(Given):
    """Exactly what the room wants to hear nothing of from now on."""

    muted: Annotated[Kinds, Field(max_length=len(Kind))]


@router.get("")
async def get_room(parts: Parts, who: Who) -> RoomShown:
    """What the room has, how sure that is, and how long it lasts."""
    building, room = _room(who)
    states = await parts.campus.alerts.rooms.states(building, room)
    return RoomShown(
        building=building,
        room=room,
        now_ms=parts.clock.now_ms(),
        holdings=[_holding(state) for state in states],
    )


@router.get("/use")
async def get_room_use(
    parts: Parts, who: Who, asked: Annotated[RoomUseAsked, Query()]
) -> RoomUseShown:
    """What the room used, by the hour or by the day of the site."""
    building, room = _room(who)
    by, now_ms = By(asked.by), parts.clock.now_ms()
    usual_ms, most_ms = _SPANS_MS[by]
    until_ms = now_ms if asked.until_ms is None else min(now_ms, asked.until_ms)
    since_ms = max(0, until_ms - usual_ms) if asked.since_ms is None else asked.since_ms
    account = Room(building=building, room=room, utility=asked.utility).account
    opened = await parts.ledger.read(partial(opened_ms, account=account))
    since_ms = max(since_ms, opened or 0)  # what others used before is not theirs to know
    if not since_ms < until_ms <= since_ms + most_ms:
        reason = f"must lie before until_ms and now, at most {most_ms // DAY_MS} days"
        wrong = FieldProblem(field="query.since_ms", reason=reason)
        raise Problem(422, "invalid", "no such span of time", (wrong,))
    chosen = Chosen(building=building, room=room)
    span = UseAsked(since_ms=since_ms, until_ms=until_ms, by=by, utility=asked.utility)
    use = await use_of(parts, chosen, span)
    return RoomUseShown(
        building=building,
        room=room,
        unit=asked.utility.unit,
        used=use.used,
        estimated=use.estimated,
        slices=[SliceShown.model_validate(one, from_attributes=True) for one in use.slices],
    )


@router.get("/alerts")
async def get_room_alerts(parts: Parts, who: Who) -> RoomAlertsShown:
    """What the room was warned of lately, and what it opted out of."""
    building, room = _room(who)
    service = parts.campus.alerts
    found = await service.list(ChosenAlerts(building=building, room=room, limit=_ALERTS_SHOWN))
    return RoomAlertsShown(
        muted=list(await service.muted(building, room, ROOM_SIDE)),
        muted_by_desk=list(await service.muted(building, room, DESK_SIDE)),
        alerts=[alert_shown(alert) for alert in found],
    )


@router.put("/alerts")
async def put_room_alerts(parts: Parts, who: Who, given: MutedGiven) -> RoomAlertsShown:
    """Opt the room out of exactly these kinds; staff go on to hear of them."""
    building, room = _room(who)
    await parts.campus.alerts.mute((building, room, ROOM_SIDE), given.muted, who.actor)
    return await get_room_alerts(parts, who)


def _room(who: Caller) -> tuple[str, str]:
    room = who.room
    if room is None:
        raise NOT_ALLOWED
    return room


def _holding(state: RoomState) -> HoldingShown:
    standing, told = state.standing, state.forecast
    return HoldingShown(
        utility=standing.room.utility,
        unit=standing.room.utility.unit,
        holder=standing.holder,
        balance_fen=standing.balance_fen,
        credit=standing.credit,
        allowance=standing.allowance,
        held_fen=standing.held_fen,
        as_of_ms=standing.as_of_ms,
        doubt=standing.doubt,
        used_up=standing.is_used_up,
        levels=list(state.levels),
        levels_unit=state.levels_unit,
        supply=state.supply,
        forecast=ForecastShown(days=told.days, daily_wh=told.daily_wh, reason=told.reason),
    )
