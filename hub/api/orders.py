"""Commands: taken, shown, approved. The rules are those of `hub.commands`; this only asks and tells."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import Field

from hub.api.parts import ApiParts, Parts
from hub.api.problems import NOT_ALLOWED, NOT_FOUND
from hub.api.rights import EVERYONE, OPERATORS, RESOLVERS, SENDERS, Who, allow, may_send, sees
from hub.api.shapes import Asked, DeviceId, Given, Scalar, Shown
from hub.auth import EVERYWHERE, Caller, Role
from hub.command import Frame, Priority, State
from hub.commands import Attempt, CommandError, Order, Record, Refusal, Resolution
from hub.commands.commands import RECENT_MAX

WAIT_MAX_S = 20.0
_FRAME_ROLES = (Role.INSTALLER, Role.ADMIN)  # raw bytes may hold what is masked elsewhere

router = APIRouter(prefix="/v1/commands", tags=["commands"])

CommandId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,64}$")]
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,200}$",
        description="the caller's own name for this wish, kept for ever",
    ),
]
_Name = Annotated[str, Field(min_length=1, max_length=64)]


class Urgency(StrEnum):
    """A person who waits, or a batch that does not."""

    OPERATOR = "operator"
    BATCH = "batch"


class OrderGiven(Given):
    """What a device is to do, and why; `deadline_s` null means the profile's."""

    device: DeviceId
    name: _Name
    arguments: Annotated[dict[_Name, Scalar], Field(default_factory=dict, max_length=32)]
    cause: Annotated[str, Field(min_length=1, max_length=200)]
    deadline_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    priority: Annotated[Urgency, Field(strict=False)] = Urgency.OPERATOR


class Found(Given):
    """What a person found out of a command that ended unknown, and how."""

    outcome: Literal["done", "not_done"]
    note: Annotated[str, Field(max_length=200)] = ""


class CommandsAsked(Asked):
    """Which commands; the newest come first."""

    device: Annotated[str, Field(max_length=64)] = ""
    state: State | None = None
    limit: Annotated[int, Field(ge=1, le=RECENT_MAX)] = 100


class WaitAsked(Asked):
    """How long to wait for the end."""

    wait_s: Annotated[float, Field(ge=0, le=WAIT_MAX_S)] = 0.0


class CommandShown(Shown):
    """A command as it stands; `held` waits for a second person until `expires_ms`, `proof` is the reading
    that confirmed it."""

    id: str
    device: str
    name: str
    arguments: dict[str, Scalar]
    actor: str
    cause: str
    key: str
    priority: str
    state: State
    reason: str
    held: bool
    created_ms: int
    expires_ms: int
    sent_ms: int | None
    finished_ms: int | None
    attempts: int
    proof: str
    resolution: str


class FrameShown(Shown):
    """Raw bytes of a try, as hexadecimal text."""

    time_ms: int
    outgoing: bool
    data: str


class AttemptShown(Shown):
    """One try; `before` is whether the device was already "so" as it should become, "otherwise", or "" when
    nobody had seen. `frames` are for installers and administrators.
    """

    number: int
    sent_ms: int
    answered_ms: int | None
    answer: str
    reason: str
    before: str
    frames: list[FrameShown]


class CommandDetail(Shown):
    """A command with its tries."""

    command: CommandShown
    attempts: list[AttemptShown]


class CommandList(Shown):
    """The newest commands first."""

    commands: list[CommandShown]


@router.post("", status_code=202, dependencies=[allow(*SENDERS)])
async def submit(
    parts: Parts, who: Who, key: IdempotencyKey, given: OrderGiven, response: Response
) -> CommandShown:
    """Take a command; it is on disk when this answers, and done only when its state is `confirmed`.

    The same key with the same body answers with the first record. `held` waits for a second person.
    """
    _check_right(parts, who, given)
    record = await parts.commands.submit(
        Order(
            device=given.device,
            name=given.name,
            arguments=given.arguments,
            actor=who.actor,
            cause=given.cause,
            key=key,
            owner=who.name,
            deadline_s=given.deadline_s,
            priority=Priority[given.priority.name],
        )
    )
    response.headers["Location"] = f"{router.prefix}/{record.id}"
    return _command(who, record)


