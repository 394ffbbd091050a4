"""Alerts of rooms and links, for staff: listed, opted out of, tried. The rules are `hub.campus.alerts`'."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Path, Query
from pydantic import Field

from hub.api.bindings import RoomWord
from hub.api.parts import Parts
from hub.api.problems import NOT_FOUND
from hub.api.rights import EVERYONE, OPERATORS, Who, allow, is_room
from hub.api.shapes import Asked, Given, Shown
from hub.auth import EVERYWHERE
from hub.campus.alerts.kinds import Alert, Kind, Severity
from hub.campus.alerts.rows import DESK_SIDE, LIST_MAX, Chosen
from hub.campus.alerts.texts import Language, line

router = APIRouter(prefix="/v1/alerts", tags=["alerts"])

ChannelName = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,32}$")]
_Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
_OfRoom: TypeAlias = Annotated[Kind, Field(strict=False)]
Kinds: TypeAlias = list[_OfRoom]


class AlertsAsked(Asked):
    """Which alerts, the newest first; `before` is the id of the last one seen."""

    building: _Text = ""
    room: _Text = ""
    kind: Kind | None = None
    open: bool = False
    before: Annotated[str, Field(pattern=r"^[0-9a-z]{0,64}$")] = ""
    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = 100


class AlertShown(Shown):
    """Something that began, and ended at `ended_ms`, or has not. `quiet` says why nobody was told."""

    id: str
    kind: Kind
    level: int
    severity: Severity
    subject: str
    building: str
    room: str
    args: dict[str, int | str]
    text: str
    raised_ms: int
    ended_ms: int | None
    quiet: str


class AlertPage(Shown):
    """Alerts, the newest first; `next` is the `before` of the next page."""

    alerts: list[AlertShown]
    next: str | None


class MutesGiven(Given):
    """Exactly what is not told of the room from now on, anywhere."""

    muted: Annotated[Kinds, Field(max_length=len(Kind))]


class MutesShown(Shown):
    """What is not told of the room, said by the desk."""

    building: str
    room: str
    muted: list[Kind]


class TestShown(Shown):
    """Whether the channel took it; else why not."""

    taken: bool
    reason: str


@router.get("", dependencies=[allow(*EVERYONE)])
async def list_alerts(parts: Parts, who: Who, asked: Annotated[AlertsAsked, Query()]) -> AlertPage:
    """What rooms and links were warned of; a key for one building sees its own."""
    building = asked.building if who.place == EVERYWHERE else who.place
    if asked.building not in ("", building):
        return AlertPage(alerts=[], next=None)
    chosen = Chosen(
        building=building,
        room=asked.room,
        kind=asked.kind,
        is_open=asked.open,
        before=asked.before,
        limit=asked.limit,
    )
    found = await parts.campus.alerts.list(chosen)
    return AlertPage(
        alerts=[alert_shown(alert) for alert in found],
        next=found[-1].id if len(found) == asked.limit else None,
    )


@router.get("/mutes/{building}/{room}", dependencies=[allow(*EVERYONE)])
async def get_mutes(parts: Parts, who: Who, building: RoomWord, room: RoomWord) -> MutesShown:
    """What the desk said is not told of this room."""
    if not who.covers(building):
        raise NOT_FOUND
    muted = await parts.campus.alerts.muted(building, room, DESK_SIDE)
    return MutesShown(building=building, room=room, muted=list(muted))


@router.put("/mutes/{building}/{room}", dependencies=[allow(*OPERATORS)])
async def put_mutes(
    parts: Parts, who: Who, building: RoomWord, room: RoomWord, given: MutesGiven
) -> MutesShown:
    """Opt this room out of exactly these kinds, for every channel."""
    if not who.covers(building) or not is_room(parts, building, room):
        raise NOT_FOUND
    muted = await parts.campus.alerts.mute((building, room, DESK_SIDE), given.muted, who.actor)
    return MutesShown(building=building, room=room, muted=list(muted))


@router.post("/test/{channel}", dependencies=[allow(*OPERATORS, everywhere=True)])
async def test_channel(parts: Parts, channel: ChannelName) -> TestShown:
    """Send a test through this channel now."""
    error = await parts.campus.alerts.test(channel)
    if error is None:
        raise NOT_FOUND
    return TestShown(taken=not error, reason=error)


def alert_shown(alert: Alert) -> AlertShown:
    """An alert as the API shows it, with its line in English."""
    return AlertShown(
        id=alert.id,
        kind=alert.kind,
        level=alert.level,
        severity=alert.severity,
        subject=alert.subject.id,
        building=alert.subject.building,
        room=alert.subject.room,
        args=dict(alert.args),
        text=line(alert, Language.EN),
        raised_ms=alert.raised_ms,
        ended_ms=alert.ended_ms,
        quiet=alert.quiet,
    )
