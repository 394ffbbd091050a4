"""A broker for the demonstration: Mosquitto where it is installed, else one inside this process."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hub.errors import ConfigError, LinkError

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@asynccontextmanager
async def running_broker(folder: Path, port: int) -> AsyncIterator[str]:
    """A broker on loopback for as long as the block runs; yields what it is, for a person to read."""
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if program:
        async with _mosquitto(program, folder, port):
            yield "Mosquitto"
    else:
        async with _inside(port):
            yield (
                "a demonstration broker inside this process, because Mosquitto is not installed; "
                "it loses queued messages, never use it in earnest"
            )


@asynccontextmanager
async def _mosquitto(program: str, folder: Path, port: int) -> AsyncIterator[None]:
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", "utf-8")
    with (folder / "mosquitto.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, "-c", str(config), stdout=log, stderr=log
        )
    try:
        await _answers(port)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()


async def _answers(port: int) -> None:
    """Return when the port is open; raises LinkError when it never is."""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                return
    except TimeoutError:
        raise LinkError("the broker did not start; see its log") from None


@asynccontextmanager
async def _inside(port: int) -> AsyncIterator[None]:
    try:
        from amqtt.broker import Broker
    except ImportError:
        raise ConfigError(
            file="demo",
            key="broker",
            found="neither Mosquitto nor amqtt is installed",
            hint="apt-get install mosquitto, or pip install dormhub[demo]",
        ) from None
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
            },
        }
    )
    await broker.start()
    try:
        yield
    finally:
        await broker.shutdown()
