"""The hub as one process: journal, ingest, links, sinks, status, under one TaskGroup.

It starts wholly or not at all: every driver and sink is made before the first connection is opened. It runs
the inventory applied last, and the very first time the files. SIGTERM ends it cleanly; SIGHUP applies changed
files, and touches the changed links only.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import structlog

from hub.api import ApiParts, bind, make_app, serve_api
from hub.auth import Keys
from hub.broker import BROKER_FOLDER, Broker, hub_password
from hub.campus.policies import read_policies
from hub.campus.service import Campus
from hub.clock import Clock
from hub.config import HUB_FILE, HubConfig, load_config
from hub.control import Control
from hub.errors import ConfigError, HubError, StoreError
from hub.follow import Follower
from hub.ingest import Ingest
from hub.inventory.figures import Figures
from hub.inventory.keeper import Keeper, Step
from hub.journal import Journal, JournalOptions, open_journal
from hub.ledger import Ledger, open_ledger
from hub.model import Reading
from hub.overview import Overview
from hub.plugin import open_drivers, open_sink
from hub.presence import Change, Presence
from hub.site import Site
from hub.status import serve_status
from hub.supervisor import Supervisor
from hub.version import VERSION

SWEEP_PERIOD_S = 2.0
STOP_TIMEOUT_S = 8.0  # of the ten seconds promised; the rest is for the journal

_log = structlog.get_logger("hub")


class Daemon:
    """A running hub. Made by `serve`."""

    def __init__(
        self,
        *,
        folder: Path,
        clock: Clock,
        config: HubConfig,
        keeper: Keeper,
        journal: Journal,
        ledger: Ledger,
        listening: socket.socket | None = None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._config = config
        self._keeper = keeper
        self._journal = journal
        self._ledger = ledger
        self._listening = listening
        self._started_ms = clock.now_ms()
        self._followers: list[Follower] = []
        self._supervisor: Supervisor | None = None
        self.control: Control | None = None
        self.campus: Campus | None = None
        self.broker = Broker(ledger=ledger, clock=clock, data=config.data, config=config.broker)
        self.ingest = Ingest(
            store=journal,
            clock=clock,
            report=self._report,
            count=self._count_refused,
            stored=self._stored,
        )

    async def run(self, stop: asyncio.Event, changed: asyncio.Event) -> None:
        """Serve until `stop` is set, applying the files each time `changed` is; then close everything."""
        site = self._keeper.site
        made = await asyncio.to_thread(open_drivers, site.links)
        self._configure(site)
        policies = await asyncio.to_thread(read_policies, site)
        self.ingest.remember(
            {
                name: [
                    (point, value, latest.time_of(point)) for point, value in latest.values.items()
                ]
                for name, latest in (await self._journal.latest()).items()
            }
        )
        self._open_sinks()
        await self._forget_sinks()
        async with asyncio.TaskGroup() as tasks:
            self._supervisor = Supervisor(
                ingest=self.ingest,
                clock=self._clock,
                tasks=tasks,
                late=lambda *answer: control.dispatcher.answered_late(*answer),
            )
            self.control = control = Control(
                ledger=self._ledger,
                clock=self._clock,
                presence=self.ingest.presence,
                wire=self._supervisor,
            )
            control.configure(site.links, site.safety)
            self.broker.configure(site.links)
            await self._supervisor.apply(site.links, made)
            self._keeper.attach(tasks, self._prepare)
            commanding = await control.start(tasks)
            campus = self.campus = self._campus(self._supervisor, control)
            campus.configure(policies)
            commanding.append(tasks.create_task(campus.run(), name="campus"))
            overview = self._overview(self._supervisor, control)
            figures = Figures(
                ledger=self._ledger,
                journal=self._journal,
                clock=self._clock,
                profiles=lambda: self._keeper.site.profiles,
            )
            others = [
                *await self._open_api(tasks, control, campus, overview),
                tasks.create_task(self._sweep(), name="presence"),
                tasks.create_task(self.broker.run(), name="broker"),
                tasks.create_task(self._watchdog(), name="watchdog"),
                tasks.create_task(self._reloads(changed), name="reload"),
                tasks.create_task(self._keeper.drift.watch(), name="files"),
                tasks.create_task(figures.run(), name="bindings"),
                tasks.create_task(serve_status(self._config.data, overview.status), name="status"),
                *(
                    tasks.create_task(follower.run(), name=f"sink {follower.status.name}")
                    for follower in self._followers
                ),
            ]
            notify("READY=1")
            _log.info("hub is ready", links=len(site.links), site=site.name)
            await stop.wait()
            notify("STOPPING=1")
            overdue = asyncio.get_running_loop().call_later(STOP_TIMEOUT_S, _leave_behind)
            self._keeper.stop()
            for task in commanding:  # nothing new is told to a device whose link is closing
                task.cancel()
            for task in others:  # at the same time as the links: each may take its time to close
                task.cancel()
            await self._supervisor.stop()
        overdue.cancel()

    async def _reloads(self, changed: asyncio.Event) -> None:
        """One after the other, however fast they are asked for."""
        while True:
            await changed.wait()
            changed.clear()
            notify("RELOADING=1\nMONOTONIC_USEC=" + str(int(self._clock.monotonic_s() * 1e6)))
            try:
                await self._keeper.apply(prune=False, actor="SIGHUP")
            except HubError as error:
                _log.error("configuration refused, the old one stays", error=str(error))
            except Exception as error:  # a mistake of the hub's own; the keeper has logged it
                found = f"{type(error).__name__}: {error}"
                _log.error("configuration not taken, the old one stays", error=found)
            notify("READY=1")

    async def _prepare(self, site: Site) -> Step:
        """Make every driver that is needed, then let the site be gone over to; raises ConfigErrors."""
        supervisor, control, campus = self._supervisor, self.control, self.campus
        assert supervisor is not None
        assert control is not None
        assert campus is not None
        made = await asyncio.to_thread(supervisor.prepare, site.links)
        policies = await asyncio.to_thread(read_policies, site)

        async def step() -> tuple[str, ...]:
            self._configure(site)
            campus.configure(policies)
            touched = await supervisor.apply(site.links, made)
            control.configure(site.links, site.safety)
            self.broker.configure(site.links)
            return touched

        return step

    def _configure(self, site: Site) -> None:
        self.ingest.configure(site.devices(), [link.id for link in site.links])

    def _campus(self, supervisor: Supervisor, control: Control) -> Campus:
        return Campus(
            ledger=self._ledger,
            journal=self._journal,
            clock=self._clock,
            commands=control.commands,
            registry=control.registry,
            refresh=supervisor.refresh,
        )

    def _overview(self, supervisor: Supervisor, control: Control) -> Overview:
        return Overview(
            version=VERSION,
            started_ms=self._started_ms,
            clock=self._clock,
            keeper=self._keeper,
            journal=self._journal,
            ledger=self._ledger,
            presence=self.ingest.presence,
            supervisor=supervisor,
            followers=self._followers,
            control=control,
        )

    async def _open_api(
        self, tasks: asyncio.TaskGroup, control: Control, campus: Campus, overview: Overview
    ) -> list[asyncio.Task[None]]:
        keys = Keys(self._ledger, self._clock)
        first = await keys.add_first(self._config.data)
        if first:
            # Shown this once, to whoever starts the hub by hand; the file is for the box's owner.
            print(f"API key of the first administrator: {first}", flush=True)
        if self._listening is None:
            return []
        parts = ApiParts(
            clock=self._clock,
            journal=self._journal,
            ledger=self._ledger,
            registry=control.registry,
            presence=self.ingest.presence,
            commands=control.commands,
            campus=campus,
            keys=keys,
            broker=self.broker,
            keeper=self._keeper,
            fire=control.safety.latch,
            status=overview.status,
            lending=control.lending,
            taps=overview.supervisor.taps,
            refresh=overview.supervisor.refresh,
        )
        return [tasks.create_task(serve_api(make_app(parts), self._listening), name="api")]

    def _open_sinks(self) -> None:
        file = str(self._folder / HUB_FILE)
        for name, config in self._config.sinks.items():
            key, settings = f"sinks.{name}", config.settings()
            sink = open_sink(config.type, settings, self.ingest, file=file, key=key)
            self._followers.append(Follower(name, sink, self._journal, self._clock))

    async def _forget_sinks(self) -> None:
        """A sink that is configured no more gives up its place, or readings would wait for it for ever."""
        for follower in self._journal.query.followers():
            if follower.name not in self._config.sinks:
                _log.warning(
                    "a sink is gone from hub.toml, its place is given up", sink=follower.name
                )
                await self._journal.drop_cursor(follower.name)

    def _report(self, change: Change) -> None:
        device = change.device
        line = _log.info if change.presence is Presence.ONLINE else _log.warning
        line(
            f"device is {change.presence}",
            device=device.id,
            link=device.link,
            room=device.place.room,
            reason=change.reason,
        )

    def _stored(self, readings: Sequence[Reading]) -> None:
        if self.control is not None:
            self.control.stored(readings)
        if self.campus is not None:
            self.campus.stored(readings)

    def _count_refused(self, link: str, reason: str) -> None:
        if self._supervisor and link in self._supervisor.hosts:
            self._supervisor.hosts[link].count("refused", reason)

    async def _sweep(self) -> None:
        """Judge silences; while the journal refuses, that is said, and no device is blamed for it."""
        storing = True
        while True:
            await self._clock.sleep(SWEEP_PERIOD_S)
            reason = self._journal.stats().reason
            if reason:
                self.ingest.presence.excuse(self._clock.monotonic_s())
            else:
                self.ingest.sweep()
            if storing and reason:
                _log.error("journal refuses readings", reason=reason)
            elif not storing and not reason:
                _log.info("journal stores again")
            storing = not reason

    async def _watchdog(self) -> None:
        """Tell the service manager that work goes on: the loop turns and the journal's writer answers."""
        period_s = int(os.environ.get("WATCHDOG_USEC", "10000000")) / 2_000_000
        while True:
            await self._clock.sleep(period_s)
            with suppress(StoreError):  # a full disk is no reason to be restarted
                await self._journal.keep_poison(())
            if not self._journal.writer.alive:
                raise StoreError("the journal's writer is gone; only a restart brings it back")
            notify("WATCHDOG=1")


