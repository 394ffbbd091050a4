"""Orders and prepaid rooms as one service of the hub: taken, delivered, checked each hour."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from hub.campus import books
from hub.campus.delivery import Delivery
from hub.campus.intake import Intake
from hub.campus.orders import Order
from hub.campus.platforms import Platform
from hub.clock import Clock
from hub.commands import Commands
from hub.errors import StoreDamaged, StoreError
from hub.ledger import Ledger
from hub.registry import Registry
from hub.site import Site

CHECK_PERIOD_S = 3_600.0
_BOOKS = "books"

_log = structlog.get_logger("orders")


class Campus:
    """Made once for each run of the hub; `configure`, then `run`. Does nothing where nothing is paid."""

    def __init__(self, *, ledger: Ledger, clock: Clock) -> None:
        self.intake = Intake(ledger=ledger, clock=clock, taken=self._taken)
        self.delivery: Delivery | None = None
        self._ledger = ledger
        self._clock = clock
        self._wanted = asyncio.Event()

    def configure(self, site: Site, platforms: Mapping[str, Platform]) -> None:
        """Go by this site and these platforms from now on. Raises ConfigError for the site's rules."""
        self.intake.configure(site, platforms)
        if platforms or "prepaid" in site.policies:
            self._wanted.set()

    async def run(self, commands: Commands, registry: Registry) -> None:
        """Serve until cancelled, from the first moment that the site has platforms or prepaid rooms."""
        await self._wanted.wait()
        self.delivery = Delivery(
            ledger=self._ledger,
            clock=self._clock,
            commands=commands,
            registry=registry,
            alarms=self.intake.alarms,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.delivery.run(), name="delivery")
            tasks.create_task(self._check_hourly(), name="books")

    def _taken(self, order: Order) -> None:
        if self.delivery is not None:
            self.delivery.take(order)

    async def _check_hourly(self) -> None:
        while True:
            try:
                await self._check()
            except StoreDamaged:
                raise
            except StoreError as error:
                _log.warning("the books could not be checked", reason=str(error))
            await self._clock.sleep(CHECK_PERIOD_S)

    async def _check(self) -> None:
        wrong = await self._ledger.read(books.check)
        if wrong:
            first = wrong[0]
            said = f"{first.subject} has {first.booked} {first.unit} booked, {first.found} kept"
            self.intake.alarms.say(_BOOKS, f"{len(wrong)} sums are wrong, the first: {said}")
        else:
            self.intake.alarms.end(_BOOKS)
