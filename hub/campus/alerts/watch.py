"""Looks at rooms, meters and the audit, and raises what began and ends what is over, each once.

All that must be known of the last look stands in the ledger, so a restart repeats nothing and loses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial

import structlog
from sqlalchemy import Connection

from hub import audit
from hub.campus.accounts.accounts import Room
from hub.campus.alerts import rows
from hub.campus.alerts.credit import Rates, change_of, outlook, read_rates
from hub.campus.alerts.days import Days, Place, local_date, read_days
from hub.campus.alerts.forecast import Bounds, DayUse, unusual_day, unusual_night
from hub.campus.alerts.kinds import (
    OFFLINE_LINK,
    USE_DAY,
    USE_NIGHT,
    Alert,
    Args,
    Fact,
    Kind,
    Subject,
)
from hub.campus.alerts.rows import Key, Telling
from hub.campus.alerts.settings import AlertRules
from hub.campus.alerts.silence import Presence, back, heard_again, silent
from hub.campus.alerts.supply import PREFIX, Event, event_of
from hub.campus.prepaid.rules import Rules
from hub.campus.prepaid.standing import Standing, Standings
from hub.clock import Clock
from hub.errors import HubError, StoreDamaged
from hub.journal import Journal
from hub.ledger import Ledger
from hub.model import Device
from hub.registry import Registry
from hub.site import Site

LOOK_S = 60.0
STANDINGS_S = 300.0
_SUPPLY, _DAYS = "supply", "days"
_ROWS = 500
_log = structlog.get_logger("alerts")


class Watch:
    """Raises and ends alerts; `configure`, then `run`. Each turn may be broken off and made again."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        clock: Clock,
        registry: Registry,
        standings: Standings,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.days = Days(ledger=ledger, journal=journal, clock=clock)
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._registry = registry
        self._standings = standings
        self._site: Site | None = None
        self._rules = Rules()
        self._alerts = AlertRules()
        self._looked_s: float | None = None
        self._missed: dict[str, int] = {}  # never heard, and first looked for then

    def configure(self, site: Site, rules: Rules, alerts: AlertRules) -> None:
        """Go by this site and its rules from the next turn on."""
        self._site, self._rules, self._alerts = site, rules, alerts
        self._looked_s = None

    async def run(self) -> None:
        """A turn now and every minute, until cancelled. Raises StoreDamaged."""
        while True:
            try:
                await self.turn()
            except StoreDamaged:
                raise
            except HubError as error:
                self.counts["put off"] += 1
                _log.error("alerts wait", reason=str(error))
            await self._clock.sleep(LOOK_S)

    async def turn(self) -> None:
        """Look at everything that is due. Raises StoreError."""
        site = self._site
        if site is None:
            return
        await self.follow()
        await self.listen()
        now_s = self._clock.monotonic_s()
        if self._looked_s is None or now_s - self._looked_s >= STANDINGS_S:
            await self.reckon(site)  # before it is said how long something lasts
            await self.look(site)
            self._looked_s = now_s

    async def follow(self) -> None:
        """What the audit says of supplies since the last time; the very first time, from now on."""
        while True:
            number = await self._ledger.read(lambda connection: rows.cursor(connection, _SUPPLY))
            if number is None:
                await self._ledger.run(_begin_here)
                return
            found, upto = await self._ledger.read(
                partial(rows.audit_after, number=number, prefix=PREFIX, limit=_ROWS)
            )
            events = [event for event in map(event_of, found) if event]
            self.counts["audit rows of no room"] += len(found) - len(events)
            if upto > number:
                await self._take(events, upto)
            if len(found) < _ROWS:
                return

    async def _take(self, events: Sequence[Event], upto: int) -> None:
        """In order, for one may end what another began; all of them and the place in one transaction."""
        news = [(self._clock.new_id(), event) for event in events]
        telling = self._telling()

        def work(connection: Connection) -> None:
            for id, event in news:
                kinds = {kind for kind, _ in event.over}
                known = rows.open_alerts(connection, *kinds, of=[event.subject.id])
                over = [
                    alert.id
                    for (kind, _, level), alert in known.items()
                    if (kind, level) in event.over
                ]
                rows.end(connection, over, now_ms=telling.now_ms)
                # What comes back without having been missed, as by a timetable, is no news.
                if event.fact and (over or event.fact.kind is not Kind.RESTORED):
                    rows.begin(connection, [(id, event.fact)], telling)
            rows.move_cursor(connection, _SUPPLY, upto)

        await self._ledger.run(work)

    async def listen(self) -> None:
        """Who has been silent too long, and who is there again."""
        links = await self._links()
        known = await self._open(Kind.OFFLINE)
        now_ms = self._clock.now_ms()
        over = list(heard_again(links, list(known.values())))
        returning = {alert.subject.id for alert, _ in over}
        others = {name: group for name, group in links.items() if f"link/{name}" not in returning}
        facts = list(silent(others, now_ms, self._alerts.offline_s * 1000))
        facts += [
            back(alert)
            for alert, is_there in over
            if is_there and not alert.quiet and alert.tell_ms <= now_ms
        ]
        await self._settle(facts, {alert.id for alert, _ in over})

    async def look(self, site: Site) -> None:
        """Which rooms have little left, or nothing, and which have again."""
        standings = await self._standings.of()
        known = await self._open(Kind.LOW_BALANCE, Kind.ARREARS)
        today = local_date(self._clock.now_ms(), site.timezone)
        rates = await self._ledger.read(partial(read_rates, today=today))
        by_room: dict[str, dict[tuple[Kind, int], Alert]] = {}
        for (kind, subject, level), alert in known.items():
            by_room.setdefault(subject, {})[kind, level] = alert
        accounts = {room.account for room in standings}
        ended = {alert.id for alert in known.values() if alert.subject.id not in accounts}
        facts: list[Fact] = []
        for room, standing in standings.items():
            policy, rate = self._rules.of(room.building), rates.of(room)
            change = change_of(standing, policy, rate, by_room.get(room.account, {}))
            ended |= change.ended
            facts += change.facts
        lasts = await self._lasts(
            [fact for fact in facts if not fact.quiet], standings, rates, today
        )
        told = [
            replace(fact, args={**fact.args, **lasts.get(fact.subject.id, {})}) for fact in facts
        ]
        await self._settle(told, ended)

    async def reckon(self, site: Site) -> None:
        """Keep the use of the days that are over, and say which rooms used far more than they do."""
        day = await self.days.keep_up(site)
        done = await self._ledger.read(lambda connection: rows.cursor(connection, _DAYS))
        if done is not None and done >= day.toordinal():
            return
        facts: list[Fact] = []
        for building in sorted({device.place.building for device in site.devices()}):
            found = await self._ledger.read(partial(read_days, building=building))
            for place, days in found.items():
                facts += _unusual(place, days, day, self._alerts.bounds)
        await self._settle(facts, cursor=(_DAYS, day.toordinal()))

    async def _settle(
        self,
        facts: Sequence[Fact],
        ended: Collection[str] = (),
        cursor: tuple[str, int] | None = None,
    ) -> None:
        if not facts and not ended and cursor is None:
            return
        news = [(self._clock.new_id(), fact) for fact in facts]
        telling = self._telling()

        def work(connection: Connection) -> int:
            rows.end(connection, ended, now_ms=telling.now_ms)
            if cursor is not None:
                rows.move_cursor(connection, *cursor)
            return rows.begin(connection, news, telling)

        self.counts["raised"] += await self._ledger.run(work)

    def _telling(self) -> Telling:
        return Telling(
            now_ms=self._clock.now_ms(),
            cooldown_ms=self._alerts.cooldown_s * 1000,
            channels=tuple(self._alerts.channels.values()),
        )

    async def _open(self, *kinds: Kind) -> dict[Key, Alert]:
        return await self._ledger.read(lambda connection: rows.open_alerts(connection, *kinds))

    async def _links(self) -> dict[str, list[Presence]]:
        """The meters of rooms by link; of links where all are there, nobody asks when they were heard."""
        links: dict[str, list[Device]] = {}
        for device in self._registry.devices():
            if device.place.room:
                links.setdefault(device.link, []).append(device)
        away = {one.id for group in links.values() for one in group if self._is_away(one)}
        asked = [
            one.id
            for group in links.values()
            if any(one.id in away for one in group)
            for one in group
        ]
        heard_ms = await self._heard(asked, away)
        came_back = await self._ledger.read(
            lambda connection: rows.last_ended(connection, Kind.OFFLINE, OFFLINE_LINK)
        )
        return {
            link: [
                Presence(
                    device=one,
                    is_away=one.id in away,
                    is_there=self._registry.is_online(one.id),
                    # A link that has just come back has not asked all of its meters yet.
                    heard_ms=max(heard_ms(one.id), came_back.get(f"link/{link}", 0)),
                )
                for one in group
            ]
            for link, group in links.items()
        }

    async def _heard(self, asked: Sequence[str], away: Collection[str]) -> Callable[[str], int]:
        """When each of these was heard last; what never was is missed since it was first looked for."""
        latest, now_ms = await self._journal.latest(asked), self._clock.now_ms()
        self._missed = {name: self._missed.get(name, now_ms) for name in away if name not in latest}
        missed = self._missed
        return lambda name: latest[name].received_ms if name in latest else missed.get(name, now_ms)

    def _is_away(self, device: Device) -> bool:
        return self._registry.is_offline(device.id)

    async def _lasts(
        self,
        facts: Sequence[Fact],
        standings: Mapping[Room, Standing],
        rates: Rates,
        today: date,
    ) -> dict[str, dict[str, int]]:
        """For how many days what is left of these rooms lasts, by account; none where nobody knows."""
        wanted = {fact.subject.id for fact in facts}
        rooms = [room for room in standings if room.account in wanted]
        found: dict[str, dict[str, int]] = {}
        for building in sorted({room.building for room in rooms}):
            days = await self._ledger.read(partial(read_days, building=building))
            for room in rooms:
                if room.building != building:
                    continue
                own = days.get((room.building, room.room), [])
                told = outlook(standings[room], own, rates.of(room), today)
                if told.days is not None and told.daily_wh is not None:
                    found[room.account] = {"days": told.days, "daily_wh": told.daily_wh}
        return found


def _begin_here(connection: Connection) -> None:
    rows.move_cursor(connection, _SUPPLY, audit.head(connection).number)


def _unusual(place: Place, days: Sequence[DayUse], day: date, bounds: Bounds) -> Iterator[Fact]:
    one = next((item for item in days if item.day == day), None)
    if one is None:
        return
    building, room = place
    subject = Subject(id=Room(building=building, room=room).account, building=building, room=room)
    for level, judge in ((USE_DAY, unusual_day), (USE_NIGHT, unusual_night)):
        found = judge(one, days, bounds)
        if found:
            args: Args = {
                "used_wh": found.used_wh,
                "usual_wh": found.usual_wh,
                "day": day.isoformat(),
            }
            yield Fact(
                kind=Kind.UNUSUAL_USE, subject=subject, level=level, args=args, is_event=True
            )
