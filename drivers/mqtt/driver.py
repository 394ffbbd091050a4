"""The MQTT driver: everything the devices of one broker say becomes Readings, acknowledged once on disk.

    broker ─▶ session (in order, bounded) ─▶ intake (reading, poison or count) ─▶ host.publish
       ▲                                                                              │ on disk
       └────────────────────────── acknowledgement, in the order of arrival ◀─────────┘

While the disk refuses, nothing is acknowledged and the same batch is tried again; the session stops
reading when too much waits, and the broker keeps the rest. Commands go over a second connection
(`telling`), which a visit does not have, nor a link that only observes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from drivers.mqtt.access import link_topics
from drivers.mqtt.command_routes import CommandRoutes
from drivers.mqtt.ghosts import Ghosts
from drivers.mqtt.intake import Intake, Moment
from drivers.mqtt.routes import Routes
from drivers.mqtt.session import Message, Session, hold_session
from drivers.mqtt.settings import Broker, read_broker
from drivers.mqtt.tap import show_frame
from drivers.mqtt.telling import Telling
from hub import (
    Answer,
    Clock,
    Command,
    Driver,
    Host,
    Link,
    LinkError,
    LinkTopics,
    Outcome,
    Poison,
    Reading,
    StoreError,
    Value,
    in_words,
)

BATCH_MAX = 1000
FIRST_COUNTS_S, COUNTS_PERIOD_S = 5.0, 60.0
PAUSE_FIRST_S, PAUSE_MAX_S = 1.0, 30.0
STEADY_S = 30.0  # a session that held this long was a good one
STORE_PAUSE_S = 1.0
_COMMANDS_SESSION_S = 60
_SOURCE = re.compile(r"[^A-Za-z0-9_-]")  # a whole level of a topic

Serve: TypeAlias = Callable[[Session], Awaitable[None]]
HoldSession: TypeAlias = Callable[[Broker, Sequence[str], Serve, Clock], Awaitable[None]]


def open_driver(link: Link) -> Driver:
    """The driver of one broker, checked and not connected; raises ConfigError."""
    broker = read_broker(link)
    source = _SOURCE.sub("-", broker.client_id)
    commands = CommandRoutes(link, source, broker.folder)
    return MqttDriver(link, broker, Routes(link, broker.zone), commands)


class MqttDriver:
    """Serves one broker. `hold` is the client behind the session's port."""

    def __init__(
        self,
        link: Link,
        broker: Broker,
        routes: Routes,
        commands: CommandRoutes,
        hold: HoldSession = hold_session,
    ) -> None:
        self._link = link
        self._broker = broker
        self._routes = routes
        self._commands = commands
        self._hold = hold
        self._telling: Telling | None = None

    async def run(self, host: Host) -> None:
        """Serve until cancelled; connects again by itself, with a growing, jittered pause."""
        broker, routes, link = self._broker, self._routes, self._link
        intake = Intake(link.id, broker.settings, routes)
        service = _Service(link, routes, intake, host)
        if broker.visit:  # a name of its own, so that the hub's session is left alone
            broker = replace(broker, client_id=f"{broker.client_id}-{host.clock.new_id()}")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(service.tell_counts(), name=f"{link.id}-counts")
                if self._commands.listeners and not broker.visit:
                    tasks.create_task(self._look(host), name=f"{link.id}-retained")
                    if not link.observe_only:
                        tasks.create_task(self._tell(host), name=f"{link.id}-commands")
                # A task like the others: cancelled, all of them end at the same time, not one by one.
                keeping = self._keep(broker, routes.filters, service, host.clock)
                tasks.create_task(keeping, name=f"{link.id}-readings")
        finally:
            self._telling = None

    def topics(self) -> LinkTopics:
        """Who needs which topics at the broker. See TopicDriver."""
        return link_topics(self._link, self._routes, self._commands)

    async def execute(self, command: Command) -> Outcome:
        """Publish a command once, and say what its device answers. See Driver."""
        if self._link.observe_only:
            return Outcome(answer=Answer.NOT_SENT, reason="observe only")
        if self._telling is None:
            return Outcome(answer=Answer.NOT_SENT, reason="not connected")
        return await self._telling.execute(command)

    def refresh(self, device: str) -> None:
        """Ask a device for its whole state; nothing on a link that only observes."""
        if self._telling is not None:
            self._telling.refresh(device)

    async def _tell(self, host: Host) -> None:
        """Hold the connection for commands. Its session is short: an old answer is a reading's matter."""
        telling = self._telling = Telling(self._commands, host)
        settings = replace(self._broker.settings, session_expiry_s=_COMMANDS_SESSION_S)
        name = f"{self._broker.client_id}-commands"
        broker = replace(self._broker, client_id=name, settings=settings)
        await self._keep(broker, self._commands.filters, telling, host.clock)

    async def _look(self, host: Host) -> None:
        """Once at the start, find and clear retained commands."""
        clear = not self._link.observe_only
        ghosts = Ghosts(self._link.id, self._commands.command_topics, host, clear=clear)
        pause_s = PAUSE_FIRST_S
        while not ghosts.looked:
            name = f"{self._broker.client_id}-look-{host.clock.new_id()}"
            broker = replace(self._broker, client_id=name, visit=True)
            with suppress(LinkError):
                await self._hold(broker, self._commands.command_filters, ghosts.look, host.clock)
            if not ghosts.looked:
                await host.clock.sleep(pause_s * (1 + host.clock.random()))
                pause_s = min(PAUSE_MAX_S / 2, pause_s * 2)

    async def _keep(
        self, broker: Broker, filters: Sequence[str], side: _Side, clock: Clock
    ) -> None:
        """Hold one session after another for ever."""
        pause_s = PAUSE_FIRST_S
        while True:
            began_s = clock.monotonic_s()
            try:
                await self._hold(broker, filters, side.serve, clock)
            except LinkError as error:
                side.away(str(error))
            if clock.monotonic_s() - began_s > STEADY_S:
                pause_s = PAUSE_FIRST_S
            await clock.sleep(pause_s * (1 + clock.random()))
            pause_s = min(PAUSE_MAX_S / 2, pause_s * 2)


