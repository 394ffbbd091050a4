"""How a played campus is reached: where its links lead, here or where the configuration says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from hub import Link
from simulators.conduct import Bearing
from simulators.faults import FaultKind, Window
from simulators.links import (
    LOOPBACK,
    ModbusLink,
    as_text,
    bindable,
    free_ports,
    modbus_link,
    mqtt_link,
)
from simulators.modbus_bus import Bus
from simulators.modbus_ports import DialIn, listening, serial_line
from simulators.mqtt_client import Broker
from simulators.mqtt_device import MqttDevice

OWN_CONNECTIONS_MAX = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Play:
    """How a campus is played.

    `speed` divides the times of serial lines, 0 takes them away. `here` puts every link on this machine,
    on free ports, instead of where the configuration says; `broker` ("host:port") replaces the site's.
    `fault_rate` is the share of answers and messages with which a fault of `fault_kinds` begins.
    `persistent` MQTT devices leave a session at the broker, which keeps what they are told meanwhile.
    """

    seed: int = 1
    speed: float = 1.0
    here: bool = False
    broker: str = ""
    shared: bool = False
    fault_rate: float = 0.0
    fault_kinds: Sequence[FaultKind] = tuple(FaultKind)
    windows: tuple[Window, ...] = ()
    bearings: tuple[Bearing, ...] = ()
    persistent: bool = False


class Doors:
    """Opens the buses of a campus, until `stack` is closed; `dials` are the ones that call the hub."""

    def __init__(self, play: Play, stack: AsyncExitStack) -> None:
        self.dials: list[tuple[Bus, DialIn]] = []
        self._play = play
        self._stack = stack
        self._moved: dict[str, int] = {}

    async def open(self, link: Link, bus: Bus | None) -> Mapping[str, object]:
        """The settings that lead to this link as it is played. Raises ConfigError or OSError."""
        if bus is None:
            return self._broker_settings(link)
        keys = modbus_link(link)
        if keys.transport == "dtu":
            return {**link.settings, "listen": self._dial(bus, keys)}
        if keys.transport == "rtu":
            if not self._play.here:
                bindable(link, keys.device)  # a serial port can only be rehearsed
            device = await self._stack.enter_async_context(serial_line(bus))
            return {**link.settings, "device": device}
        host, port = (LOOPBACK, 0) if self._play.here else (bindable(link, keys.host), keys.port)
        serial = keys.transport == "rtu_over_tcp"
        door = listening(bus, host, port, serial=serial)
        return {**link.settings, "host": host, "port": await self._stack.enter_async_context(door)}

    def _dial(self, bus: Bus, keys: ModbusLink) -> str:
        """Boxes that call the same address of the site call the same one here."""
        host, port = keys.listen_address()
        if self._play.here:
            if keys.listen not in self._moved:
                self._moved[keys.listen] = free_ports(1)[0]
            host, port = LOOPBACK, self._moved[keys.listen]
        dial = DialIn(
            host=host,
            port=port,
            registration=as_text(keys.registration),
            heartbeat=as_text(keys.heartbeat),
        )
        self.dials.append((bus, dial))
        return f"{host}:{port}"

    def _broker_settings(self, link: Link) -> Mapping[str, object]:
        """Another broker than the site's is entered without the site's secrets."""
        if link.driver != "mqtt" or not self._play.broker:
            return link.settings
        broker = broker_of(link, self._play)
        kept = {
            key: value
            for key, value in link.settings.items()
            if not key.endswith("_file") and key not in ("username", "tls")
        }
        return {**kept, "host": broker.host, "port": broker.port}


def broker_of(link: Link, play: Play) -> Broker:
    """The broker this link's devices connect to: the play's, or the site's own."""
    if not play.broker:
        return mqtt_link(link).broker(Path(link.source).parent)
    parts = urlsplit(f"//{play.broker}")
    return Broker(host=parts.hostname or LOOPBACK, port=parts.port or 1883)


def connection_groups(devices: Sequence[MqttDevice], *, shared: bool) -> list[Sequence[MqttDevice]]:
    """A connection for each device while they are few, else as many connections as are allowed."""
    if not devices:
        return []
    count = 1 if shared else min(len(devices), OWN_CONNECTIONS_MAX)
    return [devices[place::count] for place in range(count)]
