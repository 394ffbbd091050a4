"""The Modbus driver: polls the devices of one link in turn and publishes one Reading for each poll."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from drivers.modbus.polling import Polling
from drivers.modbus.scanner import open_scanner
from drivers.modbus.settings import LinkSettings, check_units, link_settings, unit_of
from drivers.modbus.unit import Product, Unit
from hub import Answer, Command, Driver, Host, Link, Outcome

__all__ = ["ModbusDriver", "open_driver", "open_scanner"]


def open_driver(link: Link) -> Driver:
    """The driver of a Modbus link; raises ConfigError for a wrong setting, unit number or wire key."""
    settings = link_settings(link)
    check_units(link)
    products: dict[int, Product] = {}
    units = {}
    for device in link.devices:
        profile = device.profile
        if id(profile) not in products:
            products[id(profile)] = Product(profile, settings)
        units[device.id] = Unit(unit_of(device, link), products[id(profile)])
    return ModbusDriver(link, settings, units)


class ModbusDriver:
    """One link: a bus, its devices, and three tasks (polling, writing, counting)."""

    def __init__(self, link: Link, settings: LinkSettings, units: Mapping[str, Unit]) -> None:
        self._link = link
        self._settings = settings
        self._units = units
        self._polling: Polling | None = None

    async def run(self, host: Host) -> None:
        """Poll until cancelled; a lost link is opened again by itself, at a paced rate."""
        polling = self._polling = Polling(self._link, self._settings, self._units, host)
        name = f"modbus-{self._link.id}"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(polling.outbox.run(), name=f"{name}-outbox")
                tasks.create_task(polling.run(), name=f"{name}-polling")
                tasks.create_task(polling.report(), name=f"{name}-report")
        finally:
            self._polling = None
            await polling.close()

    async def execute(self, command: Command) -> Outcome:
        """Tell a device once, before any polling; see hub.plugin.Driver.

        A request takes its turn after the frame in flight. Frames of both directions, the result
        register's too, are in the outcome.
        """
        if self._link.observe_only:
            return Outcome(answer=Answer.NOT_SENT, reason="observe_only")
        if self._polling is None:
            return Outcome(answer=Answer.NOT_SENT, reason="not running")
        if command.device not in self._units:
            return Outcome(answer=Answer.NOT_SENT, reason="no such unit")
        return await self._polling.execute(command)

    def refresh(self, device: str) -> None:
        """Poll this device next, also when it has been silent; before the start it is polled anyway."""
        if self._polling:
            self._polling.refresh(device)
