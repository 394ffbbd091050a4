"""What rooms use is charged to them, where the hub holds their credit: the allowance first, then money.

A run goes over the journal's counters since they were charged last. It may stop and begin again at any time:
how far a counter is charged and what was charged for it are one transaction. A room is charged from the first
day that has a price.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, bindparam, insert, select, update

from hub import audit
from hub.campus import books
from hub.campus.accounts import BookError, Room, Unit, Utility, revenue
from hub.campus.books import Entry, Kind, Posting, transfer
from hub.campus.charge import (
    Charge,
    Track,
    by_day,
    follow,
    local_day,
    marks_of,
    midnight_ms,
    price,
)
from hub.campus.metering import Held, Metering, read_meterings
from hub.campus.meters import open_rooms, room_meters
from hub.campus.prices import Tariff, read_tariff
from hub.campus.rules import Rules
from hub.clock import Clock
from hub.journal import Journal
from hub.ledger import Ledger
from hub.ledger.tables import balances, meterings
from hub.plausibility import CLOCK_AHEAD_MS
from hub.site import Site

ACTOR = "metering"
_GROUP = 200  # meterings charged in one transaction
_READINGS = 20_000  # of one metering in one run; the next run goes on

_log = structlog.get_logger("charging")

_BEGIN = insert(meterings)
_MOVED = ("counter", "time_ms", "rest", "held")
_MOVE = (
    update(meterings)
    .where(meterings.c.binding == bindparam("of"))
    .values({name: bindparam(f"now_{name}") for name in _MOVED})
)


@dataclass(kw_only=True, slots=True)
class Run:
    """What one run did, counted in meterings. `held` wait for a person, `stopped` are the new ones."""

    charged: int = 0
    waiting: int = 0  # nothing new, or less due than is worth a row
    unpriced: int = 0  # no price holds yet
    refused: int = 0  # the books would not have it: a mistake of the program or of the disk
    held: int = 0
    fen: int = 0
    stopped: list[Held] = field(default_factory=list)

    def add(self, other: Run) -> None:
        """Count what another run did too."""
        self.charged += other.charged
        self.waiting += other.waiting
        self.unpriced += other.unpriced
        self.refused += other.refused
        self.held += other.held
        self.fen += other.fen
        self.stopped += other.stopped


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A metering, and what the journal has of its counter since."""

    metering: Metering
    track: Track


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """By what is charged: the campus's calendar, its rules and prices, and whether small sums are due too."""

    timezone: ZoneInfo
    rules: Rules
    flush: bool
    now_ms: int
    tariffs: Mapping[tuple[Utility, str], Tariff] = field(default_factory=dict)

    def tariff(self, room: Room) -> Tariff:
        """The prices that hold for a room."""
        return self.tariffs[room.utility, room.building]


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
    ) -> Run:
        """Charge every metering, or those of some rooms, as far as the journal goes.

        With `flush` also what is less than the building's `charge_step_fen`. Raises StoreError; the next run
        goes on where this one ended, and nothing is charged twice.
        """
        async with self._turn:
            terms = Terms(
                timezone=site.timezone, rules=rules, flush=flush, now_ms=self._clock.now_ms()
            )
            meterings, terms = await self._ledger.read(partial(_read, site=site, terms=terms))
            wanted = [item for item in meterings if rooms is None or item.room in rooms]
            done = Run(held=sum(bool(item.held) for item in wanted))
            free = [item for item in wanted if not item.held]
            for begin in range(0, len(free), _GROUP):
                drafts = [await self._draft(item, terms) for item in free[begin : begin + _GROUP]]
                done.unpriced += drafts.count(None)
                done.add(await self._book([draft for draft in drafts if draft], terms))
            _say(done)
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
        series = await self._journal.history(
            metering.device, metering.register.point, start_ms, max(start_ms, end_ms), _READINGS
        )
        marks = marks_of(series, metering.to_ms, metering.last_value)
        counted = metering.counted and start_ms == metering.mark.time_ms
        if not counted and marks:
            metering = replace(metering, mark=marks[0][0], counted=True)
        return Draft(metering=metering, track=follow(metering.mark, marks, metering.register))

    async def _book(self, drafts: Sequence[Draft], terms: Terms) -> Run:
        """Book a group; where the books refuse it, each alone, so that one stops no other."""
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


