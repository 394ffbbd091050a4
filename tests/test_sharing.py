"""Who used most, and what feeders measured that no room did: shares that add up, charged once."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import Reading, SystemClock
from hub.auth import Role
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room
from hub.campus.life.life import Leaving
from hub.campus.sharing.shares import apportioned
from hub.inventory.ranking import Level, RoomUse, ranked
from hub.inventory.use import Slice
from tests.account_site import AccountSite, account_site
from tests.campus_house import OTHER, RATE, ROOM, ZONE
from tests.cli_desk import dormhub
from tests.provisioned import METERS, SITE

FEEDERS = (
    "f-0,eastron_sdm630,bus-2,9,B1,,,main,,",
    "f-1,eastron_sdm630,bus-2,8,B1,1,,riser,,",
)
UPSTAIRS = Room(building="B1", room="201")
BEGIN, END = (datetime(*day, tzinfo=ZONE) for day in ((2026, 12, 1), (2027, 1, 1)))
MONTH: Mapping[str, object] = {"building": "B1", "month": "2026-12"}
ASKED = "/v1/sharing?building=B1&month=2026-12"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[AccountSite]:
    rows = (*METERS.values(), *FEEDERS)
    async with account_site(tmp_path, *rows, site=SITE, policy="[prepaid]\n") as made:
        await made.post("/v1/prices", {"from_day": "2026-01-01", "yuan": "0.5483"})
        yield made


async def pass_to(site: AccountSite, moment: datetime, **counters: int) -> None:
    """At this moment every meter shows so much."""
    now_ms = round(moment.timestamp() * 1000)
    site.clock.advance((now_ms - site.clock.now_ms()) / 1000)
    await site.api.parts.journal.append(
        [
            Reading(
                device=name.replace("_", "-"),
                time_ms=now_ms,
                received_ms=now_ms,
                values={"energy_import": value},
            )
            for name, value in counters.items()
        ]
    )


async def live_a_month(site: AccountSite, **used: int) -> None:
    """December: each meter counts so much."""
    await pass_to(site, BEGIN, **dict.fromkeys(used, 7_000))
    await pass_to(site, END, **{name: 7_000 + value for name, value in used.items()})


async def december(site: AccountSite) -> None:
    used = {"m_1": 100_001, "m_2": 50_000, "m_3": 30_000}
    await live_a_month(site, **used, f_1=160_000, f_0=200_000)


weights = st.dictionaries(st.text(max_size=4), st.integers(0, 10**9), min_size=1, max_size=40)


@given(total=st.integers(0, 10**12), weights=weights)
def test_shares_add_up_to_the_last_unit_and_are_never_a_unit_off(
    total: int, weights: dict[str, int]
) -> None:
    shares = apportioned(total, weights)
    assert sum(shares.values()) == total
    whole = sum(weights.values())
    exact = {
        name: (weight, whole) if whole else (1, len(weights)) for name, weight in weights.items()
    }
    assert all(
        abs(shares[name] * bottom - total * top) < bottom for name, (top, bottom) in exact.items()
    )


@given(total=st.integers(0, 10**9), weights=weights)
def test_who_used_more_never_gets_less(total: int, weights: dict[str, int]) -> None:
    shares = apportioned(total, weights)
    by_weight = sorted(weights, key=lambda name: (weights[name], shares[name]))
    assert [shares[name] for name in by_weight] == sorted(shares.values())


def test_no_room_gets_a_share_of_nothing_and_nothing_is_below_zero() -> None:
    assert apportioned(5, {}) == {}
    with pytest.raises(ValueError, match="below 0"):
        apportioned(-1, {"a": 1})


def room_use(room: str, floor: str, used: int, *, estimated: bool = False) -> RoomUse:
    one = Slice(start_ms=0, end_ms=1, used=used, estimated=estimated)
    return RoomUse(building="B1", floor=floor, room=room, slices=(one,))


@given(used=st.lists(st.integers(0, 9), max_size=30))
def test_a_ranking_has_every_room_once_the_most_first_and_equals_share_a_place(
    used: list[int],
) -> None:
    found = ranked((room_use(str(n), "1", one) for n, one in enumerate(used)), Level.ROOM)
    assert [one.used for one in found] == sorted(used, reverse=True)
    assert {one.room for one in found} == {str(n) for n in range(len(used))}
    assert all(one.rank == 1 + sum(more > one.used for more in used) for one in found)


def test_floors_and_buildings_are_the_sums_of_their_rooms() -> None:
    uses = [
        room_use("101", "1", 5),
        room_use("102", "1", 4, estimated=True),
        room_use("201", "2", 8),
    ]
    floors, (building,) = ranked(uses, Level.FLOOR), ranked(uses, Level.BUILDING)
    assert [(one.floor, one.used, one.rooms, one.estimated) for one in floors] == [
        ("1", 9, 2, 1),
        ("2", 8, 1, 0),
    ]
    assert (building.floor, building.room, building.used, building.rooms) == ("", "", 17, 3)


async def test_the_ranking_is_told_over_the_api_and_by_the_command_line(
    site: AccountSite, tmp_path: Path
) -> None:
    await december(site)
    span = f"since_ms={round(BEGIN.timestamp() * 1000)}&until_ms={round(END.timestamp() * 1000)}"
    answer = (await site.get(f"/v1/use/ranking?building=B1&{span}", Role.VIEWER)).json()
    top = (await site.get(f"/v1/use/ranking?of=floor&top=1&{span}")).json()["ranking"]
    assert [(one["rank"], one["room"], one["used"]) for one in answer["ranking"]] == [
        (1, "101", 100_001),
        (2, "102", 50_000),
        (3, "201", 30_000),
    ]
    assert [(one["floor"], one["used"], one["estimated"]) for one in top] == [("1", 150_001, 0)]
    assert (await site.get(f"/v1/use/ranking?{span}", "operator of B2")).json()["ranking"] == []
    assert (await site.get("/v1/use/ranking?since_ms=0")).status_code == 422


async def test_the_command_line_ranks_beside_the_hub_and_writes_a_sheet(tmp_path: Path) -> None:
    start_ms = SystemClock().now_ms() - 3 * 86_400_000  # what is to come has no use
    async with account_site(tmp_path, start_ms=start_ms) as site:
        for hours in (1, 25):
            moment = datetime.fromtimestamp(start_ms / 1000 + hours * 3_600, ZONE)
            await pass_to(site, moment, m_1=hours * 4_000, m_2=hours * 100, m_3=hours * 100)
        sheet = tmp_path / "ranking.xlsx"
        ranking = ("use", "--building", "B1", "--rank", "--since", "4d")
        said = await dormhub(site.api, site.folder, *ranking, "--top", "2", "--json")
        floors = (*ranking, "--of", "floor", "--out", str(sheet))
        written = await dormhub(site.api, site.folder, *floors)
        both = await dormhub(site.api, site.folder, "use", "B1/101", "--rank")
    rows = [json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")]
    assert [(row["rank"], row["room"], row["used"]) for row in rows] == [
        (1, "101", 96_000),
        (2, "102", 2_400),
    ]
    assert written.exit_code == 0, written.output
    page = openpyxl.load_workbook(sheet).active
    assert page is not None
    found = list(page.iter_rows(values_only=True))
    assert found[1][:6] == (1, "B1", "1", None, 98_400, 2)
    assert both.exit_code != 0


async def test_a_feeder_less_its_rooms_is_common_and_its_shares_add_up(site: AccountSite) -> None:
    await december(site)
    floor = (await site.get(f"{ASKED}&floor=1")).json()
    assert (floor["fed"], floor["taken"], floor["common"]) == (160_000, 150_001, 9_999)
    assert {share["room"]: share["amount"] for share in floor["shares"]} == {
        "101": 6_666,
        "102": 3_333,
    }
    assert (floor["common_percent"], floor["flag"]) == (6.25, "")
    assert floor["fen"] == 9_999 * RATE // 1_000_000
    assert sum(share["fen"] for share in floor["shares"]) == floor["fen"]


async def test_a_floor_with_its_own_feeder_is_taken_off_the_building_s_as_that_says(
    site: AccountSite,
) -> None:
    await december(site)
    whole = (await site.get(f"{ASKED}&by=equal")).json()
    assert (whole["fed"], whole["taken"], whole["common"]) == (200_000, 190_000, 10_000)
    assert sorted(share["amount"] for share in whole["shares"]) == [3_333, 3_333, 3_334]


async def test_a_share_is_charged_once_for_its_place_and_month(site: AccountSite) -> None:
    await december(site)
    body = {**MONTH, "floor": "1"}
    first, again = await site.post("/v1/sharing", body), await site.post("/v1/sharing", body)
    assert (first.json()["fresh"], again.json()["fresh"]) == (True, False)
    assert first.json()["fen"] == again.json()["fen"]
    assert await site.balance(ROOM) == -first.json()["fen"]["101"]
    (row,) = [
        row
        for row in (await site.get("/v1/audit?limit=1000", Role.ADMIN)).json()["rows"]
        if row["subject"] == "share/electricity/B1/1/2026-12"
    ]
    assert (row["action"], row["cause"]) == ("booked", "9999 of 160000 Wh by use")
    other_way = await site.post("/v1/sharing", {**body, "by": "equal"})
    assert other_way.json()["number"] == first.json()["number"]
    whole = await site.post("/v1/sharing", MONTH)
    assert whole.json()["fresh"]
    earned = await site.ask(lambda c: books.balance(c, "revenue/electricity"))
    rooms = [await site.balance(room) for room in (ROOM, OTHER, UPSTAIRS)]
    assert (
        earned
        == -sum(rooms)
        == sum(first.json()["fen"].values()) + sum(whole.json()["fen"].values())
    )
    assert await site.ask(books.check) == []


async def test_the_part_of_a_room_that_somebody_has_left_stays_with_the_house(
    site: AccountSite,
) -> None:
    await december(site)
    office, left = site.campus.office, OTHER
    await site.campus.bookkeeping.turn()
    await office.life.settle(Leaving(room=left, reason="graduated"), "key/fin")
    await office.rounds.turn()
    await site.read("m-2", "energy_import", 57_000, after_s=61)
    await office.rounds.turn()
    closed = await site.post("/v1/sharing", {**MONTH, "floor": "1"})
    assert set(closed.json()["fen"]) == {"101"}
    await office.life.reopen(left, "new people", "key/fin")
    reopened = await site.post("/v1/sharing", MONTH)
    assert set(reopened.json()["fen"]) == {"101", "201"}
    assert await site.balance(left) == 0
    assert await site.ask(books.check) == []


@pytest.mark.parametrize(
    ("used", "words"),
    [
        ({"m_1": 90, "m_2": 10, "f_1": 99}, "more than was fed"),
        ({"m_1": 500, "m_2": 300, "f_1": 1_000}, "20.0 % is in no room"),
        ({"m_1": 500, "f_1": 501}, "1 rooms are estimated, the first 102"),
    ],
)
async def test_what_a_person_should_look_at_is_flagged_and_not_charged_until_accepted(
    site: AccountSite, used: dict[str, int], words: str
) -> None:
    await live_a_month(site, **used)
    assert words in (await site.get(f"{ASKED}&floor=1")).json()["flag"]
    refused = await site.post("/v1/sharing", {**MONTH, "floor": "1"})
    assert refused.status_code == 409
    assert words in refused.json()["detail"]
    assert await site.balance(ROOM) == 0


async def test_what_is_flagged_is_charged_when_a_person_accepts_it(site: AccountSite) -> None:
    await live_a_month(site, m_1=500, m_2=300, f_1=1_000)
    booked = await site.post("/v1/sharing", {**MONTH, "floor": "1", "accept": True})
    assert sum(booked.json()["fen"].values()) == 200 * RATE // 1_000_000


async def test_a_share_of_a_month_with_two_prices_costs_each_part_its_own(
    site: AccountSite,
) -> None:
    await site.post("/v1/prices", {"from_day": "2026-12-16", "yuan": "1"})
    await pass_to(site, BEGIN, m_1=0, m_2=0, f_1=0)
    await pass_to(site, datetime(2026, 12, 16, tzinfo=ZONE), m_1=9_000, m_2=9_000, f_1=20_000)
    await pass_to(site, END, m_1=9_000, m_2=9_000, f_1=21_000)
    shared = (await site.get(f"{ASKED}&floor=1")).json()
    assert shared["common"] == 3_000
    assert shared["fen"] == (2_000 * RATE + 1_000 * 100_000) // 1_000_000


async def test_what_cannot_be_shared_says_why(site: AccountSite) -> None:
    await december(site)
    for body, words in (
        ({**MONTH, "floor": "7"}, "no meter feeds B1/7"),
        ({**MONTH, "month": "2027-01"}, "is not over yet"),
        ({**MONTH, "month": "2028-01"}, "is not over yet"),
    ):
        answer = await site.post("/v1/sharing", body)
        assert answer.status_code == 409
        assert words in answer.json()["detail"]
    assert (await site.post("/v1/sharing", {**MONTH, "month": "2026-13"})).status_code == 422


async def test_the_command_line_shows_exports_and_books_shares(
    site: AccountSite, tmp_path: Path
) -> None:
    await december(site)
    sheet = tmp_path / "shares.csv"
    place = ("--building", "B1", "--month", "2026-12", "--floor", "1")

    async def say(*arguments: str) -> str:
        done = await dormhub(site.api, site.folder, *arguments, who=Role.FINANCE)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "9999" in await say("share", "show", *place)
    await say("share", "export", str(sheet), *place)
    assert "booked as transaction" in await say("share", "book", *place)
    assert "booked before" in await say("share", "book", *place)
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = {row["room"]: int(row["amount"]) for row in csv.DictReader(file)}
    assert rows == {"101": 6_666, "102": 3_333}
