"""One page of the past, read in steps so short that nobody else on the loop waits for it."""

from __future__ import annotations

import asyncio
from enum import StrEnum

from hub.journal import Journal, Rollup, Series, Span

DAY_MS = 86_400_000
_STEPS_MAX = 400  # steps of one page; then the caller asks again
_READING_STEP_MS = DAY_MS
_ROLLUP_STEP_MS = 32 * DAY_MS


class Every(StrEnum):
    """How fine: each reading, or rolled up by the hour or by the site's day."""

    READING = "reading"
    HOUR = "hour"
    DAY = "day"


async def raw_page(
    journal: Journal, of: tuple[str, str], window: tuple[int, int], limit: int
) -> tuple[Series, int | None]:
    """Readings of one point of one device, and where the next page begins; None when there is none."""
    begin_ms, end_ms = window
    parts: list[Series] = []
    for _ in range(_STEPS_MAX):
        if begin_ms >= end_ms or limit <= 0:
            break
        step_end_ms = min(end_ms, (begin_ms // _READING_STEP_MS + 1) * _READING_STEP_MS)
        series = await journal.history(*of, begin_ms, step_end_ms, limit)
        parts.append(series)
        limit -= len(series.times)
        begin_ms = step_end_ms if limit > 0 else series.times[-1] + 1
        await asyncio.sleep(0)
    return _joined(parts), begin_ms if begin_ms < end_ms else None


async def rollup_page(
    journal: Journal,
    of: tuple[str, str],
    window: tuple[int, int],
    every: tuple[Span, int],
    limit: int,
) -> tuple[list[Rollup], int | None]:
    """Roll-ups by hour, or by day some hours ahead of UTC, and where the next page begins."""
    begin_ms, end_ms = window
    found: list[Rollup] = []
    for _ in range(_STEPS_MAX):
        if begin_ms >= end_ms or len(found) > limit:
            break
        step_end_ms = min(end_ms, (begin_ms // _ROLLUP_STEP_MS + 1) * _ROLLUP_STEP_MS)
        found += journal.query.rollups(*of, every[0], begin_ms, step_end_ms, every[1])
        begin_ms = step_end_ms
        await asyncio.sleep(0)
    if len(found) > limit:
        return found[:limit], found[limit].start_ms
    return found, begin_ms if begin_ms < end_ms else None


def _joined(parts: list[Series]) -> Series:
    return Series(
        times=tuple(at for part in parts for at in part.times),
        values=tuple(value for part in parts for value in part.values),
        bad=tuple(mark for part in parts for mark in part.bad),
        uncertain=tuple(mark for part in parts for mark in part.uncertain),
    )
