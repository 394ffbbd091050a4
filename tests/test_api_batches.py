"""Batches over the API: dry run, second person, stop, results; a key for one building does only that."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx2
import pytest

from hub import Reading, Site
from hub.auth import Role
from hub.campus.batches import rows
from hub.campus.batches.batch import ItemState
from hub.campus.prepaid.rules import Prepaid, Rules
from tests.api_site import CLOCK, LINKS, ApiSite, api_site

BOTH = {"buildings": ["B1", "B2"]}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    async with api_site(tmp_path) as made:
        rules = Rules(everywhere=Prepaid(enabled=True, protected_hours=()))
        campus = Site(name="t", timezone=ZoneInfo("UTC"), links=LINKS, folder=tmp_path)
        made.parts.campus.batches.configure(campus, rules)
        yield made


async def post(
    site: ApiSite, who: str = Role.ADMIN, *, key: str = "k", **body: object
) -> httpx2.Response:
    wish = {"action": "cut", "scope": BOTH, "cause": "drill", **body}
    async with site.client(who) as client:
        return await client.post("/v1/batches", json=wish, headers={"Idempotency-Key": key})


async def ask(site: ApiSite, method: str, path: str, who: str = Role.ADMIN) -> httpx2.Response:
    async with site.client(who) as client:
        return await client.request(method, f"/v1/batches{path}")


async def second_person(site: ApiSite) -> str:
    """A key that nobody of the others made."""
    site.keys["bob"] = await site.parts.keys.add(name="bob", role=Role.OPERATOR, actor="hub")
    return "bob"


async def test_a_dry_run_says_what_would_be_done_and_writes_nothing(site: ApiSite) -> None:
    said = await post(site, dry_run=True)
    plan = said.json()
    assert (said.status_code, plan["wanted"], plan["needs_second_person"]) == (200, 2, True)
    left_out = {part["device"]: part["left_out"] for part in plan["parts"]}
    observed = "device: link looked-at only observes"
    assert left_out == {"meter-1": "", "meter-2": "", "meter-3": observed}
    assert (await ask(site, "GET", "")).json()["batches"] == []


async def test_a_batch_is_taken_shown_and_stopped(site: ApiSite) -> None:
    said = await post(site, action="restore")
    batch = said.json()
    assert (said.status_code, batch["state"]) == (202, "running")
    assert said.headers["Location"] == f"/v1/batches/{batch['id']}"
    assert (await post(site, action="restore")).json() == batch
    assert (await post(site, action="restore", per_s=1.0)).status_code == 409
    shown = (await ask(site, "GET", f"/{batch['id']}")).json()
    assert shown == batch
    stopped = (await ask(site, "POST", f"/{batch['id']}/stop")).json()
    assert (stopped["state"], stopped["items"]["skipped"]) == (
        "stopped",
        sum(batch["items"].values()),
    )
    assert (await ask(site, "POST", f"/{batch['id']}/stop")).json() == stopped


async def test_a_batch_runs_by_itself_where_nothing_is_paid(site: ApiSite) -> None:
    campus = site.parts.campus
    running = asyncio.create_task(campus.run(), name="campus")
    batch = (await post(site, action="read", scope={"buildings": ["B2"]})).json()["id"]
    async with asyncio.timeout(10):
        while site.drivers.asked != ["bus-1 meter-2"]:
            await CLOCK.sleep(0.01)
    now_ms = CLOCK.now_ms()
    values = {"energy_import": 5}
    said = Reading(device="meter-2", time_ms=now_ms, received_ms=now_ms, values=values)
    campus.stored([said])
    ended = (await ask(site, "GET", f"/{batch}?wait_s=10")).json()
    assert (ended["state"], ended["items"]) == ("done", {"done": 1})
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_only_a_second_person_approves(site: ApiSite) -> None:
    bob = await second_person(site)
    batch = (await post(site, Role.OPERATOR)).json()
    assert batch["state"] == "waits"
    path = f"/{batch['id']}/approve"
    assert (await ask(site, "POST", path, Role.OPERATOR)).status_code == 403
    approved = (await ask(site, "POST", path, bob)).json()
    assert (approved["state"], approved["approver"][:4]) == ("running", "key/")
    assert (await ask(site, "POST", path, bob)).status_code == 409


async def test_whoever_made_the_others_key_is_no_second_person(site: ApiSite) -> None:
    maker = f"key/{site.keys[Role.OPERATOR].split('_')[1]}"
    made = await site.parts.keys.add(name="puppet", role=Role.OPERATOR, actor=maker)
    site.keys["puppet"] = made
    batch = (await post(site, Role.OPERATOR)).json()
    said = await ask(site, "POST", f"/{batch['id']}/approve", "puppet")
    assert (said.status_code, said.json()["type"]) == (403, "urn:dormhub:problem:same-person")


async def test_nobody_says_in_an_order_that_it_was_approved(site: ApiSite) -> None:
    order = {"device": "meter-1", "name": "cut", "cause": "drill", "approver": "key/bob"}
    async with site.client() as client:
        headers = {"Idempotency-Key": "k"}
        said = await client.post("/v1/commands", json=order, headers=headers)
    assert said.status_code == 422
    assert (await post(site, approver="key/bob")).status_code == 422


async def test_a_key_for_one_building_sees_and_does_only_that_building(site: ApiSite) -> None:
    who = "operator of B2"
    there = {"buildings": ["B1"]}
    nowhere = {"buildings": ["B7"]}
    answers = [await post(site, who, scope=scope) for scope in (there, nowhere, BOTH)]
    assert [answer.status_code for answer in answers] == [422] * 3
    assert answers[0].json() == answers[1].json()
    others = (await post(site, action="restore")).json()["id"]
    mine = (await post(site, who, scope={"buildings": ["B2"]}, key="mine")).json()["id"]
    for path in ("", "/items", "/results.csv"):
        assert (await ask(site, "GET", f"/{others}{path}", who)).status_code == 404
        assert (await ask(site, "GET", f"/{mine}{path}", who)).status_code == 200
    assert (await ask(site, "POST", f"/{others}/stop", who)).status_code == 404
    listed = (await ask(site, "GET", "", who)).json()["batches"]
    assert [batch["id"] for batch in listed] == [mine]
    assert (await ask(site, "POST", f"/{mine}/stop", who)).status_code == 200


async def test_lists_come_in_pages(site: ApiSite) -> None:
    names = [
        (await post(site, action="restore", key=f"k{number}")).json()["id"] for number in (1, 2)
    ]
    first = (await ask(site, "GET", "?limit=1")).json()
    assert [batch["id"] for batch in first["batches"]] == [names[1]]
    second = (await ask(site, "GET", f"?limit=1&after={first['next']}")).json()
    assert ([batch["id"] for batch in second["batches"]], second["next"]) == ([names[0]], None)
    page = (await ask(site, "GET", f"/{names[0]}/items?limit=1")).json()
    rest = (await ask(site, "GET", f"/{names[0]}/items?after={page['next']}")).json()
    rooms = [(item["building"], item["room"]) for item in page["items"] + rest["items"]]
    assert rooms[:2] == [("B1", "101"), ("B2", "101")]
    assert (await ask(site, "GET", "?state=done")).json()["batches"] == []


async def test_no_cell_of_the_results_is_a_formula(site: ApiSite) -> None:
    batch = (await post(site, action="restore")).json()["id"]
    found = await site.parts.ledger.read(lambda connection: rows.items(connection, batch))
    formula = '=HYPERLINK("http://evil")'
    await site.parts.ledger.run(
        lambda connection: rows.settle(connection, found[0], ItemState.FAILED, formula, 1)
    )
    said = await ask(site, "GET", f"/{batch}/results.csv")
    assert said.headers["content-type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(said.content.decode("utf-8-sig"))))
    assert table[0] | {"device": "meter-1", "state": "failed", "reason": "'" + formula} == table[0]
    assert len(table) == len(found)


async def test_what_is_free_is_given_by_finance_alone(site: ApiSite) -> None:
    gift = {"action": "allowance", "arguments": {"amount": 1000}, "dry_run": True}
    codes = {role: (await post(site, role, **gift)).status_code for role in Role}
    assert codes == {role: 200 if role in (Role.FINANCE, Role.ADMIN) else 403 for role in Role}
    assert (await post(site, Role.FINANCE, dry_run=True)).status_code == 403


async def test_mistakes_are_named(site: ApiSite) -> None:
    said = await post(site, scope={"rooms": [{"building": "B1", "room": "999"}]})
    assert (said.status_code, said.json()["errors"][0]["field"]) == (422, "body.scope.rooms.0")
    said = await post(site, action="sing")
    assert (said.status_code, said.json()["detail"]) == (
        422,
        "nothing to do: its product has no such command",
    )
    said = await post(site, scope={"buildings": ["B1"], "houses": []})
    assert said.status_code == 422
