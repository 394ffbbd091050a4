"""One transaction of charges: what is due goes to the books, how far each counter is charged to its row."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, bindparam, insert, select, update

from hub import audit
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit, Utility, closed_among, revenue
from hub.campus.accounts.books import Entry, Kind, Posting, transfer
from hub.campus.accounts.prices import Tariff
from hub.campus.prepaid.charge import Charge, Mark, Track, by_day, local_day, price
from hub.campus.prepaid.metering import Held, Metering
from hub.campus.prepaid.meters import open_rooms
from hub.campus.prepaid.rules import Rules
from hub.ledger.tables import balances, meterings

ACTOR = "metering"
_NEVER = -1

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
    words: Mapping[str, Mark] = field(default_factory=dict)  # what persons read, by device
    tells_resets: Container[str] = ()  # devices that say since when they count

    def tariff(self, room: Room) -> Tariff:
        """The prices that hold for a room."""
        return self.tariffs[room.utility, room.building]


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
        self._closed = closed_among(connection, (draft.metering.room.account for draft in drafts))
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
        pays = policy.charges(room.room) and room.account not in self._closed
        charge = price(
            by_day(track.steps if pays else (), self._terms.timezone),
            self._terms.tariff(room),
            free=self._free.get(room.account, 0),
            rest=metering.rest,
        )
        if charge is None:
            self.done.unpriced += 1
        elif pays and charge.worth_fen < policy.charge_step_fen and not self._is_due(draft):
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


def _has_nothing(draft: Draft) -> bool:
    metering, track = draft.metering, draft.track
    return metering.begun and track.mark == metering.mark and not track.held


def _current(connection: Connection, drafts: Sequence[Draft]) -> dict[str, int]:
    """Until when each is charged, as it stands now; one that is held by now, until never."""
    names = [draft.metering.binding for draft in drafts]
    query = select(meterings.c.binding, meterings.c.time_ms, meterings.c.held).where(
        meterings.c.binding.in_(names)
    )
    return {
        binding: _NEVER if held else time_ms for binding, time_ms, held in connection.execute(query)
    }


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
