"""Keeps every link's driver running: one task each, started again after a pause, seen in the status.

The only place where every error is caught: a driver's mistake costs its own link a restart and is said
aloud, it never reaches the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import structlog

from hub.clock import Clock
from hub.command import Answer, Command, Outcome
from hub.errors import HubError, LinkError
from hub.ingest import Ingest
from hub.model import Link, Poison, Reading, Trace, drive_alike
from hub.plugin import Driver, DriverFactory, open_driver, open_drivers
from hub.status import LENT
from hub.taps import Taps

RESTART_FIRST_S = 0.5
RESTART_MAX_S = 30.0
STEADY_S = 60.0  # a driver that ran this long starts again from the shortest pause
STOP_TIMEOUT_S = 5.0
CLOSING = "its driver before does not end"

LateAnswer: TypeAlias = Callable[[str, str, str, Outcome], None]  # link, device, command id

_log = structlog.get_logger("link")


class LinkHost:
    """What the hub lends to one link's driver, and what the status shows of that link."""

    def __init__(
        self, link: Link, *, ingest: Ingest, clock: Clock, late: LateAnswer, taps: Taps
    ) -> None:
        self.link = link
        self.clock = clock
        self.up = False
        self.reason = "starting"
        self.since_ms = clock.now_ms()
        self.restarts = 0
        self.counters: Counter[tuple[str, str]] = Counter()
        self._ingest = ingest
        self._late = late
        self._taps = taps
        self._log = _log.bind(link=link.id)

    async def publish(self, readings: Sequence[Reading]) -> None:
        """Hand over readings; returns when on disk. Raises StoreError."""
        await self._ingest.publish(self.link.id, readings)

    async def quarantine(self, poison: Sequence[Poison]) -> None:
        """Keep what could not become a reading; counted by reason. Raises StoreError."""
        await self._ingest.quarantine(poison)
        for item in poison:
            self.count("poison", item.reason)

    def missed(self, device: str, reason: str) -> None:
        """A device gave nothing usable."""
        self.count("missed", reason)
        self._ingest.presence.missed(device, reason)

    def link_up(self) -> None:
        """The link works."""
        self._turn(up=True, reason="")

    def link_down(self, reason: str) -> None:
        """The link is away."""
        self._turn(up=False, reason=reason)

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        """Add to a counter of this link."""
        self.counters[name, reason] += number

    def answered_late(self, device: str, command: str, outcome: Outcome) -> None:
        """An answer came after its command's `execute` had returned."""
        self._late(self.link.id, device, command, outcome)

    def tapped(self, device: str = "") -> bool:
        """Whether somebody looks at this device's frames; without a name, at any device's."""
        return self._taps.open(device)

    def tap(self, trace: Trace) -> None:
        """Show a frame to whoever looks on."""
        self._taps.tap(trace)

    def _turn(self, *, up: bool, reason: str) -> None:
        told = self.up is not up or (not up and (self.reason == "starting" or reason == LENT))
        self.reason = reason
        if not told:
            return
        self.up, self.since_ms = up, self.clock.now_ms()
        if up:
            self._log.info("link is up")
        else:
            self._log.warning("link is down", reason=reason)


