"""Keeps the counters' words at the ends of bindings, before the journal drops them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy import Connection, and_, bindparam, or_, select, update

from hub.clock import Clock
from hub.errors import StoreError
from hub.inventory.bindings import Binding, Figure, binding_of
from hub.inventory.counts import (
    COUNTERS,
    DAY_MS,
    Count,
    Meter,
    Past,
    first_within,
    last_within,
    meters_of,
)
from hub.inventory.installed import known_devices
from hub.journal import Journal, Latest
from hub.ledger import Ledger
from hub.ledger.tables import bindings
from hub.plausibility import CLOCK_EARLY_MS
from hub.profile_file import ProfileLibrary

PERIOD_S = 10.0
WAIT_MS = CLOCK_EARLY_MS + 86_400_000  # nothing later than this is believed of a binding's time
_ROWS_MAX = 20_000
_STEP = 500

_FIRST, _LAST = (
    update(bindings)
    .where(bindings.c.id == bindparam("of"), bindings.c[value].is_(None))
    .values({value: bindparam("value"), time: bindparam("time_ms")})
    for value, time in (("first_value", "first_ms"), ("last_value", "last_ms"))
)
Result = TypeVar("Result")
_log = structlog.get_logger("bindings")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    binding: str
    first: Figure | None
    last: Figure | None


class Figures:
    """Notes, for each binding that lacks it, the first and last word of its counter."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        clock: Clock,
        profiles: Callable[[], ProfileLibrary],
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._profiles = profiles

    async def run(self) -> None:
        """Look every ten seconds, until cancelled; a store that refuses is asked again."""
        refused = False
        while True:
            try:
                await self.note()
                refused = False
            except StoreError as error:
                if not refused:
                    _log.warning("words of counters are not noted now", error=str(error))
                refused = True
            await self._clock.sleep(PERIOD_S)

    async def note(self) -> int:
        """Note what can be noted now; returns of how many bindings."""
        now_ms = self._clock.now_ms()
        profiles = self._profiles()
        lacking = await self._ledger.read(lambda connection: _lacking(connection, now_ms))
        noted = 0
        for start in range(0, len(lacking), _STEP):
            found = await self._search(lacking[start : start + _STEP], profiles, now_ms)
            if found:
                await self._ledger.run(partial(_note, found=found))
            noted += len(found)
        return noted

    async def _search(
        self, step: list[Binding], profiles: ProfileLibrary, now_ms: int
    ) -> list[_Found]:
        latest = await self._journal.latest({binding.device for binding in step})
        step = [binding for binding in step if _has_counted(latest.get(binding.device), binding)]
        if not step:
            return []
        names = {binding.device for binding in step}
        products = partial(known_devices, names=names, profiles=profiles)
        meters = meters_of(names, await self._ledger.read(products), latest)
        found = []
        for binding in step:
            if binding.device in meters:
                meter = meters[binding.device]
                found.append(await in_turns(_ends(self._journal.query, meter, binding, now_ms)))
        return [one for one in found if one.first or one.last]


def _has_counted(latest: Latest | None, binding: Binding) -> bool:
    """Whether there can be a word for this binding at all: many devices have no counter, or are silent."""
    if latest is None:
        return False
    times = [latest.time_of(point) for point in COUNTERS if point in latest.values]
    return bool(times) and max(times) >= binding.from_ms - 2 * DAY_MS  # none is read more seldom


async def in_turns(work: Generator[None, None, Result]) -> Result:
    """What this work returns; others have their turn between any two of its steps."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: Result = done.value
            return result
        await asyncio.sleep(0)


def _lacking(connection: Connection, now_ms: int) -> list[Binding]:
    table = bindings.c
    ended = and_(
        table.to_ms > table.from_ms,
        or_(table.to_ms > now_ms - WAIT_MS, table.entered_ms > now_ms - WAIT_MS),
        or_(table.first_value.is_(None), table.last_value.is_(None)),
    )
    query = select(bindings).where(
        or_(and_(table.to_ms.is_(None), table.first_value.is_(None)), ended)
    )
    return [binding_of(row) for row in connection.execute(query.limit(_ROWS_MAX))]


def _ends(past: Past, meter: Meter, binding: Binding, now_ms: int) -> Generator[None, None, _Found]:
    end_ms = now_ms if binding.to_ms is None else binding.to_ms
    first: list[Count] = []
    last: list[Count] = []
    if binding.first is None:
        begin_ms = binding.from_ms
        first = yield from last_within(past, meter, begin_ms - meter.near_ms, begin_ms)
        if not first:
            first = yield from first_within(past, meter, begin_ms, end_ms)
    if binding.last is None and binding.to_ms is not None:
        last = yield from last_within(past, meter, binding.from_ms, end_ms)
    return _Found(binding=binding.id, first=_figure(first), last=_figure(last))


def _figure(found: list[Count]) -> Figure | None:
    return Figure(value=found[0].value, time_ms=found[0].time_ms) if found else None


def _note(connection: Connection, found: list[_Found]) -> None:
    for statement, name in ((_FIRST, "first"), (_LAST, "last")):
        told = [(one.binding, getattr(one, name)) for one in found if getattr(one, name)]
        if told:
            rows = [
                {"of": binding, "value": figure.value, "time_ms": figure.time_ms}
                for binding, figure in told
            ]
            connection.execute(statement, rows)
