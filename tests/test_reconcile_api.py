"""Reconciliation over HTTP: asked for, given, ended, exported."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub import VirtualClock
from hub.auth import Role
from tests.order_site import order_desk
from tests.test_reconcile_bill import LINKS, NIGHT_MS, NOON_MS, Office

DAY = "2026-11-22"
PATH = "/v1/reconciliation"


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with order_desk(tmp_path, VirtualClock(start_ms=NOON_MS), links=LINKS) as desk:
        made = Office(desk=desk)
        await made.delivered()
        desk.platform.pay("B1", "101", 700)
        made.at(NIGHT_MS)
        yield made


async def test_a_difference_goes_from_run_to_owner_to_end(office: Office) -> None:
    async with office.desk.api.client(Role.FINANCE) as client:
        ran = (await client.post(f"{PATH}/runs", json={"day": DAY})).json()["results"]
        assert [one["platform"] for one in ran] == ["campus-pay", "gateway", "meters"]
        listed = (await client.get(f"{PATH}/runs", params={"day": DAY})).json()["results"]
        assert sorted(listed, key=str) == sorted(ran, key=str)
        query = {"open": "true", "finding": "paid_without_effect"}
        page = (await client.get(f"{PATH}/differences", params=query)).json()
        ((one,), following) = page["differences"], page["next"]
        assert (one["billed"], one["ordered"], one["owner"], following) == (
            700,
            None,
            "finance",
            None,
        )
        place = f"{PATH}/differences/{one['id']}"
        given = await client.post(f"{place}/assign", json={"owner": "bo"})
        assert given.json()["owner"] == "bo"
        ended = await client.post(f"{place}/end", json={"note": "paid back"})
        assert ended.json()["resolution"] == "paid back"
        assert ended.json()["ended_by"].startswith("key/")
        again = await client.post(f"{place}/end", json={"note": "again"})
        assert (again.status_code, again.json()["type"]) == (409, "urn:dormhub:problem:ended")
        assert (await client.get(place)).json() == ended.json()
        left = (await client.get(f"{PATH}/differences", params={"open": "true"})).json()
        assert left["differences"] == []


async def test_no_cell_of_the_export_is_a_formula(office: Office) -> None:
    async with office.desk.api.client(Role.FINANCE) as client:
        await client.post(f"{PATH}/runs", json={"day": DAY})
        (one,) = (await client.get(f"{PATH}/differences")).json()["differences"]
        formula = '=HYPERLINK("x")'
        await client.post(f"{PATH}/differences/{one['id']}/assign", json={"owner": formula})
        answer = await client.get(f"{PATH}/differences.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["owner"], row["billed"], row["ordered"]) == (f"'{formula}", "700", "")


async def test_a_bill_larger_than_other_bodies_is_taken(office: Office) -> None:
    lines = "".join(f"X{n},100,refunded,{NOON_MS}\n" for n in range(4_000))
    bill = f"number,amount_fen,state,paid_ms\n{lines}"
    assert len(bill) > 100_000
    async with office.desk.api.client(Role.ADMIN) as client:
        body = {"day": DAY, "platform": "gateway", "bill": bill}
        ran = (await client.post(f"{PATH}/runs", json=body)).json()["results"]
    assert ran[0]["tallies"] == [
        {"level": "bill", "what": "equal", "unit": "fen", "count": 4_000, "amount": 400_000}
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"day": "2026-11-23"}, "2026-11-23 is not over"),
        ({"day": "9999-12-31"}, "9999-12-31 is not over"),
        ({"day": "0001-01-01"}, "nothing was paid on 0001-01-01; write a day from 2000-01-01 on"),
        ({"day": DAY, "platform": "other"}, "no platform 'other'; known: campus-pay, gateway"),
        ({"day": DAY, "bill": "x"}, "a bill is of one platform; name it"),
        ({"day": DAY, "platform": "gateway", "bill": "x"}, "line 1: the headers are 'x'"),
    ],
)
async def test_what_cannot_be_compared_is_said_and_nothing_is_taken(
    office: Office, body: dict[str, str], said: str
) -> None:
    rows = await office.rows()
    async with office.desk.api.client(Role.FINANCE) as client:
        answer = await client.post(f"{PATH}/runs", json=body)
    assert answer.status_code == 409
    assert said in answer.json()["detail"]
    assert await office.rows() == rows


async def test_a_day_that_is_in_no_calendar_is_an_error_of_that_field(office: Office) -> None:
    async with office.desk.api.client(Role.FINANCE) as client:
        answer = await client.post(f"{PATH}/runs", json={"day": "2026-02-30"})
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == ["body.day"]
