"""How each room stands now: what it has, what of its use is not charged yet, and what makes that unsure.

Where the hub holds the credit, what the counter has gone on since the last charge is taken off, so that the
figure is of the last reading and not of the last charge. Where the meter holds it, its own last word counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from hub.campus.accounts.accounts import AccountKind, Room, Unit, Utility
from hub.campus.accounts.prices import Tariff, read_tariff
from hub.campus.prepaid.charge import Mark, by_day, follow, price
from hub.campus.prepaid.metering import Metering, read_meterings
from hub.campus.prepaid.meters import Meter, paid_of, room_meters
from hub.campus.prepaid.rules import Rules
from hub.clock import Clock
from hub.journal import Journal, Latest
from hub.ledger import Ledger
from hub.ledger.tables import accounts, balances
from hub.model import Value
from hub.plausibility import ROLLED_OVER
from hub.presence import is_stale
from hub.site import Site

_FEW = 100  # rooms up to which they are asked for by name
CREDIT_MONEY, CREDIT_ENERGY, FREE_ENERGY = "credit_money", "credit_energy", "free_energy"


class Holder(StrEnum):
    """Who holds a room's credit."""

    HUB = "hub"
    METER = "meter"


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A room at one moment; `doubt` is empty when all of it is sure and of now.

    `balance_fen` is below 0 where the room owes, None where nobody knows or the meter counts no money;
    `credit` is what such a meter has left, and `allowance` what is free, in the utility's unit. `held_fen`
    was paid and is not delivered. `as_of_ms` is when its meters were heard last, 0 when never.
    """

    room: Room
    holder: Holder
    devices: tuple[str, ...]
    balance_fen: int | None
    credit: int | None = None
    allowance: int = 0
    held_fen: int = 0
    as_of_ms: int = 0
    doubt: str = ""
    is_used_up: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Funds:
    """What stands in the books for a room."""

    fen: int = 0
    allowance: int = 0
    held_fen: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """The last word of a meter, and how often it speaks."""

    latest: Latest | None
    period_s: float

    def value(self, point: str) -> Value | None:
        """What this point showed last."""
        return self.latest.values.get(point) if self.latest else None

    def time_ms(self, point: str) -> int:
        """When; 0 for never."""
        known = self.latest is not None and point in self.latest.values
        return self.latest.time_of(point) if known and self.latest else 0

    def doubt(self, point: str, now_ms: int) -> str:
        """Why its value is not sure, or not of now; empty when it is."""
        if self.latest is None or point not in self.latest.values:
            return "never heard"
        said = self.latest.bad.get(point) or self.latest.uncertain.get(point, "")
        if said and said != ROLLED_OVER:
            return said
        age_s = (now_ms - self.latest.time_of(point)) / 1000
        return f"last heard {age_s:.0f} s ago" if is_stale(age_s, self.period_s) else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What a standing is reckoned by."""

    timezone: ZoneInfo
    now_ms: int = 0
    rules: Rules = field(default_factory=Rules)
    tariffs: Mapping[tuple[Utility, str], Tariff] = field(default_factory=dict)
    periods_s: Mapping[str, float] = field(default_factory=dict)  # how often each device speaks


class Standings:
    """Reckons standings from the ledger and the journal; `configure` first."""

    def __init__(self, *, ledger: Ledger, journal: Journal, clock: Clock) -> None:
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._view = View(timezone=ZoneInfo("UTC"))
        self._meters: dict[Room, list[Meter]] = {}

    def configure(self, site: Site, rules: Rules) -> None:
        """Go by this site and its rules from now on."""
        periods_s = {device.id: device.period_s for device in site.devices()}
        self._view = View(timezone=site.timezone, rules=rules, periods_s=periods_s)
        self._meters = {}
        for meter in room_meters(site, rules):
            self._meters.setdefault(meter.room, []).append(meter)

    async def of(self, rooms: Collection[Room] | None = None) -> dict[Room, Standing]:
        """How these rooms stand, or all that pay for what they use. Raises StoreError.

        A room that is not charged, is closed, or has no meter, is left out.
        """
        known = self._meters
        meters = known if rooms is None else {room: known[room] for room in rooms if room in known}
        view = replace(self._view, now_ms=self._clock.now_ms())
        closed = await self._ledger.read(partial(_closed, rooms=meters))
        meters = {room: group for room, group in meters.items() if room.account not in closed}
        funds, found, tariffs = await self._ledger.read(partial(_read, meters=meters, view=view))
        view = replace(view, tariffs=tariffs)
        words = await self._words(meters, view)
        return {
            room: standing_of(
                room, group, words, found.get(room, ()), funds.get(room, Funds()), view
            )
            for room, group in meters.items()
        }

    async def _words(self, meters: Mapping[Room, Sequence[Meter]], view: View) -> dict[str, Word]:
        """The last word of each; the site may be another one by now, the view is the one of before."""
        names = [meter.device for group in meters.values() for meter in group]
        latest = await self._journal.latest(names)
        return {
            name: Word(latest=latest.get(name), period_s=view.periods_s[name]) for name in names
        }


def standing_of(
    room: Room,
    meters: Sequence[Meter],
    words: Mapping[str, Word],
    meterings: Sequence[Metering],
    funds: Funds,
    view: View,
) -> Standing:
    """How a room with these meters, at least one, stands; `meterings` are those of the room."""
    paid = paid_of(meters)
    if paid.holds_credit:
        return _in_meter(room, paid.device, words[paid.device], funds, view)
    return _in_hub(room, meters, words, meterings, funds, view)


