"""Health, alarms and metrics: what a monitor asks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field

from hub.api.metrics import render
from hub.api.pages import DAY_MS
from hub.api.parts import ApiParts, Parts
from hub.api.rights import EVERYONE, OPERATORS, Who, allow, sees
from hub.api.shapes import Given, Shown
from hub.auth import EVERYWHERE, Caller
from hub.command import Hazard, State
from hub.commands import Record
from hub.status import Health, Status

COMMANDS_MAX = 1_000  # of each kind among the alarms

router = APIRouter(tags=["health"])


class Alive(Shown):
    """The hub answers; `health` is green, yellow or red."""

    health: Health


class LinkShown(Shown):
    """A link: whether it works, why not, since when, and what it has counted."""

    id: str
    driver: str
    up: bool
    reason: str
    since_ms: int
    restarts: int
    devices: int
    counters: dict[str, int]


class StoreShown(Shown):
    """The journal."""

    healthy: bool
    reason: str
    readings: int
    size_bytes: int
    waiting: int


class SinkShown(Shown):
    """A destination and how far behind it is."""

    name: str
    lag: int
    oldest_ms: int | None
    delivered: int
    rejected: int
    last_error: str


class ControlShown(Shown):
    """The fire latch, and the commands that have not ended."""

    fire_forbids: bool
    fire_latched: bool
    fire_reason: str
    commands_open: int
    commands_held: int


class HealthShown(Shown):
    """The whole hub at one moment."""

    health: Health
    reasons: list[str]
    version: str
    site: str
    started_ms: int
    now_ms: int
    online: int
    offline: int
    unknown: int
    links: list[LinkShown]
    store: StoreShown
    sinks: list[SinkShown]
    control: ControlShown


class Severity(StrEnum):
    """red: people or readings are at risk; yellow: something is away but nothing is lost."""

    RED = "red"
    YELLOW = "yellow"


class Alarm(Shown):
    """Something a person should know; `subject` is a word, a slash and a name, such as `device/b1-101`."""

    severity: Severity
    subject: str
    reason: str


class AlarmList(Shown):
    """Every alarm now, the worst first."""

    alarms: list[Alarm]


class ResetAsked(Given):
    """Why the fire alarm is known to be over."""

    cause: Annotated[str, Field(min_length=1, max_length=200)]


class FireShown(Shown):
    """The fire latch: whether closing is forbidden now, whether it is latched, and why."""

    forbids: bool
    latched: bool
    reason: str


@router.get("/health")
async def alive(parts: Parts) -> Alive:
    """For anybody: the hub answers, and how it is."""
    return Alive(health=parts.status().health)


@router.get("/v1/health", dependencies=[allow(*EVERYONE, everywhere=True)])
async def health(parts: Parts) -> HealthShown:
    """For a key that is good everywhere: links, journal and sinks."""
    status = parts.status()
    return HealthShown(
        health=status.health,
        reasons=status.reasons,
        version=status.version,
        site=status.site,
        started_ms=status.started_ms,
        now_ms=status.now_ms,
        online=status.online,
        offline=status.offline,
        unknown=status.unknown,
        links=[LinkShown.model_validate(link, from_attributes=True) for link in status.links],
        store=StoreShown.model_validate(status.store, from_attributes=True),
        sinks=[SinkShown.model_validate(sink, from_attributes=True) for sink in status.sinks],
        control=ControlShown.model_validate(status.control, from_attributes=True),
    )


@router.get(
    "/v1/metrics",
    dependencies=[allow(*EVERYONE, everywhere=True)],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(parts: Parts) -> Response:
    """All figures in Prometheus' text format."""
    return Response(render(parts), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/alarms", dependencies=[allow(*EVERYONE)])
async def alarms(parts: Parts, who: Who) -> AlarmList:
    """What is wrong now: fire, stores, links, sinks, devices away, and commands that want a person."""
    status = parts.status()
    found = [*_device_alarms(parts, who, status), *await _command_alarms(parts, who)]
    if who.place == EVERYWHERE:
        found += _hub_alarms(parts, status)
    fire = parts.fire.state()
    if fire.forbids:
        found.append(Alarm(severity=Severity.RED, subject="latch/fire", reason=fire.reason))
    return AlarmList(alarms=sorted(found, key=lambda alarm: (alarm.severity, alarm.subject)))


@router.post("/v1/alarms/fire/reset", dependencies=[allow(*OPERATORS, everywhere=True)])
async def reset_fire(parts: Parts, who: Who, asked: ResetAsked) -> FireShown:
    """A person says that the fire is over; refused while an input does not agree."""
    await parts.fire.reset(who.actor, asked.cause)
    state = parts.fire.state()
    return FireShown(forbids=state.forbids, latched=state.latched, reason=state.reason)


def _hub_alarms(parts: ApiParts, status: Status) -> list[Alarm]:
    found = [
        Alarm(severity=Severity.YELLOW, subject=f"link/{link.id}", reason=link.reason)
        for link in status.links
        if not link.up
    ]
    found += [
        Alarm(severity=Severity.RED, subject=alarm.subject, reason=alarm.reason)
        for alarm in parts.campus.alarms.now()
    ]
    found += [
        Alarm(severity=Severity.YELLOW, subject=f"sink/{sink.name}", reason=sink.last_error)
        for sink in status.sinks
        if sink.last_error
    ]
    ledger = parts.ledger.stats()
    stores = {
        "journal": "" if status.store.healthy else status.store.reason,
        "ledger": "" if ledger.healthy else ledger.reason,
    }
    found += [
        Alarm(severity=Severity.RED, subject=f"store/{store}", reason=reason)
        for store, reason in stores.items()
        if reason
    ]
    return found


def _device_alarms(parts: ApiParts, who: Caller, status: Status) -> list[Alarm]:
    return [
        Alarm(severity=Severity.YELLOW, subject=f"device/{away.id}", reason=away.reason)
        for away in status.away
        if sees(parts, who, away.id)
    ]


async def _command_alarms(parts: ApiParts, who: Caller) -> list[Alarm]:
    """Commands that wait for a second person, those of which nobody knows until somebody finds out, and
    those that failed within a day. What could harm nobody, such as a text on a display, is none.
    """
    day_ago_ms = parts.clock.now_ms() - DAY_MS
    unknown = await parts.commands.recent(state=State.UNKNOWN, limit=COMMANDS_MAX)
    failed = await parts.commands.recent(state=State.FAILED, limit=COMMANDS_MAX)
    queued = await parts.commands.recent(state=State.QUEUED, limit=COMMANDS_MAX)
    wanted = [record for record in unknown if not record.resolution]
    wanted += [record for record in failed if record.created_ms >= day_ago_ms]
    wanted += [record for record in queued if record.held]
    return [
        Alarm(severity=Severity.YELLOW, subject=f"command/{record.id}", reason=_wants(record))
        for record in wanted
        if sees(parts, who, record.device) and _matters(parts, record)
    ]


def _wants(record: Record) -> str:
    held = record.state is State.QUEUED
    return "waits for a second person" if held else f"{record.state}: {record.reason}"


def _matters(parts: ApiParts, record: Record) -> bool:
    device = parts.registry.device(record.device)
    spec = device.profile.commands.get(record.name) if device else None
    return spec is None or spec.hazard is not Hazard.NONE
