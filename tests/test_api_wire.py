"""The wire through the API: a reading now, a device's frames as a stream, a link for a while."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from hub import Trace
from hub.auth import Role
from tests.api_site import PLATE, ApiSite, api_site, listening

BOUND_S = 20
FRAME = Trace(
    time_ms=1, device="meter-1", outgoing=False, data=b"\x01\x03", text="voltage_l1 230 V"
)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    async with api_site(tmp_path, read_timeout_s=0.5) as made:
        yield made


@asynccontextmanager
async def traced(
    site: ApiSite, address: tuple[str, int], device: str, *, who: str = Role.ADMIN, seconds: int = 9
) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, object]]]]:
    headers = {"Authorization": f"Bearer {site.keys[who]}"}
    url = f"http://{address[0]}:{address[1]}"
    async with (
        asyncio.timeout(BOUND_S),
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=BOUND_S) as client,
        client.stream("GET", f"/v1/devices/{device}/trace?seconds={seconds}") as response,
    ):
        assert response.status_code == 200
        lines = response.aiter_lines()
        assert await anext(lines) == ": trace"
        yield events(lines)


async def events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, dict[str, object]]]:
    name = ""
    async for line in lines:
        key, _, text = line.partition(": ")
        name = text if key == "event" else name
        if key == "data":
            yield name, json.loads(text)


async def test_a_read_asks_the_driver_and_brings_its_next_reading(site: ApiSite) -> None:
    await site.publish("meter-1", "bus-1", energy_import=1)
    async with site.client(Role.INSTALLER) as client:
        asking = asyncio.create_task(client.post("/v1/devices/meter-1/read?wait_s=10"))
        async with asyncio.timeout(BOUND_S):
            while not site.drivers.asked:
                await asyncio.sleep(0.01)
        await site.publish("meter-2", "bus-1", energy_import=2)
        await site.publish("meter-1", "bus-1", energy_import=3)
        answer = (await asking).json()
    assert site.drivers.asked == ["bus-1 meter-1"]
    assert (answer["device"], answer["values"]) == ("meter-1", {"energy_import": 3})


async def test_a_silent_device_is_said_to_be_silent_with_the_reason(site: ApiSite) -> None:
    site.parts.presence.missed("meter-1", "timeout")
    async with site.client() as client:
        answer = await client.post("/v1/devices/meter-1/read?wait_s=0.1")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:dormhub:problem:silent"
    assert answer.json()["detail"] == "nothing within 0.1 s: timeout"


async def test_what_is_read_is_masked_as_everywhere(site: ApiSite) -> None:
    async with site.client(Role.INSTALLER) as client:
        asking = asyncio.create_task(client.post("/v1/devices/camera-1/read"))
        async with asyncio.timeout(BOUND_S):
            while not site.drivers.asked:
                await asyncio.sleep(0.01)
        await site.publish("camera-1", "broker", plate=PLATE)
        answer = await asking
    assert PLATE not in answer.text
    assert "**" in answer.json()["values"]["plate"]


@pytest.mark.parametrize("path", ["read", "trace"])
async def test_a_key_reaches_the_devices_of_its_place_only(site: ApiSite, path: str) -> None:
    key = await site.parts.keys.add(name="b2", role=Role.INSTALLER, actor="test", place="B2")
    method = "POST" if path == "read" else "GET"
    async with site.client("nobody") as client:
        answer = await client.request(
            method,
            f"/v1/devices/meter-1/{path}",
            headers={"Authorization": f"Bearer {key}"},
        )
    assert answer.status_code == 404


async def test_frames_come_as_they_travel_with_their_decoding(site: ApiSite) -> None:
    async with listening(site) as address, traced(site, address, "meter-1") as heard:
        site.parts.taps.tap(FRAME)
        name, frame = await anext(heard)
    assert name == "frame"
    assert frame == {
        "time_ms": 1,
        "device": "meter-1",
        "outgoing": False,
        "data": "0103",
        "text": "voltage_l1 230 V",
    }


async def test_a_device_is_tapped_only_while_somebody_looks(site: ApiSite) -> None:
    async with listening(site) as address:
        async with traced(site, address, "meter-1"):
            assert site.parts.taps.open("meter-1")
            assert not site.parts.taps.open("meter-2")
        async with asyncio.timeout(BOUND_S):
            while site.parts.taps.open(""):
                await asyncio.sleep(0.01)


async def test_a_trace_ends_by_itself(site: ApiSite) -> None:
    async with listening(site) as address, traced(site, address, "meter-1", seconds=1) as heard:
        assert [name async for name, _ in heard] == ["end"]


async def test_a_looker_who_is_too_slow_is_told_how_many_frames_it_missed(site: ApiSite) -> None:
    async with listening(site) as address, traced(site, address, "meter-1") as heard:
        for _ in range(600):
            site.parts.taps.tap(FRAME)
        assert await anext(heard) == ("skipped", {"frames": 100})


@pytest.mark.parametrize(("who", "whole"), [(Role.ADMIN, True), (Role.INSTALLER, False)])
async def test_frames_of_a_product_that_tells_plates_are_for_administrators(
    site: ApiSite, who: Role, whole: bool
) -> None:
    payload = PLATE.encode()
    trace = Trace(time_ms=1, device="camera-1", outgoing=False, data=payload, text=f"plate {PLATE}")
    async with listening(site) as address, traced(site, address, "camera-1", who=who) as heard:
        site.parts.taps.tap(trace)
        _, frame = await anext(heard)
    assert (PLATE in str(frame["text"])) is whole
    assert (frame["data"] == payload.hex()) is whole


async def test_an_operator_may_not_look_at_frames(site: ApiSite) -> None:
    async with site.client(Role.OPERATOR) as client:
        answer = await client.get("/v1/devices/meter-1/trace")
    assert answer.status_code == 403


async def test_a_link_is_lent_renewed_and_given_back(site: ApiSite) -> None:
    async with site.client(Role.INSTALLER) as client:
        lent = (await client.post("/v1/links/bus-1/lend", json={"seconds": 20})).json()
        assert site.drivers.lent == {"bus-1"}
        again = await client.post("/v1/links/bus-1/lend", json={})
        wish = {"seconds": 60, "lease": lent["lease"]}
        renewed = (await client.post("/v1/links/bus-1/lend", json=wish)).json()
        for path in ("read", "trace"):
            method = "POST" if path == "read" else "GET"
            refused = await client.request(method, f"/v1/devices/meter-1/{path}")
            assert refused.json()["type"] == "urn:dormhub:problem:lent"
        gone = await client.delete(f"/v1/links/bus-1/lend?lease={lent['lease']}")
        over = await client.post("/v1/links/bus-1/lend", json=wish)
    assert (again.status_code, again.json()["type"]) == (409, "urn:dormhub:problem:lent")
    assert 19 <= lent["seconds"] <= 20
    assert 59 <= renewed["seconds"] <= 60
    assert (gone.status_code, over.status_code) == (204, 409)
    assert site.drivers.lent == set()


async def test_a_key_of_one_building_borrows_no_link(site: ApiSite) -> None:
    key = await site.parts.keys.add(name="b1", role=Role.ADMIN, actor="test", place="B1")
    async with site.client("nobody") as client:
        answer = await client.post(
            "/v1/links/bus-1/lend", json={}, headers={"Authorization": f"Bearer {key}"}
        )
    assert answer.status_code == 403


@pytest.mark.parametrize("seconds", [0, 61, 1.5, "30"])
async def test_a_lease_has_a_length_of_at_most_a_minute(site: ApiSite, seconds: object) -> None:
    async with site.client() as client:
        answer = await client.post("/v1/links/bus-1/lend", json={"seconds": seconds})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body.seconds"
