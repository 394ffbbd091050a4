"""A house whose rooms are settled and transferred: the campus over its ledger, and money paid in by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, func, select

from hub import Site
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit, payout
from hub.campus.life import jobs
from hub.campus.life.figures import Spoken
from hub.campus.life.jobs import Job, JobState, Step
from hub.campus.life.life import Leaving, Life, Moving
from hub.campus.life.sheet import Sheet, read_sheet
from hub.campus.orders import orders
from hub.campus.orders.orders import Act, Notice, Order, OrderState
from hub.campus.policies import read_policies
from hub.campus.service import Campus
from hub.commands import Commands
from hub.ingest import Ingest
from hub.ledger.tables import balances
from hub.registry import Registry
from hub.safety import Safety
from hub.safety_rules import SafetyRules
from tests.campus_house import HOUR_S, PREPAID, ROOM, ZONE, House, open_house

ACREL = "m-1,acrel_ddsy1352,bus-1,1,B1,1,101,socket,,"


@dataclass(kw_only=True, slots=True)
class Office:
    """One run of the campus; `again` is the next one, over the same ledger, after a kill."""

    house: House
    campus: Campus
    asked: list[str] = field(default_factory=list)

    @property
    def life(self) -> Life:
        return self.campus.office.life

    def again(self) -> Office:
        """What the next start makes: nothing but the ledger and the journal is remembered."""
        return office_of(self.house)

    async def pay(self, fen: int, room: Room = ROOM, *, number: str = "") -> Order:
        """A paid order, delivered."""
        order = await self.take(fen, room, number=number)
        return await self.deliver(order)

    async def take(self, fen: int, room: Room = ROOM, *, number: str = "") -> Order:
        """A paid order that stands accepted."""
        name = number or self.house.clock.new_id()
        notice = Notice(platform="pay", number=name, room=room, amount_fen=fen)
        return await self.campus.intake.take(notice)

    async def deliver(self, order: Order, *, in_meter: bool = False) -> Order:
        """As its meter, or the hub, would have ended it."""
        act = Act(actor="delivery", now_ms=self.house.clock.now_ms())

        def work(connection: Connection) -> Order:
            known = orders.by_id(connection, order.id) or order
            if in_meter and known.state is OrderState.ACCEPTED:
                known = orders.advance(connection, known, OrderState.DELIVERING, act)
            return orders.deliver(connection, known, act, in_meter=in_meter)

        return await self.house.ledger.run(work)

    async def used(self, *counters: int, device: str = "m-1") -> None:
        """The meter shows these, an hour apart, and is charged."""
        for counter in counters:
            await self.house.read(counter, device=device)
            await self.campus.bookkeeping.turn()

    async def settle(self, room: Room = ROOM, *, cut: bool = False, give_back: bool = False) -> Job:
        """A settlement, looked at once: its meters are asked from now on."""
        job = await self.begin(room, cut=cut, give_back=give_back)
        await self.turn(0.0)
        return job

    async def begin(self, room: Room = ROOM, *, cut: bool = False, give_back: bool = False) -> Job:
        """A settlement that nobody has looked at yet."""
        self.house.clock.advance(1.0)
        leaving = Leaving(room=room, cut=cut, give_back=give_back, payee="Li", reason="graduated")
        return await self.life.settle(leaving, "key/fin")

    async def transfer(self, room: Room, other: Room, *, swap: bool = False) -> Job:
        moving = Moving(room=room, other=other, swap=swap, reason="moved")
        return await self.life.transfer(moving, "key/fin")

    async def say(
        self, job: Job, *, counter: int | None = None, credit_fen: int | None = None
    ) -> None:
        spoken = Spoken(
            device="m-1", counter=counter, credit_fen=credit_fen, reason="read at the meter"
        )
        await self.life.say(job.id, spoken, "key/ann")

    async def serve(self, order: Order, state: OrderState) -> None:
        """The campus runs by itself until the order stands so."""
        running = asyncio.create_task(self.campus.run(), name="campus")
        async with asyncio.timeout(20):
            while await self.state(order) is not state:
                await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])

    async def state(self, order: Order) -> OrderState:
        found = await self.house.ask(lambda connection: orders.by_id(connection, order.id))
        assert found is not None
        return found.state

    async def turn(self, after_s: float = 61.0) -> None:
        """A minute later, so that whatever waits is looked at."""
        self.house.clock.advance(after_s)
        await self.campus.office.rounds.turn()

    async def job(self, job: Job) -> Job:
        found = await self.house.ask(lambda connection: jobs.find(connection, job.id))
        assert found is not None
        return found

    async def steps(self, job: Job) -> list[Step]:
        return await self.house.ask(lambda connection: jobs.steps_of(connection, job.id))

    async def names(self, job: Job) -> list[str]:
        return [str(step.name) for step in await self.steps(job)]

    async def sheet(self, job: Job) -> Sheet:
        found = await self.house.ask(lambda connection: read_sheet(connection, job.id, ZONE))
        assert found is not None
        # What was booked is what was left or owed, and what a meter had deducted itself.
        booked = sum(total.amount for total in found.totals if total.unit is Unit.FEN)
        assert booked == found.payout_fen - found.debt_fen + found.used_fen
        return found

    async def has(self, account: str) -> int:
        return await self.house.ask(lambda connection: books.balance(connection, account))

    async def payout(self, job: Job) -> int:
        return await self.has(payout(job.id))

    async def is_right(self) -> bool:
        """Whether every sum is, and all accounts together have nothing in any unit."""
        query = select(func.sum(balances.c.amount)).group_by(balances.c.unit)
        sums = await self.house.ask(lambda connection: list(connection.scalars(query)))
        return await self.house.is_right() and not any(sums)

    async def ended(self, job: Job) -> JobState:
        return (await self.job(job)).state

    async def fen(self, room: Room = ROOM) -> int:
        return await self.house.fen(room)

    async def free(self, room: Room = ROOM) -> int:
        return await self.house.ask(
            lambda connection: books.balance(connection, room.account, Unit.WH)
        )


def office_of(house: House) -> Office:
    """The campus of this house; what commands are told is written and sent nowhere."""
    ingest = Ingest(
        store=house.journal, clock=house.clock, report=lambda _: None, count=lambda *_: None
    )
    registry = Registry(ingest.presence)
    safety = Safety(ledger=house.ledger, clock=house.clock, is_away=lambda _: False)
    commands = Commands(
        ledger=house.ledger,
        clock=house.clock,
        registry=registry,
        safety=safety,
        queued=lambda _: None,
    )
    asked: list[str] = []
    campus = Campus(
        ledger=house.ledger,
        journal=house.journal,
        clock=house.clock,
        commands=commands,
        registry=registry,
        refresh=lambda _link, device: asked.append(device),
    )
    configure(campus, house.site)
    registry.configure(house.site.links)
    safety.configure(SafetyRules(), list(house.site.devices()))
    return Office(house=house, campus=campus, asked=asked)


def configure(campus: Campus, site: Site) -> None:
    """Go by this site from now on."""
    campus.configure(read_policies(site))


@asynccontextmanager
async def open_office(
    folder: Path, *rows: str, policy: str = PREPAID, place: Path | str | None = None
) -> AsyncIterator[Office]:
    """The office of a house with these meters, its rooms opened."""
    async with open_house(folder, policy=policy, place=place) as house:
        if rows:
            await house.install(*rows, policy=policy)
        office = office_of(house)
        await office.campus.bookkeeping.turn()
        house.clock.advance(HOUR_S)
        yield office
