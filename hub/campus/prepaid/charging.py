"""What rooms use is charged to them, where the hub holds their credit: the allowance first, then money.

A run goes over the journal's counters since they were charged last. It may stop and begin again at any time:
how far a counter is charged and what was charged for it are one transaction. A room is charged from the first
day that has a price.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import structlog
from sqlalchemy import Connection

from hub.campus.accounts.accounts import BookError, Room
from hub.campus.accounts.prices import MILLION, read_tariff
from hub.campus.prepaid.booking import Draft, Run, Terms, book
from hub.campus.prepaid.charge import (
    Mark,
    follow,
    local_day,
    marks_of,
    midnight_ms,
    reset_of,
)
from hub.campus.prepaid.metering import Metering, read_meterings
from hub.campus.prepaid.meters import room_meters
from hub.campus.prepaid.rules import Rules
from hub.clock import Clock
from hub.journal import Journal, Latest
from hub.ledger import Ledger
from hub.plausibility import CLOCK_AHEAD_MS
from hub.site import Site

RESETS = "counter_since"  # of a product that says since when its counter counts
_GROUP = 200  # meterings charged in one transaction
_READINGS = 20_000  # of one metering in one run; the next run goes on

_log = structlog.get_logger("charging")


class Charger:
    """Charges the counters of the journal to the rooms. One run at a time."""

    def __init__(self, *, ledger: Ledger, journal: Journal, clock: Clock) -> None:
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._turn = asyncio.Lock()

    async def run(
        self,
        site: Site,
        rules: Rules,
        *,
        rooms: Collection[Room] | None = None,
        flush: bool = False,
        words: Mapping[str, Mark] | None = None,
    ) -> Run:
        """Charge every metering, or those of some rooms, as far as the journal goes.

        With `flush` also what is less than the building's `charge_step_fen`. `words` are what persons read at
        the meters of these devices: each is charged to that and no further. Raises StoreError; the next
        run goes on where this one ended, and nothing is charged twice.
        """
        async with self._turn:
            terms = Terms(
                timezone=site.timezone,
                rules=rules,
                flush=flush,
                now_ms=self._clock.now_ms(),
                words=words or {},
            )
            meterings, terms = await self._ledger.read(partial(_read, site=site, terms=terms))
            wanted = [item for item in meterings if rooms is None or item.room in rooms]
            done = Run(held=sum(bool(item.held) for item in wanted))
            free = [item for item in wanted if not item.held]
            for begin in range(0, len(free), _GROUP):
                done.add(await self._charge(free[begin : begin + _GROUP], terms))
            _say(done)
            return done

    async def _charge(self, group: Sequence[Metering], terms: Terms) -> Run:
        """Charge some; those of which the last word shows that little is due are not looked into."""
        latest = await self._journal.latest([item.device for item in group])
        busy = [item for item in group if not _is_little(item, latest.get(item.device), terms)]
        drafts = [await self._draft(item, terms) for item in busy]
        done = Run(waiting=len(group) - len(busy), unpriced=drafts.count(None))
        done.add(await self._book([draft for draft in drafts if draft], terms))
        return done

    async def _draft(self, metering: Metering, terms: Terms) -> Draft | None:
        """What is to be charged; None while no price holds."""
        await asyncio.sleep(0)
        start_ms = _start_ms(metering, terms)
        if start_ms is None:
            return None
        end_ms = terms.now_ms + CLOCK_AHEAD_MS
        if metering.to_ms is not None:
            end_ms = min(end_ms, metering.to_ms + 1)  # what it said in that very moment is its last
        word = terms.words.get(metering.device) if metering.to_ms is None else None
        if word is not None:
            end_ms = min(end_ms, word.time_ms)
        series = await self._journal.history(
            metering.device, metering.register.point, start_ms, max(start_ms, end_ms), _READINGS
        )
        marks = marks_of(series, metering.to_ms, metering.last_value)
        if word is not None:
            marks.append((word, False))
        counted = metering.counted and start_ms == metering.mark.time_ms
        if not counted and marks:
            metering = replace(metering, mark=marks[0][0], counted=True)
        # A person's word for where it stood is of after the reset; what was said in that moment may not be.
        is_own = any(mark == metering.mark for mark, _ in marks[:1])
        since_ms = metering.mark.time_ms + (0 if is_own else 1)
        reset_ms = await self._reset_ms(metering, terms, (since_ms, end_ms))
        track = follow(metering.mark, marks, metering.register, reset_ms)
        return Draft(metering=metering, track=track)

    async def _reset_ms(
        self, metering: Metering, terms: Terms, span_ms: tuple[int, int]
    ) -> int | None:
        """When a counter was reset in this span, where its product says so."""
        if metering.device not in terms.tells_resets or span_ms[0] >= span_ms[1]:
            return None
        said = await self._journal.history(metering.device, RESETS, *span_ms, _READINGS)
        return reset_of(said)

    async def _book(self, drafts: Sequence[Draft], terms: Terms) -> Run:
        """Book a group; where the books refuse it, each alone, so that one stops no other."""
        if not drafts:
            return Run()
        try:
            return await self._ledger.run(partial(book, drafts=drafts, terms=terms))
        except BookError as error:
            if len(drafts) == 1:
                _log.error("not charged", binding=drafts[0].metering.binding, reason=str(error))
                return Run(refused=1)
        done = Run()
        for draft in drafts:
            done.add(await self._book([draft], terms))
        return done


def _read(connection: Connection, *, site: Site, terms: Terms) -> tuple[list[Metering], Terms]:
    meters = {meter.device: meter for meter in room_meters(site, terms.rules)}
    found = read_meterings(connection, meters, now_ms=terms.now_ms)
    wanted = {(item.room.utility, item.room.building) for item in found}
    tariffs = {key: read_tariff(connection, *key) for key in wanted}
    told = {device.id for device in site.devices() if RESETS in device.profile.points}
    return found, replace(terms, tariffs=tariffs, tells_resets=told)


def _start_ms(metering: Metering, terms: Terms) -> int | None:
    """From when on readings count: since the last charge, or from the first day that has a price."""
    if metering.begun:
        return metering.mark.time_ms
    first = terms.tariff(metering.room).first_day
    if first is None:
        return None
    priced_ms = midnight_ms(first, terms.timezone)
    return None if priced_ms > terms.now_ms else max(metering.mark.time_ms, priced_ms)


def _is_little(metering: Metering, latest: Latest | None, terms: Terms) -> bool:
    """Whether the last word alone shows that a metering need not be charged yet; false in any doubt."""
    point = metering.register.point
    shown = latest.values.get(point) if latest else None
    if latest is None or shown.__class__ is not int or not metering.begun or terms.flush:
        return False
    day = local_day(latest.time_of(point), terms.timezone)
    ended = metering.to_ms is not None and metering.to_ms <= terms.now_ms
    if ended or day != local_day(metering.mark.time_ms, terms.timezone):
        return False
    used = int(shown) - metering.mark.counter
    policy = terms.rules.of(metering.room.building)
    step = policy.charge_step_fen * MILLION if policy.charges(metering.room.room) else 0
    return used >= 0 and used * (terms.tariff(metering.room).rate_on(day) or 0) < step


def _say(done: Run) -> None:
    for held in done.stopped:
        _log.error(
            "not charged any more until released",
            device=held.device,
            account=held.room.account,
            binding=held.binding,
            reason=held.reason,
        )
