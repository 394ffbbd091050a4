"""Sharing (公摊): a month's common use, told for a building or a floor, and booked to its rooms once."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import partial

from sqlalchemy import Connection, select

from hub import audit
from hub.campus.accounts import books
from hub.campus.accounts.accounts import (
    BookError,
    Room,
    Unit,
    closed_among,
    quoted,
    revenue,
    room_of,
)
from hub.campus.accounts.books import Kind, Posting
from hub.campus.accounts.desk import find_transactions, number_of
from hub.campus.accounts.prices import MILLION, Tariff, read_tariff
from hub.campus.life.jobs import JobKind, JobState
from hub.campus.prepaid.charge import local_day, midnight_ms
from hub.campus.prepaid.meters import open_rooms
from hub.campus.prepaid.rules import Rules
from hub.campus.sharing.report import Report, Scope, as_binding, feeders_in, report_of
from hub.campus.sharing.shares import apportioned
from hub.clock import Clock
from hub.inventory.bindings import Binding, Chosen, find_bindings
from hub.inventory.counts import Meter, meters_of
from hub.inventory.figures import in_turns
from hub.inventory.installed import known_devices
from hub.inventory.ranking import use_of_rooms
from hub.inventory.use import Use, reckon
from hub.journal import Journal
from hub.ledger import Ledger
from hub.ledger.tables import room_jobs
from hub.site import Site


class By(StrEnum):
    """How a common use is shared."""

    USE = "use"  # by what each room used
    EQUAL = "equal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A room's part, in the utility's unit and in fen."""

    room: str
    amount: int
    fen: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """A month of a building or floor, and what its rooms' parts would be, or are: they add up exactly.

    `fen` is what all of it costs; None, and no part in fen, while no price holds in some of the month.
    """

    report: Report
    month: str
    by: By
    shares: tuple[Share, ...]
    fen: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Posted:
    """The transaction of a share: `fresh` unless it was booked before; fen by room."""

    number: int
    fresh: bool
    fen: Mapping[str, int]


class Sharing:
    """Reckons and books shares; `configure` first."""

    def __init__(self, *, ledger: Ledger, journal: Journal, clock: Clock) -> None:
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._site: Site | None = None
        self._rules = Rules()

    def configure(self, site: Site, rules: Rules) -> None:
        """Go by this site and its rules from now on."""
        self._site, self._rules = site, rules

    async def tell(self, scope: Scope, month: date, by: By) -> Shared:
        """A month on the campus's calendar, as far as it is over. Raises NoFeeder, BookError, StoreError."""
        site = self._known()
        tariff = await self._ledger.read(
            partial(read_tariff, utility=scope.utility, building=scope.building)
        )
        moments = self._moments(site, month, tariff)
        report = await self._report(site, scope, moments)
        weights = report.rooms if by is By.USE else dict.fromkeys(report.rooms, 1)
        parts = apportioned(max(0, report.common), weights)
        fen = _cost(report, tariff, site)
        costs = apportioned(fen or 0, parts)
        shares = tuple(
            Share(room=room, amount=parts[room], fen=costs[room]) for room in sorted(parts)
        )
        return Shared(report=report, month=f"{month:%Y-%m}", by=by, shares=shares, fen=fen)

    async def book(
        self, scope: Scope, month: date, by: By, *, actor: str, accept: bool = False
    ) -> Posted:
        """Charge a month that is over to the rooms, once for ever for this place and month.

        The part of a room whose people have left since the month began stays with the house.

        Raises BookError where a person should look first (unless `accept`), where no price holds, and
        where there is nothing to be shared; NoFeeder and StoreError.
        """
        key = f"share/{scope.utility}/{_name(scope)}/{month:%Y-%m}"
        booked = await self._ledger.read(partial(_booked, key=key))
        if booked is not None:
            return booked
        site, now_ms = self._known(), self._clock.now_ms()
        if midnight_ms(_next_month(month), site.timezone) > now_ms:
            raise BookError(f"{month:%Y-%m} is not over yet")
        shared = await self.tell(scope, month, by)
        if shared.report.flag and not accept:
            raise BookError(f"{shared.report.flag}; look, then accept it")
        if shared.fen is None:
            raise BookError("no price holds in all of the month")
        return await self._ledger.run(
            partial(_post, shared=shared, key=key, actor=actor, now_ms=now_ms)
        )

    def _known(self) -> Site:
        if self._site is None:
            raise BookError("no site runs yet")
        return self._site

    def _moments(self, site: Site, month: date, tariff: Tariff) -> tuple[int, ...]:
        """Where the month begins, each of its days on which another price begins, and its end or now."""
        end_ms = min(midnight_ms(_next_month(month), site.timezone), self._clock.now_ms())
        days = {price.from_day for price in (*tariff.own, *tariff.common) if price.from_day > month}
        starts = {midnight_ms(day, site.timezone) for day in {month, *days}}
        begun = sorted(start_ms for start_ms in starts if start_ms < end_ms)
        if not begun:
            raise BookError(f"{month:%Y-%m} has not begun")
        return (*begun, end_ms)

    async def _report(self, site: Site, scope: Scope, moments: tuple[int, ...]) -> Report:
        start_ms, end_ms = moments[0], moments[-1]
        feeders = feeders_in(site, scope)
        feeds = {
            floor: [
                (device.id, await self._fed(as_binding(device, start_ms), scope, moments))
                for device in devices
            ]
            for floor, devices in feeders.items()
        }
        chosen = Chosen(building=scope.building, start_ms=start_ms, end_ms=end_ms)
        bindings = await self._ledger.read(lambda connection: find_bindings(connection, chosen))
        meters = await self._meters(bindings, scope)
        work = use_of_rooms(self._journal.query, bindings, meters, moments, site.buildings)
        rooms = await in_turns(work)
        policy = self._rules.of(scope.building)
        sharing = frozenset(use.room for use in rooms if policy.charges(use.room))
        return report_of(scope, feeds, rooms, sharing)

    async def _fed(self, binding: Binding, scope: Scope, moments: tuple[int, ...]) -> Use:
        meters = await self._meters([binding], scope)
        return await in_turns(reckon(self._journal.query, [binding], meters, moments))

    async def _meters(self, bindings: list[Binding], scope: Scope) -> dict[str, Meter]:
        names = {binding.device for binding in bindings}
        products = partial(known_devices, names=names, profiles=self._known().profiles)
        devices = await self._ledger.read(products)
        return meters_of(names, devices, await self._journal.latest(names), scope.utility)


