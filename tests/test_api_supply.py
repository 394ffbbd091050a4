"""The supply over HTTP: what is shown, and what staff may do to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

from hub import Site, audit
from hub.auth import Role
from hub.campus.policies import read_policies
from hub.campus.supply.switches import cannot_be_armed
from hub.ledger import tables
from tests.api_site import CLOCK, LINKS, ApiSite, api_site
from tests.command_line import app
from tests.supply_dorm import UNARMED, Dorm

SCHEDULES = {"nights": {"buildings": ["B1"], "workday_hours": ["06:00-23:00"]}}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    async with api_site(tmp_path) as made:
        policies = read_policies(
            Site(
                name="test",
                timezone=ZoneInfo("Asia/Shanghai"),
                links=LINKS,
                folder=tmp_path,
                policies={"schedules": SCHEDULES},
            )
        )
        made.parts.campus.configure(policies)
        yield made


async def locked(site: ApiSite, device: str = "meter-1") -> None:
    """This supply has tripped too often."""
    values = {
        "device": device,
        "state": "tripped",
        "since_ms": 1,
        "episode": 0,
        "tries": 0,
        "begun_ms": 0,
        "retry_ms": 0,
        "trips": 3,
        "locked": "3 trips by power",
        "batch_ms": 0,
        "kept_until_ms": 0,
    }
    row = insert(tables.supplies).values(values)
    await site.parts.ledger.run(lambda connection: connection.execute(row) and None)


async def test_every_room_that_can_be_switched_is_shown(site: ApiSite) -> None:
    await locked(site)
    async with site.client(Role.VIEWER) as client:
        every = (await client.get("/v1/supplies")).json()["supplies"]
        off = (await client.get("/v1/supplies?state=tripped")).json()["supplies"]
        one = (await client.get("/v1/supplies/meter-1")).json()
    assert [row["device"] for row in every] == ["meter-1", "meter-2", "meter-3"]
    assert [(row["device"], row["locked"]) for row in off] == [("meter-1", "3 trips by power")]
    assert one == {"supply": off[0], "trips": []}


async def test_staff_unlock_with_a_reason_that_stands_in_the_audit(site: ApiSite) -> None:
    await locked(site)
    async with site.client(Role.OPERATOR) as client:
        done = await client.post("/v1/supplies/meter-1/unlock", json={"reason": "looked at"})
        again = await client.post("/v1/supplies/meter-2/unlock", json={"reason": "looked at"})
        silent = await client.post("/v1/supplies/meter-1/unlock", json={"reason": ""})
    assert (done.status_code, done.json()["trips"], done.json()["locked"]) == (200, 0, "")
    assert again.status_code == 409
    assert silent.status_code == 422
    rows = await site.parts.ledger.read(lambda one: audit.rows(one, subject="supply/meter-1"))
    assert [(row.action, row.cause) for row in rows] == [("unlocked", "looked at")]
    assert rows[0].actor.startswith("key/")


async def test_a_room_is_held_for_thirty_days_at_most(site: ApiSite) -> None:
    body = {"until_ms": CLOCK.now_ms() + 3_600_000, "reason": "exams"}
    async with site.client(Role.OPERATOR) as client:
        held = await client.post("/v1/supplies/meter-1/hold", json=body)
        long = await client.post(
            "/v1/supplies/meter-1/hold", json={**body, "until_ms": CLOCK.now_ms() + 10**10}
        )
        ended = await client.post("/v1/supplies/meter-1/hold", json={**body, "until_ms": 1})
    assert held.json()["held_reason"] == "exams"
    assert long.status_code == 409
    assert ended.json()["held_until_ms"] == 0


async def test_a_key_for_one_building_sees_and_touches_its_own_only(site: ApiSite) -> None:
    await locked(site)
    async with site.client("operator of B2") as client:
        every = (await client.get("/v1/supplies")).json()["supplies"]
        other = await client.get("/v1/supplies/meter-1")
        unlock = await client.post("/v1/supplies/meter-1/unlock", json={"reason": "mine"})
        timetable = await client.post("/v1/timetables/nights/approve")
    assert [row["device"] for row in every] == ["meter-2"]
    assert (other.status_code, unlock.status_code, timetable.status_code) == (404, 404, 403)


async def test_a_timetable_is_approved_by_another_person_than_applied_it(site: ApiSite) -> None:
    async with site.client(Role.ADMIN) as client:
        waiting = (await client.get("/v1/timetables")).json()["timetables"]
        unknown = await client.post("/v1/timetables/days/approve")
        done = await client.post("/v1/timetables/nights/approve")
    assert [(one["name"], one["approver"]) for one in waiting] == [("nights", "")]
    assert unknown.status_code == 404
    assert done.status_code == 200
    assert done.json()["approver"].startswith("key/")


async def test_who_applied_a_timetable_may_not_approve_it(site: ApiSite) -> None:
    async with site.client(Role.ADMIN) as client:
        keys = (await client.get("/v1/keys")).json()["keys"]
        mine = next(key["id"] for key in keys if key["name"] == "admin")
        values = {"number": 99, "time_ms": 1, "actor": f"key/{mine}", "digest": "d"}
        row = insert(tables.inventories).values(values)
        await site.parts.ledger.run(lambda connection: connection.execute(row) and None)
        refused = await client.post("/v1/timetables/nights/approve")
    assert refused.status_code == 403


def test_check_names_products_that_no_payment_brings_back(tmp_path: Path) -> None:
    arm = Dorm(folder=tmp_path, product=UNARMED, policy="[prepaid]\n").site
    close = Dorm(folder=tmp_path, product=UNARMED).site
    named = [cannot_be_armed(one, read_policies(one).rules) for one in (arm, close)]
    assert named == [["scripted_meter"], []]


def test_the_command_line_knows_the_supply() -> None:
    said = CliRunner().invoke(app, ["supply", "--help"]).output
    assert all(word in said for word in ("list", "show", "unlock", "hold", "timetables", "approve"))