def book(connection: Connection, drafts: Sequence[Draft], terms: Terms) -> Run:
    """Charge these, with their rows of the audit, in the caller's transaction. Raises BookError."""
    booking = Booking(connection, terms, drafts)
    for draft in drafts:
        booking.add(draft)
    booking.write()
    return booking.done


class Booking:
    """Charges of one transaction: what is left of an allowance is shared by all meters of a room."""

    def __init__(self, connection: Connection, terms: Terms, drafts: Sequence[Draft]) -> None:
        self.done = Run()
        self._connection = connection
        self._terms = terms
        self._known = _current(connection, drafts)
        self._free = _allowances(connection, drafts)
        self._entries: list[Entry] = []
        self._begun: list[tuple[Draft, int]] = []
        self._moved: list[tuple[Draft, int]] = []

    def add(self, draft: Draft) -> None:
        """Take one, unless another run has charged it meanwhile, or it has nothing to be charged."""
        metering, track = draft.metering, draft.track
        known = self._known.get(metering.binding)
        meanwhile = known != (metering.mark.time_ms if metering.begun else None)
        if meanwhile or not metering.counted or _has_nothing(draft):
            self.done.waiting += 1
            return
        room = metering.room
        policy = self._terms.rules.of(room.building)
        steps = track.steps if policy.charges(room.room) else ()
        charge = price(
            by_day(steps, self._terms.timezone),
            self._terms.tariff(room),
            free=self._free.get(room.account, 0),
            rest=metering.rest,
        )
        if charge is None:
            self.done.unpriced += 1
        elif charge.worth_fen < policy.charge_step_fen and not self._is_due(draft):
            self.done.waiting += 1
        else:
            self._take(draft, charge)

    def write(self) -> None:
        """Put everything down."""
        if not self._begun and not self._moved:
            return
        now_ms, connection = self._terms.now_ms, self._connection
        open_rooms(connection, [draft.metering.room for draft, _ in self._begun], now_ms=now_ms)
        books.post_all(connection, self._entries, actor=ACTOR, time_ms=now_ms)
        if self._begun:
            connection.execute(_BEGIN, [_first_row(*item) for item in self._begun])
        if self._moved:
            connection.execute(_MOVE, [_next_row(*item) for item in self._moved])
        entries = [*map(_held_entry, self.done.stopped), self._entry()]
        audit.append_all(connection, entries, actor=ACTOR, cause="charge", time_ms=now_ms)

    def _take(self, draft: Draft, charge: Charge) -> None:
        metering, track = draft.metering, draft.track
        account = metering.room.account
        self._free[account] = self._free.get(account, 0) - charge.free
        if charge.free or charge.fen:
            self._entries.append(_entry_of(draft, charge))
        (self._moved if metering.begun else self._begun).append((draft, charge.rest))
        self.done.charged += 1
        self.done.fen += charge.fen
        if track.held:
            self.done.held += 1
            self.done.stopped.append(_held(draft))

    def _is_due(self, draft: Draft) -> bool:
        """Whether even little is charged now: at its begin and end, held, or once a day."""
        metering, track, terms = draft.metering, draft.track, self._terms
        ended = metering.to_ms is not None and metering.to_ms <= terms.now_ms
        if terms.flush or ended or track.held or not metering.begun:
            return True
        then, now = metering.mark.time_ms, track.mark.time_ms
        return local_day(then, terms.timezone) != local_day(now, terms.timezone)

    def _entry(self) -> audit.Entry:
        said = {
            "meterings": len(self._begun) + len(self._moved),
            "fen": self.done.fen,
            "entries": len(self._entries),
        }
        return audit.Entry(subject="metering", action="charged", before="", after=json.dumps(said))


