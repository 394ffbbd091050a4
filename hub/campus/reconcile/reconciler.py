"""Compares each day once it is over: what the platforms billed, what was ordered, credited and counted.

A day's result is a function of the facts: compared again, it changes nothing unless they have changed. So a
day that is not closed is compared again each night: while something of it is pending, has no bill, or is
different and not ended. Everything is read and written in slices, and may be broken off anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import TypeVar

import httpx2
import structlog

from hub.campus.alarms import Alarms
from hub.campus.orders.asking import Asker, ListError
from hub.campus.orders.orders import Act
from hub.campus.policies import Policies
from hub.campus.prepaid.charge import local_day
from hub.campus.reconcile import differences, runs
from hub.campus.reconcile.bill import Bill, BillError, ask_bill, read_bill
from hub.campus.reconcile.bills import in_groups, source_of, take_bill
from hub.campus.reconcile.credits import credits_of
from hub.campus.reconcile.days import Day, day_of, next_to
from hub.campus.reconcile.differences import ACTOR, Changes, Difference, changes_of
from hub.campus.reconcile.meters_day import MetersDay
from hub.campus.reconcile.platform_day import PlatformDay
from hub.campus.reconcile.results import Finding, Item, Result, Tally, digest_of, tallies_of
from hub.campus.reconcile.rules import DAYS_MAX
from hub.campus.reconcile.schedule import METERS, Due, due_days, platforms_ever, without_bill
from hub.clock import Clock
from hub.errors import HubError, StoreDamaged
from hub.journal import Journal
from hub.ledger import Ledger

AGAIN_S = 3_600.0  # after a night on which a bill could not be had
LOOK_S = 600.0
_FIRST = date(2000, 1, 1)  # nothing was paid before
_SUBJECT = "reconciliation"
Changed = TypeVar("Changed")
_log = structlog.get_logger("reconciliation")


class Reconciler:
    """Compares days; `configure`, then `run`. One comparison at a time."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        clock: Clock,
        http: httpx2.AsyncClient,
        alarms: Alarms,
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._asker = Asker(clock=clock, http=http)
        self._alarms = alarms
        self._turn = asyncio.Lock()
        self._policies: Policies | None = None
        self._done: date | None = None

    def configure(self, policies: Policies) -> None:
        """Go by this site and its platforms from now on."""
        self._policies = policies

    async def run(self) -> None:
        """Compare what is due once a night, and say what is open, until cancelled. Raises StoreDamaged."""
        while True:
            pause_s = LOOK_S
            try:
                pause_s = await self._look()
            except StoreDamaged:
                raise
            except HubError as error:
                _log.error("days wait to be compared", reason=str(error))
            await self._clock.sleep(pause_s)

    async def night(self) -> bool:
        """Compare every day that is due; false when a bill could not be had. Raises StoreError."""
        policies, today = self._site(), self._today()
        async with self._turn:
            due = await self._ledger.read(partial(due_days, policies=policies, today=today))
            had = [await self._asked(one) for one in due if one.platform != METERS]
            for one in due:
                await self._compare(one.day, one.platform)
            await self._remind()
            await self._say()
        return all(had)

    async def reconcile(
        self, day: date, *, platform: str = "", bill: str | None = None, actor: str = ACTOR
    ) -> list[Result]:
        """Compare one day now, of one platform or of all; then of the meters.

        `bill` is the text of that day's bill, of the platform that is named. Raises BillError, also for a
        day that is not over and a platform that is not known; then nothing was taken. Raises StoreError.
        """
        policies = self._site()
        if day >= self._today():
            raise BillError(f"{day} is not over; write a day before today")
        if day < _FIRST:
            raise BillError(f"nothing was paid on {day}; write a day from {_FIRST} on")
        wanted = day_of(day, policies.site.timezone)
        known = await self._ledger.read(partial(platforms_ever, policies=policies))
        if platform and platform not in known:
            raise BillError(f"no platform {platform!r}; known: {', '.join(known) or 'none'}")
        if bill is not None and not platform:
            raise BillError("a bill is of one platform; name it")
        async with self._turn:
            names = [platform] if platform else known
            touched = {wanted}
            if bill is not None:
                timezone = policies.site.timezone  # its hundred thousand lines hold nobody up
                made = await asyncio.to_thread(read_bill, platform, wanted, bill, timezone)
                touched |= await self._take(made, actor)
            else:
                for name in names:
                    await self._asked(Due(day=wanted, platform=name))
            found = [
                await self._compare(one, name)
                for one in sorted(touched, key=lambda one: one.name)
                for name in names
            ]
            found.append(await self._compare(wanted, METERS))
            await self._remind()
            await self._say()
        return found

    async def assign(self, id: str, owner: str, actor: str) -> Difference:
        """Give a difference to somebody. Raises DifferenceError and StoreError."""
        now_ms = self._clock.now_ms()
        return await self._ledger.run(
            lambda connection: differences.assign(connection, id, owner, actor, now_ms)
        )

    async def end(self, id: str, note: str, actor: str) -> Difference:
        """End a difference, on a person's word. Raises DifferenceError and StoreError."""
        now_ms = self._clock.now_ms()
        ended = await self._ledger.run(
            lambda connection: differences.end(connection, id, note, actor, now_ms)
        )
        await self._say()
        return ended

    async def _look(self) -> float:
        """Compare when it is time to; returns how long to wait before the next look."""
        policies = self._policies
        if policies is None:
            return LOOK_S
        zone = policies.site.timezone
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, zone)
        begin = datetime.combine(now.date(), policies.reconciliation.at, zone)
        if now >= begin and self._done != now.date():
            if not await self.night():
                return AGAIN_S
            self._done = now.date()
        await self._say()
        ahead_s = begin.timestamp() - now.timestamp()
        return min(LOOK_S, ahead_s) if ahead_s > 0 else LOOK_S

    async def _asked(self, due: Due) -> bool:
        """Ask for the bill of a day, where it can be; false when it cannot be had now."""
        platform = self._site().platforms.get(due.platform)
        if platform is None or not platform.bill_url:
            return True
        source = await self._ledger.read(
            lambda connection: source_of(connection, due.platform, due.day.name)
        )
        if source == "file":  # a person's word goes before the address's
            return True
        subject = f"{_SUBJECT}/{due.platform}"
        try:
            await self._take(await ask_bill(self._asker, platform, due.day), ACTOR)
        except ListError as error:
            self._alarms.say(subject, f"its bill of {due.day.name}: {error}")
            return False
        self._alarms.end(subject)
        return True

    async def _take(self, bill: Bill, actor: str) -> set[Day]:
        """Keep a bill; the days of which it says something new, of those that are not closed."""
        zone = self._site().site.timezone
        act = Act(actor=actor, now_ms=self._clock.now_ms(), cause="its bill")
        names = await take_bill(self._ledger, bill, act, zone)
        oldest = (self._today() - timedelta(days=DAYS_MAX)).isoformat()
        return {day_of(date.fromisoformat(name), zone) for name in names if name >= oldest}

    async def _compare(self, day: Day, platform: str) -> Result:
        """One day of one platform, or of the meters: what it came to, on disk with its differences."""
        policies, now_ms = self._site(), self._clock.now_ms()
        site, rules = policies.site, policies.reconciliation
        credits, bill, house = credits_of(site), "", list[Tally]()
        if platform == METERS:
            meters = MetersDay(
                ledger=self._ledger,
                journal=self._journal,
                site=site,
                rules=policies.rules,
                credits=credits,
                day=day,
            )
            items, house = await meters.items()
        else:
            days = (day, next_to(day, 1, site.timezone))
            one = PlatformDay(self._ledger, platform, days, credits)
            bill, items = await one.items(now_ms, rules.refund_ms)
        await self._settle(day, platform, items)
        result = Result(
            day=day.name,
            platform=platform,
            number=0,
            time_ms=now_ms,
            bill=bill,
            digest=digest_of(items, house, bill),
            tallies=tallies_of(items, house),
            pending=sum(item.finding is Finding.PENDING for item in items),
        )
        return await self._ledger.run(lambda connection: runs.keep(connection, result, ACTOR))

    async def _settle(self, day: Day, platform: str, items: Sequence[Item]) -> None:
        """Bring a day's differences to what was found, in slices; each is whole in itself."""
        now_ms, owner_of = self._clock.now_ms(), self._site().reconciliation.owner_of
        known = await self._ledger.read(
            lambda connection: differences.of_day(connection, day.name, platform)
        )

        def made(item: Item) -> Difference:
            return Difference(
                id=self._clock.new_id(),
                day=day.name,
                platform=platform,
                item=item,
                found_ms=now_ms,
                owner=owner_of(item.finding),
            )

        await self._change(changes_of(known, items, made), now_ms)

    async def _change(self, changes: Changes, now_ms: int) -> None:
        await self._write(differences.add, changes.added, now_ms)
        await self._write(differences.open_again, changes.again, now_ms)
        await self._write(differences.end_by_itself, changes.ended, now_ms)

    async def _write(
        self,
        write: Callable[..., None],
        changed: Sequence[Changed],
        now_ms: int,
    ) -> None:
        for group in in_groups(changed):
            await self._ledger.run(partial(write, found=group, now_ms=now_ms))

    async def _say(self) -> None:
        """What is open, as one alarm."""
        number, fen = await self._ledger.read(differences.open_sum)
        if number:
            said = f"{number} differences are open, {fen // 100}.{fen % 100:02} yuan"
            self._alarms.say(_SUBJECT, said)
        else:
            self._alarms.end(_SUBJECT)

    async def _remind(self) -> None:
        """Bills that a person must give: nobody else can."""
        policies, today = self._site(), self._today()
        missing = await self._ledger.read(partial(without_bill, policies=policies, today=today))
        for name, platform in policies.platforms.items():
            subject, days = f"{_SUBJECT}/{name}", sorted(missing.get(name, ()))
            if days:
                hint = f"dormhub reconcile run {days[0]} --platform {name} --bill FILE"
                self._alarms.say(subject, f"no bill of {len(days)} days; give the first: {hint}")
            elif not platform.bill_url:
                self._alarms.end(subject)

    def _site(self) -> Policies:
        if self._policies is None:
            raise BillError("the hub runs no site yet")
        return self._policies

    def _today(self) -> date:
        return local_day(self._clock.now_ms(), self._site().site.timezone)
