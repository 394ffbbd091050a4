"""Paid orders over a real socket into a real ledger: how long a platform waits, at 50/s and at full rate.

Every answer comes after the order is on disk. Beside it, at the same pace, a route that does nothing.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI

from hub import Link, Place, SystemClock
from hub.api import bind, serve_api
from tests.api_site import device, listening
from tests.order_site import OrderDesk, order_desk

RATE = 50
METERS = 200
CALLERS = 16
GOAL_S = 0.1
Message = tuple[dict[str, str], bytes]
Make = Callable[[int], Message]


async def one(
    lines: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    address: tuple[str, int],
    message: Message,
) -> None:
    """Send one notice over a line that is free, or a new one."""
    headers, body = message
    try:
        reader, writer = lines.get_nowait()
    except asyncio.QueueEmpty:
        reader, writer = await asyncio.open_connection(*address)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(
        f"POST /v1/orders HTTP/1.1\r\nHost: hub\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert answer.startswith(b"http/1.1 200"), answer
    await reader.readexactly(int(answer.partition(b"content-length: ")[2].split()[0]))
    lines.put_nowait((reader, writer))


async def paced(address: tuple[str, int], number: int, make: Make, rate: float) -> list[float]:
    """Seconds of each of `number` notices, begun at this rate whatever the answers take."""
    lines: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    took: list[float] = []
    begun_s = time.perf_counter()

    async def call(place: int) -> None:
        due_s = begun_s + place / rate
        await asyncio.sleep(due_s - time.perf_counter())
        message = make(place)
        await one(lines, address, message)
        took.append(time.perf_counter() - due_s)

    async with asyncio.TaskGroup() as tasks:
        for place in range(number):
            tasks.create_task(call(place), name=f"notice {place}")
    while not lines.empty():
        lines.get_nowait()[1].close()
    return sorted(took)


async def flooded(
    address: tuple[str, int], messages: Sequence[Message]
) -> tuple[float, list[float]]:
    """All of them by 16 callers, each as soon as its last was answered: seconds in all, and of each."""
    lines: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    left = iter(messages)
    took: list[float] = []

    async def caller() -> None:
        for message in left:
            sent_s = time.perf_counter()
            await one(lines, address, message)
            took.append(time.perf_counter() - sent_s)

    begun_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for place in range(CALLERS):
            tasks.create_task(caller(), name=f"caller {place}")
    while not lines.empty():
        lines.get_nowait()[1].close()
    return time.perf_counter() - begun_s, sorted(took)


async def bare(number: int) -> list[float]:
    app = FastAPI(openapi_url=None)

    @app.post("/v1/orders")
    async def nothing() -> dict[str, str]:
        return {"health": "green"}

    sock = bind("127.0.0.1:0")
    address: tuple[str, int] = sock.getsockname()
    serving = asyncio.create_task(serve_api(app, sock), name="bare")
    try:
        return await paced(address, number, lambda _: ({}, b"{}"), RATE)
    finally:
        serving.cancel()
        await asyncio.wait([serving])


def line(name: str, took: Sequence[float], more: str = "") -> None:
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    figures = f"p50 {p50 * 1000:7.1f} ms  p99 {p99 * 1000:7.1f} ms  max {took[-1] * 1000:7.1f} ms"
    print(f"{name:44} {len(took):6}  {figures}  {more}", flush=True)


def notice_of(desk: OrderDesk, place: int) -> Message:
    payment = desk.platform.pay("B1", f"{place % METERS:03}", 1000 + place % 100)
    return desk.platform.notice(payment)


async def run(number: int) -> None:
    meters = tuple(
        replace(
            device(f"meter-{place}", "acrel_ddsy1352", "bus-1", "B1"),
            place=Place(building="B1", floor="1", room=f"{place:03}"),
        )
        for place in range(METERS)
    )
    links = (Link(id="bus-1", driver="modbus", devices=meters),)
    print(
        f"{METERS} meters; platform and hub on one loop; goal: p99 {GOAL_S * 1000:.0f} ms at {RATE}/s"
    )
    line(f"a route that does nothing, {RATE}/s (limit)", await bare(min(number, 500)))
    with tempfile.TemporaryDirectory() as folder:
        async with (
            order_desk(Path(folder), SystemClock(seed=1), links=links) as desk,
            listening(desk.api) as address,
        ):
            gc.collect()  # as `dormhub run` does after its start
            gc.freeze()
            took = await paced(address, number, lambda place: notice_of(desk, place), RATE)
            line(f"orders, {RATE}/s", took)
            paid = list(desk.platform.payments.values())
            again = await paced(
                address, min(number, 500), lambda place: desk.platform.notice(paid[place]), RATE
            )
            line(f"the same again, {RATE}/s", again)
            more = [notice_of(desk, place) for place in range(min(number, 2000))]
            seconds, took = await flooded(address, more)
            line(f"orders, {CALLERS} callers at full rate", took, f"{len(took) / seconds:.0f}/s")
            stored = await desk.number_of_orders()
            print(f"paid {len(desk.platform.payments)}, in the ledger {stored}")


def main() -> None:
    asyncio.run(run(500 if "--short" in sys.argv else 10_000))


if __name__ == "__main__":
    main()
