"""The journal: append and wait for the disk, identity, following, latest, history."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub import Reading, StoreError, SystemClock, Value
from hub.journal import Appended, Journal, JournalOptions, JournalReader, open_journal

DAY_MS = 86_400_000
NOON_MS = 20_000 * DAY_MS + DAY_MS // 2


def reading(device: str = "meter-1", time_ms: int = NOON_MS, **values: Value) -> Reading:
    return Reading(device=device, time_ms=time_ms, received_ms=time_ms + 5, values=values)


async def followed(journal: Journal, cursor: int = 0) -> list[Reading]:
    return [stored.reading for stored in await journal.read_after(cursor, 1_000_000)]


async def test_a_reading_comes_back_as_it_was_given(tmp_path: Path) -> None:
    given = Reading(
        device="washer-1",
        time_ms=NOON_MS,
        received_ms=NOON_MS + 250,
        values={"door": "locked", "relay_closed": True, "remaining": 600, "temperature": 40.5},
        bad={"signal": "absent"},
        uncertain={"temperature": "range"},
    )
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        assert await journal.append([given]) == Appended(stored=1)
        assert await followed(journal) == [given]


async def test_what_was_appended_is_there_after_reopening(tmp_path: Path) -> None:
    given = [reading(time_ms=NOON_MS + 1000 * second, frequency=50.0) for second in range(5)]
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        await journal.append(given)
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        assert await followed(journal) == given


async def test_the_same_reading_again_is_not_stored_twice(tmp_path: Path) -> None:
    again = Reading(
        device="meter-1", time_ms=NOON_MS, received_ms=NOON_MS + 9000, values={"frequency": 50.0}
    )
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        await journal.append([reading(frequency=50.0)])
        assert await journal.append([again]) == Appended(repeated=1)
        assert await followed(journal) == [reading(frequency=50.0)]


async def test_a_repeat_within_one_append_is_stored_once(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        appended = await journal.append([reading(frequency=50.0), reading(frequency=50.0)])
        assert appended == Appended(stored=1, repeated=1)


async def test_another_value_at_the_same_time_is_a_conflict_and_the_first_stays(
    tmp_path: Path,
) -> None:
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        await journal.append([reading(frequency=50.0)])
        assert await journal.append([reading(frequency=49.9)]) == Appended(conflicts=1)
        series = await journal.history("meter-1", "frequency", 0, 2 * NOON_MS)
        assert (series.times, series.values) == ((NOON_MS,), (50.0,))


async def test_partial_messages_of_one_time_merge(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        await journal.append([reading(frequency=50.0)])
        appended = await journal.append([reading(frequency=49.0, voltage_l1=231.0)])
        assert appended == Appended(stored=1, conflicts=1)
        assert await followed(journal, 1) == [reading(voltage_l1=231.0)]
        latest = (await journal.latest())["meter-1"]
        assert latest.values == {"frequency": 50.0, "voltage_l1": 231.0}


async def test_late_data_never_moves_latest_back(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        await journal.append([reading(frequency=50.0)])
        await journal.append([reading(time_ms=NOON_MS - 1000, frequency=49.0, voltage_l1=229.0)])
        latest = (await journal.latest(["meter-1", "meter-2"]))["meter-1"]
        assert latest.values == {"frequency": 50.0, "voltage_l1": 229.0}
        assert latest.time_of("frequency") == latest.time_ms == NOON_MS
        assert latest.time_of("voltage_l1") == NOON_MS - 1000


async def test_latest_names_points_whose_last_word_was_a_reason(tmp_path: Path) -> None:
    failed = Reading(
        device="meter-1",
        time_ms=NOON_MS + 1,
        received_ms=NOON_MS + 1,
        values={"voltage_l1": 230.0},
        bad={"frequency": "absent"},
    )
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        await journal.append([reading(frequency=50.0), failed])
        latest = (await journal.latest())["meter-1"]
        assert latest.bad == {"frequency": "absent"}
        assert latest.time_of("frequency") == NOON_MS
        await journal.append([reading(time_ms=NOON_MS + 2, frequency=50.1)])
        assert (await journal.latest())["meter-1"].bad == {}


async def test_history_is_in_order_of_time_whatever_the_order_of_arrival(tmp_path: Path) -> None:
    times = [NOON_MS + offset for offset in (3000, 1000, 2000, 0)]
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        await journal.append([reading(time_ms=at, energy_import=at % 7) for at in times])
        series = await journal.history("meter-1", "energy_import", NOON_MS, NOON_MS + 3000)
        assert series.times == (NOON_MS, NOON_MS + 1000, NOON_MS + 2000)
        first = await journal.history("meter-1", "energy_import", 0, 2 * NOON_MS, 1)
        assert first.times == (NOON_MS,)


async def test_history_tells_when_a_point_was_bad(tmp_path: Path) -> None:
    failed = Reading(
        device="meter-1",
        time_ms=NOON_MS,
        received_ms=NOON_MS,
        values={},
        bad={"frequency": "range"},
    )
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        await journal.append([failed])
        series = await journal.history("meter-1", "frequency", 0, 2 * NOON_MS)
        assert (series.times, series.bad) == ((), ((NOON_MS, "range"),))


async def test_many_tasks_appending_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    async with open_journal(
        tmp_path / "journal.db", clock=SystemClock(), options=JournalOptions(queue_readings=50)
    ) as journal:
        answers = await asyncio.gather(
            *(journal.append([reading(f"meter-{n % 100}", frequency=50.0)]) for n in range(200))
        )
        assert sum(answer.stored for answer in answers) == 100
        assert sum(answer.repeated for answer in answers) == 100
        assert journal.stats().waiting == 0


async def test_a_waiting_follower_wakes_when_something_is_committed(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            tasks.create_task(journal.wait_after(0), name="follower")
            await asyncio.sleep(0)
            tasks.create_task(journal.append([reading(frequency=50.0)]), name="driver")
        await journal.wait_after(0)


async def test_a_reading_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        good, poor = await asyncio.gather(
            journal.append([reading(frequency=50.0)]),
            journal.append([reading("meter-2", energy_import=2**70)]),
            return_exceptions=True,
        )
        assert good == Appended(stored=1)
        assert isinstance(poor, StoreError)
        assert await followed(journal) == [reading(frequency=50.0)]
        assert await journal.append([reading("meter-2", energy_import=1)]) == Appended(stored=1)


async def test_another_reader_sees_what_the_hub_writes(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal:
        with JournalReader(tmp_path / "journal.db") as reader:
            await journal.append([reading(frequency=50.0)])
            assert reader.latest()["meter-1"].values == {"frequency": 50.0}
            assert reader.history("meter-1", "frequency", 0, 2 * NOON_MS).values == (50.0,)


async def test_reading_a_journal_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        JournalReader(tmp_path / "journal.db")
