"""A dormitory of scripted meters with relays, on virtual time: supply, orders, charging and commands.

Rooms 101, 102 … of B1, each floor with so many; m-101 is the meter of room 101. The machines outlive every
run of the hub, and what they did is the judge.
"""

from __future__ import annotations

import asyncio
import selectors
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Table, insert

from hub import Device, Driver, Link, Place, Reading, Site, Value, VirtualClock
from hub.audit import AuditRow
from hub.audit import rows as audit_rows
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit, Utility
from hub.campus.accounts.prices import Price, enter_price
from hub.campus.alarms import Alarms
from hub.campus.orders import orders
from hub.campus.orders.delivery import Delivery
from hub.campus.orders.orders import Act, Notice
from hub.campus.policies import Policies, read_policies
from hub.campus.prepaid.charging import Charger
from hub.campus.prepaid.meters import open_rooms
from hub.campus.prepaid.pace import Pace
from hub.campus.prepaid.standing import Standings
from hub.campus.supply import record
from hub.campus.supply.bulk import BulkCuts
from hub.campus.supply.desired import Act as Supplied
from hub.campus.supply.desired import Cause, Decision
from hub.campus.supply.episodes import Due
from hub.campus.supply.facts import View
from hub.campus.supply.record import Supply
from hub.campus.supply.service import Supplies
from hub.campus.supply.switches import Word, switches
from hub.control import Control
from hub.ingest import Ingest
from hub.journal import Journal, open_journal
from hub.ledger import Ledger, open_ledger, tables
from hub.profile_file import read_profile
from hub.safety_rules import SafetyRules
from hub.supervisor import Supervisor
from tests.scripted_device import Effect, Machine, ScriptedDriver
from tests.virtual_loop import InlineExecutor, VirtualLoop, VirtualSelector

Result = TypeVar("Result")
ZONE = ZoneInfo("Asia/Shanghai")
MORNING = datetime(2026, 11, 2, 9, tzinfo=ZONE)  # a Monday
PERIOD_S = 30.0
PREPAID = '[prepaid]\nrestore = "close"\n'
BRAKE = SafetyRules(brake_percent=100, rate_per_minute=600)  # 20 devices in ten minutes

METER = """
name = "Scripted meter with a relay"
maker = "Nobody"
kind = "electricity_meter"
protocol = "scripted"
period_s = 30
[settings]
[scripted]
[points]
energy_import = {}
active_power_total = {}
relay_closed = {}
relay_armed = {}
overload_count = {}
over_limit = {}
power_limit = {}
[commands.cut]
meaning = "open the relay"
confirm = [{ point = "relay_closed", equals = false }]
repeat = "verify"
hazard = "cut"
[commands.restore]
meaning = "close the relay"
confirm = [{ point = "relay_closed", equals = true }]
repeat = "verify"
hazard = "restore"
[commands.arm]
meaning = "let a hand close it"
confirm = [{ point = "relay_armed", equals = true }]
repeat = "verify"
hazard = "restore"
[commands.power_limit]
meaning = "cut by itself above this power"
arguments.power = { type = "int", unit = "W", minimum = 0, maximum = 100000 }
confirm = [{ point = "power_limit", equals = "@power" }]
repeat = "verify"
hazard = "cut"
"""
UNARMED = METER[: METER.index("[commands.arm]")] + METER[METER.index("[commands.power_limit]") :]


class PatientSelector(VirtualSelector):
    """Virtual time that stands still while a store's own thread is at work."""

    def __init__(self) -> None:
        super().__init__()
        self.at_work = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.at_work and timeout != 0:
            return selectors.DefaultSelector.select(self, None)
        return super().select(timeout)


class PatientLoop(VirtualLoop):
    """A loop whose `at_work` keeps time from moving."""

    def __init__(self) -> None:
        self._virtual = PatientSelector()
        asyncio.SelectorEventLoop.__init__(self, self._virtual)

    @property
    def patient(self) -> PatientSelector:
        assert isinstance(self._virtual, PatientSelector)
        return self._virtual


def run_patient(main: Coroutine[object, object, Result]) -> Result:
    """Run to the end on a loop of its own."""
    with asyncio.Runner(loop_factory=PatientLoop) as runner:
        return runner.run(main)


