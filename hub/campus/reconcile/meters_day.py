"""The meters of the house on one day: what their counters say, by the journal, against the ledger."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from hub import audit
from hub.campus.accounts.accounts import Unit, Utility
from hub.campus.accounts.prices import Tariff, read_tariff
from hub.campus.prepaid.charge import Mark, local_day, marks_of
from hub.campus.prepaid.metering import Metering, read_meterings
from hub.campus.prepaid.meters import room_meters
from hub.campus.prepaid.rules import Rules
from hub.campus.reconcile.bills import in_groups
from hub.campus.reconcile.compare import Effect
from hub.campus.reconcile.credits import Credits, effects_on, effects_within, staff_credits
from hub.campus.reconcile.days import Day
from hub.campus.reconcile.energy import Charged, Counted, Rates, compare_energy
from hub.campus.reconcile.house import house_tallies
from hub.campus.reconcile.purchases import Shown, compare_purchases
from hub.campus.reconcile.results import Finding, Item, Tally
from hub.journal import Journal, Series
from hub.ledger import Ledger
from hub.ledger.tables import bindings, postings, transactions
from hub.site import Site

_MINUTES_MS = 15 * 60_000
_DAY_MS = 86_400_000
_BACK_MS = (_MINUTES_MS, 3_600_000, _DAY_MS, 7 * _DAY_MS)  # how far back a last word is looked for
_CREDITS_MS = 2 * _DAY_MS  # a credit is not under way for longer
_READ_MAX = 1_000
_VALUES_MAX = 100_000
_MONEY = "credit_money"
_ENERGY = ("energy_import", "energy_total")
_USE_END = "9" * 13  # after every time that stands in a key


@dataclass(frozen=True, kw_only=True, slots=True)
class _Charges:
    """What was charged to a metering from a day's begin on, and the first booking after the day."""

    of_day: tuple[Charged, ...]
    next_ms: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """Words of a counter that persons told, by time, and what of it they took out of the charge."""

    marks: Mapping[int, int] = field(default_factory=dict)
    released: int = 0


