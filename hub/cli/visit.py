"""A visit: a driver of our own for a short look, where no hub runs or the hub has lent the link."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

from hub.clock import Clock, SystemClock
from hub.command import Outcome
from hub.errors import ConfigError, LinkError
from hub.model import Device, Link, Poison, Reading, Trace
from hub.plausibility import Plausibility
from hub.plugin import open_driver
from hub.site import Site

VISIT_PERIOD_S = 1.0
TRIES = 2
_MISSES_KEPT = 100


class Visit:
    """What a driver is lent for a look at some devices. `first` has the first reading of each.

    One that was asked and gave nothing is asked once more, soon.

    `enough` is asked after everything that happened (has each been heard, when absent); once it says so,
    `done` is set. `show` is told every
    frame of the devices named in `looks_at`.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        *,
        enough: Callable[[Visit], bool] | None = None,
        looks_at: frozenset[str] = frozenset(),
        show: Callable[[Trace], None] = lambda trace: None,
    ) -> None:
        self.clock: Clock = SystemClock()
        self.devices: dict[str, Device] = {device.id: device for device in devices}
        self.first: dict[str, Reading] = {}
        self.misses: dict[str, list[str]] = {}
        self.troubles: list[str] = []
        self.done = asyncio.Event()
        self._enough = enough or _all_heard
        self._looks_at = looks_at
        self._show = show
        self._plausibility = Plausibility()
        self.again: Callable[[str], None] = lambda device: None

    async def publish(self, readings: Sequence[Reading]) -> None:
        """Keep the first reading of each device."""
        for reading in readings:
            device = self.devices.get(reading.device)
            if device is not None and device.id not in self.first:
                self.first[device.id] = self._plausibility.check(reading, device)
        self._look()

    async def quarantine(self, poison: Sequence[Poison]) -> None:
        """Say what came instead."""
        self._trouble(*(f"{item.source}: {item.reason}" for item in poison))

    def missed(self, device: str, reason: str) -> None:
        """Say why nothing came."""
        misses = self.misses.setdefault(device, [])
        misses.append(reason)
        if len(misses) < TRIES:
            self.again(device)
        self._trouble(f"{device}: {reason}")
        self._look()

    def link_up(self) -> None:
        """Nothing to say."""

    def link_down(self, reason: str) -> None:
        """Say why the link is away."""
        self._trouble(f"link: {reason}")

    def answered_late(self, device: str, command: str, outcome: Outcome) -> None:
        """Nothing is commanded on a visit."""

    def tapped(self, device: str = "") -> bool:
        """Whether this visit looks at frames."""
        return device in self._looks_at if device else bool(self._looks_at)

    def tap(self, trace: Trace) -> None:
        """Show a frame."""
        self._show(trace)

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        """Nothing is counted on a visit."""

    def _trouble(self, *troubles: str) -> None:
        self.troubles = [*self.troubles, *troubles][-_MISSES_KEPT:]

    def _look(self) -> None:
        if self._enough(self):
            self.done.set()


def _all_heard(visit: Visit) -> bool:
    return len(visit.first) == len(visit.devices)


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


def find_link(site: Site, name: str) -> Link:
    """The link of this id; raises ConfigError naming site.toml."""
    for link in site.links:
        if link.id == name:
            return link
    known = ", ".join(link.id for link in site.links)
    raise ConfigError(
        file=str(site.folder / "site.toml"),
        key="links",
        found=f"no link {name!r}",
        hint=f"known: {known or 'none'}",
    )


def visiting(link: Link, devices: Sequence[Device], period_s: float) -> Link:
    """The link with these devices alone, read every so often, leaving no trace and writing nothing."""
    soon = tuple(dataclasses.replace(device, period_s=period_s) for device in devices)
    return dataclasses.replace(link, devices=soon, observe_only=True, visit=True)


async def pay(visit: Visit, link: Link, timeout_s: float) -> None:
    """Run the link's driver until the visit is done, or so long. What went wrong is in `troubles`."""
    driver = open_driver(link)
    visit.again = driver.refresh
    running = asyncio.create_task(driver.run(visit), name=f"visit {link.id}")
    done = asyncio.create_task(visit.done.wait(), name=f"visit {link.id} is done")
    try:
        await asyncio.wait((running, done), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done.cancel()
        running.cancel()
        await asyncio.wait((running, done), timeout=timeout_s)
    if running.done() and not running.cancelled() and (error := running.exception()):
        if not isinstance(error, LinkError):
            raise error
        visit.troubles.append(str(error))
