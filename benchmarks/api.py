"""The HTTP API on a real socket, with real stores: how fast it answers, beside a route that does nothing."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI

from hub import Link
from hub.api import bind, serve_api
from tests.api_site import ApiSite, api_site, device, listening

CALLERS = 16
Ask = Callable[[int], tuple[str, str, bytes]]  # method, path, body


async def measure(address: tuple[str, int], key: str, number: int, ask: Ask) -> tuple[float, float]:
    """Seconds for `number` requests of 16 callers at once, and the 99th percentile of one, in seconds."""
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


async def bare(number: int) -> tuple[float, float]:
    app = FastAPI(openapi_url=None)

    @app.get("/")
    async def nothing() -> dict[str, str]:
        return {"health": "green"}

    sock = bind("127.0.0.1:0")
    address = sock.getsockname()
    serving = asyncio.create_task(serve_api(app, sock), name="bare")
    try:
        return await measure(address, "none", number, lambda _: ("GET", "/", b""))
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def asked(site: ApiSite, number: int, ask: Ask) -> tuple[float, float]:
    async with listening(site) as address:
        return await measure(address, site.keys["admin"], number, ask)


def latest(place: int) -> tuple[str, str, bytes]:
    return "GET", f"/v1/devices/meter-{place}/latest", b""


def page(place: int) -> tuple[str, str, bytes]:
    return "GET", "/v1/devices", b""


def command(place: int) -> tuple[str, str, bytes]:
    body = {"device": f"meter-{place}", "name": "restore"}
    return "POST", "/v1/commands", json.dumps(body).encode()


def line(name: str, number: int, figures: tuple[float, float], goal: str = "") -> None:
    seconds, p99_s = figures
    rate = number / seconds
    print(f"{name:44} {seconds:7.2f} s {rate:7.0f}/s  p99 {p99_s * 1000:7.1f} ms  {goal}")


async def run(number: int) -> None:
    devices = tuple(
        device(f"meter-{place}", "acrel_ddsy1352", "bus-1", "B1") for place in range(number)
    )
    links = (Link(id="bus-1", driver="modbus", devices=devices),)
    print(f"{CALLERS} callers and the hub on one loop; {number} requests each row")
    with tempfile.TemporaryDirectory() as folder:
        async with api_site(Path(folder), links=links) as site:
            for place in range(0, number, 10):
                await site.publish(f"meter-{place}", "bus-1", energy_import=place)
            line("a FastAPI route that does nothing (limit)", number, await bare(number))
            line("latest of one device", number, await asked(site, number, latest))
            line("a page of 100 devices", number, await asked(site, number, page))
            figures = await asked(site, number, command)
            line(f"{number} commands to {number} devices", number, figures, "goal: 1,000 in 2 s")


def main() -> None:
    asyncio.run(run(200 if "--short" in sys.argv else 1000))


if __name__ == "__main__":
    main()
