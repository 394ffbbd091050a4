"""What a site's links say of how they are reached, as far as whoever plays the other side needs to know."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

import msgspec

from hub import ConfigError, Link, settings_as
from simulators.line import Line
from simulators.mqtt_client import Broker

LOOPBACK = "127.0.0.1"
_SERIAL_BAUD = 9600


class ModbusLink(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a Modbus link that its other side shares."""

    transport: str = "tcp"
    host: str = ""
    port: int = 502
    device: str = ""
    baud: int | None = None
    format: str = "8N1"
    gateway_baud: int | None = None
    listen: str = ""
    registration: str = ""
    heartbeat: str = ""

    def line(self, speed: float) -> Line:
        """The wire's timing: a Modbus TCP device has none, unless a gateway's baud rate is named."""
        serial = None if self.transport == "tcp" else self.baud or _SERIAL_BAUD
        baud = self.gateway_baud or serial or 0
        return Line(baud=baud, format=self.format, speed=speed)

    def listen_address(self) -> tuple[str, int]:
        """Where a box that dials in finds the hub."""
        host, _, port = self.listen.rpartition(":")
        reachable = LOOPBACK if host in ("", "0.0.0.0", "::", "[::]") else host
        return reachable, int(port)


class MqttLink(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an MQTT link that its devices share."""

    host: str = LOOPBACK
    port: int | None = None
    username: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def broker(self, folder: Path) -> Broker:
        """The broker the site names; files are read from beside the site's file."""
        login = None
        if self.username:
            password = ""
            if self.password_file:
                password = (folder / self.password_file).read_text("utf-8").strip()
            login = (self.username, password)
        tls = None
        if self.tls or self.ca_file or self.cert_file:
            tls = ssl.create_default_context(
                cafile=str(folder / self.ca_file) if self.ca_file else None
            )
        if tls is not None and self.cert_file:
            key = str(folder / self.key_file) if self.key_file else None
            tls.load_cert_chain(str(folder / self.cert_file), key)
        port = self.port or (8883 if tls else 1883)
        return Broker(host=self.host, port=port, login=login, tls=tls)


def modbus_link(link: Link) -> ModbusLink:
    """The link's settings; raises ConfigError."""
    return settings_as(ModbusLink, link.settings, file=link.source, key=f"links.{link.id}")


def mqtt_link(link: Link) -> MqttLink:
    """The link's settings; raises ConfigError."""
    return settings_as(MqttLink, link.settings, file=link.source, key=f"links.{link.id}")


def bindable(link: Link, host: str) -> str:
    """The address to listen on; raises ConfigError when it belongs to another machine."""
    name = LOOPBACK if host == "localhost" else host
    try:
        if ipaddress.ip_address(name).is_loopback:
            return name
    except ValueError:
        pass  # a host name: a real box somewhere
    raise ConfigError(
        file=link.source,
        key=f"links.{link.id}.host",
        found=f"{host!r} is not this machine",
        hint="rehearse it here with --rehearse FOLDER",
    )


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind((LOOPBACK, 0))
        return [int(sock.getsockname()[1]) for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def as_text(text: str) -> bytes:
    """A text of the configuration as the bytes a box sends; `hex:01 02` gives bytes."""
    return bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()


def toml_value(value: object) -> str:
    """A setting as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def site_toml(
    name: str,
    timezone: str,
    links: Mapping[str, Mapping[str, object]],
    safety: Mapping[str, object] | None = None,
) -> str:
    """A site file with these links and safety rules."""
    lines = [f"name = {toml_value(name)}", f"timezone = {toml_value(timezone)}"]
    tables = {"safety": safety} if safety else {}
    tables |= {f"links.{link}": table for link, table in links.items()}
    for table, settings in tables.items():
        lines += ["", f"[{table}]"]
        lines += [f"{key} = {toml_value(value)}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"
