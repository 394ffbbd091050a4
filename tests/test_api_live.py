"""The live stream, on a real socket: order, resumption, masking, and clients that do not read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import httpx2
import pytest

from hub import Reading, VirtualClock
from hub.auth import Role
from tests.api_site import CLOCK, PLATE, ApiSite, api_site, listening

BOUND_S = 20


@dataclass(frozen=True, kw_only=True)
class Event:
    """One server-sent event."""

    name: str
    id: int
    data: dict[str, object]

    @property
    def readings(self) -> list[dict[str, object]]:
        return cast(list[dict[str, object]], self.data["readings"])


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    async with api_site(tmp_path, read_timeout_s=0.5) as made:
        yield made


@asynccontextmanager
async def stream(
    site: ApiSite, address: tuple[str, int], *, who: str = Role.ADMIN, last: int | None = None
) -> AsyncIterator[AsyncIterator[Event]]:
    """The events of one client; the stream is open when this is entered."""
    headers = {"Authorization": f"Bearer {site.keys[who]}"}
    headers |= {} if last is None else {"Last-Event-ID": str(last)}
    url = f"http://{address[0]}:{address[1]}"
    async with (
        asyncio.timeout(BOUND_S),
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=BOUND_S) as client,
        client.stream("GET", "/v1/live") as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.aiter_lines()
        assert await anext(lines) == ": live"
        yield events(lines)


async def events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        fields[name] = value
        if not line and "data" in fields:
            yield Event(name=fields["event"], id=int(fields["id"]), data=json.loads(fields["data"]))
            fields = {}


async def store(site: ApiSite, number: int, *, device: str = "meter-1", point: str = "x") -> None:
    now_ms = CLOCK.now_ms()
    await site.parts.journal.append(
        [
            Reading(
                device=device,
                time_ms=now_ms + index,
                received_ms=now_ms,
                values={"energy_import": index},
            )
            for index in range(number)
        ]
    )


async def test_a_reading_arrives_once_it_is_stored(site: ApiSite) -> None:
    async with listening(site) as address, stream(site, address) as heard:
        await site.publish("meter-1", "bus-1", energy_import=7)
        event = await anext(heard)
    assert (event.name, event.id) == ("readings", 1)
    assert event.readings[0]["device"] == "meter-1"
    assert event.readings[0]["values"] == {"energy_import": 7}


async def test_a_client_that_returns_gets_what_it_missed_and_nothing_twice(site: ApiSite) -> None:
    await site.publish("meter-1", "bus-1", energy_import=1)
    await site.publish("meter-2", "bus-1", energy_import=2)
    await site.publish("washer-1", "broker", online=True)
    async with listening(site) as address, stream(site, address, last=1) as heard:
        event = await anext(heard)
    assert event.id == 3
    assert [reading["device"] for reading in event.readings] == ["meter-2", "washer-1"]


async def test_what_came_together_is_one_event_with_the_latest_word_of_each_point(
    site: ApiSite,
) -> None:
    await site.publish("meter-1", "bus-1", energy_import=1, voltage_l1=230.0)
    await site.publish("meter-1", "bus-1", energy_import=2)
    async with listening(site) as address, stream(site, address, last=0) as heard:
        event = await anext(heard)
    assert [reading["values"] for reading in event.readings] == [
        {"energy_import": 2, "voltage_l1": 230.0}
    ]


async def test_a_client_far_behind_is_told_how_much_it_missed(site: ApiSite) -> None:
    await store(site, 20_500)
    async with listening(site) as address, stream(site, address, last=0) as heard:
        event = await anext(heard)
    assert (event.name, event.id, event.data) == ("skipped", 20_500, {"readings": 20_500})


async def test_an_id_from_the_future_begins_now(site: ApiSite) -> None:
    async with listening(site) as address, stream(site, address, last=10**12) as heard:
        await site.publish("meter-1", "bus-1", energy_import=7)
        assert (await anext(heard)).id == 1


async def test_the_stream_tells_a_key_only_what_it_may_know(site: ApiSite) -> None:
    async with (
        listening(site) as address,
        stream(site, address, who="operator of B2") as narrow,
        stream(site, address, who=Role.VIEWER) as masked,
    ):
        await site.publish("camera-1", "broker", plate=PLATE)
        await site.publish("meter-2", "bus-1", energy_import=2)
        mine = await anext(narrow)
        theirs = await anext(masked)
    assert [reading["device"] for reading in mine.readings] == ["meter-2"]
    assert theirs.readings[0]["values"] == {"plate": "京A1**5"}


async def test_a_revoked_key_ends_its_streams(site: ApiSite) -> None:
    clock = VirtualClock(start_ms=CLOCK.now_ms(), loop=asyncio.get_running_loop())
    later = site.with_parts(replace(site.parts, clock=clock))
    async with (
        listening(later) as address,
        stream(later, address, who=Role.VIEWER) as heard,
    ):
        await site.parts.keys.revoke(site.keys[Role.VIEWER].split("_")[1], "test")
        clock.advance(10)
        await site.publish("meter-1", "bus-1", energy_import=7)
        assert [event async for event in heard] == []


async def test_a_key_opens_a_bounded_number_of_streams(site: ApiSite) -> None:
    headers = {"Authorization": f"Bearer {site.keys[Role.VIEWER]}"}
    async with listening(site) as address:
        url = f"http://{address[0]}:{address[1]}/v1/live"
        async with httpx2.AsyncClient(headers=headers, timeout=BOUND_S) as client:
            opened = [
                await client.send(client.build_request("GET", url), stream=True) for _ in range(11)
            ]
            statuses = [response.status_code for response in opened]
            for response in opened:
                await response.aclose()
    assert statuses == [200] * 10 + [503]
    assert site.parts.traffic.dropped["full"] == 1


async def test_a_client_that_does_not_read_is_dropped_and_counted_while_others_go_on(
    site: ApiSite,
) -> None:
    async with listening(site) as (host, port), asyncio.timeout(BOUND_S):
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        head = (
            f"GET /v1/live HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {site.keys['admin']}\r\n"
        )
        writer.write(f"{head}\r\n".encode())
        assert b"200" in await reader.readline()
        async with stream(site, (host, port)) as heard:
            while not site.parts.traffic.dropped["slow"]:
                await flood(site)
                await anext(heard)
            assert site.parts.traffic.live.total() == 1
        writer.close()


async def flood(site: ApiSite) -> None:
    now_ms = CLOCK.now_ms()
    text = "x" * 250
    await site.parts.journal.append(
        [
            Reading(
                device="camera-1",
                time_ms=now_ms + index,
                received_ms=now_ms,
                values={},
                bad={f"point_{number}_{index}": text for number in range(40)},
            )
            for index in range(20)
        ]
    )