def _read(connection: Connection, *, site: Site, terms: Terms) -> tuple[list[Metering], Terms]:
    meters = {meter.device: meter for meter in room_meters(site, terms.rules)}
    found = read_meterings(connection, meters, now_ms=terms.now_ms)
    wanted = {(item.room.utility, item.room.building) for item in found}
    tariffs = {key: read_tariff(connection, *key) for key in wanted}
    return found, replace(terms, tariffs=tariffs)


def _start_ms(metering: Metering, terms: Terms) -> int | None:
    """From when on readings count: since the last charge, or from the first day that has a price."""
    if metering.begun:
        return metering.mark.time_ms
    first = terms.tariff(metering.room).first_day
    if first is None:
        return None
    priced_ms = midnight_ms(first, terms.timezone)
    return None if priced_ms > terms.now_ms else max(metering.mark.time_ms, priced_ms)


def _has_nothing(draft: Draft) -> bool:
    metering, track = draft.metering, draft.track
    return metering.begun and track.mark == metering.mark and not track.held


def _current(connection: Connection, drafts: Sequence[Draft]) -> dict[str, int]:
    """Until when each is charged, as it stands now."""
    names = [draft.metering.binding for draft in drafts]
    query = select(meterings.c.binding, meterings.c.time_ms).where(
        meterings.c.binding.in_(names), meterings.c.held == ""
    )
    return {binding: time_ms for binding, time_ms in connection.execute(query)}


def _allowances(connection: Connection, drafts: Sequence[Draft]) -> dict[str, int]:
    names = {draft.metering.room.account for draft in drafts}
    query = select(balances.c.account, balances.c.amount).where(
        balances.c.account.in_(names), balances.c.unit != Unit.FEN
    )
    return {account: amount for account, amount in connection.execute(query)}


def _entry_of(draft: Draft, charge: Charge) -> Entry:
    metering, mark = draft.metering, draft.track.mark
    room = metering.room
    unit, earned = room.utility.unit, revenue(room.utility)
    said: list[Posting] = []
    if charge.free:
        said += transfer(room.account, earned, unit, charge.free)
    if charge.fen:
        said += transfer(room.account, earned, Unit.FEN, charge.fen)
    used = f"{metering.mark.counter} to {mark.counter} {unit}, {charge.free} free"
    return Entry(
        key=f"use/{metering.binding}/{metering.mark.time_ms}",
        kind=Kind.USE,
        postings=tuple(said),
        cause=f"{metering.device}: {used}",
    )


def _first_row(draft: Draft, rest: int) -> dict[str, object]:
    metering, mark = draft.metering, draft.track.mark
    return {
        "binding": metering.binding,
        "account": metering.room.account,
        "point": metering.register.point,
        "rated_w": metering.register.rated_w,
        "rollover": metering.register.rollover,
        "counter": mark.counter,
        "time_ms": mark.time_ms,
        "rest": rest,
        "held": draft.track.held,
    }


def _next_row(draft: Draft, rest: int) -> dict[str, object]:
    mark = draft.track.mark
    return {
        "of": draft.metering.binding,
        "now_counter": mark.counter,
        "now_time_ms": mark.time_ms,
        "now_rest": rest,
        "now_held": draft.track.held,
    }


def _held(draft: Draft) -> Held:
    metering = draft.metering
    return Held(
        binding=metering.binding,
        device=metering.device,
        room=metering.room,
        mark=draft.track.mark,
        reason=draft.track.held,
    )


def _held_entry(held: Held) -> audit.Entry:
    said = {"device": held.device, "counter": held.mark.counter, "reason": held.reason}
    return audit.Entry(
        subject=f"metering/{held.binding}", action="held", before="", after=json.dumps(said)
    )


def _say(done: Run) -> None:
    for held in done.stopped:
        _log.error(
            "not charged any more until released",
            device=held.device,
            account=held.room.account,
            binding=held.binding,
            reason=held.reason,
        )
