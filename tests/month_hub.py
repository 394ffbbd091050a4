"""The hub of a month: every part of the daemon but its sockets, over real files, wired as the daemon does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from hub import Answer, Command, Driver, Host, Link, Outcome, Poison, Reading, Site, Value
from hub.campus.policies import read_policies
from hub.campus.prepaid.charging import Charger
from hub.campus.service import Campus
from hub.control import Control
from hub.ingest import Ingest
from hub.inventory.figures import Figures
from hub.inventory.keeper import Keeper, Step
from hub.journal import Journal, open_journal
from hub.ledger import Ledger, open_ledger
from hub.supervisor import Supervisor
from tests.month_meter import DormMeter, Said
from tests.month_time import MonthClock
from tests.virtual_loop import InlineExecutor

SWEEP_PERIOD_S = 30.0  # presence; the daemon looks every two seconds
_ANSWER_TIMEOUT_S = 1.0
_WILD_WH = 10**9
_SPOILT = 0.1  # of what goes wrong with a reading

Meters = Mapping[str, DormMeter]


class MonthDriver:
    """A link to meters that live longer than it; below 1 `faults()` says that something goes wrong."""

    def __init__(
        self, link: Link, meters: Meters, clock: MonthClock, faults: Callable[[], float]
    ) -> None:
        self._link = link
        self._clock = clock
        self._meters = meters
        self._faults = faults
        self._host: Host | None = None
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, host: Host) -> None:
        host.link_up()
        async with asyncio.TaskGroup() as tasks:
            self._host, self._tasks = host, tasks
            try:
                while True:
                    await self.read(*(device.id for device in self._link.devices))
                    await self._clock.exactly(self._link.devices[0].period_s)
            finally:
                self._host = self._tasks = None

    async def execute(self, command: Command) -> Outcome:
        host, meter = self._host, self._meters[command.device]
        if host is None:
            return Outcome(answer=Answer.NOT_SENT, reason="link is down")
        self._clock.stir(6)
        await self._clock.exactly(0.05 + host.clock.random())
        now_ms = host.clock.now_ms()
        if host.clock.monotonic_s() >= command.deadline_s:
            return Outcome(answer=Answer.NOT_SENT, reason="deadline")
        fault = self._faults()
        if fault < 1.0:
            meter.lose(now_ms)
        if meter.is_away(now_ms) or fault < 0.5:
            await self._clock.exactly(_ANSWER_TIMEOUT_S)
            return Outcome(answer=Answer.SILENT, reason="no answer")
        done = meter.tell(now_ms, command.spec.name, command.arguments)
        if fault < 1.0:  # done, and the answer is lost
            await self._clock.exactly(_ANSWER_TIMEOUT_S)
            return Outcome(answer=Answer.SILENT, reason="no answer")
        return Outcome(answer=Answer.ACKNOWLEDGED if done else Answer.REFUSED)

    def refresh(self, device: str) -> None:
        self._clock.stir(3)
        if self._tasks is not None:
            self._tasks.create_task(self._read_soon(device), name=f"read {device}")

    async def read(self, *devices: str) -> None:
        """One poll of each."""
        host = self._host
        assert host is not None
        now_ms, now_s = host.clock.now_ms(), host.clock.monotonic_s()
        readings, said = [], []
        for name in devices:
            meter = self._meters[name]
            if meter.is_away(now_ms):
                host.missed(name, "timeout")
                continue
            # A first word that cannot be is a person's to put right; every other the hub knows by itself.
            sound = not meter.said or self._faults() >= _SPOILT
            values = dict(meter.show(now_ms))
            said.append((meter, int(values["energy_import"]), sound))
            if not sound:
                values["energy_import"] = _WILD_WH
            readings.append(_reading(name, now_ms, now_s, values))
        await host.publish(readings)
        for meter, counter, sound in said:
            meter.said.append(
                Said(
                    time_ms=now_ms,
                    counter=counter,
                    relay_closed=meter.closed,
                    sound=sound,
                    taken_ms=host.clock.now_ms(),
                )
            )

    async def _read_soon(self, device: str) -> None:
        await self._clock.exactly(0.1)
        if self._host is not None:
            await self.read(device)


class StillStore:
    """The journal, for which time waits: its thread works in real time."""

    def __init__(self, journal: Journal, clock: MonthClock) -> None:
        self._journal = journal
        self._clock = clock

    async def append(self, readings: Sequence[Reading]) -> object:
        with self._clock.standing():
            return await self._journal.append(readings)

    async def keep_poison(self, poison: Sequence[Poison]) -> None:
        with self._clock.standing():
            await self._journal.keep_poison(poison)


class MonthHub:
    """One run of the hub."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        clock: MonthClock,
        keeper: Keeper,
        make: Callable[[Link], Driver],
    ) -> None:
        self.ledger = ledger
        self.journal = journal
        self.clock = clock
        self.keeper = keeper
        self._make = make
        self._drivers: dict[str, MonthDriver] = {}
        self.ingest = Ingest(
            store=StillStore(journal, clock),
            clock=clock,
            report=lambda _: None,
            count=lambda _link, _reason: None,
            stored=self._stored,
        )

    @asynccontextmanager
    async def running(self, http: httpx2.AsyncClient) -> AsyncIterator[MonthHub]:
        """Serve; leaving cancels every task, whatever it was doing."""
        site = self.keeper.site
        self._configure(site)
        for name, latest in (await self.journal.latest()).items():
            words = [
                (point, value, latest.time_of(point)) for point, value in latest.values.items()
            ]
            self.ingest.remember({name: words})
        async with asyncio.TaskGroup() as tasks:
            self.supervisor = Supervisor(
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
                wire=self.supervisor,
            )
            self.control.configure(site.links, site.safety)
            self.campus = self._campus(http)
            self.campus.configure(read_policies(site))
            await self.supervisor.apply(site.links)
            self.keeper.attach(tasks, self._prepare)
            others = [
                *await self.control.start(tasks),
                tasks.create_task(self.campus.run(), name="campus"),
                tasks.create_task(self._sweep(), name="presence"),
                tasks.create_task(self._figures().run(), name="bindings"),
            ]
            try:
                yield self
            finally:
                self.keeper.stop()
                for task in others:
                    task.cancel()
                await self.supervisor.stop()

    async def read_all(self) -> None:
        """Every meter is read once more."""
        for link in self.keeper.site.links:
            for device in link.devices:
                self.supervisor.refresh(link.id, device.id)
        await self.clock.exactly(60)

    async def charge_all(self) -> None:
        """What is used is charged, however little it is."""
        rules = read_policies(self.keeper.site).rules
        charger = Charger(ledger=self.ledger, journal=self.journal, clock=self.clock)
        await charger.run(self.keeper.site, rules, flush=True)

    def _campus(self, http: httpx2.AsyncClient) -> Campus:
        return Campus(
            ledger=self.ledger,
            journal=self.journal,
            clock=self.clock,
            commands=self.control.commands,
            registry=self.control.registry,
            refresh=self.supervisor.refresh,
            http=http,
        )

    def _figures(self) -> Figures:
        return Figures(
            ledger=self.ledger,
            journal=self.journal,
            clock=self.clock,
            profiles=lambda: self.keeper.site.profiles,
        )

    async def _prepare(self, site: Site) -> Step:
        made = self.supervisor.prepare(site.links)
        policies = read_policies(site)

        async def step() -> tuple[str, ...]:
            self._configure(site)
            self.campus.configure(policies)
            touched = await self.supervisor.apply(site.links, made)
            self.control.configure(site.links, site.safety)
            return touched

        return step

    def _configure(self, site: Site) -> None:
        self.ingest.configure(site.devices(), [link.id for link in site.links])

    def _stored(self, readings: Sequence[Reading]) -> None:
        self.control.stored(readings)
        self.campus.stored(readings)

    async def _sweep(self) -> None:
        while True:
            await self.clock.sleep(SWEEP_PERIOD_S)
            self.ingest.sweep()


@asynccontextmanager
async def open_hub(
    folder: Path,
    clock: MonthClock,
    meters: Meters,
    *,
    http: httpx2.AsyncClient,
    faults: Callable[[], float],
) -> AsyncIterator[MonthHub]:
    """A run of the hub over the files of `folder`, from opening its stores to closing them."""
    data = folder / "data"
    with clock.standing():
        opened = open_journal(data / "journal.db", clock=clock)
        journal = await opened.__aenter__()
    try:
        async with open_ledger(
            data / "ledger.db", clock=clock, executor=InlineExecutor()
        ) as ledger:
            keeper = Keeper(folder=folder / "config", ledger=ledger, clock=clock)
            await keeper.start()
            hub = MonthHub(
                ledger=ledger,
                journal=journal,
                clock=clock,
                keeper=keeper,
                make=lambda link: MonthDriver(link, meters, clock, faults),
            )
            async with hub.running(http):
                yield hub
    finally:
        await opened.__aexit__(None, None, None)


def _reading(device: str, now_ms: int, now_s: float, values: Mapping[str, Value]) -> Reading:
    return Reading(
        device=device, time_ms=now_ms, received_ms=now_ms, received_s=now_s, values=values
    )
