"""A platform on one day: its bill, its orders, and what the device ledger has for them, read in slices.

An order belongs to the day on whose bill it stands, whenever its notice came; one that stands on no bill
belongs to the day on which it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from hub.campus.orders import listing
from hub.campus.orders.orders import Act, Order, OrderState
from hub.campus.orders.refunds import give_back
from hub.campus.orders.signatures import WINDOW_S
from hub.campus.reconcile.bills import days_of, in_groups, lines_on, source_of
from hub.campus.reconcile.compare import (
    Line,
    LineState,
    Terms,
    compare_bill,
    compare_device,
    without_order,
)
from hub.campus.reconcile.credits import (
    Credits,
    booked_for,
    effects_for,
    effects_within,
    order_named,
)
from hub.campus.reconcile.days import Day
from hub.campus.reconcile.results import Item
from hub.ledger import Ledger

# Two clocks are at most so far apart, or the platform's notices would not be taken.
_CARRIED_MS = WINDOW_S * 1000
_MAY_GO_BACK = (OrderState.ACCEPTED, OrderState.REFUND_DUE)


class PlatformDay:
    """One platform on one day, of `days`: that day and the next. `items` reads everything anew."""

    def __init__(
        self, ledger: Ledger, platform: str, days: tuple[Day, Day], credits: Credits
    ) -> None:
        self._ledger = ledger
        self._platform = platform
        self._day, self._next = days
        self._credits = credits

    async def items(self, now_ms: int, refund_ms: int) -> tuple[str, list[Item]]:
        """Where the day's bill came from, empty when there is none, and every item. Raises StoreError."""
        bill, next_bill, lines = await self._ledger.read(self._billed)
        known = await self._orders(list(lines))
        if bill:
            known |= await self._given_back(lines, known, now_ms)
        terms = Terms(
            now_ms=now_ms,
            refund_ms=refund_ms,
            carried_from_ms=self._day.end_ms - (0 if next_bill else _CARRIED_MS),
        )
        items = await self._device(list(known.values()), terms)
        items += await self._ledger.read(self._without_orders)
        numbers = sorted(lines.keys() | known.keys()) if bill else []
        for group in in_groups(numbers):
            items += [compare_bill(lines.get(one), known.get(one), terms) for one in group]
            await asyncio.sleep(0)
        return bill, items

    def _billed(self, connection: Connection) -> tuple[str, str, dict[str, Line]]:
        bill = source_of(connection, self._platform, self._day.name)
        lines = lines_on(connection, self._platform, self._day.name) if bill else []
        next_bill = source_of(connection, self._platform, self._next.name)
        return bill, next_bill, {line.number: line for line in lines}

    async def _orders(self, numbers: Sequence[str]) -> dict[str, Order]:
        """The orders that belong to this day, by number."""
        found: dict[str, Order] = {}
        for group in in_groups(numbers):
            query = partial(listing.of_numbers, platform=self._platform, numbers=group)
            found |= {order.number: order for order in await self._ledger.read(query)}
        for order in await self._ledger.read(self._came):
            found.setdefault(order.number, order)
        return found

    def _came(self, connection: Connection) -> list[Order]:
        """Those that came on this day, and stand on the bill of no other."""
        span_ms = (self._day.start_ms, self._day.end_ms)
        came = listing.received_within(connection, self._platform, span_ms)
        billed = days_of(connection, self._platform, [order.number for order in came])
        today = self._day.name
        return [order for order in came if billed.get(order.number, today) == today]

    async def _given_back(
        self, lines: Mapping[str, Line], known: Mapping[str, Order], now_ms: int
    ) -> dict[str, Order]:
        """Orders that the bill shows refunded, and that may be: they are now, as by its list."""
        due = [
            order
            for number, order in known.items()
            if order.state in _MAY_GO_BACK
            and (line := lines.get(number)) is not None
            and (line.state, line.amount_fen) == (LineState.REFUNDED, order.amount_fen)
        ]
        act = Act(actor=f"platform/{self._platform}", now_ms=now_ms, cause="its bill")
        found: dict[str, Order] = {}
        for group in in_groups(due):
            work = partial(_refund, due=group, act=act)
            found |= {order.number: order for order in await self._ledger.run(work)}
        return found

    async def _device(self, known: Sequence[Order], terms: Terms) -> list[Item]:
        items: list[Item] = []
        for group in in_groups(known):
            work = partial(_compare, group=group, credits=self._credits, terms=terms)
            items += await self._ledger.read(work)
        return items

    def _without_orders(self, connection: Connection) -> list[Item]:
        """Credits of this day that name an order of this platform which is not there."""
        span_ms = (self._day.start_ms, self._day.end_ms)
        made = effects_within(connection, self._credits, span_ms)
        named = {
            name[1]: effect
            for effect in made
            if (name := order_named(effect)) is not None and name[0] == self._platform
        }
        found: list[Item] = []
        for group in in_groups(list(named)):
            there = listing.of_numbers(connection, self._platform, group)
            gone = set(group) - {order.number for order in there}
            found += [item for one in sorted(gone) if (item := without_order(one, named[one]))]
        return found


def _compare(
    connection: Connection, *, group: Sequence[Order], credits: Credits, terms: Terms
) -> list[Item]:
    effects = effects_for(connection, group, credits)
    booked = booked_for(connection, group)
    return [
        compare_device(order, effects.get(order.number, ()), booked.get(order.number), terms)
        for order in group
    ]


def _refund(connection: Connection, *, due: Sequence[Order], act: Act) -> list[Order]:
    return [give_back(connection, order.id, act) for order in due]
