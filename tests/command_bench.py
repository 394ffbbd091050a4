"""A hub with nothing but links, ledger and commands, on virtual time; it may be killed and started again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from hub import Clock, Driver, Link, Priority, Reading, VirtualClock
from hub.commands import CommandError, Order, Record, Refusal
from hub.control import Control
from hub.dispatch import Wire
from hub.ingest import Ingest
from hub.ledger import Ledger, open_ledger
from hub.points import Scalar
from hub.safety_rules import FireInput, SafetyRules
from hub.supervisor import Supervisor
from tests.scripted_device import Machine, ScriptedDriver, scripted
from tests.test_ingest import NOW_MS, ListStore
from tests.virtual_loop import InlineExecutor, run_virtual

RULES = SafetyRules(brake_percent=100, rate_per_minute=600)


class JumpingClock:
    """Virtual time whose wall clock may be set by hand."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.ahead_ms

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def random(self) -> float:
        return self._clock.random()

    def new_id(self) -> str:
        return self._clock.new_id()


class Hub:
    """One run of the hub."""

    def __init__(self, ledger: Ledger, clock: Clock, site: Site) -> None:
        self.ledger = ledger
        self.clock = clock
        self._site = site
        self.store = ListStore()
        self.listeners: list[Callable[[Sequence[Reading]], None]] = []
        self.ingest = Ingest(
            store=self.store,
            clock=clock,
            report=lambda _: None,
            count=lambda _link, _reason: None,
            stored=self._stored,
        )
        self.ingest.configure(
            [device for link in site.links for device in link.devices],
            [link.id for link in site.links],
        )
        self.drivers: dict[str, ScriptedDriver] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Hub]:
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
                wire=self._site.wire(supervisor),
            )
            self.control.configure(self._site.links, self._site.rules)
            self._supervisor = supervisor
            await supervisor.apply(self._site.links)
            others = await self.control.start(tasks)
            try:
                yield self
            finally:
                for task in others:
                    task.cancel()
                await supervisor.stop()

    async def reload(self, *links: Link) -> None:
        """Go by these links from now on, as the daemon does."""
        self.ingest.configure(
            [device for link in links for device in link.devices], [link.id for link in links]
        )
        await self._supervisor.apply(links)
        self.control.configure(links, self._site.rules)

    async def send(self, device: str, name: str, **arguments: Scalar) -> Record:
        """Submit with a key of its own."""
        order = Order(
            device=device,
            name=name,
            arguments=arguments,
            actor="ann",
            key=f"{device}-{name}-{self.clock.new_id()}",
        )
        return await self.control.commands.submit(order)

    async def end(self, record: Record, timeout_s: float = 600.0) -> Record:
        """The command once it has ended."""
        return await self.control.commands.wait(record.id, timeout_s)

    async def until(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Return as soon as it is so."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await self.clock.sleep(0.0001)

    async def poll(self, *devices: str) -> None:
        """Have these devices read now."""
        for name in devices:
            device = self.control.registry.device(name)
            assert device is not None
            await self.drivers[device.link].read(name)

    def _make(self, link: Link) -> Driver:
        driver = self.drivers[link.id] = ScriptedDriver(link, self._site.machines)
        return driver

    def _stored(self, readings: Sequence[Reading]) -> None:
        self.control.stored(readings)
        for listener in self.listeners:
            listener(readings)


class Site:
    """Machines, links and rules that outlive every run of the hub; `place` is its ledger's, else `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        machines: int = 1,
        rules: SafetyRules = RULES,
        place: Path | str = "",
        start_ms: int = NOW_MS,
    ) -> None:
        self._start_ms = start_ms
        names = [f"gate-{number}" for number in range(1, machines + 1)]
        self.place = place or folder / "ledger.db"
        self.rules = rules
        self.machines = {name: Machine(name) for name in names}
        self.links: Sequence[Link] = (
            Link(
                id="bus-1",
                driver="scripted",
                devices=tuple(scripted(name) for name in names),
            ),
        )
        self.wire: Callable[[Wire], Wire] = lambda wire: wire
        self._clock: JumpingClock | None = None

    @property
    def clock(self) -> JumpingClock:
        if self._clock is None:
            loop = asyncio.get_running_loop()
            self._clock = JumpingClock(VirtualClock(start_ms=self._start_ms, loop=loop))
        return self._clock

    def later(self, seconds: int) -> None:
        """The next loop's runs begin this much after the first loop's began."""
        self._start_ms += seconds * 1000
        self._clock = None

    @asynccontextmanager
    async def hub(
        self, through: Callable[[Ledger], Ledger] = lambda ledger: ledger
    ) -> AsyncIterator[Hub]:
        """One run of the hub; leaving kills it, as far as its tasks are concerned.

        `through` may put something between the hub and its ledger.
        """
        async with (
            open_ledger(self.place, clock=self.clock, executor=InlineExecutor()) as ledger,
            Hub(through(ledger), self.clock, self).running() as hub,
        ):
            yield hub


def empty_ledger(folder: Path, template: Path) -> None:
    """A fresh ledger without the work of making one."""
    for file in template.iterdir():
        shutil.copy(file, folder / file.name)


def on_virtual_time(site: Site, scene: Callable[[Hub], Awaitable[None]]) -> None:
    """Play one scene in one run of the hub."""

    async def main() -> None:
        async with site.hub() as hub:
            await scene(hub)

    run_virtual(main())


def fire_input(device: str = "gate-1") -> SafetyRules:
    """Rules with one fire input and no brake worth the name."""
    fire = (FireInput(device=device, point="fire_alarm"),)
    return SafetyRules(fire=fire, brake_percent=100, rate_per_minute=600)


def order(
    device: str,
    name: str,
    key: str,
    *,
    actor: str = "ann",
    priority: Priority = Priority.OPERATOR,
    **arguments: Scalar,
) -> Order:
    return Order(
        device=device, name=name, key=key, actor=actor, priority=priority, arguments=arguments
    )


async def kind_of(hub: Hub, device: str, name: str, key: str) -> Refusal | None:
    """Why it is refused; None when it is taken."""
    try:
        await hub.control.commands.submit(order(device, name, key))
    except CommandError as error:
        return error.kind
    return None
