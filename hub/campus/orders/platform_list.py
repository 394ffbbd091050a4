"""Notices that never came: every five minutes each platform's own list of orders is asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import httpx2
import msgspec

from hub.campus.orders import orders
from hub.campus.orders.asking import PAGES_MAX, Asker, ListError
from hub.campus.orders.intake import Intake, NoRoom, OrderConflict
from hub.campus.orders.notices import NoticeError, OrderBody, notice_of
from hub.campus.orders.orders import Act, Notice, Order, OrderState
from hub.campus.orders.platforms import Platform
from hub.campus.orders.refunds import give_back
from hub.clock import Clock
from hub.errors import StoreDamaged, StoreError
from hub.ledger import Ledger

PERIOD_S = 300.0
_FIRST_MS = 7 * 86_400_000  # how far back the first question goes
_OVERLAP_MS = 3_600_000  # how far each further one goes behind the one before


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One order of a platform's list."""

    order: OrderBody
    state: Literal["paid", "refunded"]


class ListPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the list; `next` is the `after` of the next one."""

    orders: list[Listed]
    next: str | None = None


_pages = msgspec.json.Decoder(ListPage)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """What came of asking: orders that were on the list, new ones, and refunds."""

    listed: int
    taken: int
    refunded: int


class PlatformList:
    """Asks each platform that has a `list_url`; what is on the list comes in by the same door as a notice."""

    def __init__(
        self, *, ledger: Ledger, clock: Clock, intake: Intake, http: httpx2.AsyncClient
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._ledger = ledger
        self._clock = clock
        self._intake = intake
        self._asker = Asker(clock=clock, http=http)
        self._since_ms: dict[str, int] = {}

    async def run(self) -> None:
        """Ask all, every five minutes, for ever; a platform that fails is an alarm and holds up no other."""
        while True:
            async with asyncio.TaskGroup() as tasks:
                for platform in self._intake.platforms.values():
                    if platform.list_url:
                        tasks.create_task(self._turn(platform), name=f"list {platform.name}")
            await self._clock.sleep(PERIOD_S)

    async def ask(self, platform: Platform) -> Compared:
        """Take what is on the list and not in the ledger; raises ListError or StoreError."""
        begun_ms = self._clock.now_ms()
        since_ms = self._since_ms.get(platform.name, begun_ms - _FIRST_MS)
        counts: Counter[str] = Counter()
        after: str | None = ""
        for _ in range(PAGES_MAX):
            page = await self._page(platform, since_ms, after or "")
            for listed in page.orders:
                counts[await self._compare(platform, listed)] += 1
            after = page.next
            if not after:
                self._since_ms[platform.name] = begun_ms - _OVERLAP_MS
                break
        self.counts += counts
        return Compared(listed=counts.total(), taken=counts["taken"], refunded=counts["refunded"])

    async def _turn(self, platform: Platform) -> None:
        subject = f"platform/{platform.name}"
        try:
            await self.ask(platform)
        except StoreDamaged:
            raise
        except StoreError:
            self.counts["refused by the store"] += 1  # asked again from the same time
        except ListError as error:
            self.counts["failed"] += 1
            self._intake.alarms.say(subject, f"its list of orders: {error}")
        else:
            self._intake.alarms.end(subject)

    async def _page(self, platform: Platform, since_ms: int, after: str) -> ListPage:
        query = {"since_ms": str(since_ms), "after": after}
        return await self._asker.page(platform, platform.list_url, query, _pages)

    async def _compare(self, platform: Platform, listed: Listed) -> str:
        """What came of one order on the list."""
        try:
            notice = notice_of(platform, listed.order)
        except NoticeError as error:
            key = f"order/{platform.name}/{listed.order.number}"
            self._intake.alarms.say(key, f"on the platform's list: {error}")
            return "invalid"
        known = await self._ledger.read(
            lambda connection: orders.find(connection, notice.platform, notice.number)
        )
        if known is None and listed.state == "refunded":
            return "refunded before it came"
        if known is None or known.body_hash != notice.digest:
            return await self._take(notice)
        return await self._refunded(known) if listed.state == "refunded" else "known"

    async def _take(self, notice: Notice) -> str:
        try:
            await self._intake.take(notice, cause="list")
        except NoRoom:
            key = f"order/{notice.platform}/{notice.number}"
            self._intake.alarms.say(key, f"paid, but no meter serves {notice.room.account}")
            return "no_room"
        except OrderConflict:
            return "conflict"
        return "taken"

    async def _refunded(self, order: Order) -> str:
        if order.state is OrderState.REFUNDED:
            return "known"
        act = Act(actor=f"platform/{order.platform}", now_ms=self._clock.now_ms(), cause="its list")
        after = await self._ledger.run(lambda connection: give_back(connection, order.id, act))
        if after.state is OrderState.REFUNDED:
            return "refunded"
        self._intake.alarms.say(order.key, f"the platform gave back what is {after.state}")
        return "refunded too early"
