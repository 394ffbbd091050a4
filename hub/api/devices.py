"""Devices, their latest values and their past."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from hub.api.pages import DAY_MS, Every, raw_page, rollup_page
from hub.api.parts import ApiParts, Parts
from hub.api.problems import FieldProblem, Problem
from hub.api.rights import EVERYONE, Who, allow, device_for, past_of, shown
from hub.api.shapes import (
    ID_PATTERN,
    NAME_PATTERN,
    ArgumentShown,
    Asked,
    CommandSpecShown,
    DeviceDetail,
    DevicePage,
    DeviceShown,
    HistoryShown,
    LatestPage,
    LatestShown,
    MarkShown,
    PlaceShown,
    PointShown,
    RollupShown,
    TimeMs,
)
from hub.auth import Caller
from hub.command import CommandSpec
from hub.journal import Latest, Rollup, Series, Span
from hub.model import Device
from hub.points import POINTS, Point
from hub.presence import Presence
from hub.profile import PointSpec

router = APIRouter(prefix="/v1", tags=["readings"])

DeviceName = Annotated[str, Path(pattern=ID_PATTERN)]
_Text = Annotated[str, Field(max_length=200)]


class DevicesAsked(Asked):
    """Which devices; empty means all. `building`: its id, name or an alias."""

    building: _Text = ""
    floor: _Text = ""
    room: _Text = ""
    kind: _Text = ""
    link: _Text = ""
    presence: Presence | None = None
    after: _Text = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class HistoryAsked(Asked):
    """Which past: from `start_ms` until before `end_ms`; `cursor` is the last page's `next`.

    Without an end it is until now, and without a start the day before the end.
    """

    point: Annotated[str, Field(pattern=NAME_PATTERN)]
    start_ms: TimeMs | None = None
    end_ms: TimeMs | None = None
    every: Every = Every.READING
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    cursor: TimeMs | None = None


@router.get("/devices", dependencies=[allow(*EVERYONE)])
async def list_devices(
    parts: Parts, who: Who, asked: Annotated[DevicesAsked, Query()]
) -> DevicePage:
    """Installed devices, by id."""
    page = list(islice(_matching(parts, who, asked), asked.limit + 1))
    return DevicePage(
        devices=[_device(parts, device) for device in page[: asked.limit]],
        next=page[asked.limit - 1].id if len(page) > asked.limit else None,
    )


@router.get("/devices/{device}", dependencies=[allow(*EVERYONE)])
async def get_device(parts: Parts, who: Who, device: DeviceName) -> DeviceDetail:
    """One device with the points it tells and the commands it takes."""
    found = device_for(parts, who, device)
    points, commands = found.profile.points.values(), found.profile.commands.values()
    return DeviceDetail(
        **dict(_device(parts, found)),
        points=[_point(spec) for spec in points],
        commands=[_command(spec) for spec in commands],
    )


@router.get("/latest", dependencies=[allow(*EVERYONE)])
async def list_latest(
    parts: Parts, who: Who, asked: Annotated[DevicesAsked, Query()]
) -> LatestPage:
    """The last word of every device that has spoken, by id."""
    page = list(islice(_matching(parts, who, asked), asked.limit + 1))
    names = [device.id for device in page[: asked.limit]]
    latest = await parts.journal.latest(names)
    return LatestPage(
        latest=[_latest(parts, who, latest[name]) for name in names if name in latest],
        next=names[-1] if len(page) > asked.limit else None,
    )


@router.get("/devices/{device}/latest", dependencies=[allow(*EVERYONE)])
async def get_latest(parts: Parts, who: Who, device: DeviceName) -> LatestShown:
    """The last word of one device; one that never spoke has no values and time 0.

    Of a retired one too, for an administrator.
    """
    await past_of(parts, who, device)
    latest = (await parts.journal.latest([device])).get(device) or _silence(device)
    return _latest(parts, who, latest)


@router.get("/devices/{device}/history", dependencies=[allow(*EVERYONE)])
async def get_history(
    parts: Parts, who: Who, device: DeviceName, asked: Annotated[HistoryAsked, Query()]
) -> HistoryShown:
    """The past of one point: every reading, or by the hour or by the site's day.

    Of a retired device too, for an administrator.
    """
    point = _known_point(await past_of(parts, who, device), asked.point)
    series, rollups, after_ms = await _page(parts, device, asked)
    return HistoryShown(
        device=device,
        point=point.name,
        unit=point.unit,
        every=asked.every,
        times_ms=list(series.times),
        values=[shown(who, point.name, value) for value in series.values],
        bad=_marks(series.bad),
        uncertain=_marks(series.uncertain),
        rollups=[_rollup(rollup) for rollup in rollups],
        next=after_ms,
    )


def _matching(parts: ApiParts, who: Caller, asked: DevicesAsked) -> Iterator[Device]:
    """Lazily, because a page needs few of ten thousand."""
    devices = (device for device in parts.registry.devices() if device.id > asked.after)
    building = parts.keeper.site.buildings.id_of(asked.building)
    for device in sorted(devices, key=lambda device: device.id):
        place = device.place
        if (
            who.covers(place.building)
            and building in ("", place.building)
            and asked.floor in ("", place.floor)
            and asked.room in ("", place.room)
            and asked.kind in ("", device.profile.kind)
            and asked.link in ("", device.link)
            and (asked.presence is None or asked.presence is _presence(parts, device.id)[0])
        ):
            yield device


async def _page(
    parts: ApiParts, device: str, asked: HistoryAsked
) -> tuple[Series, list[Rollup], int | None]:
    end_ms = parts.clock.now_ms() + 1 if asked.end_ms is None else asked.end_ms
    start_ms = max(0, end_ms - DAY_MS) if asked.start_ms is None else asked.start_ms
    window = max(start_ms, asked.cursor or 0), end_ms
    of = device, asked.point
    if asked.every is Every.READING:
        series, after_ms = await raw_page(parts.journal, of, window, asked.limit)
        return series, [], after_ms
    span = Span(asked.every), parts.utc_offset_h
    rollups, after_ms = await rollup_page(parts.journal, of, window, span, asked.limit)
    return Series(times=(), values=()), rollups, after_ms


def _known_point(device: Device | None, name: str) -> Point:
    spec = device.profile.points.get(name) if device else None
    if spec is not None:
        return spec.point
    if name in POINTS:  # what a driver tells of a device beside its profile, such as `online`
        return POINTS[name]
    wrong = FieldProblem(field="query.point", reason="no such point")
    raise Problem(422, "invalid", "no such point", (wrong,))


def _presence(parts: ApiParts, device: str) -> tuple[Presence, str]:
    track = parts.presence.of(device)
    return (track.presence, track.reason) if track else (Presence.UNKNOWN, "not heard yet")


def _device(parts: ApiParts, device: Device) -> DeviceShown:
    presence, reason = _presence(parts, device.id)
    return DeviceShown(
        id=device.id,
        name=device.profile.name,
        maker=device.profile.maker,
        kind=device.profile.kind,
        profile=device.profile.id,
        link=device.link,
        place=PlaceShown(
            building=device.place.building,
            floor=device.place.floor,
            room=device.place.room,
            circuit=device.place.circuit,
        ),
        period_s=device.period_s,
        presence=presence,
        presence_reason=reason,
    )


def _point(spec: PointSpec) -> PointShown:
    return PointShown(
        name=spec.point.name,
        unit=spec.point.unit,
        type=spec.point.type,
        kind=spec.point.kind,
        minimum=spec.minimum,
        maximum=spec.maximum,
        meaning=spec.point.meaning,
        confidence=spec.confidence,
    )


def _command(spec: CommandSpec) -> CommandSpecShown:
    return CommandSpecShown(
        name=spec.name,
        meaning=spec.meaning,
        hazard=spec.hazard,
        repeat=spec.repeat,
        deadline_s=spec.deadline_s,
        offline=spec.offline,
        confidence=spec.confidence,
        note=spec.note,
        arguments=[
            ArgumentShown(
                name=argument.name,
                type=argument.type,
                unit=argument.unit,
                minimum=argument.minimum,
                maximum=argument.maximum,
                choices=list(argument.choices),
                default=argument.default,
                from_point=argument.from_point,
                meaning=argument.meaning,
            )
            for argument in spec.arguments.values()
        ],
    )


def _silence(device: str) -> Latest:
    return Latest(
        device=device, time_ms=0, received_ms=0, values={}, older={}, bad={}, uncertain={}
    )


def _latest(parts: ApiParts, who: Caller, latest: Latest) -> LatestShown:
    return LatestShown(
        device=latest.device,
        time_ms=latest.time_ms,
        received_ms=latest.received_ms,
        presence=_presence(parts, latest.device)[0],
        values={point: shown(who, point, value) for point, value in latest.values.items()},
        older=dict(latest.older),
        bad=dict(latest.bad),
        uncertain=dict(latest.uncertain),
    )


def _marks(marks: tuple[tuple[int, str], ...]) -> list[MarkShown]:
    return [MarkShown(time_ms=time_ms, reason=reason) for time_ms, reason in marks]


def _rollup(rollup: Rollup) -> RollupShown:
    return RollupShown(
        start_ms=rollup.start_ms,
        first=rollup.first,
        last=rollup.last,
        minimum=rollup.minimum,
        maximum=rollup.maximum,
        mean=rollup.mean,
        count=rollup.count,
    )
