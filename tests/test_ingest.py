from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from hub import Poison, Reading, StoreError, VirtualClock
from hub.ingest import Ingest
from hub.presence import Change, Presence
from tests.site_folder import meter

NOW_MS = 1_795_000_000_000


class ListStore:
    """A store that keeps a list, or refuses while `full`."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.poison: list[Poison] = []
        self.full = False

    async def append(self, readings: Sequence[Reading]) -> None:
        if self.full:
            raise StoreError("disk full")
        self.readings += readings

    async def keep_poison(self, poison: Sequence[Poison]) -> None:
        self.poison += poison


class Bench:
    """An ingest over a list store, with what it reported and counted."""

    def __init__(self) -> None:
        self.store = ListStore()
        self.changes: list[Change] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.clock = VirtualClock(start_ms=NOW_MS)
        self.ingest = Ingest(
            store=self.store,
            clock=self.clock,
            report=self.changes.append,
            count=lambda link, reason: self.counts.update([(link, reason)]),
        )
        self.ingest.configure([meter(period_s=10)], ["bus-1", "bus-2"])


def reading(device: str = "meter-1", volts: float = 230.0) -> Reading:
    return Reading(device=device, time_ms=NOW_MS, received_ms=NOW_MS, values={"voltage_l1": volts})


async def test_a_reading_is_stored_and_makes_its_device_online() -> None:
    bench = Bench()
    await bench.ingest.publish("bus-1", [reading()])
    assert bench.store.readings == [reading()]
    assert [change.presence for change in bench.changes] == [Presence.ONLINE]


async def test_a_reading_of_another_links_device_is_refused_and_counted() -> None:
    bench = Bench()
    await bench.ingest.publish("bus-2", [reading(), reading("stranger")])
    assert bench.store.readings == []
    assert bench.counts == {("bus-2", "foreign device"): 2}


async def test_a_links_own_counts_are_readings_too() -> None:
    bench = Bench()
    counts = Reading(
        device="bus-1", time_ms=NOW_MS, received_ms=NOW_MS, values={"link_requests": 9}
    )
    await bench.ingest.publish("bus-1", [counts])
    assert bench.store.readings == [counts]


async def test_an_impossible_value_never_reaches_the_store() -> None:
    bench = Bench()
    await bench.ingest.publish("bus-1", [reading(volts=5.0)])
    assert dict(bench.store.readings[0].values) == {}
    assert list(bench.store.readings[0].bad) == ["voltage_l1"]


async def test_after_a_reload_a_device_is_judged_by_its_own_products_rules() -> None:
    bench = Bench()
    for volts in range(200, 260):  # memory of the products that are gone is used again
        bench.ingest.configure([meter(voltage_max=volts)], ["bus-1"])
        await bench.ingest.publish(
            "bus-1", [reading(volts=float(volts)), reading(volts=volts + 1.0)]
        )
    good = [bool(item.values) for item in bench.store.readings]
    assert good == [True, False] * 60


async def test_a_full_store_is_said_to_the_driver_and_changes_no_presence() -> None:
    bench = Bench()
    bench.store.full = True
    with pytest.raises(StoreError):
        await bench.ingest.publish("bus-1", [reading()])
    assert bench.changes == []


async def test_a_batch_refused_by_a_full_store_is_good_when_sent_again() -> None:
    bench = Bench()
    counter = Reading(
        device="meter-1", time_ms=NOW_MS, received_ms=NOW_MS, values={"energy_import": 77}
    )
    bench.store.full = True
    with pytest.raises(StoreError):
        await bench.ingest.publish("bus-1", [counter])
    bench.store.full = False
    await bench.ingest.publish("bus-1", [counter])
    assert bench.store.readings == [counter]


async def test_a_silent_device_is_reported_by_the_sweep() -> None:
    bench = Bench()
    await bench.ingest.publish("bus-1", [reading()])
    bench.clock.advance(31)
    bench.ingest.sweep()
    assert [change.presence for change in bench.changes] == [Presence.ONLINE, Presence.OFFLINE]
