"""A building of metered rooms for the tests of charging: its journal, its ledger, and time that is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from hub import Reading, Site, VirtualClock, load_site
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit, Utility
from hub.campus.accounts.prices import Price, enter_price
from hub.campus.prepaid.booking import Run
from hub.campus.prepaid.charging import Charger
from hub.campus.prepaid.metering import Held, list_held
from hub.campus.prepaid.rules import Rules, read_rules
from hub.journal import Journal, open_journal
from hub.ledger import Ledger, open_ledger
from hub.ledger.tables import bindings
from tests.inline import Inline
from tests.provisioned import SITE, apply, write_building

Result = TypeVar("Result")
ZONE = ZoneInfo("Asia/Shanghai")
MORNING_MS = round(datetime(2026, 11, 2, 8, tzinfo=ZONE).timestamp() * 1000)
HOUR_S = 3_600
DAY_S = 24 * HOUR_S
RATE = 54_830  # 0.5483 yuan/kWh
ROOM = Room(building="B1", room="101")
OTHER = Room(building="B1", room="102")
PREPAID = "[prepaid]\ncharge_step_fen = 0\n"


@dataclass(kw_only=True, slots=True)
class House:
    """Rooms 101, 102 and 201 of B1 with the meters m-1, m-2 and m-3, each rated 10,350 W."""

    folder: Path
    clock: VirtualClock
    ledger: Ledger
    journal: Journal
    charger: Charger
    site: Site

    @property
    def rules(self) -> Rules:
        """The policies of the site as it is now."""
        return read_rules(self.site)

    async def install(self, *rows: str, policy: str = PREPAID, prune: bool = False) -> None:
        """The building with these rows, applied now."""
        write_building(self.folder, *rows, site=SITE + policy)
        self.site = load_site(self.folder)
        await apply(self.ledger, self.folder, prune=prune, clock=self.clock)

    async def enter(self, rate: int = RATE, day: date = date(2026, 1, 1)) -> None:
        """A price for all buildings."""
        item = Price(utility=Utility.ELECTRICITY, from_day=day, rate=rate)
        today = datetime.fromtimestamp(self.clock.now_ms() / 1000, ZONE).date()
        await self.ledger.run(
            lambda connection: enter_price(
                connection, item, today=today, actor="t", time_ms=self.clock.now_ms()
            )
        )

    async def read(
        self,
        counter: int,
        *,
        device: str = "m-1",
        after_s: float = HOUR_S,
        uncertain: str = "",
    ) -> None:
        """Some time later the meter shows this, in Wh."""
        self.clock.advance(after_s)
        now_ms = self.clock.now_ms()
        reading = Reading(
            device=device,
            time_ms=now_ms,
            received_ms=now_ms,
            values={"energy_import": counter},
            uncertain={"energy_import": uncertain} if uncertain else {},
        )
        await self.journal.append([reading])

    async def charge(self, *, flush: bool = False) -> Run:
        """One run over all rooms."""
        return await self.charger.run(self.site, self.rules, flush=flush)

    async def used(self, *counters: int) -> None:
        """The meter of 101 shows these, an hour apart, and is charged after each."""
        for counter in counters:
            await self.read(counter)
            await self.charge()

    async def fen(self, room: Room = ROOM) -> int:
        """What a room has."""
        return await self.ask(lambda connection: books.balance(connection, room.account))

    async def free(self, room: Room = ROOM) -> int:
        """What a room has left of its allowance."""
        return await self.ask(lambda connection: books.balance(connection, room.account, Unit.WH))

    async def held(self) -> list[Held]:
        """The meterings that wait for a person."""
        return await self.ask(list_held)

    async def is_right(self) -> bool:
        """Whether every sum of the books is."""
        return await self.ask(books.check) == []

    async def binding(self, device: str = "m-1") -> str:
        """The device's newest binding."""
        query = (
            select(bindings.c.id)
            .where(bindings.c.device == device)
            .order_by(bindings.c.from_ms.desc(), bindings.c.id.desc())
        )
        return str(await self.ask(lambda connection: connection.scalar(query)))

    async def ask(self, query: Callable[[Connection], Result]) -> Result:
        """What the ledger says."""
        return await self.ledger.read(query)


@asynccontextmanager
async def open_house(
    folder: Path,
    *,
    policy: str = PREPAID,
    rate: int | None = RATE,
    place: Path | str | None = None,
) -> AsyncIterator[House]:
    """The building in the morning of a Monday, its files applied, a price entered, nothing read yet."""
    clock = VirtualClock(start_ms=MORNING_MS)
    async with (
        open_ledger(place or folder / "ledger.db", clock=clock, executor=Inline()) as ledger,
        open_journal(folder / "journal.db", clock=clock) as journal,
    ):
        config = write_building(folder / "config", site=SITE + policy)
        house = House(
            folder=config,
            clock=clock,
            ledger=ledger,
            journal=journal,
            charger=Charger(ledger=ledger, journal=journal, clock=clock),
            site=load_site(config),
        )
        await house.install(policy=policy)
        if rate is not None:
            await house.enter(rate)
        yield house


def price_of(used: Mapping[int, int]) -> int:
    """What so many Wh by rate cost, in fen, rounded down once."""
    return sum(rate * amount for rate, amount in used.items()) // 1_000_000
