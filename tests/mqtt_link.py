"""A link with devices on a test's broker, and a driver running on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import aiomqtt

from drivers.mqtt.driver import open_driver
from hub import Device, Host, Link, SystemClock, load_profiles
from tests.recording_host import RecordingHost
from tests.servers import Server

PROFILES = load_profiles()
T0_S = SystemClock().now_ms() // 1_000 - 3_600  # a time that a device may tell, whatever day it is


def device(name: str, profile: str = "generic_meter", address: str = "") -> Device:
    """A device whose address is its name unless said otherwise."""
    product = PROFILES.example(profile)
    return Device(
        id=name,
        profile=product,
        link="broker",
        address=address or name,
        period_s=product.period_s,
    )


def mqtt_link(port: int, devices: Sequence[Device], **settings: object) -> Link:
    """A link on loopback."""
    return Link(
        id="broker",
        driver="mqtt",
        settings={"host": "127.0.0.1", "port": port, **settings},
        devices=tuple(devices),
    )


@asynccontextmanager
async def serving(link: Link, host: Host) -> AsyncIterator[asyncio.Task[None]]:
    """The link's driver, running; cancelled in the end."""
    task = asyncio.create_task(open_driver(link).run(host), name="driver")
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until_up(host: RecordingHost, times: int = 1) -> None:
    """Return when the link has come up so many times."""
    await host.wait_until(lambda: host.link_events.count("up") >= times, timeout_s=20)


def state(sequence: int, at_s: int = T0_S, **values: float) -> bytes:
    """A generic meter's state."""
    return json.dumps(
        {"ts": at_s + sequence, "seq": sequence, **(values or {"power_w": 1})}
    ).encode()


async def say(server: Server, messages: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> None:
    """Publish with QoS 1, in order."""
    pairs = messages.items() if isinstance(messages, Mapping) else messages
    async with aiomqtt.Client("127.0.0.1", server.port) as client:
        for topic, payload in pairs:
            await client.publish(topic, payload, qos=1)
