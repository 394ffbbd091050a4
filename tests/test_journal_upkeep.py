"""Sealing, roll-ups, retention, followers and quarantine of the journal."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import POISON_KEPT_BYTES, Poison, Reading, StoreDamaged, Value, VirtualClock
from hub.journal import (
    Appended,
    Follower,
    JournalOptions,
    JournalReader,
    PoisonCount,
    Rollup,
    Span,
    open_journal,
)
from hub.journal.columns import pack_column, unpack_column

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 20_000 * DAY_MS
END_MS = START_MS + 30 * DAY_MS
OPTIONS = JournalOptions(seal_delay_s=0, upkeep_share=1.0)


def evening(days: int = 1) -> VirtualClock:
    """A clock that stands `days` whole days after the readings began."""
    return VirtualClock(start_ms=START_MS + days * DAY_MS)


def reading(time_ms: int, device: str = "meter-1", **values: Value) -> Reading:
    return Reading(device=device, time_ms=time_ms, received_ms=time_ms, values=values)


def single(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def meter_day(device: str = "meter-1") -> list[Reading]:
    chance = random.Random(device)
    return [
        Reading(
            device=device,
            time_ms=START_MS + minute * 60_000 + chance.randrange(50_000),
            received_ms=START_MS + minute * 60_000 + 55_000,
            values={
                "voltage_l1": single(230 + chance.gauss(0, 1)),
                "frequency": round(50 + chance.gauss(0, 0.02), 2),
                "energy_import": minute * 3,
                "relay_closed": minute % 700 > 3,
                "door": "open" if minute % 9 else "closed",
            },
        )
        for minute in range(1440)
    ]


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.floats(width=32, allow_nan=False),
    st.integers(-(10**6), 10**6).map(lambda number: number / 100),
)
COLUMNS = st.one_of(
    st.lists(NUMBERS, min_size=1),
    st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1),
    st.lists(st.floats(), min_size=1),
    st.lists(st.floats(width=32), min_size=1),
    st.lists(st.booleans(), min_size=1),
    st.lists(st.text(max_size=5), min_size=1),
    st.lists(st.one_of(st.booleans(), NUMBERS, st.text(max_size=3)), min_size=1),
)


@given(values=COLUMNS)
def test_a_column_gives_back_every_value_bit_for_bit(values: list[Value]) -> None:
    column = pack_column(range(len(values)), values, len(values))
    assert list(map(repr, unpack_column(column))) == list(map(repr, values))


async def test_sealing_keeps_every_value_bit_for_bit(tmp_path: Path) -> None:
    given_ = meter_day()
    async with open_journal(tmp_path / "j.db", clock=evening(), options=OPTIONS) as journal:
        await journal.append(given_)
        for_point = {p: await journal.history("meter-1", p, 0, END_MS) for p in given_[0].values}
        await journal.upkeep()
        assert journal.stats().log_rows <= 1
        for point, before in for_point.items():
            after = await journal.history("meter-1", point, 0, END_MS)
            assert after.times == before.times
            assert list(map(repr, after.values)) == list(map(repr, before.values))


async def test_a_day_that_is_not_over_is_not_sealed(tmp_path: Path) -> None:
    clock = VirtualClock(start_ms=START_MS + DAY_MS - 1)
    async with open_journal(tmp_path / "j.db", clock=clock, options=OPTIONS) as journal:
        await journal.append(meter_day())
        await journal.upkeep()
        assert len(await journal.read_after(0, 10_000)) == 1440


async def test_a_device_that_speaks_every_second_is_sealed_in_several_chunks(
    tmp_path: Path,
) -> None:
    given_ = [reading(START_MS + n * 1000, energy_import=n) for n in range(20_000)]
    late = [reading(START_MS + n * 1000 + 1, energy_import=n) for n in range(0, 20_000, 2)]
    async with open_journal(tmp_path / "j.db", clock=evening(), options=OPTIONS) as journal:
        await journal.append(given_)
        await journal.upkeep()
        await journal.append(late)
        await journal.upkeep()
        await journal.append(late)
        series = await journal.history("meter-1", "energy_import", 0, END_MS)
        expected = sorted((r.time_ms, r.values["energy_import"]) for r in [*given_, *late])
        assert list(zip(series.times, series.values, strict=True)) == expected
        assert journal.stats().repeated == len(late)


async def test_a_repeat_of_a_sealed_reading_is_known_and_a_conflict_too(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db", clock=evening(), options=OPTIONS) as journal:
        given_ = meter_day()
        await journal.append(given_)
        await journal.upkeep()
        assert await journal.append(given_) == Appended(repeated=1440)
        changed = reading(given_[7].time_ms, frequency=65.0)
        assert await journal.append([changed]) == Appended(conflicts=1)
        assert await journal.append([reading(given_[7].time_ms, uptime=1)]) == Appended(stored=1)


async def test_sealing_waits_for_the_slowest_follower(tmp_path: Path) -> None:
    given_ = meter_day()
    async with open_journal(tmp_path / "j.db", clock=evening(), options=OPTIONS) as journal:
        await journal.cursor("fast")
        await journal.cursor("slow")
        await journal.append(given_)
        await journal.move_cursor("fast", 1440)
        await journal.upkeep()
        assert [s.reading for s in await journal.read_after(0, 10_000)] == given_
        await journal.drop_cursor("slow")
        await journal.upkeep()
        assert len(await journal.read_after(0, 10_000)) == 0


async def test_cursors_survive_reopening_and_numbers_are_never_given_again(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db", clock=evening(), options=OPTIONS) as journal:
        await journal.append(meter_day())
        await journal.move_cursor("sink", 1440)
        await journal.upkeep()
    async with open_journal(tmp_path / "j.db", clock=evening(), options=OPTIONS) as journal:
        assert await journal.cursor("sink") == 1440
        await journal.append([reading(START_MS + DAY_MS, frequency=50.0)])
        assert [stored.cursor for stored in await journal.read_after(1440, 10)] == [1441]


HOURS = [
    (START_MS + hour * HOUR_MS + minute * 60_000, hour * 60 + minute)
    for hour in range(30)
    for minute in (5, 10, 50)
]


async def test_rollups_of_hours_and_days_are_the_same_sealed_and_unsealed(tmp_path: Path) -> None:
    clock = evening(2)
    async with open_journal(tmp_path / "j.db", clock=clock, options=OPTIONS) as journal:
        await journal.append([reading(at, energy_import=value) for at, value in HOURS])
        hours = journal.query.rollups("meter-1", "energy_import", Span.HOUR, START_MS, END_MS)
        days = journal.query.rollups("meter-1", "energy_import", Span.DAY, START_MS, END_MS)
        assert len(hours) == 30
        assert hours[1] == Rollup(
            start_ms=START_MS + HOUR_MS,
            first=65, last=110, minimum=65, maximum=110, mean=(65 + 70 + 110) / 3, count=3,
        )  # fmt: skip
        assert [(day.start_ms, day.count) for day in days] == [
            (START_MS, 72),
            (START_MS + DAY_MS, 18),
        ]
        await journal.upkeep()
        assert hours == journal.query.rollups(
            "meter-1", "energy_import", Span.HOUR, START_MS, END_MS
        )
        assert days == journal.query.rollups("meter-1", "energy_import", Span.DAY, START_MS, END_MS)


async def test_a_day_begins_at_midnight_of_the_asked_zone(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db", clock=evening(2), options=OPTIONS) as journal:
        await journal.append([reading(at, energy_import=value) for at, value in HOURS])
        await journal.upkeep()
        days = journal.query.rollups(
            "meter-1", "energy_import", Span.DAY, START_MS - DAY_MS, END_MS, utc_offset_h=8
        )
        assert [(day.start_ms, day.count) for day in days] == [
            (START_MS - 8 * HOUR_MS, 48),
            (START_MS + 16 * HOUR_MS, 42),
        ]


async def test_late_data_changes_the_rollup_of_a_sealed_hour(tmp_path: Path) -> None:
    late = reading(START_MS + HOUR_MS + 59 * 60_000, energy_import=200)
    async with open_journal(tmp_path / "j.db", clock=evening(2), options=OPTIONS) as journal:
        await journal.append([reading(at, energy_import=value) for at, value in HOURS])
        await journal.upkeep()
        await journal.append([late])
        before = journal.query.rollups("meter-1", "energy_import", Span.HOUR, START_MS, END_MS)
        await journal.upkeep()
        after = journal.query.rollups("meter-1", "energy_import", Span.HOUR, START_MS, END_MS)
        assert before == after
        assert (after[1].last, after[1].maximum, after[1].count) == (200, 200, 4)


async def test_old_readings_go_by_age_and_their_rollups_stay(tmp_path: Path) -> None:
    options = JournalOptions(
        seal_delay_s=0, keep_days=3, upkeep_share=1.0, age_advance_s=10 * 86_400
    )
    clock = evening()
    async with open_journal(tmp_path / "j.db", clock=clock, options=options) as journal:
        await journal.append(meter_day())
        await journal.upkeep()
        clock.advance(4 * 86_400)
        await journal.upkeep()
        assert (await journal.history("meter-1", "frequency", 0, END_MS)).times == ()
        assert journal.stats().purged == 1440
        hours = journal.query.rollups("meter-1", "frequency", Span.HOUR, START_MS, END_MS)
        assert sum(hour.count for hour in hours) == 1440
        assert "meter-1" in await journal.latest()


async def test_age_never_takes_what_a_follower_has_still_to_read(tmp_path: Path) -> None:
    options = JournalOptions(seal_delay_s=0, keep_days=1, upkeep_share=1.0)
    async with open_journal(tmp_path / "j.db", clock=evening(9), options=options) as journal:
        await journal.cursor("sink")
        await journal.append(meter_day())
        await journal.upkeep()
        assert len(await journal.read_after(0, 10_000)) == 1440


async def test_the_size_limit_passes_a_slow_follower_and_counts_what_it_lost(
    tmp_path: Path,
) -> None:
    options = JournalOptions(seal_delay_s=0, size_max_bytes=150_000, upkeep_share=1.0)
    async with open_journal(tmp_path / "j.db", clock=evening(), options=options) as journal:
        await journal.cursor("sink")
        await journal.append(meter_day())
        await journal.append(meter_day("meter-2"))
        await journal.upkeep()
        left = len(await journal.read_after(0, 10_000))
        assert left < 2880
        assert journal.stats().used_bytes <= 150_000
        assert journal.query.followers() == (Follower(name="sink", cursor=0, lost=2880 - left),)


async def test_the_size_limit_takes_the_oldest_sealed_days_first(tmp_path: Path) -> None:
    options = JournalOptions(seal_delay_s=0, size_max_bytes=70_000, upkeep_share=1.0)
    async with open_journal(tmp_path / "j.db", clock=evening(), options=options) as journal:
        await journal.append(meter_day())
        await journal.append(meter_day("meter-2"))
        await journal.append([reading(START_MS + DAY_MS, frequency=50.0)])
        await journal.upkeep()
        assert journal.stats().used_bytes <= 70_000
        assert journal.stats().purged >= 1440
        newest = await journal.history("meter-1", "frequency", START_MS + DAY_MS, END_MS)
        assert newest.values == (50.0,)


def poison(number: int, reason: str = "json") -> Poison:
    return Poison(
        time_ms=number, link="broker", source="dormhub/up/x", reason=reason, payload=b"x" * 5000
    )


async def test_the_quarantine_keeps_the_newest_and_counts_all(tmp_path: Path) -> None:
    options = JournalOptions(poison_kept=3)
    async with open_journal(tmp_path / "j.db", clock=evening(), options=options) as journal:
        await journal.keep_poison([poison(number) for number in range(5)])
        await journal.keep_poison([poison(5, "nan")])
        kept = journal.query.poison(100)
        assert [each.time_ms for each in kept] == [5, 4, 3]
        assert len(kept[0].payload) == POISON_KEPT_BYTES
        with JournalReader(tmp_path / "j.db") as reader:
            assert reader.query.poison_counts() == (
                PoisonCount(link="broker", reason="json", count=5),
                PoisonCount(link="broker", reason="nan", count=1),
            )


async def test_upkeep_goes_on_while_readings_are_appended(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db", clock=evening(), options=OPTIONS) as journal:
        for device in range(5):
            await journal.append(meter_day(f"meter-{device}"))
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(journal.upkeep(), name="upkeep")
            for number in range(200):
                at = START_MS + DAY_MS + number
                assert await journal.append([reading(at, frequency=50.0)]) == Appended(stored=1)
        assert journal.stats().log_rows == 200
        assert len((await journal.history("meter-4", "door", 0, END_MS)).times) == 1440


@pytest.mark.parametrize("time_ms", [-5, 2**44])
async def test_a_time_beyond_all_calendars_is_stored_but_never_sealed(
    tmp_path: Path, time_ms: int
) -> None:
    options = JournalOptions(seal_delay_s=0, keep_days=30_000, upkeep_share=1.0)
    async with open_journal(tmp_path / "j.db", clock=evening(), options=options) as journal:
        await journal.append([reading(time_ms, frequency=50.0)])
        await journal.upkeep()
        series = await journal.history("meter-1", "frequency", -10, 2**50)
        assert series.times == (time_ms,)


async def test_a_chunk_that_changed_on_disk_is_never_given_out(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with open_journal(path, clock=evening(), options=OPTIONS) as journal:
        await journal.append(meter_day())
        await journal.upkeep()
    db = sqlite3.connect(path)
    body = bytearray(db.execute("SELECT body FROM chunk").fetchone()[0])
    body[len(body) // 2] ^= 1
    db.execute("UPDATE chunk SET body = ?", (bytes(body),))
    db.commit()
    db.close()
    async with open_journal(path, clock=evening(), options=OPTIONS) as journal:
        with pytest.raises(StoreDamaged):
            await journal.history("meter-1", "frequency", 0, END_MS)
        with pytest.raises(StoreDamaged):
            await journal.append([meter_day()[3]])
        new = reading(START_MS + DAY_MS, frequency=50.0)
        assert await journal.append([new]) == Appended(stored=1)


async def test_a_clock_that_jumps_years_ahead_does_not_have_everything_dropped(
    tmp_path: Path,
) -> None:
    options = JournalOptions(seal_delay_s=0, keep_days=3, upkeep_share=1.0)
    clock = evening()
    async with open_journal(tmp_path / "j.db", clock=clock, options=options) as journal:
        await journal.append(meter_day())
        await journal.upkeep()
        clock.advance(3 * 365 * 86_400)
        await journal.upkeep()
        assert len((await journal.history("meter-1", "frequency", 0, END_MS)).times) == 1440


async def test_a_clock_that_was_ahead_does_not_keep_an_old_value_the_latest(tmp_path: Path) -> None:
    ahead = Reading(
        device="m",
        time_ms=END_MS,
        received_ms=END_MS,
        values={"frequency": 49.0, "temperature": 5.0},
    )
    right = Reading(
        device="m", time_ms=START_MS, received_ms=START_MS + 5, values={"frequency": 50.0}
    )
    async with open_journal(tmp_path / "j.db", clock=evening()) as journal:
        await journal.append([ahead])
        await journal.append([right])
        latest = (await journal.latest())["m"]
        assert (latest.time_ms, latest.received_ms) == (START_MS, START_MS + 5)
        assert latest.values == {"frequency": 50.0, "temperature": 5.0}
