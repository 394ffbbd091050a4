"""Commands, keys and the audit over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import httpx2
import pytest
from sqlalchemy import update

from hub.auth import Role
from hub.ledger import tables
from tests.api_site import ApiSite, api_site

CUT: dict[str, object] = {"device": "meter-1", "name": "cut", "cause": "arrears"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    async with api_site(tmp_path) as made:
        yield made


async def send(
    site: ApiSite, body: dict[str, object], *, key: str = "order-1", who: str = Role.ADMIN
) -> httpx2.Response:
    async with site.client(who) as client:
        return await client.post("/v1/commands", json=body, headers={"Idempotency-Key": key})


async def ask(site: ApiSite, path: str, who: str = Role.ADMIN) -> dict[str, object]:
    async with site.client(who) as client:
        response = await client.get(path)
    assert response.status_code == 200, response.text
    return cast(dict[str, object], response.json())


def fields(response: httpx2.Response) -> list[str]:
    return [error["field"] for error in response.json()["errors"]]


async def test_an_accepted_command_is_in_the_ledger_and_found_where_it_says(site: ApiSite) -> None:
    response = await send(site, CUT | {"cause": "ticket 7", "deadline_s": 30})
    assert response.status_code == 202
    found = await ask(site, response.headers["location"])
    assert found["command"] == response.json()
    assert found["attempts"] == []
    assert {
        "state": "queued",
        "cause": "ticket 7",
        "held": False,
    }.items() <= response.json().items()


async def test_the_same_key_and_body_is_the_same_command(site: ApiSite) -> None:
    first, second = await send(site, CUT), await send(site, CUT)
    assert second.json() == first.json()
    assert len(cast(list[object], (await ask(site, "/v1/commands"))["commands"])) == 1


async def test_the_same_key_with_another_body_is_a_conflict(site: ApiSite) -> None:
    await send(site, CUT)
    response = await send(site, CUT | {"name": "restore"})
    assert (response.status_code, fields(response)) == (409, ["header.Idempotency-Key"])


async def test_a_command_without_a_key_is_not_taken(site: ApiSite) -> None:
    async with site.client() as client:
        response = await client.post("/v1/commands", json=CUT)
    assert (response.status_code, fields(response)) == (422, ["header.Idempotency-Key"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "cut", "cause": "x"}, "body.device"),
        ({"device": "no-such", "name": "cut", "cause": "x"}, "body.device"),
        ({"device": "../x", "name": "cut", "cause": "x"}, "body.device"),
        ({"device": "meter-1", "name": "explode", "cause": "x"}, "body.name"),
        (CUT | {"arguments": {"colour": 1}}, "body.arguments.colour"),
        ({"device": "meter-1", "name": "credit", "cause": "x"}, "body.arguments.amount"),
        (
            {"device": "meter-1", "name": "credit", "arguments": {"amount": 0}, "cause": "x"},
            "body.arguments.amount",
        ),
        (
            {"device": "meter-1", "name": "credit", "arguments": {"amount": "1"}, "cause": "x"},
            "body.arguments.amount",
        ),
        (CUT | {"deadline_s": -1}, "body.deadline_s"),
        (CUT | {"deadline_s": "60"}, "body.deadline_s"),
        (CUT | {"retain": True}, "body.retain"),
        (CUT | {"priority": "safety"}, "body.priority"),
        (CUT | {"cause": "x" * 201}, "body.cause"),
        (CUT | {"cause": ""}, "body.cause"),
        ({"device": "meter-1", "name": "cut"}, "body.cause"),
    ],
)
async def test_a_wrong_command_is_told_which_field_is_wrong_and_leaves_no_row(
    site: ApiSite, body: dict[str, object], field: str
) -> None:
    response = await send(site, body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert fields(response)[0] == field
    assert (await ask(site, "/v1/commands"))["commands"] == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
async def test_what_is_no_number_is_refused(site: ApiSite, number: str) -> None:
    text = f'{{"device": "meter-1", "name": "cut", "cause": "x", "deadline_s": {number}}}'
    headers = {"Idempotency-Key": "a", "Content-Type": "application/json"}
    async with site.client() as client:
        response = await client.post("/v1/commands", content=text, headers=headers)
    assert response.status_code == 422


async def test_a_link_that_only_observes_takes_no_command(site: ApiSite) -> None:
    response = await send(site, CUT | {"device": "meter-3"})
    assert (response.status_code, fields(response)) == (409, ["body.device"])


async def test_one_cut_too_many_is_held_until_a_second_person_approves(site: ApiSite) -> None:
    await send(site, CUT)
    held = await send(site, CUT | {"device": "meter-2"}, key="order-2")
    assert (held.status_code, held.json()["held"]) == (202, True)
    path = f"{held.headers['location']}/approve"
    async with site.client(Role.ADMIN) as client:
        alone = await client.post(path)
    async with site.client(Role.OPERATOR) as client:
        together = await client.post(path)
        again = await client.post(path)
    assert (alone.status_code, together.status_code, again.status_code) == (403, 200, 409)
    assert together.json()["held"] is False


async def test_who_makes_a_key_is_no_second_person_beside_it(site: ApiSite) -> None:
    await send(site, CUT)
    held = await send(site, CUT | {"device": "meter-2"}, key="order-2")
    async with site.client(Role.ADMIN) as client:
        made = await client.post("/v1/keys", json={"name": "me again", "role": "operator"})
        headers = {"Authorization": f"Bearer {made.json()['key']}"}
        answer = await client.post(f"{held.headers['location']}/approve", headers=headers)
    assert answer.status_code == 403


async def test_a_commands_key_is_shown_to_its_owner_and_to_administrators(site: ApiSite) -> None:
    await send(site, CUT, key="order-1")
    keys = [
        cast(list[dict[str, str]], (await ask(site, "/v1/commands", role))["commands"])[0]["key"]
        for role in ("admin", "viewer")
    ]
    assert keys == ["order-1", ""]


async def test_a_held_command_is_an_alarm_for_those_who_may_see_it(site: ApiSite) -> None:
    await send(site, CUT)
    held = await send(site, CUT | {"device": "meter-2"}, key="order-2")
    subjects = [
        [alarm["subject"] for alarm in cast(list[dict[str, str]], answer["alarms"])]
        for answer in [
            await ask(site, "/v1/alarms"),
            await ask(site, "/v1/alarms", "operator of B2"),
        ]
    ]
    assert [f"command/{held.json()['id']}" in found for found in subjects] == [True, True]
    assert [len(found) for found in subjects] == [6, 3]


async def test_what_ended_unknown_is_an_alarm_until_finance_resolves_it(site: ApiSite) -> None:
    made = await send(site, CUT)
    command, path = made.json()["id"], made.headers["location"] + "/resolve"
    async with site.client(Role.FINANCE) as client:
        open_still = await client.post(path, json={"outcome": "done"})
        await site.parts.ledger.run(
            lambda connection: connection.execute(
                update(tables.commands)
                .where(tables.commands.c.id == command)
                .values(state="unknown")
            )
        )
        before = (await client.get("/v1/alarms")).text
        resolved = await client.post(path, json={"outcome": "not_done", "note": "looked at it"})
        after = (await client.get("/v1/alarms")).text
    assert (open_still.status_code, resolved.status_code) == (409, 200)
    assert {"state": "unknown", "resolution": "not_done"}.items() <= resolved.json().items()
    assert (command in before, command in after) == (True, False)


async def test_credits_are_for_finance_and_relays_for_operators(site: ApiSite) -> None:
    credit: dict[str, object] = {
        "device": "meter-1",
        "name": "credit",
        "cause": "paid",
        "arguments": {"amount": 100},
    }
    tried = [
        (await send(site, body, key=f"{who} {body['name']}".replace(" ", "-"), who=who)).status_code
        for who in (Role.FINANCE, Role.OPERATOR)
        for body in (credit, CUT)
    ]
    assert tried == [202, 403, 403, 202]


async def test_a_key_for_one_building_neither_commands_nor_sees_another(site: ApiSite) -> None:
    made = await send(site, CUT)
    foreign = await send(site, CUT, key="b", who="operator of B2")
    missing = await send(site, CUT | {"device": "no-such"}, key="c", who="operator of B2")
    assert foreign.status_code == 422
    assert foreign.content == missing.content
    async with site.client("operator of B2") as client:
        answers = [
            await client.get(made.headers["location"]),
            await client.get("/v1/commands/" + "0" * 26),
            await client.post(made.headers["location"] + "/approve"),
        ]
        listed = await client.get("/v1/commands")
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert listed.json() == {"commands": []}


async def test_waiting_for_a_command_that_does_not_end_tells_how_it_stands(site: ApiSite) -> None:
    made = await send(site, CUT)
    found = await ask(site, made.headers["location"] + "?wait_s=0.01")
    assert cast(dict[str, object], found["command"])["state"] == "queued"


async def test_fire_that_nobody_can_rule_out_is_not_reset(site: ApiSite) -> None:
    async with site.client() as client:
        response = await client.post("/v1/alarms/fire/reset", json={"cause": "drill"})
    assert response.status_code == 409


async def test_a_made_key_opens_and_a_revoked_one_does_not(site: ApiSite) -> None:
    given = {"name": "display", "role": "viewer", "place": "B2"}
    async with site.client() as client:
        made = await client.post("/v1/keys", json=given)
        site.keys["display"] = made.json()["key"]
        listed = (await client.get("/v1/keys")).json()["keys"]
        mine = next(key for key in listed if key["name"] == "display")
        async with site.client("display") as other:
            before = await other.get("/v1/devices")
            ended = await client.delete(f"/v1/keys/{mine['id']}")
            after = await other.get("/v1/devices")
        again = await client.delete(f"/v1/keys/{mine['id']}")
    assert [made.status_code, before.status_code, ended.status_code] == [201, 200, 204]
    assert [after.status_code, again.status_code] == [401, 404]
    assert set(mine) == {
        "id", "name", "role", "place", "created_ms", "expires_ms", "revoked_ms", "last_used_ms"
    }  # fmt: skip


async def test_every_change_made_over_the_api_stands_in_the_audit_with_its_actor(
    site: ApiSite,
) -> None:
    made = await send(site, CUT | {"cause": "ticket 7"})
    rows = cast(list[dict[str, str]], (await ask(site, "/v1/audit?limit=1000"))["rows"])
    row = next(row for row in rows if made.json()["id"] in row["subject"])
    assert (row["actor"], row["cause"]) == (made.json()["actor"], "ticket 7")
    page = await ask(site, f"/v1/audit?after={rows[-2]['number']}")
    assert cast(list[dict[str, str]], page["rows"]) == rows[-1:]


@pytest.mark.parametrize("name", ["", "a\x1b[2Jb", "nul\0", "line\n"])
async def test_a_key_is_not_named_with_what_a_terminal_obeys(site: ApiSite, name: str) -> None:
    async with site.client(Role.ADMIN) as client:
        refused = await client.post("/v1/keys", json={"name": name, "role": "viewer"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "body.name"
