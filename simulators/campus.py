"""A whole simulated campus: exactly the devices of a site's own configuration, on the links it names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from hub import Clock, Device, Profile, Site, SystemClock
from simulators.desks import desk_of
from simulators.devices import build_machine, zone_ms
from simulators.dialects import dialect_of
from simulators.faults import FaultPlan
from simulators.ledger import Diary, Ledger
from simulators.links import modbus_link
from simulators.machine import Machine
from simulators.modbus_bus import Bus
from simulators.modbus_ports import dial_in
from simulators.mqtt_client import MqttClient
from simulators.mqtt_device import MqttDevice
from simulators.obedience import Obedience
from simulators.payload import TopicForm, topic_forms
from simulators.reach import Doors, Play, broker_of, connection_groups
from simulators.registers import RegisterLayout
from simulators.slave import Slave

__all__ = ["Campus", "Play", "playing"]

_FLUSH_S = 1.0


@dataclass(kw_only=True, slots=True)
class _Parts:
    """What a campus is made of, link by link, before any of it runs."""

    buses: dict[str, Bus] = field(default_factory=dict)
    mqtt: dict[str, list[MqttDevice]] = field(default_factory=dict)


class Campus:
    """The devices of a site, brought to life. Give it to a task: `run` serves until cancelled.

    `machines` are the devices' true states by id, `ledger` is what they did, `buses` the serial lines by
    link id; `faults`, and how commands are taken, may be ordered while it lives. After `started` is set,
    `settings` says of each link how it is reached.
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
            bearings=play.bearings,
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
            doors = Doors(self._play, stack)
            for link in self.site.links:
                self.settings[link.id] = await doors.open(link, self.buses.get(link.id))
            for name, bus in self.buses.items():
                tasks.create_task(bus.run(), name=f"bus {name}")
            for bus, dial in doors.dials:
                tasks.create_task(dial_in(bus, dial), name="dial-in")
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
        machine = self._machine(device)
        return Slave(
            device,
            machine,
            layout=self._layout(device.profile),
            diary=Diary(device=device.id, ledger=self.ledger),
            faults=plan.of(device.id),
            desk=desk_of(device.profile, machine),
        )

    def _mqtt_device(self, device: Device, plan: FaultPlan) -> MqttDevice:
        key = id(device.profile)
        if key not in self._forms:
            self._forms[key] = topic_forms(device.profile)
        machine = self._machine(device)
        diary = Diary(device=device.id, ledger=self.ledger)
        dialect = dialect_of(device.profile, device.address, self._key(device))
        faults = plan.of(device.id)
        return MqttDevice(
            device,
            machine,
            forms=self._forms[key],
            diary=diary,
            faults=faults,
            seed=self._play.seed,
            obedience=Obedience(machine, dialect, diary, faults) if dialect else None,
        )

    def _key(self, device: Device) -> bytes:
        """The secret in the device's key file, beside the site's file; empty when it has none."""
        name = str(device.profile.chosen.get("key_file", ""))
        return (self.site.folder / name).read_bytes().rstrip(b"\r\n") if name else b""

    def _layout(self, profile: Profile) -> RegisterLayout:
        """Devices that share a profile share its layout (profiles live as long as the site)."""
        if id(profile) not in self._layouts:
            self._layouts[id(profile)] = RegisterLayout(profile)
        return self._layouts[id(profile)]

    def _clients(self) -> list[MqttClient]:
        clients = []
        for link in self.site.links:
            devices = self._parts.mqtt.get(link.id, [])
            groups = connection_groups(devices, shared=self._play.shared)
            for number, group in enumerate(groups):
                name = group[0].device.id if len(group) == 1 else f"{link.id}-{number}"
                client = MqttClient(
                    f"sim-{name}",
                    group,
                    broker_of(link, self._play),
                    clock=self.clock,
                    ledger=self.ledger,
                    clean=not self._play.persistent,
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
