"""What an installer does at the wire: read a device now, look at its frames, borrow a link.

Two masters on one bus garble each other, so beside a running hub all of this goes through the hub.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import Field

from hub.api.devices import DeviceName
from hub.api.limits import TRACE_END
from hub.api.parts import ApiParts, Parts
from hub.api.problems import NOT_FOUND, Problem
from hub.api.rights import INSTALLERS, SENDERS, Who, allow, device_for, shown
from hub.api.shapes import ID_PATTERN, Asked, Given, Scalar, Shown
from hub.api.streams import PING_S, is_good, room
from hub.auth import Role
from hub.errors import LinkError
from hub.lending import LEASE_MAX_S, LendError, LendRefusal
from hub.model import Device, Reading, Trace
from hub.points import POINTS
from hub.taps import Listener

TRACE_MAX_S = 600
READ_MAX_S = 20.0
_STEP = 500
_HIDDEN = "hidden: this product tells plates or credentials, only an administrator may look"

router = APIRouter(prefix="/v1", tags=["wire"])
LinkName = Annotated[str, Path(pattern=ID_PATTERN)]
LeaseId = Annotated[str, Query(pattern=r"^[0-9a-z]{1,64}$")]


class ReadAsked(Asked):
    """How long to wait for the device's word."""

    wait_s: Annotated[float, Field(ge=0.1, le=READ_MAX_S)] = 10.0


class ReadingShown(Shown):
    """One reading, as the hub has stored it."""

    device: str
    time_ms: int
    received_ms: int
    values: dict[str, Scalar]
    bad: dict[str, str]
    uncertain: dict[str, str]


class TraceAsked(Asked):
    """How long to look."""

    seconds: Annotated[float, Field(ge=1, le=TRACE_MAX_S)] = 60.0


class LendGiven(Given):
    """How long a link is wanted; with `lease` an earlier one goes on from now.

    `force` is needed where there are gates or fire contacts: nobody hears them meanwhile.
    """

    seconds: Annotated[int, Field(ge=1, le=LEASE_MAX_S)] = 30
    force: bool = False
    cause: Annotated[str, Field(max_length=200)] = ""
    lease: Annotated[str, Field(pattern=r"^[0-9a-z]{1,64}$")] | None = None


class LeaseShown(Shown):
    """A link that is lent: `lease` renews it or gives it back, `seconds` is what is left."""

    link: str
    lease: str
    seconds: float


@router.post("/devices/{device}/read", dependencies=[allow(*SENDERS)])
async def read_device(
    parts: Parts, who: Who, device: DeviceName, asked: Annotated[ReadAsked, Query()]
) -> ReadingShown:
    """Have a device read now, by the hub's own driver; its next reading, stored as ever."""
    found = device_for(parts, who, device)
    _check_at_hand(parts, found)
    cursor = parts.journal.stats().head
    parts.refresh(found.link, found.id)
    try:
        async with asyncio.timeout(asked.wait_s):
            reading = await _next_reading(parts, found.id, cursor)
    except TimeoutError:
        track = parts.presence.of(found.id)
        reason = f": {track.last_miss}" if track and track.last_miss else ""
        raise Problem(409, "silent", f"nothing within {asked.wait_s:g} s{reason}") from None
    return ReadingShown(
        device=reading.device,
        time_ms=reading.time_ms,
        received_ms=reading.received_ms,
        values={point: shown(who, point, value) for point, value in reading.values.items()},
        bad=dict(reading.bad),
        uncertain=dict(reading.uncertain),
    )


async def _next_reading(parts: ApiParts, device: str, cursor: int) -> Reading:
    """The first reading of this device behind the cursor; waits for ever."""
    while True:
        await parts.journal.wait_after(cursor)
        stored = await parts.journal.read_after(cursor, _STEP)
        for item in stored:
            if item.reading.device == device:
                return item.reading
        cursor = stored[-1].cursor if stored else parts.journal.stats().head


