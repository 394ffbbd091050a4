"""A dormitory of scripted meters, and the batches of a hub that may be killed, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from hub import Place, Reading
from hub import Site as Campus
from hub.campus.alarms import Alarms
from hub.campus.batches import rows
from hub.campus.batches.batch import Asker, Batch, BatchState, Item, ItemState, Wish
from hub.campus.batches.batches import Batches
from hub.campus.batches.scope import Scope
from hub.campus.prepaid.pace import Pace
from hub.campus.prepaid.rules import Prepaid, Rules
from hub.campus.prepaid.standing import Standings
from hub.journal import Latest
from hub.ledger import Ledger
from hub.safety_rules import SafetyRules
from tests.command_bench import Hub, Site
from tests.scripted_device import scripted
from tests.virtual_loop import run_virtual

ANN, BOB = Asker(actor="key/ann", owner="ann"), Asker(actor="key/bob", owner="bob")
FREE = SafetyRules(brake_percent=100, rate_per_minute=600)
OPEN_HOUSE = Prepaid(enabled=True, protected_hours=())
B1 = Scope(buildings=("B1",))
Result = TypeVar("Result")


def place_of(number: int) -> Place:
    """Six rooms of two floors in each building: 101, 102, 103, 201, 202, 203 of B1, then of B2."""
    building, room = divmod(number, 6)
    floor, place = divmod(room, 3)
    return Place(building=f"B{building + 1}", floor=str(floor + 1), room=f"{floor + 1}0{place + 1}")


def dorm(folder: Path, *, rooms: int = 6, rules: SafetyRules = FREE) -> Site:
    """Rooms with one meter each: gate-1 in room 101 of B1, and so on."""
    site = Site(folder, machines=rooms, rules=rules)
    devices = [
        replace(scripted(name), place=place_of(number)) for number, name in enumerate(site.machines)
    ]
    site.links = [replace(site.links[0], devices=tuple(devices))]
    return site


class Said:
    """The last words that a hub has stored, as its journal would tell them."""

    def __init__(self, readings: list[Reading]) -> None:
        self._readings = readings

    async def latest(self, devices: Iterable[str] | None = None) -> dict[str, Latest]:
        found: dict[str, Latest] = {}
        for one in self._readings:
            if devices is None or one.device in set(devices):
                before = found.get(one.device)
                found[one.device] = Latest(
                    device=one.device,
                    time_ms=one.time_ms,
                    received_ms=one.received_ms,
                    values={**(before.values if before else {}), **one.values},
                    older={},
                    bad=one.bad,
                    uncertain=one.uncertain,
                )
        return found


class DyingLedger:
    """Takes so many works, and then no more: nobody learns of the last one, which is `done` or is not."""

    def __init__(self, ledger: Ledger, works: int, *, done: bool) -> None:
        self._ledger = ledger
        self._left = works
        self._done = done

    async def run(self, work: Callable[[Connection], Result]) -> Result:
        self._left -= 1
        if self._left < 0 or (self._left == 0 and not self._done):
            await asyncio.Event().wait()
        result = await self._ledger.run(work)
        if self._left == 0:
            await asyncio.Event().wait()
        return result

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)


class Office:
    """The batches of one run of the hub."""

    def __init__(self, hub: Hub, policy: Prepaid = OPEN_HOUSE) -> None:
        self.hub = hub
        self.alarms = Alarms(hub.clock)
        said = Said(hub.store.readings)
        standings = Standings(ledger=hub.ledger, journal=said, clock=hub.clock)
        self.batches = Batches(
            ledger=hub.ledger,
            journal=said,
            clock=hub.clock,
            commands=hub.control.commands,
            registry=hub.control.registry,
            refresh=lambda _link, device: asyncio.create_task(hub.poll(device)),
            alarms=self.alarms,
            standings=standings,
            pace=Pace(),
        )
        self.standings = standings
        hub.listeners.append(self.batches.heard)
        self.go_by(policy)

    def go_by(self, policy: Prepaid) -> None:
        """These rules from now on."""
        site = Campus(
            name="dorm",
            timezone=ZoneInfo("UTC"),
            links=tuple(self.hub._site.links),
            folder=Path(),
        )
        self.standings.configure(site, Rules(everywhere=policy))
        self.batches.configure(site, Rules(everywhere=policy))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Office]:
        """Runs what is to be run; leaving kills it."""
        task = asyncio.create_task(self.batches.run(), name="batches")
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def submit(
        self,
        action: str = "cut",
        scope: Scope = B1,
        *,
        key: str = "k",
        asker: Asker = ANN,
        **more: object,
    ) -> Batch:
        return await self.batches.submit(wish(action, scope, **more), key, asker)

    async def plan(self, action: str = "cut", scope: Scope = B1, **more: object) -> dict[str, str]:
        """Each device, or account, with why it is left out."""
        plan = await self.batches.plan(wish(action, scope, **more), ANN)
        return {part.device or part.account: part.hindrance for part in plan.parts}

    async def items(self, batch: Batch) -> list[Item]:
        return await self.hub.ledger.read(lambda c: rows.items(c, batch.id, limit=20_000))

    async def states(self, batch: Batch) -> list[ItemState]:
        return [item.state for item in await self.items(batch)]

    async def until(self, batch: Batch, *states: BatchState, timeout_s: float = 30_000) -> Batch:
        """The batch once it stands so, or has nothing open any more."""
        async with asyncio.timeout(timeout_s):
            while True:
                now = await self.batches.get(batch.id)
                if now.state in states or (not states and now.finished_ms is not None):
                    return now
                await self.hub.clock.sleep(0.05)


def wish(action: str = "cut", scope: Scope = B1, **more: object) -> Wish:
    return Wish(action=action, scope=scope, **{"cause": "drill", "per_s": 20.0, **more})


@asynccontextmanager
async def office(
    site: Site,
    policy: Prepaid = OPEN_HOUSE,
    *,
    through: Callable[[Ledger], Ledger] = lambda ledger: ledger,
) -> AsyncIterator[Office]:
    """One run of the hub, with its batches; leaving kills it."""
    async with site.hub(through) as hub, Office(hub, policy).open() as made:
        yield made


def told(site: Site) -> dict[str, int]:
    """How often each meter was told something, by its own word."""
    return {name: len(machine.tries) for name, machine in site.machines.items()}


def play(site: Site, scene: Callable[[Office], Awaitable[None]], **more: object) -> None:
    """One scene in one run of the hub."""

    async def main() -> None:
        async with office(site, **more) as made:
            await scene(made)

    run_virtual(main())


def cut_once(site: Site, *names: str) -> bool:
    """Whether exactly these meters were cut, each once."""
    effects = {name: [one.name for one in m.effects] for name, m in site.machines.items()}
    return effects == {name: ["cut"] if name in names else [] for name in site.machines}