def _in_meter(room: Room, device: str, word: Word, funds: Funds, view: View) -> Standing:
    policy = view.rules.of(room.building)
    money, credit, free = map(_whole, map(word.value, (CREDIT_MONEY, CREDIT_ENERGY, FREE_ENERGY)))
    point = CREDIT_MONEY if money is not None or credit is None else CREDIT_ENERGY
    allowance = max(0, free or 0)
    used_up = (
        policy.is_used_up(money, allowance)
        if money is not None
        else credit is not None and credit <= 0 and not allowance
    )
    return Standing(
        room=room,
        holder=Holder.METER,
        devices=(device,),
        balance_fen=money,
        credit=credit,
        allowance=allowance,
        held_fen=funds.held_fen,
        as_of_ms=word.time_ms(point),
        doubt=word.doubt(point, view.now_ms),
        is_used_up=used_up,
    )


def _in_hub(
    room: Room,
    meters: Sequence[Meter],
    words: Mapping[str, Word],
    meterings: Sequence[Metering],
    funds: Funds,
    view: View,
) -> Standing:
    fen, free = funds.fen, max(0, funds.allowance)
    policy, tariff = view.rules.of(room.building), view.tariffs[room.utility, room.building]
    doubts = [f"{item.device} is not charged: {item.held}" for item in meterings if item.held]
    running = {item.device: item for item in meterings if item.to_ms is None}
    for meter in meters:
        word, metering = words[meter.device], running.get(meter.device)
        doubt, due = _due(meter, word, metering, view, tariff=tariff, free=free)
        if doubt:
            doubts.append(f"{meter.device}: {doubt}")
        fen, free = fen - due[0], free - due[1]
    return Standing(
        room=room,
        holder=Holder.HUB,
        devices=tuple(meter.device for meter in meters),
        balance_fen=fen,
        allowance=free,
        held_fen=funds.held_fen,
        as_of_ms=min(words[meter.device].time_ms(meter.register.point) for meter in meters),
        doubt="; ".join(doubts),
        is_used_up=policy.is_used_up(fen, free),
    )


def _due(
    meter: Meter,
    word: Word,
    metering: Metering | None,
    view: View,
    *,
    tariff: Tariff,
    free: int,
) -> tuple[str, tuple[int, int]]:
    """What makes a meter's part unsure, and what it went on since the last charge: fen, and free use."""
    nothing = (0, 0)
    if metering is None or not metering.begun:
        return "not charged yet", nothing
    if metering.held:
        return "", nothing  # said of the metering already
    point = meter.register.point
    counter, time_ms = _whole(word.value(point)), word.time_ms(point)
    if counter is None:
        return "never heard", nothing
    is_rolled = bool(word.latest and word.latest.uncertain.get(point) == ROLLED_OVER)
    is_rolled |= bool(meter.register.rollover) and counter < metering.mark.counter
    mark = Mark(time_ms=time_ms, counter=counter)
    track = follow(metering.mark, [(mark, is_rolled)], meter.register)
    if track.held:
        return track.held, nothing
    due = price(by_day(track.steps, view.timezone), tariff, free=free, rest=metering.rest)
    if due is None:
        return "no price holds", nothing
    return word.doubt(point, view.now_ms), (due.fen, due.free)


def _whole(value: Value | None) -> int | None:
    return int(value) if value.__class__ is int else None


def _read(
    connection: Connection, *, meters: Mapping[Room, Sequence[Meter]], view: View
) -> tuple[dict[Room, Funds], dict[Room, list[Metering]], dict[tuple[Utility, str], Tariff]]:
    by_device = {meter.device: meter for group in meters.values() for meter in group}
    found: dict[Room, list[Metering]] = {}
    few = set(meters) if len(meters) <= _FEW else None
    for item in read_meterings(connection, by_device, now_ms=view.now_ms, rooms=few):
        if item.room in meters:
            found.setdefault(item.room, []).append(item)
    wanted = {(room.utility, room.building) for room in meters}
    tariffs = {key: read_tariff(connection, *key) for key in wanted}
    return _funds(connection, meters), found, tariffs


def _closed(connection: Connection, *, rooms: Collection[Room]) -> frozenset[str]:
    query = select(accounts.c.id).where(accounts.c.kind == str(AccountKind.ROOM))
    if len(rooms) <= _FEW:
        query = query.where(accounts.c.id.in_([room.account for room in rooms]))
    return frozenset(connection.scalars(query.where(accounts.c.closed_ms.is_not(None))))


def _funds(connection: Connection, meters: Mapping[Room, object]) -> dict[Room, Funds]:
    """What the books have of these rooms; of all in one statement, for nearly all are asked for."""
    query = (
        select(balances, accounts.c.kind, accounts.c.building, accounts.c.room, accounts.c.utility)
        .join(accounts, accounts.c.id == balances.c.account)
        .where(accounts.c.kind.in_([str(AccountKind.ROOM), str(AccountKind.HELD)]))
    )
    if len(meters) <= _FEW:
        query = query.where(
            accounts.c.building.in_({room.building for room in meters}),
            accounts.c.room.in_({room.room for room in meters}),
        )
    sums: dict[Room, dict[str, int]] = {}
    for row in connection.execute(query):
        room = Room(building=row.building, room=row.room, utility=Utility(row.utility))
        is_money, is_held = row.unit == Unit.FEN, row.kind == AccountKind.HELD
        name = "held_fen" if is_held else "fen" if is_money else "allowance"
        sums.setdefault(room, {})[name] = row.amount
    return {room: Funds(**parts) for room, parts in sums.items()}