class MetersDay:
    """All meters on one day. `items` reads everything anew, in slices."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        site: Site,
        rules: Rules,
        credits: Credits,
        day: Day,
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._site = site
        self._rules = rules
        self._credits = credits
        self._day = day

    async def items(self) -> tuple[list[Item], list[Tally]]:
        """Every item, and what the house itself gave. Raises StoreError."""
        day = self._day
        span_ms = (day.start_ms - _CREDITS_MS, day.end_ms + _DAY_MS)
        effects = await self._ledger.read(
            lambda connection: effects_within(connection, self._credits, span_ms)
        )
        todays = [one for one in staff_credits(effects) if day.has(one.ended_ms)]
        house = await self._ledger.read(lambda connection: house_tallies(connection, day, todays))
        return [*await self._purchases(effects), *await self._energies()], house

    async def _purchases(self, effects: Sequence[Effect]) -> list[Item]:
        by_device: defaultdict[str, list[Effect]] = defaultdict(list)
        for effect in effects:
            by_device[effect.device].append(effect)
        points = {
            device: credit.point for device, credit in self._credits.devices.items() if credit.point
        }
        found = []
        for device, point in points.items():
            item = await self._purchases_of(device, point, by_device[device])
            if item is not None:
                found.append(item)
            await asyncio.sleep(0)
        return found

    async def _purchases_of(
        self, device: str, point: str, effects: Sequence[Effect]
    ) -> Item | None:
        day = self._day
        begin = await self._last(device, point, day.start_ms, counts=True)
        begin = begin or await self._first(device, point)
        end = await self._last(device, point, day.end_ms, counts=True)
        before, after = _shown(begin), _shown(end)
        item = compare_purchases(device, before, after, effects, day)
        if item is None or before is None or after is None:
            return item
        if item.finding is Finding.EFFECT_WITHOUT_PAYMENT:  # it may be an older credit's
            effects = await self._ledger.read(
                lambda connection: effects_on(connection, device, self._credits, _READ_MAX)
            )
        before, after = await self._money(device, before), await self._money(device, after)
        return compare_purchases(device, before, after, effects, day)

    async def _money(self, device: str, shown: Shown) -> Shown:
        """With balance and energy of the very same reading, where its product has them."""
        money = await self._at(device, _MONEY, shown.time_ms)
        for point in _ENERGY:
            energy = await self._at(device, point, shown.time_ms)
            if energy is not None:
                return replace(shown, money_fen=money, energy_wh=energy)
        return replace(shown, money_fen=money)

    async def _last(
        self, device: str, point: str, at_ms: int, *, counts: bool = False
    ) -> Mark | None:
        """The last word of a counter before a moment, at most seven days old: a sure one, or of a count any.

        A count that fell must show: a meter that has forgotten its purchases is for a person.
        """
        for back_ms in _BACK_MS:
            span_ms = (max(0, at_ms - back_ms), at_ms)
            series = await self._journal.history(device, point, *span_ms, _VALUES_MAX)
            marks = _words(series) if counts else [mark for mark, _ in marks_of(series)]
            if marks:
                return marks[-1]
        return None

    async def _first(self, device: str, point: str) -> Mark | None:
        """The first of the day, of a meter that begins with it."""
        span_ms = (self._day.start_ms, self._day.end_ms)
        marks = _words(await self._journal.history(device, point, *span_ms, _VALUES_MAX))
        return marks[0] if marks else None

    async def _at(self, device: str, point: str, time_ms: int) -> int | None:
        series = await self._journal.history(device, point, time_ms, time_ms + 1, 1)
        value = series.values[0] if series.values else None
        return int(value) if value.__class__ is int and value is not None else None

    async def _energies(self) -> list[Item]:
        meters = {meter.device: meter for meter in room_meters(self._site, self._rules)}
        known = await self._ledger.read(
            partial(read_meterings, meters=meters, now_ms=self._day.end_ms)
        )
        charged = [one for one in known if one.begun and self._is_charged(one)]
        tariffs = await self._ledger.read(partial(_tariffs, meterings=charged))
        found = []
        for group in in_groups(charged):
            booked = await self._ledger.read(
                partial(_charges, names=[one.binding for one in group], day=self._day)
            )
            for metering in group:
                tariff = tariffs[metering.room.utility, metering.room.building]
                item = await self._energy(metering, booked[metering.binding], tariff)
                if item is not None:
                    found.append(item)
                await asyncio.sleep(0)
        return found

    def _is_charged(self, metering: Metering) -> bool:
        room = metering.room
        ended = metering.to_ms is not None and metering.to_ms <= self._day.start_ms
        return not ended and self._rules.of(room.building).charges(room.room)

    async def _energy(self, metering: Metering, charges: _Charges, tariff: Tariff) -> Item | None:
        item = await self._compare(metering, charges, tariff, _Told())
        if item is None or item.finding is Finding.EQUAL:
            return item
        told = await self._ledger.read(
            partial(_told, metering=metering, span_ms=self._span_ms(metering, charges))
        )
        return await self._compare(metering, charges, tariff, told)

    def _span_ms(self, metering: Metering, charges: _Charges) -> tuple[int, int]:
        """From where on, and until where, was charged for this day."""
        if not charges.of_day:
            return self._day.start_ms, self._day.start_ms
        return charges.of_day[0].start_ms, charges.next_ms or metering.mark.time_ms

    async def _compare(
        self, metering: Metering, charges: _Charges, tariff: Tariff, told: _Told
    ) -> Item | None:
        span_ms = self._span_ms(metering, charges)
        begin, end = [await self._mark(metering, time_ms, told) for time_ms in span_ms]
        end_ms = self._day.end_ms
        if metering.to_ms is not None:
            end_ms = min(end_ms, metering.to_ms + 1)
        counted = Counted(
            metering=f"metering/{metering.binding}",
            unit=metering.room.utility.unit,
            mark=metering.mark,
            begin=begin,
            end=end,
            last=await self._last(metering.device, metering.register.point, end_ms),
            rollover=metering.register.rollover,
            released=told.released,
            step_fen=self._rules.of(metering.room.building).charge_step_fen,
            held=metering.held if metering.mark.time_ms < end_ms else "",
        )
        return compare_energy(counted, charges.of_day, _rates(tariff, span_ms, self._site.timezone))

    async def _mark(self, metering: Metering, time_ms: int, told: _Told) -> Mark | None:
        counter = told.marks.get(time_ms)
        if counter is None:
            counter = await self._at(metering.device, metering.register.point, time_ms)
        return None if counter is None else Mark(time_ms=time_ms, counter=counter)


def _words(series: Series) -> list[Mark]:
    return [
        Mark(time_ms=time_ms, counter=int(value))
        for time_ms, value in zip(series.times, series.values, strict=True)
        if value.__class__ is int
    ]


def _shown(mark: Mark | None) -> Shown | None:
    return None if mark is None else Shown(time_ms=mark.time_ms, count=mark.counter)


def _tariffs(
    connection: Connection, *, meterings: Iterable[Metering]
) -> dict[tuple[Utility, str], Tariff]:
    wanted = {(one.room.utility, one.room.building) for one in meterings}
    return {key: read_tariff(connection, *key) for key in wanted}


def _rates(tariff: Tariff, span_ms: tuple[int, int], zone: ZoneInfo) -> Rates:
    first, last = (local_day(time_ms, zone) for time_ms in span_ms)
    days = [first + timedelta(days=place) for place in range((last - first).days + 1)]
    rates = [tariff.rate_on(day) or 0 for day in days] or [0]
    return Rates(low=min(rates), high=max(rates))


def _charges(connection: Connection, *, names: Sequence[str], day: Day) -> dict[str, _Charges]:
    """What was charged to these meterings since the day began, by binding."""
    found = {}
    for name in names:
        fen: defaultdict[int, int] = defaultdict(int)
        free: defaultdict[int, int] = defaultdict(int)
        starts: set[int] = set()
        prefix = f"use/{name}/"
        query = (
            select(transactions.c.key, postings.c.unit, postings.c.amount)
            .join(postings, postings.c.number == transactions.c.number)
            .where(transactions.c.key >= f"{prefix}{day.start_ms}")
            .where(transactions.c.key < f"{prefix}{_USE_END}", postings.c.amount > 0)
        )
        for key, unit, amount in connection.execute(query):
            start_ms = int(key.removeprefix(prefix))
            starts.add(start_ms)
            (fen if unit == Unit.FEN else free)[start_ms] += amount
        found[name] = _Charges(
            of_day=tuple(
                Charged(start_ms=one, fen=fen[one], free=free[one])
                for one in sorted(starts)
                if one < day.end_ms
            ),
            next_ms=min((one for one in starts if one >= day.end_ms), default=None),
        )
    return found


def _told(connection: Connection, *, metering: Metering, span_ms: tuple[int, int]) -> _Told:
    row = connection.execute(select(bindings).where(bindings.c.id == metering.binding)).one()
    ends = ((row.from_ms, row.first_value), (row.to_ms, row.last_value))
    marks = {time_ms: value for time_ms, value in ends if time_ms is not None and value is not None}
    released = 0
    for noted in audit.rows(connection, subject=f"metering/{metering.binding}", limit=_READ_MAX):
        if noted.action == "released":
            before, after = json.loads(noted.before), json.loads(noted.after)
            marks[after["time_ms"]] = after["counter"]
            if span_ms[0] <= before["time_ms"] and after["time_ms"] <= span_ms[1]:
                released += after["counter"] - before["counter"]
    return _Told(marks=marks, released=released)
