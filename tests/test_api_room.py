"""What a room's key reads: its own room, not too often, and nothing else; and what staff see of alerts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from hub.api.quota import BURST, Quota
from hub.auth import BadPlace, Caller, Role, room_of_place, room_place
from hub.campus.accounts import accounts
from hub.inventory.use import By
from tests.alert_site import Watched, watched
from tests.api_site import ApiSite, api_site
from tests.campus_house import ROOM


class Home:
    """A watched house behind an API, with the keys of two rooms."""

    def __init__(self, api: ApiSite, site: Watched) -> None:
        self.api = api
        self.site = site


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    (tmp_path / "api").mkdir()
    async with api_site(tmp_path / "api") as api, watched(tmp_path / "house") as site:
        house = site.house
        campus = api.parts.campus
        campus.alerts = site.alerts
        parts = replace(
            api.parts,
            clock=house.clock,
            ledger=house.ledger,
            journal=house.journal,
            registry=site.registry,
            campus=campus,
        )
        made = api.with_parts(parts)
        for name in ("101", "102"):
            made.keys[name] = await parts.keys.add(
                name=name, role=Role.ROOM, actor="t", place=f"B1/{name}"
            )
        yield Home(made, site)


async def test_a_room_reads_what_it_has_and_how_sure_that_is(home: Home) -> None:
    await home.site.look(1_230)
    async with home.api.client("101") as client:
        said = (await client.get("/v1/room")).json()
    (holding,) = said["holdings"]
    assert (said["building"], said["room"]) == ("B1", "101")
    assert (holding["balance_fen"], holding["doubt"], holding["used_up"]) == (1_230, "", False)
    assert (holding["levels"], holding["levels_unit"]) == ([2_000, 500], "fen")
    assert holding["forecast"]["reason"] == "too few days are known"


async def test_a_room_knows_what_was_done_with_its_supply(home: Home) -> None:
    await home.site.look(1_000)
    await home.site.supply("cut")
    async with home.api.client("101") as client:
        said = (await client.get("/v1/room")).json()
    assert said["holdings"][0]["supply"] == "cut"


async def test_a_key_reads_its_own_room_alone(home: Home) -> None:
    await home.site.look(1_230)
    async with home.api.client("102") as client:
        said = (await client.get("/v1/room")).json()
    assert said["room"] == "102"
    assert said["holdings"][0]["balance_fen"] == 0


@pytest.mark.parametrize(("by", "spans"), [(By.HOUR, 24), (By.DAY, 30)])
async def test_a_room_reads_its_use_by_hour_and_day(home: Home, by: By, spans: int) -> None:
    await home.site.hear(100)
    home.site.house.clock.advance(600)
    await home.site.hear(350)
    async with home.api.client("101") as client:
        said = (await client.get("/v1/room/use", params={"by": by})).json()
    assert said["used"] == 250
    assert spans <= len(said["slices"]) <= spans + 1
    assert said["unit"] == "Wh"


@pytest.mark.parametrize("query", ["by=hour&since_ms=0", "by=day&since_ms=0", "by=month", "x=1"])
async def test_a_span_has_its_bounds(home: Home, query: str) -> None:
    async with home.api.client("101") as client:
        assert (await client.get(f"/v1/room/use?{query}")).status_code == 422


async def test_a_room_opts_out_for_itself_and_the_audit_knows(home: Home) -> None:
    async with home.api.client("101") as client:
        said = await client.put("/v1/room/alerts", json={"muted": ["trip", "low_balance", "trip"]})
        wrong = await client.put("/v1/room/alerts", json={"muted": ["rain"]})
    async with home.api.client("102") as client:
        other = (await client.get("/v1/room/alerts")).json()
    assert said.json()["muted"] == ["low_balance", "trip"]
    assert wrong.status_code == 422
    assert other == {"muted": [], "muted_by_desk": [], "alerts": []}


async def test_staff_list_alerts_and_opt_a_room_out(home: Home) -> None:
    await home.site.look(5_000)
    await home.site.look(400)
    async with home.api.client(Role.OPERATOR) as client:
        found = (await client.get("/v1/alerts?building=B1&kind=low_balance&open=true")).json()
        page = (await client.get("/v1/alerts?limit=1")).json()
        older = (await client.get(f"/v1/alerts?limit=1&before={page['next']}")).json()
        done = await client.put("/v1/alerts/mutes/B1/101", json={"muted": ["offline"]})
        none = await client.put("/v1/alerts/mutes/B1/999", json={"muted": ["offline"]})
    async with home.api.client("operator of B2") as client:
        elsewhere = (await client.get("/v1/alerts")).json()
        hidden = await client.get("/v1/alerts/mutes/B1/101")
    assert [one["text"] for one in found["alerts"]] == [
        "B1 101: 4.00 yuan left",
        "B1 101: 4.00 yuan left",
    ]
    assert page["alerts"][0]["id"] > older["alerts"][0]["id"]
    assert done.json()["muted"] == ["offline"]
    assert (none.status_code, hidden.status_code) == (404, 404)
    assert elsewhere["alerts"] == []


async def test_a_test_of_no_channel_is_not_found(home: Home) -> None:
    async with home.api.client() as client:
        assert (await client.post("/v1/alerts/test/none")).status_code == 404


async def test_a_rooms_key_that_asks_too_often_waits(home: Home) -> None:
    async with home.api.client("101") as client:
        told = [(await client.get("/v1/room/alerts")).status_code for _ in range(BURST + 1)]
        home.site.house.clock.advance(1)
        again = (await client.get("/v1/room/alerts")).status_code
    async with home.api.client("102") as client:
        other = (await client.get("/v1/room/alerts")).status_code
    assert told == [200] * BURST + [429]
    assert (again, other) == (200, 200)


def test_the_quota_remembers_no_more_keys_than_it_may() -> None:
    quota = Quota()
    assert all(quota.take(f"key-{number}", 0.0) for number in range(30_000))


@pytest.mark.parametrize(
    "place", ["B1", "*", "", "/", "B1/", "/101", "B1/101/2", "B1/1%2f", "B1/1%"]
)
async def test_a_rooms_key_is_for_one_room_written_in_one_way(home: Home, place: str) -> None:
    assert room_of_place(place) is None
    with pytest.raises(BadPlace):
        await home.api.parts.keys.add(name="x", role=Role.ROOM, actor="t", place=place)
    async with home.api.client() as client:
        body = {"name": "x", "role": "room", "place": place}
        assert (await client.post("/v1/keys", json=body)).status_code == 422


async def test_a_key_is_made_only_for_a_room_there_is(home: Home) -> None:
    async with home.api.client() as client:
        made, unknown = [
            await client.post("/v1/keys", json={"name": "x", "role": "room", "place": place})
            for place in ("B1/101", "B1/999")
        ]
    assert (made.status_code, unknown.status_code) == (201, 422)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=home.api.app), base_url="http://hub"
    ) as client:
        key = {"Authorization": f"Bearer {made.json()['key']}"}
        wrong = {"Authorization": f"Bearer {made.json()['key'][:-1]}0"}
        other = {"Authorization": f"Bearer {made.json()['key'][:-1]}1"}
        assert (await client.get("/v1/room", headers=key)).json()["room"] == "101"
        answers = {
            (await client.get("/v1/room", headers=one)).status_code for one in (wrong, other)
        }
    assert 401 in answers


def test_no_name_with_a_slash_opens_another_room_or_a_building() -> None:
    tricky = room_place("B1/101", "1")
    caller = Caller(id="k", name="k", role=Role.ROOM, place=tricky)
    assert caller.room == ("B1/101", "1")
    assert [caller.covers(name) for name in ("B1", "B1/101", tricky, "*")] == [False] * 4
    staff = Caller(id="k", name="k", role=Role.VIEWER, place="B1/101")
    assert staff.room is None


async def test_a_room_reads_nothing_of_who_lived_there_before(home: Home) -> None:
    house = home.site.house
    await home.site.hear(100)
    house.clock.advance(600)
    await home.site.hear(350)
    await house.ledger.run(lambda connection: accounts.ensure(connection, ROOM.account, now_ms=0))
    await house.ledger.run(
        lambda connection: accounts.close(connection, ROOM.account, now_ms=house.clock.now_ms())
    )
    house.clock.advance(60)
    await house.ledger.run(
        lambda connection: accounts.reopen(connection, ROOM.account, now_ms=house.clock.now_ms())
    )
    house.clock.advance(600)
    await home.site.hear(420)
    async with home.api.client("101") as client:
        said = (await client.get("/v1/room/use?by=hour")).json()
        before = await client.get(f"/v1/room/use?until_ms={house.clock.now_ms() - 700_000}")
    assert said["used"] == 70
    assert before.status_code == 422
