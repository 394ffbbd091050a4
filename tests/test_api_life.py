"""Settlements, transfers and credits over HTTP: begun, answered, and seen by whom they concern."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import httpx2
import pytest

from hub.auth import Role
from hub.campus.accounts.accounts import Utility
from hub.campus.accounts.prices import Price, enter_price
from hub.campus.policies import read_policies
from tests.api_site import LINKS, ApiSite, api_site, device

RATED = "eastron_sdm120"
TABLE = f"""id,profile,link,address,building,floor,room
meter-1,{RATED},bus-1,1,B1,1,101
meter-2,{RATED},bus-1,2,B2,1,101
meter-3,{RATED},bus-1,3,B2,1,102
"""
SITE = """
[links.bus-1]
driver = "modbus"
host = "127.0.0.1"
[prepaid]
charge_step_fen = 0
"""
ROOM: dict[str, object] = {"building": "B1", "room": "101"}
LEAVING = ROOM | {"reason": "graduated", "payee": "=Li"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    """Room 101 of B1 and 101 and 102 of B2, each with a meter that only counts."""
    devices = tuple(device(f"meter-{number}", RATED, "bus-1", "B1") for number in (1, 2, 3))
    links = (replace(LINKS[0], devices=devices),)
    async with api_site(tmp_path, links=links) as made:
        (tmp_path / "config" / "site.toml").write_text(SITE, "utf-8")
        (tmp_path / "config" / "devices.csv").write_text(TABLE, "utf-8")
        async with made.client() as client:
            applied = await client.post("/v1/inventory/apply", json={})
        assert applied.status_code == 200, applied.text
        made.parts.campus.configure(read_policies(made.parts.keeper.site))
        await made.parts.campus.bookkeeping.turn()
        yield made


async def turn(site: ApiSite, job: str) -> None:
    site.parts.campus.office.rounds.look(job)
    await site.parts.campus.office.rounds.turn()


async def post(client: httpx2.AsyncClient, path: str, body: dict[str, object]) -> httpx2.Response:
    return await client.post(f"/v1/{path}", json=body)


async def test_a_settlement_is_begun_waits_for_a_person_and_is_cancelled(site: ApiSite) -> None:
    async with site.client(Role.FINANCE) as client:
        made = await post(client, "settlements", LEAVING)
        assert made.status_code == 201, made.text
        job = made.json()["id"]
        assert (await post(client, "settlements", LEAVING)).status_code == 409
        await turn(site, job)
        shown = (await client.get(f"/v1/jobs/{job}")).json()
        assert [step["name"] for step in shown["steps"]] == ["opened", "orders"]
        assert shown["job"]["waits"].startswith("meter-1 was never heard")
        assert site.drivers.asked == ["bus-1 meter-1"]
        wrong = {"device": "meter-9", "counter": 1, "reason": "read"}
        assert (await post(client, f"jobs/{job}/word", wrong)).status_code == 409
        right = wrong | {"device": "meter-1"}
        assert (await post(client, f"jobs/{job}/word", right)).status_code == 200
        assert (await client.get(f"/v1/jobs/{job}/sheet")).status_code == 404
        ended = await post(client, f"jobs/{job}/cancel", {"reason": "stays"})
        assert (ended.status_code, ended.json()["state"]) == (200, "cancelled")
        listed = (await client.get("/v1/jobs?state=cancelled")).json()["jobs"]
        assert [one["id"] for one in listed] == [job]


async def test_a_settled_room_has_a_sheet_and_takes_nothing_until_it_is_reopened(
    site: ApiSite,
) -> None:
    price = Price(utility=Utility.ELECTRICITY, from_day=date(2020, 1, 1), rate=54_830)
    await site.parts.ledger.run(
        lambda connection: enter_price(
            connection, price, today=date(2020, 1, 1), actor="t", time_ms=1
        )
    )
    async with site.client() as client:
        credit = ROOM | {"number": "1", "amount_fen": 500, "reason": "meter stood still"}
        given = await post(client, "credits", credit)
        assert (given.status_code, given.json()["platform"]) == (201, "desk")
        assert (await post(client, "credits", credit)).json() == given.json()
        assert (await post(client, "credits", credit | {"amount_fen": 1})).status_code == 409
        job = (await post(client, "settlements", LEAVING | {"give_back": True})).json()["id"]
        await turn(site, job)  # the credit is given back to the house
        await turn(site, job)
        await site.publish("meter-1", "bus-1", energy_import=700)
        await turn(site, job)
        assert (await client.get(f"/v1/jobs/{job}")).json()["job"]["state"] == "done"
        sheet = (await client.get(f"/v1/jobs/{job}/sheet")).json()
        assert (sheet["payout_fen"], sheet["debt_fen"], sheet["unit"]) == (0, 0, "Wh")
        assert [one["counter"] for one in sheet["readings"]] == [700]
        table = await client.get(f"/v1/jobs/{job}/sheet.csv")
        assert "'=Li" in table.text
        assert (await post(client, "credits", credit | {"number": "2"})).status_code == 404
        assert (await post(client, f"jobs/{job}/paid", {"reason": "cash"})).status_code == 409
        assert (await post(client, "rooms/B1/101/reopen", {"reason": "new"})).status_code == 204
        assert (await post(client, "credits", credit | {"number": "2"})).status_code == 201


async def test_a_key_of_one_building_settles_and_sees_its_own_rooms_only(site: ApiSite) -> None:
    made = await site.parts.keys.add(name="f2", role=Role.FINANCE, actor="test", place="B2")
    site.keys["finance of B2"] = made
    async with site.client() as client:
        job = (await post(client, "settlements", LEAVING)).json()["id"]
    moving = {"building": "B2", "room": "101", "reason": "moved"}
    async with site.client("finance of B2") as client:
        assert (await post(client, "settlements", LEAVING)).status_code == 404
        assert (await client.get(f"/v1/jobs/{job}")).status_code == 404
        assert (await client.get("/v1/jobs")).json() == {"jobs": []}
        to_b1 = moving | {"to_building": "B1", "to_room": "101"}
        assert (await post(client, "transfers", to_b1)).status_code == 404
        near = moving | {"to_building": "B2", "to_room": "102"}
        assert (await post(client, "transfers", near)).status_code == 201
        [mine] = (await client.get("/v1/jobs")).json()["jobs"]
    async with site.client() as client:
        for open_one in (job, mine["id"]):
            await post(client, f"jobs/{open_one}/cancel", {"reason": "stays"})
        away = (await post(client, "transfers", to_b1)).json()["id"]
        listed = (await client.get("/v1/jobs?building=B2")).json()["jobs"]
        assert [one["id"] for one in listed] == [away, mine["id"]]
    async with site.client("finance of B2") as client:  # not what a room of B1 has a part in
        listed = (await client.get("/v1/jobs")).json()["jobs"]
        assert [one["id"] for one in listed] == [mine["id"]]
        assert (await client.get(f"/v1/jobs/{away}")).status_code == 404


async def test_what_cannot_be_says_why_and_leaves_nothing(site: ApiSite) -> None:
    nowhere = {"building": "B1", "room": "999", "reason": "left"}
    async with site.client() as client:
        answers = [
            await post(client, "settlements", nowhere),
            await post(client, "settlements", ROOM | {"reason": " "}),
            await post(client, "credits", nowhere | {"number": "1", "amount_fen": 1}),
            await post(client, "credits", ROOM | {"number": "1", "amount_fen": 0, "reason": "x"}),
            await post(client, "transfers", LEAVING),
            await post(client, "rooms/B1/101/reopen", {"reason": "new"}),
            await post(client, "rooms/B1/999/reopen", {"reason": "new"}),
        ]
        assert [answer.status_code for answer in answers] == [404, 422, 404, 422, 422, 409, 404]
        assert (await client.get("/v1/jobs")).json() == {"jobs": []}
