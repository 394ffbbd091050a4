"""A campus of simulated devices, the real hub, and the devices' own ledgers as judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hub import Reading
from simulators.campus import Play
from simulators.faults import FaultKind
from simulators.ledger import Deed
from tests.campus_judge import (
    Said,
    Town,
    never_answered,
    never_published,
    not_kept,
    not_stored,
    sayings,
    small_site,
    town_of,
)
from tests.servers import Server

READINGS_A_ROUND = 25
ON_THE_WIRE = (  # drawn more often than the faults that last
    FaultKind.LATE,
    FaultKind.DOUBLED,
    FaultKind.GARBAGE,
    FaultKind.TRUNCATION,
    FaultKind.WRONG_UNIT,
    FaultKind.EXCEPTION,
)


def by_device(town: Town) -> dict[str, list[Reading]]:
    """The journal's readings of each device, in the order of commits."""
    found: dict[str, list[Reading]] = {}
    for reading in town.hub.readings():
        found.setdefault(reading.device, []).append(reading)
    return found


def all_links_up(town: Town) -> bool:
    status = town.hub.status
    return status is not None and all(link.up for link in status.links)


def has_stored(town: Town, readings: int) -> bool:
    return town.hub.count() >= readings


def heard_after(town: Town, moment_ms: int) -> bool:
    """Whether every device's journal goes on beyond the moment."""
    stored = by_device(town)
    return all(
        any(reading.received_ms > moment_ms for reading in stored.get(device.id, ()))
        for device in town.campus.site.devices()
    )


def foreign(town: Town) -> Iterator[str]:
    """Whatever the journal holds that its device never said."""
    stored, ledger = by_device(town), town.campus.ledger
    for device in town.devices("modbus"):
        answers = sayings(list(ledger.entries(device.id)), Deed.ANSWERED)
        yield from never_answered(stored.get(device.id, []), answers)
    for device in town.devices("mqtt"):
        messages = sayings(list(ledger.entries(device.id)), Deed.PUBLISHED)
        yield from never_published(stored.get(device.id, []), messages)


def lost(town: Town, since_ms: int, until_ms: int) -> Iterator[str]:
    """Whatever a device said between the moments that the journal does not hold."""
    stored, ledger = by_device(town), town.campus.ledger
    for device in town.campus.site.devices():
        polled = device.profile.protocol == "modbus"
        deed = Deed.ANSWERED if polled else Deed.PUBLISHED
        said = sayings(list(ledger.entries(device.id)), deed)
        said = [item for item in said if since_ms < item.time_ms <= until_ms]
        missing = not_stored if polled else not_kept
        for text in missing(stored.get(device.id, []), said):
            yield f"{device.id}: {text}"


async def test_every_value_of_every_device_is_stored_as_its_ledger_says(
    mosquitto: Server, tmp_path: Path, seed: int
) -> None:
    play = Play(seed=seed, here=True, speed=0, broker=f"127.0.0.1:{mosquitto.port}")
    async with town_of(tmp_path, small_site(timeout_s=5), play) as town:
        await town.until(lambda: all_links_up(town))
        since_ms = town.campus.clock.now_ms()
        await town.until(lambda: heard_after(town, since_ms + 4000))
        until_ms = since_ms + 4000
        assert list(foreign(town)) == []
        assert list(lost(town, since_ms, until_ms)) == []


@pytest.mark.timeout(1200)
async def test_nothing_is_stored_that_a_device_never_said_whatever_goes_wrong(
    mosquitto: Server, tmp_path: Path, rounds: int, seed: int
) -> None:
    play = Play(
        seed=seed,
        here=True,
        speed=0,
        broker=f"127.0.0.1:{mosquitto.port}",
        fault_rate=0.2,
        fault_kinds=(*FaultKind, *ON_THE_WIRE * 4),
    )
    async with town_of(tmp_path, small_site(timeout_s=0.5), play) as town:
        for number in range(rounds):
            await town.until(partial(has_stored, town, READINGS_A_ROUND * (number + 1)))
        played = Counter(
            str(entry.values["kind"]) for entry in town.campus.ledger.entries(deed=Deed.FAULT)
        )
        assert len(played) > len(FaultKind) // 2
        assert list(foreign(town)) == []


def test_the_judge_sees_a_value_of_another_time_and_one_from_a_spoilt_answer() -> None:
    answers = [
        Said(time_ms=1000, values={"energy_import": 5}, fault=""),
        Said(time_ms=2000, values={"energy_import": 6}, fault="wrong_unit"),
    ]
    good, late, spoilt = (
        Reading(device="m", time_ms=time_ms, received_ms=time_ms, values={"energy_import": wh})
        for time_ms, wh in ((1001, 5), (1900, 5), (2001, 6))
    )
    assert list(never_answered([good], answers)) == []
    assert len(list(never_answered([good, late, spoilt], answers))) == 2
    assert len(list(not_stored([good], answers))) == 1
