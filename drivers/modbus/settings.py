"""The settings of a Modbus link, as written under `[links.NAME]` of the site file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from drivers.modbus.fields import Serial, Wire
from drivers.modbus.plan import LineCost, SerialTiming, serial_timing
from hub import ConfigError, ConfigErrors, Device, Link, RowError, settings_as

_TCP_ROUND_TRIP_S = 0.002
_TCP_BYTE_S = 1e-6
_UNIT_LAST = 247
_UNIT_RESERVED_LAST = 255


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a bus is reached.

    `tcp`: Modbus TCP at host:port (a device or a gateway; `gateway_baud` is the speed of the wire behind).
    `rtu`: a serial port `device`. `rtu_over_tcp`: a serial server at host:port that passes RTU frames.
    `dtu`: the box calls us at `listen` ("address:port") and says `registration` first; `heartbeat` is
    what it sends now and then. Both are text, or bytes as "hex:01 02".
    `timeout_s` is the patience for an answer, the time of the frames themselves not counted.
    """

    transport: Literal["tcp", "rtu", "rtu_over_tcp", "dtu"] = "tcp"
    host: str = ""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 502
    device: str = ""
    baud: Annotated[int, msgspec.Meta(ge=300, le=1_000_000)] = 9600
    format: Annotated[str, msgspec.Meta(pattern="^[78][NEO][12]$")] = "8N1"
    gateway_baud: Annotated[int, msgspec.Meta(ge=300, le=1_000_000)] | None = None
    timeout_s: Annotated[float, msgspec.Meta(ge=0.02, le=30)] = 0.5
    turnaround_ms: Annotated[float, msgspec.Meta(ge=0, le=10_000)] | None = None
    listen: str = "0.0.0.0:15000"
    registration: str = ""
    heartbeat: str = ""

    @property
    def serial(self) -> SerialTiming | None:
        """Times of the wire when RTU frames travel on it, None for Modbus TCP."""
        return None if self.transport == "tcp" else serial_timing(self.baud, self.format)

    @property
    def registration_bytes(self) -> bytes:
        """What the box says when it calls."""
        return _bytes(self.registration)

    @property
    def heartbeats(self) -> tuple[bytes, ...]:
        """What a box sends between answers: its heartbeat, or its registration again."""
        texts = (_bytes(self.heartbeat), self.registration_bytes)
        return tuple(text for text in texts if len(text) > 1)

    def listen_address(self) -> tuple[str, int]:
        """Address and port of `listen`; raises ValueError when it is written otherwise."""
        host, _, port = self.listen.rpartition(":")
        if not host or not 0 < int(port) < 65536:
            raise ValueError(self.listen)
        return host, int(port)

    def cost(self, wire: Wire) -> LineCost:
        """What a request to a product costs here; behind a gateway the product's own line counts."""
        turnaround_ms = wire.turnaround_ms if self.turnaround_ms is None else self.turnaround_ms
        timing = self.serial or self._behind_gateway(wire.serial)
        if timing is None:
            return LineCost(byte_s=_TCP_BYTE_S, fixed_s=_TCP_ROUND_TRIP_S)
        return timing.cost(turnaround_ms / 1000)

    def answer_timeout_s(self, wire: Wire, frame_bytes: int) -> float:
        """How long to wait for an answer, when request and answer hold so many bytes."""
        timing = self.serial or self._behind_gateway(wire.serial)
        return self.timeout_s + (timing.byte_s * frame_bytes if timing else 0.0)

    def _behind_gateway(self, usual: Serial | None) -> SerialTiming | None:
        if self.gateway_baud:
            return serial_timing(self.gateway_baud, self.format)
        return serial_timing(usual.baud, usual.format) if usual else None


def _bytes(text: str) -> bytes:
    if text.startswith("hex:"):
        return bytes.fromhex(text[4:])
    return text.encode()


def link_settings(link: Link) -> LinkSettings:
    """The link's settings; raises ConfigError with the key of what is wrong or missing."""
    key = f"links.{link.id}"
    settings = settings_as(LinkSettings, link.settings, file=link.source, key=key)

    def wrong(name: str, found: object, hint: str) -> ConfigError:
        return ConfigError(
            file=link.source, key=f"{key}.{name}", found=f"found {found!r}", hint=hint
        )

    if settings.transport in ("tcp", "rtu_over_tcp") and not settings.host:
        raise wrong("host", settings.host, "write the address of the gateway or device")
    if settings.transport == "rtu" and not settings.device:
        raise wrong("device", settings.device, 'write the serial port: "/dev/ttyUSB0"')
    if settings.transport == "dtu":
        try:
            settings.listen_address()
        except ValueError:
            raise wrong("listen", settings.listen, 'write "address:port"') from None
        if not settings.registration:
            raise wrong("registration", "", "write the text the box says when it calls")
    for name, text in (("registration", settings.registration), ("heartbeat", settings.heartbeat)):
        try:
            _bytes(text)
        except ValueError:
            raise wrong(name, text, 'write bytes as "hex:01 02 FF"') from None
    return settings


def unit_of(device: Device, link: Link) -> int:
    """The unit number of a device; raises ConfigError naming it when the number cannot be used.

    248 to 255 are reserved, and some products answer there to anybody's call: only for a device that is
    alone on its link.
    """
    text = device.address
    unit = int(text) if text.isascii() and text.isdecimal() and len(text) <= 3 else 0
    last = _UNIT_RESERVED_LAST if len(link.devices) == 1 else _UNIT_LAST
    if not 1 <= unit <= last:
        hint = f"write a unit number from 1 to {_UNIT_LAST} (to 255 if it is alone on its link)"
        raise _wrong_address(device, link, f"found {text!r}", hint)
    return unit


def check_units(link: Link) -> None:
    """Refuse wrong unit numbers, and two devices with the same; raises ConfigErrors naming each."""
    seen: dict[int, Device] = {}
    errors: list[ConfigError] = []
    for device in link.devices:
        try:
            unit = unit_of(device, link)
        except ConfigError as error:
            errors.append(error)
            continue
        other = seen.setdefault(unit, device)
        if other is not device:
            found = f"unit {unit} on {link.id} is also {other.id}"
            errors.append(_wrong_address(device, link, found, "one unit number, one device"))
    if errors:
        raise ConfigErrors(tuple(errors))


def _wrong_address(device: Device, link: Link, found: str, hint: str) -> RowError:
    return RowError(
        file=link.source,
        key=f"devices.{device.id}.address",
        found=found,
        hint=hint,
        device=device.id,
        column="address",
    )
