"""Keeps every link's driver running: one task each, started again after a pause, seen in the status.

The only place where every error is caught: a driver's mistake costs its own link a restart and is said
aloud, it never reaches the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

import structlog

from hub.clock import Clock
from hub.command import Answer, Command, Outcome
from hub.errors import HubError
from hub.ingest import Ingest
from hub.model import Link, Poison, Reading
from hub.plugin import Driver, DriverFactory, open_driver

RESTART_FIRST_S = 0.5
RESTART_MAX_S = 30.0
STEADY_S = 60.0  # a driver that ran this long starts again from the shortest pause
STOP_TIMEOUT_S = 5.0

LateAnswer: TypeAlias = Callable[[str, str, str, Outcome], None]  # link, device, command id

_log = structlog.get_logger("link")


class LinkHost:
    """What the hub lends to one link's driver, and what the status shows of that link."""

    def __init__(self, link: Link, ingest: Ingest, clock: Clock, late: LateAnswer) -> None:
        self.link = link
        self.clock = clock
        self.up = False
        self.reason = "starting"
        self.since_ms = clock.now_ms()
        self.restarts = 0
        self.counters: Counter[tuple[str, str]] = Counter()
        self._ingest = ingest
        self._late = late
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

    def _turn(self, *, up: bool, reason: str) -> None:
        told = self.up is not up or (self.reason == "starting" and not up)
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
        self.hosts: dict[str, LinkHost] = {}

    async def apply(self, links: Sequence[Link]) -> tuple[str, ...]:
        """Run exactly these links; returns the ids of those started, stopped or restarted.

        All drivers are made before anything is stopped: a ConfigError leaves everything as it was.
        """
        wanted = {link.id: link for link in links}
        known = {name: host.link for name, host in self.hosts.items()}
        changed = {name for name, link in wanted.items() if known.get(name) != link}
        drivers = {name: self._make(wanted[name]) for name in changed}
        for name in sorted((set(known) - set(wanted)) | (changed & set(known))):
            await self._stop(name)
        for name, driver in drivers.items():
            self._start(wanted[name], driver)
        return tuple(sorted(changed | (set(known) - set(wanted))))

    async def execute(self, link: str, command: Command) -> Outcome:
        """Have the driver of a link tell a device once; NOT_SENT when there is none now."""
        driver = self._drivers.get(link)
        if driver is None:
            return Outcome(answer=Answer.NOT_SENT, reason="no such link")
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
        for task in self._running.values():
            task.cancel("the hub stops")
        if self._running:
            await asyncio.wait(self._running.values(), timeout=STOP_TIMEOUT_S)
        self._running.clear()

    def _start(self, link: Link, driver: Driver) -> None:
        self._drivers[link.id] = driver
        host = self.hosts[link.id] = LinkHost(link, self._ingest, self._clock, self._late)
        self._running[link.id] = self._tasks.create_task(
            self._serve(driver, host), name=f"link {link.id}"
        )

    async def _stop(self, name: str) -> None:
        task = self._running.pop(name)
        task.cancel("the link changed")
        await asyncio.wait([task], timeout=STOP_TIMEOUT_S)
        self.hosts.pop(name)
        self._drivers.pop(name)

    async def _serve(self, driver: Driver, host: LinkHost) -> None:
        pause_s = RESTART_FIRST_S
        made: Driver | None = driver
        while True:
            began_s = self._clock.monotonic_s()
            reason = await self._run_once(made, host)
            made = None
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
