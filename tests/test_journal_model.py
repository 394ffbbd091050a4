"""Any sequence of appends, sealings and reopenings against a model of a few lines."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub import Reading, Value, VirtualClock
from hub.journal import Appended, Journal, JournalOptions, open_journal

DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS
DEVICES = ("meter-1", "meter-2")
POINTS = ("voltage_l1", "energy_import", "door", "relay_closed")
OPTIONS = JournalOptions(seal_delay_s=0, upkeep_share=1.0)

VALUES: dict[str, st.SearchStrategy[Value]] = {
    "voltage_l1": st.sampled_from([230.0, 230.1, -0.0, 231.29998779296875, 1e300]),
    "energy_import": st.sampled_from([0, 5, 2**53]),
    "door": st.sampled_from(["open", "closed"]),
    "relay_closed": st.booleans(),
}
TIMES = st.integers(0, 5).map(lambda slot: START_MS + slot * DAY_MS // 2 + slot)
REASONS = st.dictionaries(st.sampled_from(POINTS), st.sampled_from(["absent", "range"]), max_size=1)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    values = draw(st.fixed_dictionaries({}, optional=VALUES))
    bad = {point: text for point, text in draw(REASONS).items() if point not in values}
    doubts = {point: text for point, text in draw(REASONS).items() if point in values}
    time_ms = draw(TIMES)
    return Reading(
        device=draw(st.sampled_from(DEVICES)),
        time_ms=time_ms,
        received_ms=START_MS + 3 * DAY_MS + draw(st.integers(0, 3)),
        values=values,
        bad=bad,
        uncertain=doubts,
    )


@dataclass
class Model:
    """What the journal promises, without a disk."""

    log: list[Reading] = field(default_factory=list)

    def append(self, reading: Reading) -> Appended:
        same = [r for r in self.log if (r.device, r.time_ms) == (reading.device, reading.time_ms)]
        known = {point: value for r in reversed(same) for point, value in r.values.items()}
        failed = {point for r in same for point in r.bad}
        values = {p: v for p, v in reading.values.items() if p not in known}
        bad = {p: t for p, t in reading.bad.items() if p not in known and p not in failed}
        conflict = any(known.get(p, v) != v for p, v in reading.values.items())
        if same and not values and not bad:
            return Appended(repeated=not conflict, conflicts=conflict)
        uncertain = {p: t for p, t in reading.uncertain.items() if p in values}
        self.log.append(
            Reading(
                device=reading.device,
                time_ms=reading.time_ms,
                received_ms=reading.received_ms,
                values=values,
                bad=bad,
                uncertain=uncertain,
            )
        )
        return Appended(stored=1, conflicts=conflict)

    def history(self, device: str, point: str) -> list[tuple[int, Value]]:
        found = [
            (r.time_ms, r.values[point])
            for r in self.log
            if r.device == device and point in r.values
        ]
        return sorted(found, key=lambda pair: pair[0])

    def failures(self, device: str, point: str) -> list[tuple[int, str]]:
        told = {time_ms for time_ms, _ in self.history(device, point)}
        return sorted(
            (r.time_ms, r.bad[point])
            for r in self.log
            if r.device == device and point in r.bad and r.time_ms not in told
        )


def exact(value: Value) -> str:
    return f"{type(value).__name__} {value!r}"


async def agrees(journal: Journal, model: Model) -> None:
    latest = await journal.latest()
    for device in DEVICES:
        heard = [r.time_ms for r in model.log if r.device == device]
        assert [latest[name].time_ms for name in latest if name == device] == sorted(heard)[-1:]
        for point in POINTS:
            series = await journal.history(device, point, 0, START_MS + 9 * DAY_MS)
            expected = model.history(device, point)
            found = list(zip(series.times, map(exact, series.values), strict=True))
            assert found == [(at, exact(value)) for at, value in expected]
            assert list(series.bad) == model.failures(device, point)
            newest = [exact(value) for _, value in expected[-1:]]
            states = [latest[name] for name in latest if name == device]
            assert [exact(s.values[point]) for s in states if point in s.values] == newest
            told = [s.time_of(point) for s in states if point in s.values]
            assert told == [at for at, _ in expected[-1:]]
            failed = model.failures(device, point)[-1:]
            open_ = [text for at, text in failed if at > max([0, *(at for at, _ in expected)])]
            assert [s.bad[point] for s in states if point in s.bad] == open_


async def plays(folder: Path, steps: list[Reading | str]) -> None:
    path, clock, model = folder / "journal.db", VirtualClock(start_ms=START_MS), Model()
    followed: list[Reading] = []
    clock.advance(2 * 86_400)
    while steps:
        async with open_journal(path, clock=clock, options=OPTIONS) as journal:
            cursor = await journal.cursor("sink")
            while steps:
                step = steps.pop(0)
                if step == "reopen":
                    break
                if step == "seal":
                    await journal.upkeep()
                if step == "follow":
                    for stored in await journal.read_after(cursor, 1000):
                        followed.append(stored.reading)
                        cursor = stored.cursor
                    await journal.move_cursor("sink", cursor)
                    assert followed == model.log
                if isinstance(step, Reading):
                    assert await journal.append([step]) == model.append(step)
            await agrees(journal, model)


STEPS = st.lists(
    st.one_of(
        readings(), readings(), readings(), st.sampled_from(["seal", "seal", "follow", "reopen"])
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_any_sequence_of_appends_seals_and_reopenings_is_what_the_model_says(
    steps: list[Reading | str],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(plays(Path(folder), [*steps, "follow", "seal"]))
