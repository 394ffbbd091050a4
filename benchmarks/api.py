"""The HTTP API on a real socket, with real stores: how fast it answers, beside a route that does nothing.

The callers are sixteen connections that stay open, in a process of their own. Orders are counted as
accepted when their 202 has come, with the row on disk; once while nothing is sent, once while the hub tells
each device, whose driver answers at once, and sees its proof. The same orders by a call in the hub's own
process stand beside them. `CPU` is the processor time of the hub's process alone, which other work on the
machine hardly changes.

    python -m benchmarks.api [--short]
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import structlog
import uvloop
from fastapi import FastAPI

from benchmarks.commands import NAME, Wire, at_once
from hub import Link, SystemClock
from hub.api import bind, serve_api
from hub.control import Control
from hub.safety_rules import SafetyRules
from tests.api_site import ApiSite, api_site, listening
from tests.scripted_device import scripted

CALLERS = 16
Ask = Callable[[int], tuple[str, str, bytes]]  # method, path, body
Figures = tuple[float, float]  # seconds for all requests, and the 99th percentile of one
Costed = tuple[float, float, float]  # the same, and the CPU seconds of the hub


# The callers, in a process of their own.


def nothing(place: int) -> tuple[str, str, bytes]:
    return "GET", "/", b""


def latest(place: int) -> tuple[str, str, bytes]:
    return "GET", f"/v1/devices/device-{place}/latest", b""


def page(place: int) -> tuple[str, str, bytes]:
    return "GET", "/v1/devices", b""


def command(place: int) -> tuple[str, str, bytes]:
    body = {"device": f"device-{place}", "name": NAME, "cause": "benchmark"}
    return "POST", "/v1/commands", json.dumps(body).encode()


ASKS: Mapping[str, Ask] = {ask.__name__: ask for ask in (nothing, latest, page, command)}


async def measure(address: tuple[str, int], key: str, number: int, ask: Ask) -> Figures:
    """`number` requests by all callers together."""
    took: list[float] = []
    places = iter(range(number))

    async def call() -> None:
        reader, writer = await asyncio.open_connection(*address)
        for place in places:
            begun_s = time.perf_counter()
            method, path, body = ask(place)
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {key}\r\n"
                f"Idempotency-Key: order-{place}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 20"), head
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
            took.append(time.perf_counter() - begun_s)
        writer.close()

    begun_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for caller in range(CALLERS):
            tasks.create_task(call(), name=f"caller {caller}")
    return time.perf_counter() - begun_s, sorted(took)[int(len(took) * 0.99)]


def call_when_told(pipe: Connection) -> None:
    """The callers' process: measures what it is asked, until it is asked nothing."""
    while asked := pipe.recv():
        address, key, number, name = asked
        pipe.send(uvloop.run(measure(address, key, number, ASKS[name])))


@contextmanager
def callers() -> Iterator[Connection]:
    """The callers' process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=call_when_told, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        ours.send(None)
        process.join(5)
        process.kill()


# The hub.


async def asked(
    pipe: Connection, address: tuple[str, int], key: str, number: int, ask: Ask
) -> Costed:
    """What the callers found; the hub's loop is free meanwhile."""
    began_s = time.process_time()
    pipe.send((address, key, number, ask.__name__))
    while not pipe.poll():
        await asyncio.sleep(0.02)
    found: Figures = pipe.recv()
    return *found, time.process_time() - began_s


async def bare(pipe: Connection, number: int) -> Costed:
    """The limit: FastAPI with a route that does nothing."""
    app = FastAPI(openapi_url=None)

    @app.get("/")
    async def answer() -> dict[str, str]:
        return {"health": "green"}

    sock = bind("127.0.0.1:0")
    serving = asyncio.create_task(serve_api(app, sock), name="bare")
    try:
        return await asked(pipe, sock.getsockname(), "none", number, nothing)
    finally:
        serving.cancel()
        await asyncio.wait([serving])


@asynccontextmanager
async def sending(
    site: ApiSite, links: Sequence[Link]
) -> AsyncIterator[tuple[ApiSite, Control, Wire]]:
    """The site with a hub behind it that tells its devices."""
    parts = site.parts
    wire = Wire(SystemClock())
    async with asyncio.TaskGroup() as tasks:
        control = Control(
            ledger=parts.ledger, clock=parts.clock, presence=parts.presence, wire=wire
        )
        wire.control = control
        control.configure(links, SafetyRules(rate_per_minute=600))
        serving = await control.start(tasks)
        yield (
            site.with_parts(replace(parts, commands=control.commands, registry=control.registry)),
            control,
            wire,
        )
        for task in serving:
            task.cancel()


def line(name: str, number: int, figures: Costed, goal: str = "") -> None:
    """One row."""
    seconds, p99_s, cpu_s = figures
    p99 = f"p99 {p99_s * 1000:7.1f} ms" if p99_s else ""
    rate = f"{number / seconds:7.0f}/s"
    print(f"{name:52} {seconds:7.2f} s {rate}  {p99:15} CPU {cpu_s:5.2f} s  {goal}", flush=True)


async def run(number: int, pipe: Connection) -> None:
    """Print the table."""
    devices = tuple(scripted(f"device-{place}") for place in range(number))
    links = (Link(id="bus-1", driver="x", devices=devices),)
    names = [device.id for device in devices]
    goal = f"{2 * number / 1000:g} s"
    print(f"{CALLERS} connections of another process; {number} requests each row")
    line("a FastAPI route that does nothing (limit)", number, await bare(pipe, number))
    async with fresh(links) as site, listening(site) as address:
        key = site.keys["admin"]
        for place in range(0, number, 10):
            await site.publish(f"device-{place}", "bus-1", lane_light=True)
        line("latest of one device", number, await asked(pipe, address, key, number, latest))
        line("a page of 100 devices", number, await asked(pipe, address, key, number, page))
        found = await asked(pipe, address, key, number, command)
        line(f"{number} commands to {number} devices, nothing sent", number, found, goal)
    async with (
        fresh(links) as plain,
        sending(plain, links) as (site, _, _),
        listening(site) as address,
    ):
        found = await asked(pipe, address, site.keys["admin"], number, command)
        line("the same while they are sent and proved", number, found, goal)
    async with fresh(links) as plain, sending(plain, links) as (_, control, wire):
        began_s = time.process_time()
        accepted_s, _ = await at_once(control, wire, names)
        figures = accepted_s, 0.0, time.process_time() - began_s  # until the last is proved
        line("the same without HTTP, in the hub's process", number, figures, goal)


@asynccontextmanager
async def fresh(links: Sequence[Link]) -> AsyncIterator[ApiSite]:
    """A site in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        async with api_site(Path(folder), links=links) as site:
            yield site


def main() -> None:
    """Print the table."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with callers() as pipe:
        uvloop.run(run(200 if "--short" in sys.argv else 1000, pipe))


if __name__ == "__main__":
    main()