def _check_at_hand(parts: ApiParts, device: Device) -> None:
    if parts.lending.is_lent(device.link):
        raise Problem(409, "lent", f"link {device.link} is lent: somebody else has the wire")


@router.get(
    "/devices/{device}" + TRACE_END,
    dependencies=[allow(*INSTALLERS), Depends(room)],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def trace_device(
    request: Request,
    parts: Parts,
    who: Who,
    device: DeviceName,
    asked: Annotated[TraceAsked, Query()],
) -> StreamingResponse:
    """Events `frame`, each with its decoding; `skipped` with a number; `end` when the time is over."""
    found = device_for(parts, who, device)
    _check_at_hand(parts, found)
    whole = who.role is Role.ADMIN or not _tells_secrets(found)
    stream = _frames(parts, found.id, str(request.state.presented), asked.seconds, whole=whole)
    return StreamingResponse(stream, media_type="text/event-stream")


async def _frames(
    parts: ApiParts, device: str, presented: str, seconds: float, *, whole: bool
) -> AsyncIterator[bytes]:
    clock = parts.clock
    end_s = clock.monotonic_s() + seconds
    checked_s = clock.monotonic_s()
    with parts.taps.listening(device) as listener:
        yield format_sse_event(comment="trace")
        while (left_s := end_s - clock.monotonic_s()) > 0:
            if clock.monotonic_s() - checked_s >= PING_S:
                if not await is_good(parts, presented):
                    return
                checked_s = clock.monotonic_s()
            if not await _something(listener, min(left_s, PING_S)):
                yield KEEPALIVE_COMMENT
                continue
            traces, skipped = listener.take()
            if skipped:
                yield _event("skipped", {"frames": skipped})
            for trace in traces:
                yield _event("frame", _frame(trace, whole=whole))
        yield _event("end", {})


async def _something(listener: Listener, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await listener.wait()
    except TimeoutError:
        return False
    return True


def _frame(trace: Trace, *, whole: bool) -> dict[str, object]:
    return {
        "time_ms": trace.time_ms,
        "device": trace.device,
        "outgoing": trace.outgoing,
        "data": trace.data.hex() if whole else "",
        "text": trace.text if whole else _HIDDEN,
    }


def _tells_secrets(device: Device) -> bool:
    return any(POINTS[name].secret for name in device.profile.points)


def _event(name: str, data: dict[str, object]) -> bytes:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return format_sse_event(event=name, data_str=text)


@router.post("/links/{link}/lend", dependencies=[allow(*INSTALLERS, everywhere=True)])
async def lend_link(parts: Parts, who: Who, link: LinkName, given: LendGiven) -> LeaseShown:
    """Stop a link's driver, so that the caller has the wire alone; or go on with a lease."""
    try:
        if given.lease is not None:
            lease = parts.lending.renew(link, given.lease, seconds=given.seconds)
        else:
            lease = await parts.lending.lend(
                link,
                seconds=given.seconds,
                actor=who.actor,
                cause=given.cause,
                force=given.force,
            )
    except LendError as error:
        raise _refused(error) from None
    except LinkError as error:
        raise Problem(503, "link-busy", str(error)) from None
    left_s = max(0.0, lease.ends_s - parts.clock.monotonic_s())
    return LeaseShown(link=link, lease=lease.id, seconds=left_s)


@router.delete(
    "/links/{link}/lend",
    status_code=204,
    dependencies=[allow(*INSTALLERS, everywhere=True)],
)
async def give_link_back(parts: Parts, who: Who, link: LinkName, lease: LeaseId) -> None:
    """End a lease; the hub's driver starts at once."""
    try:
        await parts.lending.give_back(link, lease, actor=who.actor)
    except LendError as error:
        raise _refused(error) from None


def _refused(error: LendError) -> Problem:
    if error.kind is LendRefusal.UNKNOWN_LINK:
        return NOT_FOUND
    return Problem(409, error.kind.replace("_", "-"), error.text)