@contextmanager
def at_work() -> Iterator[None]:
    """Time stands still within."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, PatientLoop)
    loop.patient.at_work += 1
    try:
        yield
    finally:
        loop.patient.at_work -= 1


@asynccontextmanager
async def open_patiently(path: Path, clock: VirtualClock) -> AsyncIterator[Journal]:
    """The journal; its thread begins in no virtual time."""
    opening = open_journal(path, clock=clock)
    with at_work():
        journal = await opening.__aenter__()
    try:
        yield journal
    finally:
        await opening.__aexit__(None, None, None)


class PatientStore:
    """A journal that is waited for in no virtual time."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def append(self, readings: Sequence[Reading]) -> None:
        with at_work():
            await self._journal.append(readings)

    async def keep_poison(self, poison: Sequence[object]) -> None:
        raise AssertionError(f"nothing here is poison: {poison}")


@dataclass(kw_only=True)
class Dorm:
    """The building, its machines and files; `policy` is its site.toml beside the links."""

    folder: Path
    rooms: int = 3
    per_floor: int = 30
    policy: str = PREPAID
    safety: SafetyRules = BRAKE
    product: str = METER
    start: datetime = MORNING
    fen: int = 1_000
    period_s: float = PERIOD_S
    machines: dict[str, Machine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names:
            state: dict[str, Value] = {
                "energy_import": 100_000,
                "active_power_total": 100.0,
                "relay_armed": False,
                "overload_count": 0,
                "over_limit": False,
                "power_limit": 0.0,
            }
            self.machines[name] = Machine(name=name, state=state)
        self._clock: VirtualClock | None = None
        self._is_built = False

    @property
    def names(self) -> list[str]:
        return [f"m-{self.number(place)}" for place in range(self.rooms)]

    def number(self, place: int) -> int:
        """101, 102 …, then those of the next floor."""
        return 100 * (1 + place // self.per_floor) + 1 + place % self.per_floor

    @property
    def clock(self) -> VirtualClock:
        if self._clock is None:
            start_ms = round(self.start.timestamp() * 1000)
            self._clock = VirtualClock(start_ms=start_ms, loop=asyncio.get_running_loop())
        return self._clock

    @property
    def site(self) -> Site:
        profile = read_profile("scripted_meter", "scripted_meter.toml", self.product).apply(
            {}, place="test"
        )
        devices = tuple(
            Device(
                id=name,
                profile=profile,
                link="bus-1",
                address=name,
                place=Place(building="B1", floor=name[2], room=name[2:], circuit="socket"),
                period_s=self.period_s,
            )
            for name in self.names
        )
        policies = tomllib.loads(self.policy, parse_float=Decimal)
        return Site(
            name="test",
            timezone=ZONE,
            links=(Link(id="bus-1", driver="scripted", devices=devices),),
            folder=self.folder,
            policies=policies,
        )

    def effects(self, *names: str) -> list[Effect]:
        """What the machines really did, those of these commands, as it happened."""
        every = [effect for machine in self.machines.values() for effect in machine.effects]
        found = [effect for effect in every if not names or effect.name in names]
        return sorted(found, key=lambda effect: effect.at_s)

    def told(self, room: int = 101) -> list[str]:
        """What this room's meter really did."""
        return [effect.name for effect in self.machines[f"m-{room}"].effects]

    @asynccontextmanager
    async def hub(self, bulk: BulkCuts | None = None) -> AsyncIterator[DormHub]:
        """One run of the hub; leaving kills it, as far as its tasks are concerned."""
        async with (
            open_ledger(
                self.folder / "ledger.db", clock=self.clock, executor=InlineExecutor()
            ) as ledger,
            open_patiently(self.folder / "journal.db", self.clock) as journal,
        ):
            hub = DormHub(self, ledger, journal, bulk)
            async with hub.running(is_first=not self._is_built):
                self._is_built = True
                yield hub


class DormHub:
    """One run of the hub over a dormitory."""

    def __init__(self, dorm: Dorm, ledger: Ledger, journal: Journal, bulk: BulkCuts | None) -> None:
        self.dorm = dorm
        self.ledger = ledger
        self.journal = journal
        self.clock = dorm.clock
        self.alarms = Alarms(self.clock)
        self._bulk = bulk
        self.asked: list[str] = []
        self.drivers: dict[str, ScriptedDriver] = {}
        self.ingest = Ingest(
            store=PatientStore(journal),
            clock=self.clock,
            report=lambda _: None,
            count=lambda _link, _reason: None,
            stored=self._stored,
        )

    @asynccontextmanager
    async def running(self, *, is_first: bool) -> AsyncIterator[DormHub]:
        site = self.dorm.site
        self.ingest.configure(site.devices(), [link.id for link in site.links])
        async with asyncio.TaskGroup() as tasks:
            supervisor = Supervisor(
                ingest=self.ingest,
                clock=self.clock,
                tasks=tasks,
                make=self._make,
                late=lambda *answer: self.control.dispatcher.answered_late(*answer),
            )
            self.control = Control(
                ledger=self.ledger,
                clock=self.clock,
                presence=self.ingest.presence,
                wire=supervisor,
            )
            self.control.configure(site.links, self.dorm.safety)
            await supervisor.apply(site.links)
            others = await self.control.start(tasks)
            self._serve()
            self.configure()
            self.supplies.call_back()
            others.append(tasks.create_task(self._poll(), name="polls"))
            await self.poll()
            if is_first:
                await self._build(site)
            others += [
                tasks.create_task(self.delivery.run(), name="delivery"),
                tasks.create_task(self.supplies.run(), name="supplies"),
            ]
            try:
                yield self
            finally:
                for task in others:
                    task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait(others)
                await supervisor.stop()

    def _serve(self) -> None:
        self.charger = Charger(ledger=self.ledger, journal=self.journal, clock=self.clock)
        self.pace = Pace()
        self.standings = Standings(ledger=self.ledger, journal=self.journal, clock=self.clock)
        self.supplies = Supplies(
            ledger=self.ledger,
            journal=self.journal,
            clock=self.clock,
            commands=self.control.commands,
            registry=self.control.registry,
            standings=self.standings,
            alarms=self.alarms,
            pace=self.pace,
            bulk=self._bulk,
            refresh=lambda _link, device: self.asked.append(device),
        )
        self.delivery = Delivery(
            ledger=self.ledger,
            clock=self.clock,
            commands=self.control.commands,
            registry=self.control.registry,
            alarms=self.alarms,
            delivered=lambda order: self.supplies.wake(order.account),
        )

    def configure(self, policy: str | None = None) -> None:
        """Go by this policy from now on."""
        if policy is not None:
            self.dorm.policy = policy
        policies = self.policies
        self.standings.configure(policies.site, policies.rules)
        self.supplies.configure(policies.site, policies.rules, policies.schedules)

    @property
    def policies(self) -> Policies:
        return read_policies(self.dorm.site)

    async def _build(self, site: Site) -> None:
        """Bindings, a price, accounts with some credit, and a first charge."""
        now_ms, rules = self.clock.now_ms(), self.policies.rules
        item = Price(utility=Utility.ELECTRICITY, from_day=date(2026, 1, 1), rate=54_830)
        await self.ledger.run(
            lambda connection: enter_price(
                connection, item, today=date(2026, 1, 1), actor="t", time_ms=now_ms
            )
        )
        for device in site.devices():
            known = {
                "id": device.id,
                "profile": device.profile.id,
                "link": device.link,
                "address": device.address,
                "first_ms": now_ms,
            }
            bound = {
                "id": f"b-{device.id}",
                "device": device.id,
                "building": "B1",
                "room": device.place.room,
                "from_ms": now_ms - 1_000,
                "first_value": self.dorm.machines[device.id].state["energy_import"],
                "entered_ms": now_ms,
                "actor": "t",
            }
            await self.ledger.run(partial(_add, table=tables.devices, values=known))
            await self.ledger.run(partial(_add, table=tables.bindings, values=bound))
        rooms = [Room(building="B1", room=device.place.room) for device in site.devices()]
        await self.ledger.run(lambda connection: open_rooms(connection, rooms, now_ms=now_ms))
        for room in rooms:
            await self.give(self.dorm.fen, room=int(room.room))
        await self.charger.run(site, rules, flush=True)

    async def give(self, fen: int, *, room: int = 101) -> None:
        """A person puts the account right by so much, below 0 too; the supply is told nothing."""
        if not fen:
            return
        key = f"correction/{self.clock.new_id()}"
        account, now_ms = Room(building="B1", room=str(room)).account, self.clock.now_ms()
        await self.ledger.run(
            lambda connection: books.correct(
                connection,
                key=key,
                account=account,
                unit=Unit.FEN,
                amount=fen,
                actor="t",
                reason="test",
                time_ms=now_ms,
            )
        )

    async def pay(self, fen: int, *, room: int = 101) -> None:
        """A payment comes in."""
        now_ms, number = self.clock.now_ms(), self.clock.new_id()
        received = await self.ledger.run(
            lambda connection: orders.receive(
                connection,
                Notice(
                    platform="pay",
                    number=number,
                    room=Room(building="B1", room=str(room)),
                    amount_fen=fen,
                ),
                Act(actor="platform/pay", now_ms=now_ms),
                id=self.clock.new_id(),
                device=f"m-{room}",
                deadline_ms=now_ms + 60_000,
            )
        )
        assert received.order is not None
        self.delivery.take(received.order)

    async def poll(self) -> None:
        """Every meter is read once."""
        for name in self.dorm.names:
            await self.drivers["bus-1"].read(name)

    async def row(self, room: int = 101) -> Supply:
        """How the ledger has this room's supply."""
        name = f"m-{room}"
        return (await self.ledger.read(lambda connection: record.read(connection, [name])))[name]

    async def audit(self, room: int = 101) -> list[AuditRow]:
        """What the audit says of this room's supply."""
        subject = f"supply/m-{room}"
        return await self.ledger.read(lambda connection: audit_rows(connection, subject=subject))

    async def actions(self, room: int = 101) -> list[str]:
        """The words of that."""
        return [row.action for row in await self.audit(room)]

    def said(self, subject: str) -> str:
        """The alarm of this subject; empty when there is none."""
        found = {alarm.subject: alarm.reason for alarm in self.alarms.now()}
        return found.get(subject, "")

    async def until(self, condition: Callable[[], object], timeout_s: float = 120.0) -> float:
        """The seconds that passed until it was so."""
        began_s = self.clock.monotonic_s()
        async with asyncio.timeout(timeout_s):
            while not condition():
                await self.clock.sleep(0.05)
        return self.clock.monotonic_s() - began_s

    async def to(self, moment: datetime) -> None:
        """Let time pass until then."""
        await self.clock.sleep((moment.timestamp() * 1000 - self.clock.now_ms()) / 1000)

    async def _poll(self) -> None:
        while True:
            await self.clock.sleep(self.dorm.period_s / 2)
            await asyncio.gather(*(self.drivers["bus-1"].read(name) for name in self.dorm.names))
            self.ingest.sweep()

    def _make(self, link: Link) -> Driver:
        driver = self.drivers[link.id] = ScriptedDriver(link, self.dorm.machines)
        return driver

    def _stored(self, readings: Sequence[Reading]) -> None:
        self.control.stored(readings)
        self.supplies.heard(readings)


def play(dorm: Dorm, scene: Callable[[DormHub], Awaitable[None]], **made: BulkCuts) -> None:
    """Play one scene in one run of the hub."""

    async def main() -> None:
        async with dorm.hub(**made) as hub:
            await scene(hub)

    run_patient(main())


def most_in_a_second(effects: Sequence[Effect]) -> int:
    """How many different relays moved within any one second."""
    times = sorted((effect.at_s, effect.device) for effect in effects)
    return max(
        (
            len({device for at_s, device in times if begin_s <= at_s < begin_s + 1.0})
            for begin_s, _ in times
        ),
        default=0,
    )


def _add(connection: Connection, *, table: Table, values: dict[str, object]) -> None:
    connection.execute(insert(table).values(values))


def due_of(device: str, batch: str) -> Due:
    """A cut that is due, as far as it matters to whom it is shown."""
    site = Dorm(folder=Path("nowhere"), rooms=1).site
    row = Supply(device=device, batch=batch)
    view = View(switch=next(switches(site)), row=row, word=Word(), standing=None, now_ms=0)
    return Due(view=view, row=row, decision=Decision(act=Supplied.CUT, cause=Cause.ARREARS))
