"""A simulated meter cuts what is more than its limit, counts that, and lets a hand close it where it may."""

from __future__ import annotations

from hub import load_profiles
from simulators.ledger import Deed, Diary, Ledger
from simulators.machine import EPOCH_MS, HOUR_MS, Birth
from simulators.meter import Meter

EVENING_MS = EPOCH_MS + 12 * HOUR_MS  # eight o'clock in the evening there
POINTS = tuple(load_profiles().get("generic_meter", {}, place="test").points)


def meter(ledger: Ledger) -> Meter:
    return Meter(
        Birth(
            seed=1,
            zone_ms=8 * HOUR_MS,
            begin_ms=EPOCH_MS,
            diary=Diary(device="m-1", ledger=ledger),
            points=POINTS,
        )
    )


def test_a_meter_trips_above_its_limit_and_a_hand_closes_it_again() -> None:
    ledger = Ledger()
    one = meter(ledger)
    assert one.show(EVENING_MS)["relay_closed"] is True
    one.keep(EVENING_MS, "power_limit", 20.0)
    shown = one.show(EVENING_MS + 1_000)
    assert (shown["relay_closed"], shown["over_limit"], shown["overload_count"]) == (False, True, 1)
    assert shown["active_power_total"] == 0.0
    trip = ledger.last("m-1", Deed.TRIPPED)
    assert trip is not None
    assert float(trip.values["power_w"]) > 20
    one.keep(EVENING_MS + 2_000, "power_limit", 0.0)
    assert one.hand(EVENING_MS + 3_000)
    shown = one.show(EVENING_MS + 4_000)
    assert (shown["relay_closed"], shown["over_limit"], shown["overload_count"]) == (True, False, 1)


def test_no_hand_closes_what_was_cut_unless_it_is_armed() -> None:
    one = meter(Ledger())
    one.switch(EVENING_MS, "cut")
    assert not one.hand(EVENING_MS + 1)
    one.switch(EVENING_MS + 2, "arm")
    assert one.hand(EVENING_MS + 3)
    assert one.show(EVENING_MS + 4)["relay_closed"] is True
    assert one.show(EVENING_MS + 4)["relay_armed"] is False


def test_a_cut_after_a_trip_lets_no_hand_close_it() -> None:
    one = meter(Ledger())
    one.keep(EVENING_MS, "power_limit", 20.0)
    one.show(EVENING_MS)
    one.switch(EVENING_MS + 1, "cut")
    assert not one.hand(EVENING_MS + 2)