class _Side(Protocol):
    """What a connection is held for."""

    async def serve(self, session: Session) -> None:
        """Use the session until it is lost."""

    def away(self, reason: str) -> None:
        """The broker is not there now."""


class _Service:
    """What goes on between one driver's sessions and its host, with the link's own counts."""

    def __init__(self, link: Link, routes: Routes, intake: Intake, host: Host) -> None:
        self._link = link
        self._routes = routes
        self._intake = intake
        self._host = host
        self._connected = False
        self._disk_refuses = False
        self._up: bool | None = None  # not said yet
        self._totals = {"link_messages": 0, "link_poison": 0, "link_refused": 0}
        self._connections = 0

    async def serve(self, session: Session) -> None:
        """Take what comes until the session is lost."""
        self._connections += 1
        self._connected = True
        self._show()
        self._intake.begin_session(self._host.clock.monotonic_s())
        while messages := await session.receive(BATCH_MAX):
            await self._take(session, messages)

    def away(self, reason: str) -> None:
        """The broker is not there now."""
        self._connected = False
        self._show(reason)

    def _stored(self, trouble: StoreError | None = None) -> None:
        self._disk_refuses = trouble is not None
        self._show(f"not stored: {trouble}")

    def _show(self, reason: str = "") -> None:
        """Tell the host when the link begins or ceases to work as a whole, once each."""
        up = self._connected and not self._disk_refuses
        if up is self._up:
            return
        self._up = up
        if up:
            self._host.link_up()
        else:
            self._host.link_down(reason)

    async def _take(self, session: Session, messages: Sequence[Message]) -> None:
        readings, poison = self._judge(messages, self._host.clock)
        stored = not readings or await self._insist(session, lambda: self._host.publish(readings))
        if stored and poison:
            stored = await self._insist(session, lambda: self._host.quarantine(poison))
        if stored:
            session.acknowledge(messages)
        elif lost := sum(not message.ticket for message in messages):
            self._host.count("lost", "sent without QoS 1", lost)

    def _judge(
        self, messages: Sequence[Message], clock: Clock
    ) -> tuple[list[Reading], list[Poison]]:
        now = Moment(ms=clock.now_ms(), s=clock.monotonic_s())
        take, counts = self._intake.take, self._intake.counts
        readings: list[Reading] = []
        poison: list[Poison] = []
        tapped = self._host.tapped()
        for message in messages:
            result = take(message, now)
            if tapped:
                self._show_message(message, result)
            if isinstance(result, Reading):
                readings.append(result)
            elif result is not None:
                poison.append(result)
                route = self._routes.find(result.source)
                if route is not None:
                    self._host.missed(route.device.id, result.reason)
        self._totals["link_messages"] += len(messages)
        self._totals["link_poison"] += len(poison)
        for (name, reason), number in counts.items():
            self._host.count(name, reason, number)
            self._totals["link_poison"] += number if name == "poison" else 0
            self._totals["link_refused"] += number if name == "refused" else 0
        counts.clear()
        return readings, poison

    def _show_message(self, message: Message, result: Reading | Poison | None) -> None:
        """Show a message to whoever looks at its device."""
        route = self._routes.find(message.topic)
        if route is None or not self._host.tapped(route.device.id):
            return
        match result:
            case Reading():
                text = ", ".join(in_words(name, value) for name, value in result.values.items())
                text += "".join(f", {name}: {reason}" for name, reason in result.bad.items())
            case Poison():
                text = f"refused: {result.reason}"
            case None:
                text = "nothing new"
        kept = "kept by the broker, " if message.retained else ""
        text = f"{kept}{route.topic.name}: {text}"
        show_frame(self._host, route.device.id, message.topic, message.payload, text)

    async def _insist(self, session: Session, store: Callable[[], Awaitable[None]]) -> bool:
        """Store, again and again while the disk refuses; False once the session is lost meanwhile."""
        while True:
            try:
                await store()
            except StoreError as error:
                self._stored(error)
                self._host.count("not stored")
                await self._host.clock.sleep(STORE_PAUSE_S * (0.5 + self._host.clock.random()))
                if session.lost:
                    return False
            else:
                self._stored()
                return True

    async def tell_counts(self) -> None:
        """Publish the link's own counts as readings, soon after the start and then each minute."""
        pause_s = FIRST_COUNTS_S
        while True:
            await self._host.clock.sleep(pause_s)
            pause_s = COUNTS_PERIOD_S
            now_ms = self._host.clock.now_ms()
            values: dict[str, Value] = {
                "link_up": self._up is True,
                "link_reconnects": max(0, self._connections - 1),
                **self._totals,
            }
            reading = Reading(
                device=self._link.id, time_ms=now_ms, received_ms=now_ms, values=values
            )
            try:
                await self._host.publish([reading])
            except StoreError as error:
                self._stored(error)
                self._host.count("not stored", "link counts")
            else:
                self._stored()
