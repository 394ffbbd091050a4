"""Readings as they arrive, as server-sent events. The journal is the queue: a client has only its cursor.

A client that reads slowly falls behind, and what has come meanwhile reaches it as one event with the latest
word of each device. One that is too far behind is told how many readings it missed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from hub.api.limits import LIVE_PATH
from hub.api.parts import ApiParts, Parts
from hub.api.rights import EVERYONE, Who, allow, sees, shown
from hub.api.shapes import TIME_MAX
from hub.api.streams import PING_S, is_good, room
from hub.auth import Caller
from hub.errors import StoreError
from hub.journal import Stored
from hub.model import Reading

PAUSE_S = 0.25  # between two events of one client
STEP = 500
BEHIND_MAX = 20_000
_RETRY_MS = 2_000

router = APIRouter(tags=["readings"])


LastEventId = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=TIME_MAX)]


@router.get(
    LIVE_PATH,
    dependencies=[allow(*EVERYONE), Depends(room)],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def live(
    request: Request, parts: Parts, who: Who, last_event_id: LastEventId = None
) -> StreamingResponse:
    """Events `readings`, and `skipped` with a number; the id of an event is where to go on."""
    head = parts.journal.stats().head
    cursor = head if last_event_id is None else min(last_event_id, head)
    stream = _stream(parts, who, str(request.state.presented), cursor)
    return StreamingResponse(stream, media_type="text/event-stream")


async def _stream(
    parts: ApiParts, who: Caller, presented: str, cursor: int
) -> AsyncIterator[bytes]:
    yield format_sse_event(comment="live", id=str(cursor), retry=_RETRY_MS)
    checked_s = parts.clock.monotonic_s()
    while True:
        waited = await _newer(parts, cursor)
        if parts.clock.monotonic_s() - checked_s >= PING_S:
            if not await is_good(parts, presented):
                return
            checked_s = parts.clock.monotonic_s()
        if not waited:
            yield KEEPALIVE_COMMENT
            continue
        try:
            cursor, event = await _next(parts, who, cursor)
        except StoreError:
            return  # the client comes back and is told why
        if event:
            yield event
        await parts.clock.sleep(PAUSE_S)


async def _newer(parts: ApiParts, cursor: int) -> bool:
    """Whether something newer than the cursor came before it was time for a sign of life."""
    try:
        async with asyncio.timeout(PING_S):
            await parts.journal.wait_after(cursor)
    except TimeoutError:
        return False
    return True


async def _next(parts: ApiParts, who: Caller, cursor: int) -> tuple[int, bytes]:
    """Where the client is now, and what to tell it; nothing when nothing of it is for this key."""
    head = parts.journal.stats().head
    stored = await parts.journal.read_after(cursor, STEP) if head - cursor <= BEHIND_MAX else []
    last = stored[-1].cursor if stored else head
    missed = (stored[0].cursor - 1 if stored else head) - cursor
    events = _event("skipped", last, {"readings": missed}) if missed else b""
    mine = [item for item in stored if sees(parts, who, item.reading.device)]
    if mine:
        events += _event("readings", last, {"readings": _coalesced(who, mine)})
    return last, events


def _coalesced(who: Caller, stored: Sequence[Stored]) -> list[dict[str, object]]:
    """The latest word of each device, over the partial readings among these."""
    by_device: dict[str, list[Reading]] = {}
    for item in stored:
        by_device.setdefault(item.reading.device, []).append(item.reading)
    return [_merged(who, readings) for readings in by_device.values()]


def _merged(who: Caller, readings: list[Reading]) -> dict[str, object]:
    values: dict[str, object] = {}
    bad: dict[str, str] = {}
    uncertain: dict[str, str] = {}
    readings.sort(key=lambda reading: reading.time_ms)
    for reading in readings:
        for point in (*reading.values, *reading.bad):
            bad.pop(point, None)
            uncertain.pop(point, None)
        values |= {point: shown(who, point, value) for point, value in reading.values.items()}
        bad |= reading.bad
        uncertain |= reading.uncertain
    return {
        "device": readings[-1].device,
        "time_ms": readings[-1].time_ms,
        "received_ms": max(reading.received_ms for reading in readings),
        "values": values,
        "bad": bad,
        "uncertain": uncertain,
    }


def _event(name: str, cursor: int, data: dict[str, object]) -> bytes:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return format_sse_event(event=name, id=str(cursor), data_str=text)
