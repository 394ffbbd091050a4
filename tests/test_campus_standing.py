"""How rooms stand: to the last reading, with every doubt named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub import Reading
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit, Utility, grant
from hub.campus.accounts.books import Kind, transfer
from hub.campus.prepaid.standing import Holder, Standing, Standings
from tests.campus_house import DAY_S, HOUR_S, OTHER, RATE, ROOM, House, open_house, price_of

STEP = "[prepaid]\ncharge_step_fen = 5000\noverdraft_fen = 500\n"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, policy=STEP) as opened:
        yield opened


async def stand(house: House, room: Room = ROOM) -> Standing:
    standings = Standings(ledger=house.ledger, journal=house.journal, clock=house.clock)
    standings.configure(house.site, house.rules)
    everywhere, alone = await standings.of(), await standings.of([room])
    assert everywhere[room] == alone[room]
    return alone[room]


async def allow(house: House, amount: int) -> None:
    said = transfer(grant(Utility.ELECTRICITY), ROOM.account, Unit.WH, amount)
    await house.ledger.run(
        lambda connection: books.post(
            connection, key="g", kind=Kind.GRANT, postings=said, actor="t", cause="", time_ms=1
        )
    )


async def test_what_is_not_charged_yet_is_taken_off(house: House) -> None:
    await house.used(0)
    await house.read(3_000)
    await house.charge()  # too little for a row
    assert await house.fen() == 0
    assert await stand(house) == Standing(
        room=ROOM,
        holder=Holder.HUB,
        devices=("m-1",),
        balance_fen=-price_of({RATE: 3_000}),
        as_of_ms=house.clock.now_ms(),
    )


async def test_the_allowance_goes_first_here_too(house: House) -> None:
    await house.used(0)
    await allow(house, 2_000)
    await house.read(3_000)
    room = await stand(house)
    assert (room.allowance, room.balance_fen) == (0, -price_of({RATE: 1_000}))


async def test_a_room_is_used_up_when_overdraft_and_allowance_are(house: House) -> None:
    await house.used(0)
    await house.read(9_000)
    assert not (await stand(house)).is_used_up
    await house.read(9_500)
    assert (await stand(house)).is_used_up
    await allow(house, 9_400)
    assert not (await stand(house)).is_used_up


async def test_a_room_never_heard_is_in_doubt_and_a_stranger_has_no_standing(
    house: House,
) -> None:
    assert (await stand(house)).doubt == "m-1: not charged yet"
    standings = Standings(ledger=house.ledger, journal=house.journal, clock=house.clock)
    standings.configure(house.site, house.rules)
    assert await standings.of([Room(building="B1", room="999")]) == {}


async def test_a_meter_that_is_changed_while_rooms_are_looked_at_breaks_nothing(
    house: House,
) -> None:
    standings = Standings(ledger=house.ledger, journal=house.journal, clock=house.clock)
    standings.configure(house.site, house.rules)
    looking = asyncio.ensure_future(standings.of())
    await asyncio.sleep(0)
    standings.configure(replace(house.site, links=()), house.rules)
    assert ROOM in await looking
    assert await standings.of() == {}


async def test_an_old_word_is_a_doubt(house: House) -> None:
    await house.used(0, 100)
    house.clock.advance(DAY_S)
    assert (await stand(house)).doubt == f"m-1: last heard {DAY_S} s ago"


async def test_an_uncertain_word_is_a_doubt(house: House) -> None:
    await house.used(0)
    await house.read(100, uncertain="device clock")
    assert (await stand(house)).doubt == "m-1: device clock"


@pytest.mark.parametrize(
    ("counter", "doubt"),
    [(50, "counter fell from 100 to 50"), (10**7, "counter jumped from 100 to 10000000")],
)
async def test_a_counter_that_fell_or_jumped_is_a_doubt(
    house: House, counter: int, doubt: str
) -> None:
    await house.used(0, 100)
    await house.charge(flush=True)
    await house.read(counter, after_s=60)
    assert (await stand(house)).doubt == f"m-1: {doubt}"
    await house.charge()
    assert (await stand(house)).doubt == f"m-1 is not charged: {doubt}"


async def test_another_room_is_not_touched(house: House) -> None:
    await house.used(0)
    await house.read(0, device="m-2", after_s=1)
    await house.charge()
    await house.read(4_000, after_s=HOUR_S)
    assert (await stand(house, OTHER)).balance_fen == 0


async def test_where_the_meter_holds_the_credit_its_own_word_counts(tmp_path: Path) -> None:
    async with open_house(tmp_path, policy=STEP) as house:
        row = "m-9,acrel_ddsy1352,bus-1,9,B1,1,101,socket,,"
        await house.install(row, policy=STEP, prune=True)
        now_ms = house.clock.now_ms()
        values = {"credit_money": 1_230, "free_energy": 400, "energy_import": 9}
        reading = Reading(device="m-9", time_ms=now_ms, received_ms=now_ms, values=values)
        await house.journal.append([reading])
        room = await stand(house)
        assert (room.holder, room.devices, room.balance_fen) == (Holder.METER, ("m-9",), 1_230)
        assert (room.allowance, room.as_of_ms, room.doubt) == (400, now_ms, "")
