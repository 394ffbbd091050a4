"""Bindings and the use of rooms through the API: entered, refused, seen by whom they concern."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from hub.auth import Role
from tests.api_site import CLOCK, ApiSite, api_site

TABLE = """id,profile,link,address,building,floor,room
meter-1,acrel_ddsy1352,bus-1,1,B1,1,101
meter-2,acrel_ddsy1352,bus-1,2,B2,1,101
"""
SITE = """
[links.bus-1]
driver = "modbus"
host = "127.0.0.1"
[buildings.B1.floors]
1 = ["101-103"]
[buildings.B2]
"""
HOUR = 3_600_000
NOW = CLOCK.now_ms()
LATE: dict[str, object] = {
    "device": "meter-1",
    "building": "B1",
    "room": "102",
    "from_ms": NOW - 5 * HOUR,
    "to_ms": NOW - 2 * HOUR,
}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    async with api_site(tmp_path) as made:
        (tmp_path / "config" / "site.toml").write_text(SITE, "utf-8")
        (tmp_path / "config" / "devices.csv").write_text(TABLE, "utf-8")
        async with made.client() as client:
            applied = await client.post("/v1/inventory/apply", json={})
        assert applied.status_code == 200, applied.text
        yield made


@pytest.fixture
async def client(site: ApiSite) -> AsyncIterator[httpx2.AsyncClient]:
    async with site.client() as made:
        yield made


async def test_a_late_binding_is_entered_listed_and_taken_back(client: httpx2.AsyncClient) -> None:
    entered = await client.post("/v1/bindings", json={**LATE, "first": 5, "last": 1250})
    assert entered.status_code == 201, entered.text
    made = entered.json()["binding"]
    assert (made["floor"], made["first"]) == ("1", {"value": 5, "time_ms": NOW - 5 * HOUR})
    listed = (await client.get("/v1/bindings?room=102")).json()
    assert listed == {"bindings": [made], "next": None}
    used = await client.get(
        "/v1/rooms/B1/102/use", params={"since_ms": NOW - 6 * HOUR, "by": "hour"}
    )
    assert (used.json()["used"], used.json()["unit"], used.json()["estimated"]) == (
        1245,
        "Wh",
        True,
    )
    assert [part["device"] for part in used.json()["parts"]] == ["meter-1"]
    gone = await client.delete(f"/v1/bindings/{made['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await client.delete(f"/v1/bindings/{made['id']}")).status_code == 404
    assert (await client.get("/v1/rooms/B1/102/use")).status_code == 404
    audit = (await client.get(f"/v1/audit?subject=binding/{made['id']}")).json()["rows"]
    assert [row["action"] for row in audit] == ["entered", "removed"]


async def test_what_overlaps_is_refused_naming_the_other_and_cut_when_told(
    client: httpx2.AsyncClient,
) -> None:
    await client.post("/v1/bindings", json=LATE)
    again = {**LATE, "device": "meter-2", "from_ms": NOW - 3 * HOUR}
    refused = await client.post("/v1/bindings", json=again)
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:dormhub:problem:overlap"
    assert "meter-1 in B1/102" in refused.json()["detail"]
    done = await client.post("/v1/bindings", json={**again, "cut": True})
    assert [one["device"] for one in done.json()["superseded"]] == ["meter-1"]
    listed = (await client.get("/v1/bindings?room=102")).json()["bindings"]
    assert {one["device"]: one["to_ms"] for one in listed} == {
        "meter-1": NOW - 3 * HOUR,
        "meter-2": NOW - 2 * HOUR,
    }


@pytest.mark.parametrize(
    ("change", "status", "where"),
    [
        ({"device": "meter-9"}, 422, "body.device"),
        ({"room": "999"}, 422, "body.room"),
        ({"building": "B9"}, 422, "body.building"),
        ({"from_ms": 2**52}, 422, "body.from_ms"),
        ({"to_ms": NOW - 6 * HOUR}, 422, "body.to_ms"),
        ({"to_ms": None}, 409, "devices.csv"),
        ({"room": "1\n2"}, 422, "body.room"),
        ({"first": -1}, 422, "body.first"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_place(
    client: httpx2.AsyncClient, change: dict[str, object], status: int, where: str
) -> None:
    refused = await client.post("/v1/bindings", json={**LATE, **change})
    assert refused.status_code == status
    assert where in refused.text
    assert len((await client.get("/v1/bindings")).json()["bindings"]) == 2


async def test_bindings_come_in_pages(client: httpx2.AsyncClient) -> None:
    first = (await client.get("/v1/bindings?limit=1")).json()
    second = (await client.get("/v1/bindings", params={"limit": 1, "after": first["next"]})).json()
    assert second["next"] is None
    devices = {page["bindings"][0]["device"] for page in (first, second)}
    assert devices == {"meter-1", "meter-2"}


async def test_a_key_of_one_building_sees_its_own_rooms_only(site: ApiSite) -> None:
    async with site.client("operator of B2") as client:
        listed = (await client.get("/v1/bindings")).json()["bindings"]
        asked = (await client.get("/v1/bindings?building=B1")).json()["bindings"]
        uses = [await client.get(f"/v1/rooms/{name}/101/use") for name in ("B1", "B2", "B9")]
    assert [one["building"] for one in listed] == ["B2"]
    assert asked == []
    assert [use.status_code for use in uses] == [404, 200, 404]


@pytest.mark.parametrize(
    "window", [{"since_ms": NOW, "until_ms": NOW - 1}, {"since_ms": 0}, {"since_ms": 2**52}]
)
async def test_a_span_that_is_none_or_too_long_is_refused(
    site: ApiSite, window: dict[str, int]
) -> None:
    async with site.client(Role.VIEWER) as client:
        refused = await client.get("/v1/rooms/B1/101/use", params=window)
    assert refused.status_code == 422
    assert "query.since_ms" in refused.text


async def test_a_reading_that_came_is_in_the_use(site: ApiSite, client: httpx2.AsyncClient) -> None:
    await site.publish("meter-1", "bus-1", energy_import=1000)
    await site.publish("meter-1", "bus-1", energy_import=1002)
    use = (await client.get("/v1/rooms/B1/101/use?by=month")).json()
    assert use["parts"][0]["last"]["value"] == 1002
    assert use["used"] in (0, 2)  # both may be of one millisecond, and the first stays
