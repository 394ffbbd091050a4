"""Rooms' accounts as finance sees them: standing, statements, corrections, prices, held counters."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from pathlib import Path

import openpyxl
import pytest

from hub.auth import Role
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Unit
from hub.campus.accounts.desk import CORRECTION_MAX, DAY_TIMES
from tests.account_site import AccountSite, account_site
from tests.campus_house import OTHER, RATE, ROOM, price_of
from tests.cli_desk import dormhub

PATH = "/v1/accounts/B1/101/electricity"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[AccountSite]:
    async with account_site(tmp_path) as made:
        price = {"from_day": "2026-01-01", "yuan": "0.5483"}
        assert (await made.post("/v1/prices", price)).status_code == 200
        await made.campus.bookkeeping.turn()
        yield made


async def use(site: AccountSite, *counters: int) -> None:
    """The meter of 101 shows these, an hour apart, and is charged after each."""
    for counter in counters:
        await site.read("m-1", "energy_import", counter)
        await site.campus.bookkeeping.turn()


def correction(amount: int, **more: object) -> dict[str, object]:
    return {"amount": amount, "reason": "typed twice", **more}


async def test_an_account_shows_its_books_and_how_it_stands_at_the_last_reading(
    site: AccountSite,
) -> None:
    await use(site, 0, 3_000)
    await site.read("m-1", "energy_import", 4_000)
    answer = (await site.get(PATH)).json()
    charged = price_of({RATE: 2_000})
    assert answer["account"] == {
        "account": ROOM.account,
        "building": "B1",
        "room": "101",
        "utility": "electricity",
        "unit": "Wh",
        "fen": -charged,
        "free": 0,
        "held_fen": 0,
        "meter_fen": 0,
    }
    assert answer["standing"]["balance_fen"] == -price_of({RATE: 3_000})
    assert (answer["standing"]["holder"], answer["standing"]["doubt"]) == ("hub", "")


async def test_rooms_are_listed_by_building_and_those_that_owe(site: AccountSite) -> None:
    await use(site, 0, 3_000)
    every = (await site.get("/v1/accounts?limit=2")).json()
    rest = (await site.get(f"/v1/accounts?after={every['next']}")).json()
    owing = (await site.get("/v1/accounts?below_fen=0&building=B1")).json()["accounts"]
    assert [item["room"] for item in (*every["accounts"], *rest["accounts"])] == [
        "101",
        "102",
        "201",
    ]
    assert rest["next"] is None
    assert [item["room"] for item in owing] == ["101"]
    assert (await site.get("/v1/accounts?building=B2")).json() == {"accounts": [], "next": None}


async def test_a_key_of_another_building_finds_no_account(site: AccountSite) -> None:
    site.api.keys["till"] = await site.api.parts.keys.add(
        name="till", role=Role.FINANCE, actor="test", place="B2"
    )
    assert (await site.get("/v1/accounts", "till")).json()["accounts"] == []
    assert (await site.get(PATH, "till")).status_code == 404
    asked = await site.post(f"{PATH}/corrections", correction(5), who="till")
    assert asked.status_code == 404
    assert (await site.get("/v1/transactions", "till")).status_code == 403
    nobody = "/v1/accounts/B1/999/electricity"
    assert (await site.post(f"{nobody}/corrections", correction(5))).status_code == 404


async def test_a_statement_has_every_movement_in_pages_of_whole_transactions(
    site: AccountSite,
) -> None:
    await use(site, *range(0, 40_000, 1_000))
    whole = await site.ask(lambda c: books.statement(c, ROOM.account, limit=1_000))
    seen: list[dict[str, object]] = []
    after = ""
    for _ in range(9):
        page = (await site.get(f"{PATH}/statement?limit=10{after}")).json()
        seen += page["lines"]
        after = f"&after={page['next']}"
        if page["next"] is None:
            break
    assert [(line["number"], line["amount"]) for line in seen] == [
        (line.number, line.amount) for line in whole
    ]
    assert page["next"] is None
    assert (await site.get(f"{PATH}/statement?account=revenue")).status_code == 422


async def test_a_correction_is_booked_once_under_its_key_with_person_and_reason(
    site: AccountSite,
) -> None:
    first = await site.post(f"{PATH}/corrections", correction(700))
    again = await site.post(f"{PATH}/corrections", correction(700))
    other = await site.post(f"{PATH}/corrections", correction(701))
    assert (first.json()["fresh"], again.json()["fresh"]) == (True, False)
    assert first.json()["number"] == again.json()["number"]
    assert (other.status_code, other.json()["type"]) == (409, "urn:dormhub:problem:not-booked")
    assert await site.balance(ROOM) == 700
    (row,) = [
        row
        for row in (await site.get("/v1/audit?limit=1000", Role.ADMIN)).json()["rows"]
        if row["subject"] == f"account/{ROOM.account}"
    ]
    assert (row["action"], row["cause"]) == ("corrected", "typed twice")
    assert row["actor"].startswith("key/")


async def test_the_key_of_one_person_is_not_that_of_another(site: AccountSite) -> None:
    for who in (Role.FINANCE, Role.ADMIN):
        assert (await site.post(f"{PATH}/corrections", correction(5), who=who)).json()["fresh"]
    assert await site.balance(ROOM) == 10


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"amount": 0}, 422),
        ({"amount": 1.5}, 422),
        ({"amount": "5"}, 422),
        ({"amount": 10**13}, 422),
        ({"reason": ""}, 422),
        ({"reason": "  "}, 422),
        ({"unit": "ml"}, 409),
        ({"amount": CORRECTION_MAX[Unit.FEN] + 1}, 409),
        ({"amount": -CORRECTION_MAX[Unit.FEN] - 1}, 409),
    ],
)
async def test_a_correction_that_cannot_be_changes_nothing(
    site: AccountSite, changed: dict[str, object], status: int
) -> None:
    answer = await site.post(f"{PATH}/corrections", correction(5) | changed)
    assert answer.status_code == status
    assert (await site.ask(books.check), await site.balance(ROOM)) == ([], 0)
    assert (
        await site.post("/v1/accounts/B1/999/electricity/corrections", correction(5))
    ).status_code == 404


async def test_one_person_corrects_so_much_in_a_day_and_no_more(site: AccountSite) -> None:
    most = CORRECTION_MAX[Unit.FEN]
    for number in range(DAY_TIMES):
        amount = most if number % 2 else -most
        asked = await site.post(f"{PATH}/corrections", correction(amount), key=f"k{number}")
        assert asked.status_code == 200
    over = await site.post(f"{PATH}/corrections", correction(1), key="over")
    other = await site.post(f"{PATH}/corrections", correction(1), key="over", who=Role.ADMIN)
    assert (over.status_code, other.status_code) == (409, 200)
    site.clock.advance(86_401)
    tomorrow = await site.post(f"{PATH}/corrections", correction(1), key="tomorrow")
    assert tomorrow.status_code == 200


async def test_a_held_counter_is_listed_and_released_by_a_person(site: AccountSite) -> None:
    await use(site, 5_000, 9_000, 100)
    await site.read("m-1", "energy_import", 200)
    (held,) = (await site.get("/v1/meterings/held")).json()["held"]
    assert (held["device"], held["counter"], held["room"]) == ("m-1", 9_000, "101")
    path = f"/v1/meterings/{held['binding']}/release"
    assert (await site.post(path, {"counter": 200, "reason": " "})).status_code == 422
    assert (await site.post(path, {"counter": 200, "reason": "seen"})).status_code == 204
    assert (await site.post(path, {"counter": 200, "reason": "seen"})).status_code == 404
    await use(site, 1_200)
    assert await site.balance(ROOM) == -price_of({RATE: 4_000})


async def test_the_check_names_a_sum_that_is_wrong(site: AccountSite) -> None:
    assert (await site.post("/v1/books/check")).json() == {"wrong": []}


async def test_a_price_is_entered_once_and_none_that_has_begun(site: AccountSite) -> None:
    wish = {"from_day": "2026-12-01", "yuan": "0.6", "building": "B1"}
    first, again = await site.post("/v1/prices", wish), await site.post("/v1/prices", wish)
    assert first.json() == again.json()
    assert first.json()["rate"] == 60_000
    begun = await site.post("/v1/prices", wish | {"from_day": "2026-11-02"})
    elsewhere = await site.post("/v1/prices", wish | {"building": "B9"})
    fine = await site.post("/v1/prices", wish | {"yuan": "0.1234567"})
    assert (begun.status_code, elsewhere.status_code, fine.status_code) == (409, 422, 422)
    listed = (await site.get("/v1/prices")).json()["prices"]
    assert [(item["building"], item["from_day"]) for item in listed] == [
        ("", "2026-01-01"),
        ("B1", "2026-12-01"),
    ]


async def test_the_allowance_is_given_now_and_once(site: AccountSite) -> None:
    granted = (await site.post("/v1/allowance")).json()
    assert granted == {"month": "2026-11", "given": 0, "passed": 3}
    site.clock.advance(30 * 86_400)
    granted = (await site.post("/v1/allowance")).json()
    assert granted == {"month": "2026-12", "given": 3, "passed": 0}
    assert await site.balance(OTHER, Unit.WH) == 1_000


async def test_the_command_line_shows_corrects_and_exports(
    site: AccountSite, tmp_path: Path
) -> None:
    await use(site, 0, 3_000)
    api, folder = site.api, site.folder

    async def say(*arguments: str) -> str:
        done = await dormhub(api, folder, *arguments, who=Role.FINANCE)
        assert done.exit_code == 0, done.output
        return done.stdout

    shown = await say("account", "show", "B1/101")
    assert str(-price_of({RATE: 2_000})) in shown
    assert "101" in await say("account", "list", "--owing")
    told = ("account", "correct", "B1/101", "700", "--reason", "gift", "--key", "a")
    yuan = tuple("7.00" if word == "700" else word for word in told)
    refused = await dormhub(api, folder, *yuan, who=Role.FINANCE)  # not taken for 7 fen
    assert (refused.exit_code, "no whole number" in refused.output) == (2, True)
    assert "700" not in await say("account", "statement", "B1/101")
    assert "booked as transaction" in await say(*told)
    assert "booked before" in await say(*told)
    assert "every sum is right" in await say("account", "check")
    assert "3 had theirs" in await say("account", "allowance")
    assert "54830" in await say("price", "list")
    assert "from 2027-01-01" in await say("price", "enter", "0.6", "--from", "2027-01-01")
    assert await say("account", "held", "--json") == ""
    balances, postings = tmp_path / "balances.xlsx", tmp_path / "postings.csv"
    since = ("--since", "2026-11-01")
    await say("account", "export", str(balances))
    await say("account", "export", str(postings), "--what", "postings", *since)
    page = openpyxl.load_workbook(balances).active
    assert page is not None
    rows = list(page.iter_rows(values_only=True))
    assert rows[0][:4] == ("building", "room", "utility", "fen")
    assert rows[1][:4] == ("B1", "101", "electricity", 700 - price_of({RATE: 2_000}))
    with postings.open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.DictReader(file))
    assert {line["unit"] for line in written} == {"Wh", "fen"}
    assert sum(int(line["amount"]) for line in written if line["unit"] == "fen") == 0
    sums = [int(line["amount"]) for line in written if line["account"] == ROOM.account]
    assert sum(sums) == 700 - price_of({RATE: 2_000})


async def test_a_transaction_is_taken_back_once_over_the_api_and_by_the_command_line(
    site: AccountSite,
) -> None:
    await use(site, 0, 3_000)
    (line, *_) = (await site.get(f"{PATH}/statement")).json()["lines"]
    path, body = f"/v1/transactions/{line['number']}/reverse", {"reason": "wrong room"}
    first, again = await site.post(path, body), await site.post(path, body)
    assert (first.json()["fresh"], again.json()) == (True, first.json() | {"fresh": False})
    assert await site.balance(ROOM) == 0
    refused = await site.post(f"/v1/transactions/{first.json()['number']}/reverse", body)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:dormhub:problem:not-booked")
    words = ("account", "reverse", str(line["number"]), "--reason", "wrong room")
    said = await dormhub(site.api, site.folder, *words)
    assert said.stdout.startswith(f"{line['number']} is taken back before by transaction ")
    assert await site.ask(books.check) == []
