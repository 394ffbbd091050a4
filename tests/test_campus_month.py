"""A town's month in virtual time: what was used, paid, cut and given back is what the books say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from hub import SystemClock
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Unit, revenue
from hub.campus.orders.orders import OrderState
from hub.ledger import open_ledger
from tests.inline import Inline
from tests.month_judge import complaints, told
from tests.month_meter import Deed, Entry
from tests.month_people import Habit, Household, Kind, Plan, moment_ms
from tests.month_staff import live
from tests.month_town import Town


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Town:
    """A month of twelve rooms that are read every three hours, with a hub that is killed four times."""
    seed: int = request.config.getoption("--seed")
    plan = Plan(rooms=12, seed=seed, kills=4, period_s=10_800, faults=0.1, stride_s=10_800)
    return live(tmp_path_factory.mktemp("month") / "town", plan)


def thrifty(town: Town) -> Household:
    """A room that has something left of its allowance."""
    return next(
        home for home in town.homes if home.habit is Habit.THRIFTY and home.kind is Kind.HUB
    )


async def charge(town: Town, home: Household, amount: int, unit: Unit) -> None:
    """So much more than it used."""
    room, clock = home.room, SystemClock()
    async with open_ledger(town.ledger_path, clock=clock, executor=Inline()) as ledger:
        await ledger.run(
            lambda connection: books.post(
                connection,
                key="use/planted",
                kind=books.Kind.USE,
                postings=books.transfer(room.account, revenue(room.utility), unit, amount),
                actor="metering",
                cause="",
                time_ms=clock.now_ms(),
            )
        )


@pytest.mark.timeout(600)
def test_after_a_month_every_room_has_what_it_paid_less_what_it_used(town: Town) -> None:
    assert complaints(town) == []
    assert told(town)[OrderState.DELIVERED] > 10
    assert len(town.down) >= 4
    assert len(town.mounted_ms) == 3
    deeds = {entry.deed for meter in town.meters.values() for entry in meter.diary}
    assert deeds >= {Deed.CUT, Deed.ARMED, Deed.RESTORED, Deed.TRIPPED, Deed.CREDITED}


async def test_one_watt_hour_too_much_is_complained_of(town: Town, tmp_path: Path) -> None:
    shutil.copytree(town.folder / "data", tmp_path / "data")
    other, home = replace(town, folder=tmp_path), thrifty(town)
    await charge(other, home, 1, Unit.WH)
    (said,) = complaints(other)
    assert said.startswith(f"{home.room.account} has ")
    assert "Wh of its allowance" in said


async def test_one_fen_too_much_is_complained_of(town: Town, tmp_path: Path) -> None:
    shutil.copytree(town.folder / "data", tmp_path / "data")
    other, home = replace(town, folder=tmp_path), thrifty(town)
    await charge(other, home, 1, Unit.FEN)
    (said,) = complaints(other)
    assert said.startswith(f"{home.room.account} has ")
    assert "must be left" in said


def test_a_cut_on_a_holiday_is_complained_of(town: Town) -> None:
    meter = town.meters[thrifty(town).meter]
    planted = Entry(time_ms=moment_ms(date(2026, 10, 3), 12), deed=Deed.CUT)
    again = Entry(time_ms=planted.time_ms, deed=Deed.PRESSED)
    other = replace(meter, diary=[planted, again, *meter.diary])
    said = complaints(replace(town, meters={**town.meters, meter.id: other}))
    assert f"{meter.id} was cut at 03 Oct 12:00:00: a holiday" in said