class Supervisor:
    """The running links. `apply` moves from one set of links to another, touching only what changed."""

    def __init__(
        self,
        *,
        ingest: Ingest,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        make: DriverFactory = open_driver,
        late: LateAnswer = lambda *_: None,
    ) -> None:
        self._ingest = ingest
        self._make = make
        self._late = late
        self._clock = clock
        self._tasks = tasks
        self._running: dict[str, asyncio.Task[None]] = {}
        self._drivers: dict[str, Driver] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}  # told to end, and still at work
        self._lent: set[str] = set()
        self._stopped = False
        self.hosts: dict[str, LinkHost] = {}
        self.taps = Taps()

    def prepare(self, links: Iterable[Link]) -> dict[str, Driver]:
        """A driver for each link that is not driven so now; raises ConfigErrors with every mistake."""
        hosts = self.hosts
        changed = [
            link
            for link in links
            if link.id not in hosts or not drive_alike(hosts[link.id].link, link)
        ]
        return open_drivers(changed, self._make)

    async def apply(
        self, links: Sequence[Link], made: Mapping[str, Driver] | None = None
    ) -> tuple[str, ...]:
        """Run exactly these links; returns the ids of those started, stopped or restarted.

        All drivers are made (or given, as `prepare` made them) before anything is stopped: a ConfigError
        leaves everything as it was.
        """
        drivers = self.prepare(links) if made is None else made
        wanted = {link.id: link for link in links}
        for name in self.hosts.keys() & wanted.keys():
            self.hosts[name].link = wanted[name]  # rooms may be other ones where nothing else is
        gone = [name for name in self.hosts if name in drivers or name not in wanted]
        async with asyncio.TaskGroup() as stopping:
            for name in gone:
                stopping.create_task(self._stop(name), name=f"stop {name}")
        for name, driver in drivers.items():
            self._start(wanted[name], driver)
        return tuple(sorted(drivers.keys() | set(gone)))

    async def lend(self, link: str) -> None:
        """Stop a link's driver and keep it stopped until `take_back`; commands to it are NOT_SENT.

        Raises LinkError when its driver does not end in time; it is started again as soon as it has.
        """
        self._lent.add(link)
        if not await self._end(link):
            self.take_back(link)
            raise LinkError("its driver does not end")
        if link in self.hosts:
            self.hosts[link].link_down(LENT)

    def take_back(self, link: str) -> None:
        """Start the driver of a lent link, once the one before has ended; nothing for a link that is gone."""
        self._lent.discard(link)
        host = self.hosts.get(link)
        if host is not None and link not in self._running:
            host.reason = "starting"
            self._run(host, None)

    async def execute(self, link: str, command: Command) -> Outcome:
        """Have the driver of a link tell a device once; NOT_SENT when there is none now."""
        driver = self._drivers.get(link)
        if driver is None:
            reason = "the link is lent" if link in self._lent else "no such link"
            return Outcome(answer=Answer.NOT_SENT, reason=reason)
        try:
            return await driver.execute(command)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return Outcome(answer=Answer.SILENT, reason="the driver cancelled itself")
        except Exception as error:
            # It may have got as far as the wire.
            _log.exception("driver failed in a command", link=link, command=command.id)
            return Outcome(answer=Answer.SILENT, reason=f"{type(error).__name__}: {error}")

    def refresh(self, link: str, device: str) -> None:
        """Have a device read as soon as its bus allows; nothing when its link has no driver now."""
        driver = self._drivers.get(link)
        if driver is None:
            return
        try:
            driver.refresh(device)
        except Exception:
            _log.exception("driver failed in a refresh", link=link, device=device)

    async def stop(self) -> None:
        """Cancel every link and wait until each has closed what it opened."""
        self._stopped = True
        for task in self._running.values():
            task.cancel("the hub stops")
        tasks = [*self._running.values(), *self._closing.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)
        self._running.clear()

    def _start(self, link: Link, driver: Driver) -> None:
        host = self.hosts[link.id] = LinkHost(
            link, ingest=self._ingest, clock=self._clock, late=self._late, taps=self.taps
        )
        if link.id in self._lent:
            host.link_down(LENT)
        else:
            self._run(host, driver)

    def _run(self, host: LinkHost, driver: Driver | None) -> None:
        """Start a driver; while the one before is still at work, two would be on one wire: then after it."""
        name = host.link.id
        before = self._closing.get(name)
        if before is not None:
            host.link_down(CLOSING)
            before.add_done_callback(lambda _: self._run_after(host, driver))
            return
        if driver is not None:
            self._drivers[name] = driver
        self._running[name] = self._tasks.create_task(
            self._serve(driver, host), name=f"link {name}"
        )

    def _run_after(self, host: LinkHost, driver: Driver | None) -> None:
        """The driver before has ended: start the next, where it is still wanted."""
        name = host.link.id
        taken = name in self._running or name in self._lent
        if self.hosts.get(name) is host and not taken and not self._stopped:
            self._run(host, driver)

    async def _stop(self, name: str) -> None:
        await self._end(name)
        self.hosts.pop(name)

    async def _end(self, name: str) -> bool:
        """Stop a link's driver, if it runs; whether it has ended. While it closes nothing is told to it."""
        self._drivers.pop(name, None)
        task = self._running.pop(name, None)
        if task is not None:
            task.cancel("the link changed")
            self._closing[name] = task
            task.add_done_callback(lambda _: self._closing.pop(name, None))
        closing = self._closing.get(name)
        if closing is None:
            return True
        done, _ = await asyncio.wait([closing], timeout=STOP_TIMEOUT_S)
        if not done:
            _log.error("driver does not end", link=name)
        return bool(done)

    async def _serve(self, made: Driver | None, host: LinkHost) -> None:
        pause_s = RESTART_FIRST_S
        while True:
            began_s = self._clock.monotonic_s()
            reason = await self._run_once(made, host)
            made = None
            task = asyncio.current_task()
            if task is None or task.cancelling():
                return  # it was told to end, and ended in its own time
            host.restarts += 1
            host.count("restart")
            host.link_down(reason)
            if self._clock.monotonic_s() - began_s > STEADY_S:
                pause_s = RESTART_FIRST_S
            await self._clock.sleep(pause_s * (0.5 + self._clock.random()))
            pause_s = min(pause_s * 2, RESTART_MAX_S)

    async def _run_once(self, made: Driver | None, host: LinkHost) -> str:
        """Run the driver, made anew when there is none; returns why it ended."""
        try:
            driver = self._drivers[host.link.id] = made or self._make(host.link)
            await driver.run(host)
        except HubError as error:
            return str(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return "the driver cancelled itself"  # nobody asked it to: a link may not vanish so
        except Exception as error:
            _log.exception("driver failed", link=host.link.id)
            return f"{type(error).__name__}: {error}"
        return "the driver ended"