def _cost(report: Report, tariff: Tariff, site: Site) -> int | None:
    """What the common use costs in whole fen, each span by its price; None where one has none."""
    due = 0
    for span in report.spans:
        rate = tariff.rate_on(local_day(span.start_ms, site.timezone))
        if rate is None:
            return None
        due += span.common * rate
    return max(0, due) // MILLION if report.common > 0 else 0


def _post(connection: Connection, *, shared: Shared, key: str, actor: str, now_ms: int) -> Posted:
    report, scope = shared.report, shared.report.scope
    booked = _booked(connection, key=key)
    if booked is not None:
        return booked
    rooms = {
        share.room: Room(building=scope.building, room=share.room, utility=scope.utility)
        for share in shared.shares
    }
    gone = _gone(connection, rooms.values(), report.spans[0].start_ms)
    due = {
        share.room: share.fen
        for share in shared.shares
        if share.fen and rooms[share.room].account not in gone
    }
    if not due:
        raise BookError("there is nothing to be shared")
    open_rooms(connection, rooms.values(), now_ms=now_ms)
    said = [
        Posting(account=rooms[room].account, unit=Unit.FEN, amount=-fen)
        for room, fen in due.items()
    ]
    said.append(Posting(account=revenue(scope.utility), unit=Unit.FEN, amount=sum(due.values())))
    cause = f"{report.common} of {report.fed} {scope.utility.unit} by {shared.by}"
    number = books.post(
        connection,
        key=key,
        kind=Kind.SHARE,
        postings=said,
        actor=actor,
        cause=cause,
        time_ms=now_ms,
    )
    noted = {"transaction": number, "fen": sum(due.values()), "rooms": len(due)}
    audit.append(
        connection,
        actor=actor,
        cause=cause,
        subject=key,
        action="booked",
        before=report.flag,
        after=json.dumps(noted),
        time_ms=now_ms,
    )
    return Posted(number=number or 0, fresh=True, fen=due)


def _gone(connection: Connection, rooms: Collection[Room], since_ms: int) -> set[str]:
    """Accounts of rooms whose people have left since then: theirs is settled, the next used none of it."""
    ids = {room.account for room in rooms}
    query = select(room_jobs.c.account).where(
        room_jobs.c.account.in_(ids),
        room_jobs.c.kind == str(JobKind.SETTLEMENT),
        room_jobs.c.state == str(JobState.DONE),
        room_jobs.c.ended_ms >= since_ms,
    )
    return closed_among(connection, ids) | set(connection.scalars(query))


def _booked(connection: Connection, *, key: str) -> Posted | None:
    number = number_of(connection, key)
    if number is None:
        return None
    (one,) = find_transactions(connection, 0, 2**62, after=number - 1, limit=1)
    rooms = {posting.account: room_of(posting.account) for posting in one.postings}
    fen = {
        room.room: -posting.amount
        for posting in one.postings
        if (room := rooms[posting.account]) is not None
    }
    return Posted(number=number, fresh=False, fen=fen)


def _name(scope: Scope) -> str:
    return "/".join(quoted(part) for part in (scope.building, scope.floor) if part)


def _next_month(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)
