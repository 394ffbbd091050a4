"""The one way in: every reading is checked here, stored, and only then reported as taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from hub.clock import Clock
from hub.model import Device, Poison, Reading, Value
from hub.plausibility import Plausibility
from hub.presence import Change, PresenceBoard


class Store(Protocol):
    """What ingest needs of the journal."""

    async def append(self, readings: Sequence[Reading]) -> object:
        """Store durably; raises StoreError when nothing was stored."""

    async def keep_poison(self, poison: Sequence[Poison]) -> None:
        """Keep for a person, bounded; raises StoreError."""


class Ingest:
    """Plausibility, then the journal, then presence: the same for every driver.

    `report` is told each change of presence; `count` each refused reading, as (link, reason); `stored`
    every batch once it is on disk.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        report: Callable[[Change], None],
        count: Callable[[str, str], None],
        stored: Callable[[Sequence[Reading]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._report = report
        self._count = count
        self._stored = stored
        self._plausibility = Plausibility()
        self._devices: dict[str, Device] = {}
        self._links: frozenset[str] = frozenset()
        self.presence = PresenceBoard()

    def configure(self, devices: Iterable[Device], links: Iterable[str]) -> None:
        """Know exactly these devices and links from now on."""
        self._devices = {device.id: device for device in devices}
        self._links = frozenset(links)
        self._plausibility.forget_products()
        self.presence.configure(self._devices.values(), self._clock.monotonic_s())

    def remember(self, latest: Mapping[str, Iterable[tuple[str, Value, int]]]) -> None:
        """Where every counter stood when the hub stopped, so that the first step is checked too."""
        for device, values in latest.items():
            self._plausibility.remember(device, values)

    def device(self, name: str) -> Device | None:
        """The device of this id as configured now."""
        return self._devices.get(name)

    async def publish(self, link: str, readings: Sequence[Reading]) -> None:
        """Check and store; returns when on disk. Raises StoreError when nothing was stored.

        A reading of a device this link does not serve is refused and counted: no value is ever stored
        for the wrong device.
        """
        checked = []
        for reading in readings:
            device = self._devices.get(reading.device)
            if (device is None or device.link != link) and reading.device != link:
                self._count(link, "foreign device")
                continue
            checked.append(self._plausibility.check(reading, device))
        if not checked:
            return
        await self._store.append(checked)
        now_s = self._clock.monotonic_s()
        for reading in checked:
            change = self.presence.heard(reading, now_s)
            if change is not None:
                self._report(change)
        self._stored(checked)

    async def quarantine(self, poison: Sequence[Poison]) -> None:
        """Keep what could not become a reading; returns when on disk. Raises StoreError."""
        await self._store.keep_poison(poison)

    def sweep(self) -> None:
        """Report every device that has been silent too long."""
        for change in self.presence.sweep(self._clock.monotonic_s()):
            self._report(change)
