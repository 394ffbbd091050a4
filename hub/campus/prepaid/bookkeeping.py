"""What the books need without anybody asking: rooms opened, use charged, allowances given, sums checked."""

from __future__ import annotations

from datetime import date
from functools import partial

import structlog

from hub.campus.accounts import books
from hub.campus.alarms import Alarms
from hub.campus.prepaid.allowance import Granted, grant_month
from hub.campus.prepaid.booking import Run
from hub.campus.prepaid.charge import local_day
from hub.campus.prepaid.charging import Charger
from hub.campus.prepaid.metering import list_held
from hub.campus.prepaid.meters import open_rooms, room_meters
from hub.campus.prepaid.rules import Rules
from hub.clock import Clock
from hub.errors import HubError, StoreDamaged
from hub.journal import Journal
from hub.ledger import Ledger
from hub.site import Site

CHARGE_PERIOD_S = 600.0
CHECK_PERIOD_S = 3_600.0
_OPENED = 500  # rooms opened in one transaction
_BOOKS = "books"
_PRICES = "prices"

_log = structlog.get_logger("books")


class Bookkeeping:
    """Keeps the books of a site; `configure`, then `run`. Each turn may be broken off and made again."""

    def __init__(self, *, ledger: Ledger, journal: Journal, clock: Clock, alarms: Alarms) -> None:
        self._ledger = ledger
        self._clock = clock
        self._alarms = alarms
        self._charger = Charger(ledger=ledger, journal=journal, clock=clock)
        self._site: Site | None = None
        self._rules = Rules()
        self._is_open = False
        self._granted: date | None = None
        self._checked_s: float | None = None
        self._held: set[str] = set()

    def configure(self, site: Site, rules: Rules) -> None:
        """Go by this site and its rules from the next turn on."""
        self._site, self._rules = site, rules
        self._is_open, self._granted = False, None

    async def run(self) -> None:
        """A turn now and every ten minutes, until cancelled. Raises StoreDamaged."""
        while True:
            try:
                await self.turn()
            except StoreDamaged:
                raise
            except HubError as error:
                _log.error("the books wait", reason=str(error))
            await self._clock.sleep(CHARGE_PERIOD_S)

    async def turn(self) -> Run:
        """Open what is new, charge, give once a day what is still to be given, check once an hour."""
        site, rules = self._site, self._rules
        if site is None:
            return Run()
        if not self._is_open:
            await self._open(site, rules)
        today = local_day(self._clock.now_ms(), site.timezone)
        gives = today != self._granted
        # Before an allowance may lapse, even a little that was used of it is charged.
        done = await self._charger.run(site, rules, flush=gives)
        if gives:
            await grant_month(self._ledger, site, rules, clock=self._clock)
            self._granted = today
        await self._alarm(done)
        now_s = self._clock.monotonic_s()
        if self._checked_s is None or now_s - self._checked_s >= CHECK_PERIOD_S:
            await self._check()
            self._checked_s = now_s
        return done

    async def grant(self) -> Granted | None:
        """Charge what was used, and give this month's allowances where they are still to be given.

        None while there is no site. Raises StoreError.
        """
        site, rules = self._site, self._rules
        if site is None:
            return None
        if not self._is_open:
            await self._open(site, rules)
        await self._charger.run(site, rules)
        return await grant_month(self._ledger, site, rules, clock=self._clock)

    async def _open(self, site: Site, rules: Rules) -> None:
        rooms = [meter.room for meter in room_meters(site, rules)]
        now_ms = self._clock.now_ms()
        for begin in range(0, len(rooms), _OPENED):
            group = rooms[begin : begin + _OPENED]
            await self._ledger.run(partial(open_rooms, rooms=group, now_ms=now_ms))
        self._is_open = site is self._site

    async def _alarm(self, done: Run) -> None:
        """Say all that waits for a person, as long as it does."""
        held = await self._ledger.read(list_held)
        for item in held:
            self._alarms.say(_subject(item.binding), f"{item.device} is not charged: {item.reason}")
        now = {item.binding for item in held}
        for binding in self._held - now:
            self._alarms.end(_subject(binding))
        self._held = now
        if done.unpriced:
            self._alarms.say(_PRICES, f"{done.unpriced} meters wait for a price")
        else:
            self._alarms.end(_PRICES)

    async def _check(self) -> None:
        wrong = await self._ledger.read(books.check)
        if wrong:
            first = wrong[0]
            said = f"{first.subject} has {first.booked} {first.unit} booked, {first.found} kept"
            self._alarms.say(_BOOKS, f"{len(wrong)} sums are wrong, the first: {said}")
        else:
            self._alarms.end(_BOOKS)


def _subject(binding: str) -> str:
    return f"metering/{binding}"
