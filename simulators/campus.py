"""A whole simulated campus: exactly the devices of a site's own configuration, on the links it names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from hub import Clock, Device, Link, Profile, Site, SystemClock
from simulators.devices import build_machine, zone_ms
from simulators.faults import FaultKind, FaultPlan, Window
from simulators.ledger import Diary, Ledger
from simulators.links import (
    LOOPBACK,
    ModbusLink,
    as_text,
    bindable,
    free_ports,
    modbus_link,
    mqtt_link,
)
from simulators.machine import Machine
from simulators.modbus_bus import Bus
from simulators.modbus_ports import DialIn, dial_in, listening, serial_line
from simulators.mqtt_client import Broker, MqttClient
from simulators.mqtt_device import MqttDevice
from simulators.payload import TopicForm, topic_forms
from simulators.registers import RegisterLayout
from simulators.slave import Slave

_FLUSH_S = 1.0
OWN_CONNECTIONS_MAX = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Play:
    """How a campus is played.

    `speed` divides the times of serial lines, 0 takes them away. `here` puts every link on this machine,
    on free ports, instead of where the configuration says; `broker` ("host:port") replaces the site's.
    `fault_rate` is the share of answers and messages with which a fault of `fault_kinds` begins.
    """

    seed: int = 1
    speed: float = 1.0
    here: bool = False
    broker: str = ""
    shared: bool = False
    fault_rate: float = 0.0
    fault_kinds: Sequence[FaultKind] = tuple(FaultKind)
    windows: tuple[Window, ...] = ()


@dataclass(kw_only=True, slots=True)
class _Parts:
    """What a campus is made of, link by link, before any of it runs."""

    buses: dict[str, Bus] = field(default_factory=dict)
    mqtt: dict[str, list[MqttDevice]] = field(default_factory=dict)


class Campus:
    """The devices of a site, brought to life. Give it to a task: `run` serves until cancelled.

    `machines` are the devices' true states by id, `ledger` is what they did, `buses` the serial lines by
    link id; `faults` may be ordered while it lives. After `started` is set, `settings` says of each link
    how it is reached.
    """

    def __init__(
        self, site: Site, play: Play, *, ledger: Ledger | None = None, clock: Clock | None = None
    ) -> None:
        self.site = site
        self.ledger = ledger or Ledger()
        self.clock = clock or SystemClock(play.seed)
        self.started = asyncio.Event()
        self.machines: dict[str, Machine] = {}
        self.settings: dict[str, Mapping[str, object]] = {}
        self._play = play
        self._begin_ms = self.clock.now_ms()
        self._zone_ms = zone_ms(site.timezone, self._begin_ms)
        self.faults = FaultPlan(
            seed=play.seed,
            begin_ms=self._begin_ms,
            rate=play.fault_rate,
            kinds=play.fault_kinds,
            windows=play.windows,
        )
        self._layouts: dict[int, RegisterLayout] = {}
        self._forms: dict[int, tuple[TopicForm, ...]] = {}
        self._parts = self._build()

    @property
    def buses(self) -> Mapping[str, Bus]:
        """The buses by link id."""
        return self._parts.buses

    async def run(self) -> None:
        """Open every link, let every device live, until cancelled. Raises OSError when a port is taken."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            dials = await self._open_buses(stack)
            for name, bus in self.buses.items():
                tasks.create_task(bus.run(), name=f"bus {name}")
            for name, dial in dials.items():
                tasks.create_task(dial_in(self.buses[name], dial), name=f"dial-in {name}")
            for client in self._clients():
                tasks.create_task(client.run(), name="mqtt client")
            tasks.create_task(self._flush(), name="ledger flush")
            self.started.set()

    def reachable(self) -> Site:
        """The site with every link leading to where this campus really is; once it has started."""
        links = (replace(link, settings=self.settings[link.id]) for link in self.site.links)
        return replace(self.site, links=tuple(links))

    def _build(self) -> _Parts:
        play = self._play
        plan = self.faults
        parts = _Parts()
        for link in self.site.links:
            if link.driver == "modbus":
                line = modbus_link(link).line(play.speed)
                slaves = [self._slave(device, plan) for device in link.devices]
                parts.buses[link.id] = Bus(slaves, line, self.clock)
            elif link.driver == "mqtt":
                parts.mqtt[link.id] = [self._mqtt_device(item, plan) for item in link.devices]
        return parts

    def _machine(self, device: Device) -> Machine:
        machine = build_machine(
            device,
            self.ledger,
            seed=self._play.seed,
            begin_ms=self._begin_ms,
            zone_ms=self._zone_ms,
        )
        self.machines[device.id] = machine
        return machine

    def _slave(self, device: Device, plan: FaultPlan) -> Slave:
        return Slave(
            device,
            self._machine(device),
            layout=self._layout(device.profile),
            diary=Diary(device=device.id, ledger=self.ledger),
            faults=plan.of(device.id),
        )

    def _mqtt_device(self, device: Device, plan: FaultPlan) -> MqttDevice:
        key = id(device.profile)
        if key not in self._forms:
            self._forms[key] = topic_forms(device.profile)
        return MqttDevice(
            device,
            self._machine(device),
            forms=self._forms[key],
            diary=Diary(device=device.id, ledger=self.ledger),
            faults=plan.of(device.id),
            seed=self._play.seed,
        )

    def _layout(self, profile: Profile) -> RegisterLayout:
        """Devices that share a profile share its layout (profiles live as long as the site)."""
        if id(profile) not in self._layouts:
            self._layouts[id(profile)] = RegisterLayout(profile)
        return self._layouts[id(profile)]

    async def _open_buses(self, stack: AsyncExitStack) -> dict[str, DialIn]:
        """Open what listens; returns what dials in."""
        dials: dict[str, DialIn] = {}
        moved: dict[str, int] = {}
        for link in self.site.links:
            if link.driver == "mqtt":
                self.settings[link.id] = self._mqtt_settings(link)
            if link.id not in self.buses:
                continue
            keys = modbus_link(link)
            if keys.transport == "dtu":
                dials[link.id] = self._dial(link, keys, moved)
            else:
                place = await self._serve(stack, link, keys)
                self.settings[link.id] = {**link.settings, **place}
        return dials

    async def _serve(
        self, stack: AsyncExitStack, link: Link, keys: ModbusLink
    ) -> Mapping[str, object]:
        bus = self.buses[link.id]
        if keys.transport == "rtu":
            if not self._play.here:
                bindable(link, keys.device)  # a serial port can only be rehearsed
            return {"device": await stack.enter_async_context(serial_line(bus))}
        host, port = (LOOPBACK, 0) if self._play.here else (bindable(link, keys.host), keys.port)
        serial = keys.transport == "rtu_over_tcp"
        bound = await stack.enter_async_context(listening(bus, host, port, serial=serial))
        return {"host": host, "port": bound}

    def _dial(self, link: Link, keys: ModbusLink, moved: dict[str, int]) -> DialIn:
        host, port = keys.listen_address()
        if self._play.here:
            if keys.listen not in moved:
                moved[keys.listen] = free_ports(1)[0]
            host, port = LOOPBACK, moved[keys.listen]
        self.settings[link.id] = {**link.settings, "listen": f"{host}:{port}"}
        return DialIn(
            host=host,
            port=port,
            registration=as_text(keys.registration),
            heartbeat=as_text(keys.heartbeat),
        )

    def _mqtt_settings(self, link: Link) -> Mapping[str, object]:
        """A rehearsal's broker is entered without the site's secrets."""
        if not self._play.broker:
            return link.settings
        broker = _broker(self._play.broker)
        kept = {
            key: value
            for key, value in link.settings.items()
            if not key.endswith("_file") and key not in ("username", "tls")
        }
        return {**kept, "host": broker.host, "port": broker.port}

    def _clients(self) -> list[MqttClient]:
        clients = []
        for link in self.site.links:
            devices = self._parts.mqtt.get(link.id, [])
            broker = (
                _broker(self._play.broker)
                if self._play.broker
                else mqtt_link(link).broker(Path(link.source).parent)
            )
            for number, group in enumerate(_groups(devices, shared=self._play.shared)):
                name = group[0].device.id if len(group) == 1 else f"{link.id}-{number}"
                client = MqttClient(
                    f"sim-{name}", group, broker, clock=self.clock, ledger=self.ledger
                )
                clients.append(client)
        return clients

    async def _flush(self) -> None:
        while True:
            await self.clock.sleep(_FLUSH_S)
            self.ledger.flush()


@asynccontextmanager
async def playing(campus: Campus) -> AsyncIterator[Campus]:
    """The campus, alive while the block runs. What goes wrong with it is raised at the block's end.

    Its task stands alone, not in a group, so that an error of the block comes out as it is.
    """
    task = asyncio.create_task(campus.run(), name="campus")
    starting = asyncio.create_task(campus.started.wait(), name="campus starts")
    try:
        await asyncio.wait((task, starting), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            yield campus
    finally:
        starting.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _broker(text: str) -> Broker:
    parts = urlsplit(f"//{text}")
    return Broker(host=parts.hostname or LOOPBACK, port=parts.port or 1883)


def _groups(devices: Sequence[MqttDevice], *, shared: bool) -> list[Sequence[MqttDevice]]:
    """A connection for each device while they are few, else as many connections as are allowed."""
    if not devices:
        return []
    count = 1 if shared else min(len(devices), OWN_CONNECTIONS_MAX)
    return [devices[place::count] for place in range(count)]
