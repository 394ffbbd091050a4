"""Commands for Modbus tests: made from profiles, told to a driver at work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from drivers.modbus.driver import open_driver
from hub import Command, Device, Driver, Link, Outcome, Priority, Profile, SystemClock, Value
from simulators.campus import Campus
from simulators.pytest_campus import CampusFactory
from tests.modbus_site import METER, profile_of, running
from tests.recording_host import RecordingHost

CLOCK = SystemClock()


def command_for(
    device: Device,
    name: str,
    arguments: Mapping[str, Value] | None = None,
    *,
    within_s: float = 5.0,
    priority: Priority = Priority.OPERATOR,
) -> Command:
    """A command of the device's own profile, to be sent within so many seconds from now."""
    now_ms = CLOCK.now_ms()
    return Command(
        id=CLOCK.new_id(),
        device=device.id,
        spec=device.profile.commands[name],
        arguments=arguments or {},
        attempt=1,
        issued_ms=now_ms,
        expires_ms=now_ms + round(within_s * 1000),
        deadline_s=CLOCK.monotonic_s() + within_s,
        priority=priority,
        nonce="n",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A driver at work on one link, and who listens to it."""

    link: Link
    driver: Driver
    host: RecordingHost

    async def tell(
        self,
        device: str,
        name: str,
        arguments: Mapping[str, Value] | None = None,
        *,
        within_s: float = 5.0,
        priority: Priority = Priority.OPERATOR,
    ) -> Outcome:
        """Tell this device and return what came of it; never waits longer than 20 s."""
        (found,) = (item for item in self.link.devices if item.id == device)
        command = command_for(found, name, arguments, within_s=within_s, priority=priority)
        async with asyncio.timeout(20):
            return await self.driver.execute(command)


@contextlib.asynccontextmanager
async def at_work(link: Link) -> AsyncIterator[Work]:
    """The driver of this link, polling; its link is up."""
    driver = open_driver(link)
    async with running(driver, host=RecordingHost()) as host:
        await host.wait_until(lambda: "up" in host.link_events)
        yield Work(link=link, driver=driver, host=host)


@dataclass(frozen=True, kw_only=True, slots=True)
class Town:
    """A simulated campus of one bus, and the driver that serves it."""

    campus: Campus
    work: Work


@contextlib.asynccontextmanager
async def town_at_work(campus: CampusFactory, folder: Path) -> AsyncIterator[Town]:
    """The campus of this folder, its first link served by its driver."""
    async with campus(folder) as town, at_work(town.reachable().links[0]) as work:
        yield Town(campus=town, work=work)


MARK = """
[commands.mark]
meaning = "write one register"
arguments = { value = { type = "int", minimum = 0, maximum = 65535 } }
writes = [{ function = 6, at = 50, argument = "value" }]
confirm = [{ point = "relay_closed", equals = true }]
repeat = "never"
[commands.both]
meaning = "write two registers, one after the other"
writes = [{ function = 6, at = 50, raw = 1 }, { function = 6, at = 51, raw = 2 }]
confirm = [{ point = "relay_closed", equals = true }]
repeat = "never"
"""


def markable_profile(more: str = MARK) -> Profile:
    """The test meter, which takes a mark: a register nobody reads."""
    return profile_of(METER.format(wire="") + more)
