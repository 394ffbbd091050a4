"""The electricity of rooms by day, kept in the ledger once a day of the site is over: what forecasts rest on.

A day that was reckoned is not reckoned again, also when late readings come for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, delete, insert, select

from hub.campus.accounts.accounts import Utility
from hub.campus.alerts.forecast import FORECAST_DAYS, HISTORY_DAYS, DayUse
from hub.clock import Clock
from hub.inventory.bindings import Binding, Chosen, find_bindings
from hub.inventory.counts import Meter, meters_of
from hub.inventory.figures import in_turns
from hub.inventory.installed import known_devices
from hub.inventory.use import By, Slice, edges, reckon
from hub.journal import Journal
from hub.ledger import Ledger
from hub.ledger.tables import room_days
from hub.site import Site

KEPT_DAYS = HISTORY_DAYS + 7
SETTLE_S = 1_800  # after midnight, for what comes a little late
_NIGHT_H = 6  # from midnight
_WRITTEN = 500
_REST_S = 0.002  # after each room: others have their turn
_DAY = timedelta(days=1)
Place = tuple[str, str]  # building, room
_t = room_days


class Days:
    """Reckons and keeps the use of every room that has a meter."""

    def __init__(self, *, ledger: Ledger, journal: Journal, clock: Clock) -> None:
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._done: date | None = None

    async def keep_up(self, site: Site) -> date:
        """Reckon what is missing of the last two weeks, once a day; the last day that is kept.

        Raises StoreError; what was kept stays, and the rest is reckoned the next time.
        """
        now_ms = self._clock.now_ms()
        today = local_date(now_ms - SETTLE_S * 1000, site.timezone)
        if self._done == today:
            return today - _DAY
        first = today - timedelta(days=FORECAST_DAYS)
        start_ms, end_ms = midnight_ms(first, site.timezone), midnight_ms(today, site.timezone)
        chosen = Chosen(start_ms=start_ms, end_ms=end_ms)
        bound = await self._ledger.read(partial(find_bindings, chosen=chosen))
        known = await self._ledger.read(partial(_known, since=first))
        names = {binding.device for binding in bound}
        products = partial(known_devices, names=names, profiles=site.profiles)
        latest = await self._journal.latest(names)
        devices = await self._ledger.read(products)
        meters = meters_of(names, devices, latest, Utility.ELECTRICITY)
        rows: list[dict[str, object]] = []
        for place, group in _rooms(bound, meters).items():
            wanted = _wanted(group, known.get(place, set()), (first, today), site.timezone)
            if wanted:
                rows += await self._reckon(place, group, meters, (wanted, today), site.timezone)
            if len(rows) >= _WRITTEN:
                await self._ledger.run(partial(_write, rows=rows))
                rows = []
            await self._clock.sleep(_REST_S)
        old = today - timedelta(days=KEPT_DAYS)
        await self._ledger.run(partial(_write, rows=rows, old=old))
        self._done = today
        return today - _DAY

    async def of(self, place: Place) -> list[DayUse]:
        """What is known of this room, the oldest day first."""
        building, room = place
        found = await self._ledger.read(lambda connection: read_days(connection, building, room))
        return found.get(place, [])

    async def _reckon(
        self,
        place: Place,
        group: Sequence[Binding],
        meters: Mapping[str, Meter],
        span: tuple[Sequence[date], date],
        zone: ZoneInfo,
    ) -> list[dict[str, object]]:
        wanted, today = span
        moments = edges(midnight_ms(wanted[0], zone), midnight_ms(today, zone), By.HOUR, zone)
        use = await in_turns(reckon(self._journal.query, group, meters, moments))
        days = {one.day: one for one in days_of(use.slices, zone)}
        return [_row(place, days[day]) for day in wanted if day in days]


def days_of(slices: Iterable[Slice], zone: ZoneInfo) -> Iterator[DayUse]:
    """Hours as days of the site. Pure."""
    days: dict[date, list[Slice]] = {}
    for one in slices:
        days.setdefault(local_date(one.start_ms, zone), []).append(one)
    for day, hours in days.items():
        night = [one.used for one in hours if _hour(one.start_ms, zone) < _NIGHT_H]
        yield DayUse(
            day=day,
            used_wh=sum(one.used for one in hours),
            night_wh=max(night, default=0),
            estimated=any(one.estimated for one in hours),
        )


def local_date(time_ms: int, zone: ZoneInfo) -> date:
    """The day of the site that this moment is in."""
    return datetime.fromtimestamp(time_ms / 1000, zone).date()


def midnight_ms(day: date, zone: ZoneInfo) -> int:
    """When this day of the site begins."""
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)


def read_days(connection: Connection, building: str, room: str = "") -> dict[Place, list[DayUse]]:
    """The days that are kept of a room, or of every room of a building, the oldest first."""
    query = select(_t).where(_t.c.building == building).order_by(_t.c.room, _t.c.day)
    if room:
        query = query.where(_t.c.room == room)
    found: dict[Place, list[DayUse]] = {}
    for row in connection.execute(query):
        found.setdefault((row.building, row.room), []).append(
            DayUse(
                day=date.fromisoformat(row.day),
                used_wh=row.used_wh,
                night_wh=row.night_wh,
                estimated=bool(row.estimated),
            )
        )
    return found


def _hour(time_ms: int, zone: ZoneInfo) -> int:
    return datetime.fromtimestamp(time_ms / 1000, zone).hour


def _known(connection: Connection, *, since: date) -> dict[Place, set[date]]:
    query = select(_t.c.building, _t.c.room, _t.c.day).where(_t.c.day >= since.isoformat())
    found: dict[Place, set[date]] = {}
    for building, room, day in connection.execute(query):
        found.setdefault((building, room), set()).add(date.fromisoformat(day))
    return found


def _rooms(bound: Iterable[Binding], meters: Mapping[str, Meter]) -> dict[Place, list[Binding]]:
    found: dict[Place, list[Binding]] = {}
    for binding in bound:
        if binding.device in meters:
            place = binding.place.building, binding.place.room
            found.setdefault(place, []).append(binding)
    return found


def _wanted(
    group: Sequence[Binding], known: set[date], span: tuple[date, date], zone: ZoneInfo
) -> list[date]:
    """The days not kept yet on which the room had a meter from begin to end."""
    first, today = span
    begun = min(binding.from_ms for binding in group)
    days = [first + timedelta(days=number) for number in range((today - first).days)]
    return [day for day in days if day not in known and midnight_ms(day, zone) >= begun]


def _row(place: Place, one: DayUse) -> dict[str, object]:
    return {
        "day": one.day.isoformat(),
        "building": place[0],
        "room": place[1],
        "used_wh": one.used_wh,
        "night_wh": one.night_wh,
        "estimated": int(one.estimated),
    }


def _write(
    connection: Connection, *, rows: Sequence[Mapping[str, object]], old: date | None = None
) -> None:
    if rows:
        connection.execute(insert(_t), list(rows))
    if old is not None:
        connection.execute(delete(_t).where(_t.c.day < old.isoformat()))