@router.get("", dependencies=[allow(*EVERYONE)])
async def list_commands(
    parts: Parts, who: Who, asked: Annotated[CommandsAsked, Query()]
) -> CommandList:
    """The newest commands; a key for one building sees its share of the newest thousand."""
    limit = asked.limit if who.place == EVERYWHERE else RECENT_MAX
    records = await parts.commands.recent(device=asked.device, state=asked.state, limit=limit)
    mine = [record for record in records if sees(parts, who, record.device)]
    return CommandList(commands=[_command(who, record) for record in mine[: asked.limit]])


@router.get("/{command}", dependencies=[allow(*EVERYONE)])
async def get_command(
    parts: Parts, who: Who, command: CommandId, asked: Annotated[WaitAsked, Query()]
) -> CommandDetail:
    """One command with its tries; with `wait_s` it answers when the command has ended, or after that time."""
    record = await _mine(parts, who, command)
    if asked.wait_s:
        record = await parts.commands.wait(command, asked.wait_s)
    attempts = await parts.commands.attempts(command)
    return CommandDetail(
        command=_command(who, record),
        attempts=[_attempt(who, attempt, frames) for attempt, frames in attempts],
    )


@router.post("/{command}/approve", dependencies=[allow(*OPERATORS)])
async def approve(parts: Parts, who: Who, command: CommandId) -> CommandShown:
    """Let a held command go; only a second person may. Its deadline begins now."""
    record = await _mine(parts, who, command)
    if await parts.keys.is_one_person(who.actor, record.actor):
        raise CommandError(
            Refusal.SAME_PERSON,
            "actor",
            "a second person must approve it, whose key you did not make",
        )
    return _command(who, await parts.commands.approve(command, who.actor, who.name))


@router.post("/{command}/resolve", dependencies=[allow(*RESOLVERS)])
async def resolve(parts: Parts, who: Who, command: CommandId, given: Found) -> CommandShown:
    """Say what became of a command that ended `unknown`; its state stays, `resolution` tells."""
    await _mine(parts, who, command)
    found = Resolution(given.outcome)
    return _command(who, await parts.commands.resolve(command, who.actor, found, given.note))


def _check_right(parts: ApiParts, who: Caller, given: OrderGiven) -> None:
    device = parts.registry.device(given.device)
    if device is None or not who.covers(device.place.building):
        if who.place == EVERYWHERE:
            return  # the commands know what to say, also of a key that is known already
        raise CommandError(Refusal.UNKNOWN_DEVICE, "device", "no such device")
    spec = device.profile.commands.get(given.name)
    if spec is not None and not may_send(who, spec.hazard):
        raise NOT_ALLOWED


async def _mine(parts: ApiParts, who: Caller, command: str) -> Record:
    record = await parts.commands.get(command)
    if not sees(parts, who, record.device):
        raise NOT_FOUND
    return record


def _command(who: Caller, record: Record) -> CommandShown:
    return CommandShown(
        id=record.id,
        device=record.device,
        name=record.name,
        arguments=dict(record.arguments),
        actor=record.actor,
        cause=record.cause,
        key=record.key if who.name == record.owner or who.role is Role.ADMIN else "",
        priority=record.priority.name.lower(),
        state=record.state,
        reason=record.reason,
        held=record.held,
        created_ms=record.created_ms,
        expires_ms=record.expires_ms,
        sent_ms=record.sent_ms,
        finished_ms=record.finished_ms,
        attempts=record.attempts,
        proof=record.proof if who.role is Role.ADMIN else "",
        resolution=record.resolution,
    )


def _attempt(who: Caller, attempt: Attempt, frames: Sequence[Frame]) -> AttemptShown:
    return AttemptShown(
        number=attempt.number,
        sent_ms=attempt.sent_ms,
        answered_ms=attempt.answered_ms,
        answer=attempt.answer,
        reason=attempt.reason,
        before=attempt.before,
        frames=[
            FrameShown(time_ms=frame.time_ms, outgoing=frame.outgoing, data=frame.data.hex())
            for frame in frames
            if who.role in _FRAME_ROLES
        ],
    )
