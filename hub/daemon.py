"""The hub as one process: journal, ingest, links, sinks, status, under one TaskGroup.

It starts wholly or not at all: every file is checked and every driver and sink is made before the first
connection is opened. SIGTERM ends it cleanly; SIGHUP takes changed files and touches the changed links only.
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
from hub.clock import Clock
from hub.config import HUB_FILE, HubConfig, load_config
from hub.control import Control
from hub.errors import ConfigError, ConfigErrors, HubError, StoreError
from hub.follow import Follower
from hub.ingest import Ingest
from hub.journal import Journal, JournalOptions, open_journal
from hub.ledger import Ledger, open_ledger
from hub.model import Reading
from hub.plugin import link_mistakes, open_sink
from hub.presence import Change, Presence
from hub.site import Site, load_site
from hub.status import (
    ControlStatus,
    LinkStatus,
    OfflineDevice,
    SinkStatus,
    Status,
    StoreStatus,
    judge,
    serve_status,
)
from hub.supervisor import Supervisor

VERSION = "0.1.0"
SWEEP_PERIOD_S = 2.0
AWAY_SHOWN = 1000
STOP_TIMEOUT_S = 8.0  # of the ten seconds promised; the rest is for the journal

_log = structlog.get_logger("hub")


class Daemon:
    """A running hub. Made by `serve`; `status` and `reload` may be called while it runs."""

    def __init__(
        self,
        *,
        folder: Path,
        clock: Clock,
        config: HubConfig,
        site: Site,
        journal: Journal,
        ledger: Ledger,
        listening: socket.socket | None = None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._config = config
        self._site = site
        self._journal = journal
        self._ledger = ledger
        self._listening = listening
        self._started_ms = clock.now_ms()
        self._followers: list[Follower] = []
        self._supervisor: Supervisor | None = None
        self.control: Control | None = None
        self.ingest = Ingest(
            store=journal,
            clock=clock,
            report=self._report,
            count=self._count_refused,
            stored=self._stored,
        )

    async def run(self, stop: asyncio.Event, changed: asyncio.Event) -> None:
        """Serve until `stop` is set, taking the files anew each time `changed` is; then close everything."""
        self.ingest.configure(self._site.devices(), [link.id for link in self._site.links])
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
            control.configure(self._site.links, self._site.safety)
            await self._supervisor.apply(self._site.links)
            commanding = await control.start(tasks)
            others = [
                *await self._open_api(tasks, control),
                tasks.create_task(self._sweep(), name="presence"),
                tasks.create_task(self._watchdog(), name="watchdog"),
                tasks.create_task(self._reloads(changed), name="reload"),
                tasks.create_task(serve_status(self._config.data, self.status), name="status"),
                *(
                    tasks.create_task(follower.run(), name=f"sink {follower.status.name}")
                    for follower in self._followers
                ),
            ]
            notify("READY=1")
            _log.info("hub is ready", links=len(self._site.links), site=self._site.name)
            await stop.wait()
            notify("STOPPING=1")
            overdue = asyncio.get_running_loop().call_later(STOP_TIMEOUT_S, _leave_behind)
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
            await self.reload()

    async def reload(self) -> None:
        """Take the changed files; a mistake in them is said and everything stays as it was. One at a time."""
        notify("RELOADING=1\nMONOTONIC_USEC=" + str(int(self._clock.monotonic_s() * 1e6)))
        try:
            site = await asyncio.to_thread(load_site, self._folder)
            assert self._supervisor is not None
            assert self.control is not None
            before = self._site
            self.ingest.configure(site.devices(), [link.id for link in site.links])
            try:
                changed = await self._supervisor.apply(site.links)
            except HubError:
                self.ingest.configure(before.devices(), [link.id for link in before.links])
                raise
            self._site = site
            self.control.configure(site.links, site.safety)
            _log.info("configuration taken", changed=list(changed))
        except HubError as error:
            _log.error("configuration refused, the old one stays", error=str(error))
        notify("READY=1")

    def status(self) -> Status:
        """Everything a person or a monitor wants to know now."""
        links = self._link_statuses()
        sinks = [follower.status for follower in self._followers]
        stats = self._journal.stats()
        store = StoreStatus(
            healthy=stats.healthy,
            reason=stats.reason,
            readings=stats.head,
            size_bytes=stats.file_bytes,
            waiting=stats.waiting,
        )
        shown = [
            SinkStatus(
                name=sink.name,
                lag=max(0, stats.head - sink.cursor),
                oldest_ms=sink.oldest_ms,
                delivered=sink.delivered,
                rejected=sink.rejected,
                last_error=sink.last_error,
            )
            for sink in sinks
        ]
        ledger = self._ledger.stats().reason
        health, reasons = judge(store, links, shown, ledger)
        counts = self.ingest.presence.counts()
        return Status(
            health=health,
            reasons=reasons,
            version=VERSION,
            site=self._site.name,
            started_ms=self._started_ms,
            now_ms=self._clock.now_ms(),
            online=counts[Presence.ONLINE],
            offline=counts[Presence.OFFLINE],
            unknown=counts[Presence.UNKNOWN],
            away=[
                OfflineDevice(
                    id=track.device.id,
                    link=track.device.link,
                    room=track.device.place.room,
                    reason=track.reason,
                )
                for track in self.ingest.presence.offline(AWAY_SHOWN)
            ],
            links=links,
            store=store,
            ledger=ledger,
            sinks=shown,
            control=self.control.status() if self.control else ControlStatus(),
        )

    def _link_statuses(self) -> list[LinkStatus]:
        hosts = self._supervisor.hosts.values() if self._supervisor else ()
        return [
            LinkStatus(
                id=host.link.id,
                driver=host.link.driver,
                up=host.up,
                reason=host.reason,
                since_ms=host.since_ms,
                restarts=host.restarts,
                devices=len(host.link.devices),
                counters={
                    f"{name}/{reason}" if reason else name: number
                    for (name, reason), number in host.counters.items()
                },
            )
            for host in hosts
        ]

    async def _open_api(
        self, tasks: asyncio.TaskGroup, control: Control
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
            keys=keys,
            fire=control.safety.latch,
            status=self.status,
            utc_offset_h=self._site.utc_offset_h(self._clock.now_ms()),
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


async def serve(folder: Path, *, clock: Clock, stop: asyncio.Event) -> None:
    """Run the hub configured in `folder` until `stop`, SIGTERM or SIGINT; SIGHUP takes changed files.

    Raises ConfigError or StoreError when it cannot start.
    """
    changed = asyncio.Event()
    with _signals(stop, changed):
        await _serve(folder, clock, stop, changed)


async def _serve(folder: Path, clock: Clock, stop: asyncio.Event, changed: asyncio.Event) -> None:
    config = load_config(folder)
    site = load_site(folder)
    mistakes = link_mistakes(site.links)
    if mistakes:
        raise ConfigErrors(tuple(mistakes))
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
        with bind(config.api.listen) if config.api.listen else nullcontext() as listening:
            daemon = Daemon(
                folder=folder,
                clock=clock,
                config=config,
                site=site,
                journal=journal,
                ledger=ledger,
                listening=listening,
            )
            await daemon.run(stop, changed)
