"""Hot and drinking water: metered, paid, charged to the fen, beside the electricity of the same room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub import POINTS, Reading, load_profiles
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit, Utility
from hub.campus.orders.orders import Notice
from hub.campus.prepaid.meters import paid_meters
from hub.plausibility import Plausibility
from hub.points import unit_factor
from simulators.ledger import Deed, Ledger
from simulators.machine import HOUR_MS, MINUTE_MS
from simulators.water import SLOT_MS, WaterMeter
from tests.account_site import AccountSite, account_site
from tests.api_site import device
from tests.campus_house import MORNING_MS
from tests.provisioned import METERS, SITE
from tests.sim_site import birth

HOT = Room(building="B1", room="101", utility=Utility.HOT_WATER)
DRINKING = replace(HOT, utility=Utility.DRINKING_WATER)
YUAN, RATE = "25.00", 2_500  # for a m³: millionths of a fen for a ml
BROKER = '[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = 9\n'
POLICY = "[prepaid]\ncharge_step_fen = 0\nallowance_hot_water_ml = 100000\n"
ROWS = (
    METERS["m-1"],
    "w-1,generic_hot_water_meter,broker,w-1,B1,1,101,,,",
    "d-1,generic_drinking_water_meter,broker,d-1,B1,1,101,tap,,",
)


def _said(after_ms: int, volume_ml: int) -> Reading:
    time_ms = MORNING_MS + after_ms
    values = {"hot_water_volume": volume_ml}
    return Reading(device="w-1", time_ms=time_ms, received_ms=time_ms, values=values)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[AccountSite]:
    async with account_site(tmp_path, *ROWS, site=SITE + BROKER, policy=POLICY) as made:
        for utility in ("hot_water", "drinking_water"):
            price = {"from_day": "2026-01-01", "yuan": YUAN, "utility": utility}
            assert (await made.post("/v1/prices", price)).status_code == 200
        await made.campus.bookkeeping.turn()
        yield made


def tap(name: str = "w-1", *, ledger: Ledger | None = None) -> WaterMeter:
    born = birth(name, "generic_hot_water_meter", ledger or Ledger())
    return WaterMeter(replace(born, begin_ms=MORNING_MS))


async def test_hot_water_is_paid_delivered_and_charged_to_the_exact_fen(site: AccountSite) -> None:
    notice = Notice(platform="pay", number="W1", room=HOT, amount_fen=3_000)
    order = await site.campus.intake.take(notice)
    assert order.device == "w-1"
    await site.delivered(order)
    assert await site.balance(HOT) == 3_000
    meter = tap()
    first = meter.volume_ml(site.clock.now_ms())
    await site.read("w-1", "hot_water_volume", first, after_s=0)
    await site.campus.bookkeeping.turn()
    for _ in range(26):
        site.clock.advance(3_600)
        await site.read("w-1", "hot_water_volume", meter.volume_ml(site.clock.now_ms()), after_s=0)
        await site.campus.bookkeeping.turn()
    used = meter.volume_ml(site.clock.now_ms()) - first
    assert used > 100_000  # more than is free
    assert await site.balance(HOT, Unit.ML) == 0
    assert await site.balance(HOT) == 3_000 - (used - 100_000) * RATE // 1_000_000
    assert await site.ask(books.check) == []
    detail = (await site.get("/v1/accounts/B1/101/hot_water")).json()
    assert detail["standing"]["balance_fen"] == detail["account"]["fen"]
    assert detail["account"]["unit"] == "ml"
    use = (await site.get("/v1/rooms/B1/101/use?utility=hot_water&since_ms=1790000000000")).json()
    assert (use["used"], use["unit"]) == (used, "ml")


async def test_the_utilities_of_a_room_are_apart(site: AccountSite) -> None:
    for device_id, point, counters in (
        ("d-1", "drinking_water_volume", (0, 40_000)),
        ("m-1", "energy_import", (0, 1_000)),
    ):
        for counter in counters:
            await site.read(device_id, point, counter)
    await site.campus.bookkeeping.turn()
    assert await site.balance(DRINKING) == -40_000 * RATE // 1_000_000
    assert await site.balance(HOT) == 0
    span = "since_ms=1790000000000"
    for utility, used in (("electricity", 1_000), ("drinking_water", 40_000), ("hot_water", 0)):
        use = (await site.get(f"/v1/rooms/B1/101/use?utility={utility}&{span}")).json()
        assert (use["used"], len(use["parts"])) == (used, 1)


def test_a_room_of_two_meters_pays_into_the_one_that_takes_credit_and_then_by_id() -> None:
    known = [
        device("a-1", "eastron_sdm120", "bus", "B1"),
        device("z-1", "acrel_ddsy1352", "bus", "B1"),
        device("y-1", "acrel_ddsy1352", "bus", "B1"),
        device("w-2", "generic_hot_water_meter", "broker", "B1"),
        device("w-1", "generic_hot_water_meter", "broker", "B1"),
        device("washer-1", "generic_washer", "broker", "B1"),
    ]
    expected = {Room(building="B1", room="101"): "y-1", HOT: "w-1"}
    assert paid_meters(known) == paid_meters(reversed(known)) == expected


def test_volumes_may_be_told_in_litres_or_cubic_metres() -> None:
    unit = POINTS["hot_water_volume"].unit
    assert (unit_factor("L", unit), unit_factor("m3", unit)) == (1_000, 1_000_000)
    assert unit_factor("kWh", unit) is None


def test_a_counter_of_water_that_runs_faster_than_its_pipe_is_not_believed() -> None:
    meter = device("w-1", "generic_hot_water_meter", "broker", "B1")
    assert meter.profile.hourly_max("ml") == 2_500_000
    assert load_profiles().example("generic_meter").hourly_max("ml") == 100_000_000
    plausibility = Plausibility()
    first, good, wild = (
        plausibility.check(reading, meter)
        for reading in (_said(0, 1_000), _said(MINUTE_MS, 41_000), _said(2 * MINUTE_MS, 541_000))
    )
    assert (first.bad, good.bad) == ({}, {})
    assert wild.bad == {"hot_water_volume": "counter jumped from 41000 to 541000"}


def test_the_simulated_meter_adds_up_whoever_asks_and_stops_at_its_valve() -> None:
    ledger = Ledger()
    often, seldom, shut = tap(), tap(), tap(ledger=ledger)
    day_ms = 24 * HOUR_MS
    for at_ms in range(MORNING_MS, MORNING_MS + day_ms, SLOT_MS // 3):
        often.volume_ml(at_ms)
    end_ms = MORNING_MS + day_ms
    assert often.show(end_ms) == seldom.show(end_ms)
    assert seldom.volume_ml(end_ms) > shut.volume_ml(MORNING_MS)
    assert shut.switch(MORNING_MS, "cut") == "done"
    assert shut.switch(MORNING_MS, "arm") == "rejected"
    before = shut.volume_ml(MORNING_MS)
    assert shut.volume_ml(end_ms) == before
    assert shut.show(end_ms)["water_flow"] == 0.0
    assert [entry.deed for entry in ledger.entries("w-1")] == [Deed.WRITTEN]
