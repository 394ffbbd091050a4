"""Meters, washers and gates as state machines: only their own clock is moved."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.barrier import AUTO_CLOSE_MS, TRAVEL_MS, Arm, Barrier, Relay
from simulators.ledger import Deed, Ledger
from simulators.load import MWMS_PER_WH, SLOT_MS, RoomLoad
from simulators.machine import DAY_MS, HOUR_MS
from simulators.meter import Meter
from simulators.relay_board import RelayBoard
from simulators.turnstile import Turnstile
from simulators.washer import Washer
from tests.sim_site import NOW_MS, PROFILES, ZONE_MS, birth, machine

MIDNIGHT_MS = NOW_MS - (NOW_MS + ZONE_MS) % DAY_MS


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), at_ms=st.integers(0, DAY_MS))
def test_energy_is_the_exact_integral_of_power(seed: int, at_ms: int) -> None:
    load = RoomLoad(seed, ZONE_MS)
    start_ms = (MIDNIGHT_MS + at_ms) // SLOT_MS * SLOT_MS
    steps = range(start_ms, start_ms + 20_000, 1)
    power = sum(load.power_mw(step) for step in steps)
    assert load.energy_mwms(start_ms + 20_000) - load.energy_mwms(start_ms) == power


def test_a_whole_day_adds_up_to_its_hours() -> None:
    load = RoomLoad(3, ZONE_MS)
    hours = [load.energy_mwms(MIDNIGHT_MS + hour * HOUR_MS) for hour in range(25)]
    assert all(later > earlier for earlier, later in pairwise(hours))
    assert 1000 < (hours[24] - hours[0]) / MWMS_PER_WH < 10_000


def test_evenings_are_busier_than_nights() -> None:
    loads = [RoomLoad(seed, ZONE_MS) for seed in range(20)]
    night = sum(load.power_mw(MIDNIGHT_MS + 4 * HOUR_MS) for load in loads)
    evening = sum(load.power_mw(MIDNIGHT_MS + 21 * HOUR_MS) for load in loads)
    assert evening > 3 * night


def test_the_same_seed_is_the_same_day_whoever_asks_and_however_often() -> None:
    often, seldom = machine("b1-101", "eastron_sdm630"), machine("b1-101", "eastron_sdm630")
    for minute in range(60):
        often.show(NOW_MS + minute * 60_000)
    assert often.show(NOW_MS + HOUR_MS) == seldom.show(NOW_MS + HOUR_MS)


def test_another_seed_is_another_day() -> None:
    first, second = machine("b1-101", "eastron_sdm120"), machine("b1-101", "eastron_sdm120", seed=8)
    assert first.show(NOW_MS) != second.show(NOW_MS)


def test_a_meter_shows_values_that_belong_together() -> None:
    shown = machine("b1-101", "eastron_sdm120").show(NOW_MS)
    volts, amperes = float(shown["voltage_l1"]), float(shown["current_l1"])
    assert 220 < volts < 240
    assert float(shown["active_power_l1"]) <= volts * amperes * 1.001


@pytest.mark.parametrize(
    "product", ["acrel_ddsy1352", "schneider_iem3155", "tasmota_plug", "shelly_plus1pm"]
)
def test_every_point_of_a_product_is_shown_within_its_range(product: str) -> None:
    points = PROFILES.get(product, {}, place="test").points
    shown = machine("device", product).show(NOW_MS)
    numbers = {name: value for name, value in shown.items() if not isinstance(value, str)}
    assert set(points) <= set(shown)
    assert all(points[name].minimum <= numbers[name] <= points[name].maximum for name in numbers)


def test_an_open_relay_stops_power_and_counter_until_it_is_closed() -> None:
    meter = Meter(birth("b1-101", "eastron_sdm120", Ledger()), start_wh=0)
    meter.write(NOW_MS, "relay_closed", False)
    opened = meter.electricity(NOW_MS)
    later = meter.electricity(NOW_MS + DAY_MS)
    meter.write(NOW_MS + DAY_MS, "relay_closed", True)
    closed = meter.electricity(NOW_MS + DAY_MS)
    assert later.power_w == (0.0,)
    assert later.import_wh == opened.import_wh
    assert closed.power_w > (0.0,)
    assert closed.import_wh == opened.import_wh
    assert meter.electricity(NOW_MS + 2 * DAY_MS).import_wh > opened.import_wh


def test_a_washer_goes_through_its_states_and_writes_its_cycles_down() -> None:
    ledger = Ledger()
    washer = Washer(birth("washer-1", "generic_washer", ledger))
    first = washer.cycles
    states = {str(washer.show(NOW_MS + s * 5000)["washer_state"]) for s in range(12 * 3600 // 5)}
    assert states == {"idle", "starting", "running", "finished_not_emptied"}
    begun = list(ledger.entries("washer-1", Deed.CYCLE_BEGUN))
    assert len(begun) == washer.cycles - first > 3


def test_the_same_order_never_starts_a_second_cycle() -> None:
    washer = Washer(birth("washer-1", "generic_washer", Ledger()))
    idle_ms = next(
        at
        for at in range(NOW_MS, NOW_MS + DAY_MS, 5000)
        if washer.show(at)["washer_state"] == "idle"
    )
    assert washer.start(idle_ms, "order-1", "quick") == "accepted"
    assert washer.start(idle_ms + 1, "order-1", "quick") == "duplicate"
    assert washer.start(idle_ms + 2, "order-2", "quick") == "rejected"


def test_a_flashed_relay_comes_back_by_itself() -> None:
    ledger = Ledger()
    board = RelayBoard(birth("board", "waveshare_relay8", ledger))
    board.flash(NOW_MS, 0, True, 700)
    assert board.show(NOW_MS + 699)["relay_1"] is True
    assert board.show(NOW_MS + 700)["relay_1"] is False
    moves = [entry.time_ms for entry in ledger.entries("board", Deed.MOVED)]
    assert moves == [NOW_MS, NOW_MS + 700]


NIGHT_MS = MIDNIGHT_MS + 2 * HOUR_MS  # an hour without cars


def _night_barrier() -> Barrier:
    made = birth("barrier-1", "generic_barrier", Ledger())
    return Barrier(replace(made, begin_ms=NIGHT_MS))


def test_a_pulse_opens_the_arm_which_closes_by_itself() -> None:
    barrier = _night_barrier()
    barrier.board.flash(NIGHT_MS, Relay.OPEN, True, 700)
    barrier.step(NIGHT_MS + TRAVEL_MS)
    opened = barrier.arm
    barrier.step(NIGHT_MS + TRAVEL_MS + AUTO_CLOSE_MS + TRAVEL_MS)
    assert opened is Arm.OPEN
    assert barrier.arm is Arm.CLOSED


def test_the_fire_contact_opens_the_arm_and_holds_it() -> None:
    barrier = _night_barrier()
    barrier.alarm(NIGHT_MS, fire=True)
    barrier.board.flash(NIGHT_MS + 60_000, Relay.CLOSE, True, 700)
    shown = barrier.show(NIGHT_MS + HOUR_MS)
    assert shown["limit_open"] is True
    assert shown["fire_alarm"] is True


def test_a_barriers_cars_pass_under_an_open_arm() -> None:
    ledger = Ledger()
    barrier = Barrier(birth("barrier-1", "generic_barrier", ledger))
    seen = [barrier.show(NOW_MS + s * 1000) for s in range(6 * 3600)]
    under = [shown for shown in seen if shown["loop_safety"]]
    assert list(ledger.entries("barrier-1", Deed.PASSED))
    assert all(shown["limit_open"] for shown in under)


def test_a_turnstiles_counters_are_its_passages() -> None:
    ledger = Ledger()
    turnstile = Turnstile(birth("turnstile-1", "generic_turnstile", ledger))
    before = turnstile.show(NOW_MS)
    events = turnstile.happenings(NOW_MS + 12 * HOUR_MS)
    after = turnstile.show(NOW_MS + 12 * HOUR_MS)
    grown = sum(int(after[name]) - int(before[name]) for name in ("count_in", "count_out"))
    assert grown == len(list(ledger.entries("turnstile-1", Deed.PASSED))) > 20
    assert len(events) > grown


def test_a_camera_tells_each_car_and_some_twice() -> None:
    camera = machine("camera-1", "zhenshi_lpr")
    plates = [str(seen.values["plate"]) for seen in camera.happenings(NOW_MS + DAY_MS)]
    assert len(plates) > len(set(plates)) > 50
    assert all(plate.startswith("鄂A") for plate in plates if plate != "_无_")
