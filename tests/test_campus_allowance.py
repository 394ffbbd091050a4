"""The monthly allowance: once for each room and month, carried over or not as the building says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from hub import audit
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit, Utility, grant
from hub.campus.prepaid.allowance import Granted, grant_month
from hub.campus.prepaid.meters import open_rooms
from hub.ledger.tables import accounts
from tests.campus_house import DAY_S, OTHER, RATE, ROOM, House, open_house, price_of

POLICY = "[prepaid]\ncharge_step_fen = 0\nallowance_wh = 5000\n"
WATER = Room(building="B1", room="101", utility=Utility.HOT_WATER)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, policy=POLICY) as opened:
        await opened.ledger.run(lambda c: open_rooms(c, [ROOM, OTHER], now_ms=1))
        yield opened


async def give(house: House) -> Granted:
    return await grant_month(house.ledger, house.site, house.rules, clock=house.clock)


async def test_each_room_has_its_allowance_once_a_month(house: House) -> None:
    assert await give(house) == Granted(month="2026-11", given=2, passed=0)
    assert await give(house) == Granted(month="2026-11", given=0, passed=2)
    assert (await house.free(), await house.free(OTHER)) == (5_000, 5_000)
    given = await house.ask(lambda c: books.balance(c, grant(Utility.ELECTRICITY), Unit.WH))
    assert given == -10_000
    assert await house.is_right()


async def test_a_meter_that_holds_the_credit_is_given_none_in_the_books(house: House) -> None:
    row = "m-9,acrel_ddsy1352,bus-1,9,B1,1,101,socket,,"
    await house.install(row, policy=POLICY, prune=True)
    assert (await give(house)).given == 1
    assert (await house.free(), await house.free(OTHER)) == (0, 5_000)


async def test_what_is_left_lapses_with_the_month(house: House) -> None:
    await give(house)
    await house.used(0, 3_000)
    house.clock.advance(30 * DAY_S)
    assert (await give(house)).month == "2026-12"
    assert (await house.free(), await house.free(OTHER)) == (5_000, 5_000)
    lines = await house.ask(lambda c: books.statement(c, ROOM.account))
    assert [line.amount for line in lines] == [-2_000, 5_000, -3_000, 5_000]
    assert await house.is_right()


async def test_what_is_left_stays_where_it_is_carried_over(house: House) -> None:
    await house.install(policy=POLICY + "carry_over = true\n")
    await give(house)
    await house.used(0, 3_000)
    house.clock.advance(30 * DAY_S)
    await give(house)
    assert (await house.free(), await house.free(OTHER)) == (7_000, 10_000)


async def test_use_beyond_the_allowance_costs_money(house: House) -> None:
    await give(house)
    await house.used(0, 4_000, 9_000)
    assert (await house.free(), await house.fen()) == (0, -price_of({RATE: 4_000}))


async def test_a_run_that_was_broken_off_goes_on_where_it_was(house: House) -> None:
    await give(house)
    await house.ledger.run(lambda c: open_rooms(c, [Room(building="B1", room="103")], now_ms=1))
    assert await give(house) == Granted(month="2026-11", given=1, passed=2)


async def test_another_policy_within_the_month_changes_nothing_that_was_given(
    house: House,
) -> None:
    await give(house)
    await house.install(policy=POLICY.replace("5000", "9000"))
    await give(house)
    assert await house.free() == 5_000


async def test_rooms_that_do_not_pay_and_closed_accounts_get_none(house: House) -> None:
    def close(connection: Connection) -> None:
        gone = update(accounts).where(accounts.c.id == OTHER.account)
        connection.execute(gone.values(closed_ms=1))

    await house.ledger.run(close)
    await house.install(policy=POLICY + 'unbilled_rooms = ["101"]\n')
    assert await give(house) == Granted(month="2026-11", given=0, passed=1)
    assert (await house.free(), await house.free(OTHER)) == (0, 0)


async def test_water_is_given_in_its_own_unit(house: House) -> None:
    await house.install(policy=POLICY + "allowance_hot_water_ml = 90000\n")
    await house.ledger.run(lambda c: open_rooms(c, [WATER], now_ms=1))
    await give(house)
    assert await house.ask(lambda c: books.balances_of(c, WATER.account)) == {Unit.ML: 90_000}


async def test_each_group_has_its_row_in_the_audit(house: House) -> None:
    await give(house)
    await give(house)
    rows = await house.ask(lambda c: audit.rows(c, subject="allowance"))
    assert [(row.action, row.cause) for row in rows] == [("given", "2026-11")]