@contextmanager
def _signals(stop: asyncio.Event, changed: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    events = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: changed}
    for number, event in events.items():
        loop.add_signal_handler(number, event.set)
    try:
        yield
    finally:
        for number in events:
            loop.remove_signal_handler(number)


def _leave_behind() -> None:
    """Something does not end when told to: go without it. All that was acknowledged is on disk."""
    names = sorted(task.get_name() for task in asyncio.all_tasks())
    _log.error("these did not end in time and are left behind", tasks=names)
    os._exit(1)


def notify(message: str) -> None:
    """Tell systemd, when it asked to be told; never fails."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        target = "\0" + address[1:] if address.startswith("@") else address
        try:
            sock.sendto(message.encode(), target)
        except OSError as error:
            _log.warning("systemd was not told", error=str(error))


async def serve(folder: Path, *, clock: Clock, stop: asyncio.Event, take: bool = False) -> None:
    """Run the hub configured in `folder` until `stop`, SIGTERM or SIGINT; SIGHUP applies changed files.

    With `take` it applies them at the start too. Raises ConfigError, Refused or StoreError when it cannot
    start.
    """
    changed = asyncio.Event()
    with _signals(stop, changed):
        await _serve(folder, clock, (stop, changed), take)


async def _serve(
    folder: Path, clock: Clock, events: tuple[asyncio.Event, asyncio.Event], take: bool
) -> None:
    config = load_config(folder)
    options = JournalOptions(
        keep_days=config.journal.keep_days,
        size_max_bytes=int(config.journal.max_size_gb * 1e9),
    )
    try:
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        hint = "name a folder in which this user may write"
        found = f"{config.data}: {error.strerror}"
        raise ConfigError(file=str(folder / HUB_FILE), key="data", found=found, hint=hint) from None
    async with (
        open_journal(config.data / "journal.db", clock=clock, options=options) as journal,
        open_ledger(config.ledger_place(), clock=clock) as ledger,
    ):
        if config.broker.folder is not None:
            hub_password(config.data / BROKER_FOLDER)  # before a link in site.toml names the file
        keeper = Keeper(folder=folder, ledger=ledger, clock=clock)
        await keeper.start(take=take)
        with bind(config.api.listen) if config.api.listen else nullcontext() as listening:
            daemon = Daemon(
                folder=folder,
                clock=clock,
                config=config,
                keeper=keeper,
                journal=journal,
                ledger=ledger,
                listening=listening,
            )
            await daemon.run(*events)
