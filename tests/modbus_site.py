"""Profiles, devices and links for Modbus tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

from drivers.modbus.driver import open_driver
from hub import Device, Driver, Link, Profile
from hub.profile_file import read_profile
from tests.recording_host import RecordingHost

METER = """
name = "Test meter"
maker = "Test"
kind = "electricity_meter"
protocol = "modbus"
[modbus]
function = 3
type = "u16"
{wire}
[points]
voltage_l1 = {{ at = 0 }}
current_l1 = {{ at = 1 }}
active_power_total = {{ at = 2, type = "s16" }}
energy_import = {{ at = 10, type = "u32" }}
frequency = {{ at = 3 }}
purchase_count = {{ at = 40 }}
relay_closed = {{ at = 7, function = 1 }}
input_1 = {{ at = 3, function = 2 }}
temperature = {{ at = 5, function = 4 }}
"""

TWINS = """
name = "Test meter with registers apart"
maker = "Test"
kind = "electricity_meter"
protocol = "modbus"
[modbus]
function = 3
[points]
voltage_l1 = {{ at = 0 }}
voltage_l2 = {{ at = 2 }}
voltage_l3 = {{ at = 4 }}
current_l2 = {{ at = 6 }}
{more}
"""


def profile_of(text: str) -> Profile:
    """A profile from the text of its file, with default settings."""
    return read_profile("test", "test.toml", text).apply({}, place="test")


def meter_profile(wire: str = "") -> Profile:
    """A meter with points of all four functions; `wire` adds keys to `[modbus]`."""
    return profile_of(METER.format(wire=wire))


def twins_profile(more: str = "") -> Profile:
    """A meter whose registers stand apart, so that the answers to its reads all look the same."""
    return profile_of(TWINS.format(more=more))


def link_of(
    settings: dict[str, object],
    profile: Profile,
    units: Iterable[int],
    *,
    link: str = "bus",
    period_s: float = 0.05,
) -> Link:
    """A link with a device `<link>-<unit>` for each unit."""
    devices = tuple(
        Device(
            id=f"{link}-{unit}", profile=profile, link=link, address=str(unit), period_s=period_s
        )
        for unit in units
    )
    return Link(id=link, driver="modbus", settings=settings, devices=devices)


@contextlib.asynccontextmanager
async def running(*drivers: Driver, host: RecordingHost) -> AsyncIterator[RecordingHost]:
    """The drivers at work; cancelled in the end."""
    tasks = [asyncio.create_task(driver.run(host)) for driver in drivers]
    try:
        yield host
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results), results


@contextlib.asynccontextmanager
async def polled(link: Link) -> AsyncIterator[RecordingHost]:
    """A host that records what the driver of this link says."""
    async with running(open_driver(link), host=RecordingHost()) as host:
        yield host
