"""`dormhub read DEVICE`: ask one device now, without the hub."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.cli.show import public, shown
from hub.clock import Clock, SystemClock
from hub.command import Outcome
from hub.errors import ConfigError, LinkError
from hub.model import Device, Link, Poison, Reading, Trace
from hub.plausibility import Plausibility
from hub.plugin import open_driver
from hub.points import POINTS
from hub.site import Site, load_site

EXIT_SILENT = 3
_VISIT_PERIOD_S = 1.0


class Visit:
    """What a driver is lent for one question: the first usable reading ends it."""

    def __init__(self, device: Device) -> None:
        self.clock: Clock = SystemClock()
        self.reading: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        self.troubles: list[str] = []
        self._device = device
        self._plausibility = Plausibility()

    async def publish(self, readings: Sequence[Reading]) -> None:
        """Take the first reading of the device asked for."""
        for reading in readings:
            if reading.device == self._device.id and not self.reading.done():
                self.reading.set_result(self._plausibility.check(reading, self._device))

    async def quarantine(self, poison: Sequence[Poison]) -> None:
        """Say what came instead."""
        self.troubles += [f"{item.source}: {item.reason}" for item in poison]

    def missed(self, device: str, reason: str) -> None:
        """Say why nothing came."""
        self.troubles.append(f"{device}: {reason}")

    def link_up(self) -> None:
        """Nothing to say."""

    def link_down(self, reason: str) -> None:
        """Say why the link is away."""
        self.troubles.append(f"link {self._device.link}: {reason}")

    def answered_late(self, device: str, command: str, outcome: Outcome) -> None:
        """Nothing is commanded on a visit."""

    def tapped(self, device: str = "") -> bool:
        """Nobody looks at frames while a value is asked for."""
        return False

    def tap(self, trace: Trace) -> None:
        """Nobody looks."""

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        """Nothing is counted on a visit."""


def find_device(site: Site, name: str) -> tuple[Device, Link]:
    """The device of this id and its link; raises ConfigError naming devices.csv."""
    for link in site.links:
        for device in link.devices:
            if device.id == name:
                return device, link
    raise ConfigError(
        file=str(site.folder / "devices.csv"),
        key="id",
        found=f"no device {name!r}",
        hint="see `dormhub devices`",
    )


def visiting(link: Link, device: Device) -> Link:
    """The link with this device alone, asked soon, leaving no trace beside a running hub."""
    soon = dataclasses.replace(device, period_s=min(device.period_s, _VISIT_PERIOD_S))
    return dataclasses.replace(link, devices=(soon,), observe_only=True, visit=True)


async def ask(link: Link, device: Device, timeout_s: float) -> tuple[Reading | None, list[str]]:
    """The device's first reading within the time, or None; and what went wrong on the way."""
    visit = Visit(device)
    driver = open_driver(visiting(link, device))
    running = asyncio.create_task(driver.run(visit), name=f"visit {device.id}")
    try:
        await asyncio.wait(
            (running, visit.reading), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        running.cancel()
        await asyncio.wait((running,), timeout=timeout_s)
    if running.done() and not running.cancelled() and (error := running.exception()):
        if not isinstance(error, LinkError):
            raise error
        visit.troubles.append(str(error))
    return (visit.reading.result() if visit.reading.done() else None), visit.troubles


def read(
    device: Annotated[str, typer.Argument(help="The device's id.")],
    config: ConfigOption = DEFAULT_CONFIG,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0.1, max=3600)] = 10.0,
    json: JsonOption = False,
) -> None:
    """Ask one device now and show every point; no hub is needed. Exit code 3 when it stays silent."""
    installed, link = find_device(load_site(config), device)
    reading, troubles = asyncio.run(ask(link, installed, timeout))
    if reading is None:
        for trouble in dict.fromkeys(troubles or [f"nothing heard within {timeout:g} s"]):
            typer.echo(trouble, err=True)
        raise typer.Exit(EXIT_SILENT)
    values = public(reading.values)
    if json:
        shown_reading = msgspec.structs.replace(reading, values=values)
        sys.stdout.write(msgspec.json.encode(shown_reading).decode() + "\n")
        return
    table = Table("point", "value", "unit", "", title=f"{device} ({installed.profile.name})")
    for name, value in values.items():
        unit = POINTS[name].unit.replace("1", "")
        table.add_row(name, shown(value), unit, reading.uncertain.get(name, ""))
    for name, reason in reading.bad.items():
        table.add_row(name, "-", "", reason)
    Console().print(table)
