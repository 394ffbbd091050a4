"""Followers on the real journal: an outage, a restart and a refusal, with everything on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hub import Reading, SystemClock, VirtualClock
from hub.follow import Follower
from hub.journal import Journal, open_journal
from hub.plugin import Sink, open_sink
from tests.reading_log import NOW_MS, following, meter_reading
from tests.recording_influx import Answer, RecordingInflux, recording_influx

DAY = [meter_reading(n, device=f"m-{meter}") for n in range(24 * 60) for meter in range(5)]


class Nobody:
    def device(self, name: str) -> None:
        """Every device is unknown; that is enough here."""


def influx(endpoint: RecordingInflux) -> Sink:
    settings = {"url": endpoint.url, "bucket": "campus", "timeout_s": 5.0}
    return open_sink("influxdb", settings, Nobody(), file="hub.toml", key="sinks.longterm")


def lines(readings: list[Reading]) -> list[str]:
    return [
        f"unknown,device={r.device} active_power_total={r.values['active_power_total']},"
        f"energy_import={r.values['energy_import']}i {r.time_ms}"
        for r in readings
    ]


async def followed(journal: Journal, follower: Follower) -> None:
    """Return when the follower is done with all that is stored."""
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follower.run())
        while follower.status.cursor < journal.stats().head:
            await asyncio.sleep(0)
        task.cancel()


async def test_a_day_that_piled_up_during_an_outage_arrives_in_order(tmp_path: Path) -> None:
    virtual = VirtualClock(start_ms=NOW_MS)
    async with (
        open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal,
        recording_influx() as endpoint,
    ):
        await journal.cursor("influx")
        await journal.append(DAY)
        endpoint.script.extend([Answer(status=502)] * 20)
        await followed(journal, Follower("influx", influx(endpoint), journal, virtual))
    assert endpoint.taken == lines(DAY)


async def test_after_a_restart_of_the_hub_it_goes_on_where_the_cursor_is(tmp_path: Path) -> None:
    virtual, path = VirtualClock(start_ms=NOW_MS), tmp_path / "journal.db"
    async with recording_influx() as endpoint:
        async with open_journal(path, clock=SystemClock()) as journal:
            await journal.append(DAY[:1000])
            await followed(journal, Follower("influx", influx(endpoint), journal, virtual))
        async with open_journal(path, clock=SystemClock()) as journal:
            await journal.append(DAY[1000:1500])
            await followed(journal, Follower("influx", influx(endpoint), journal, virtual))
    assert endpoint.taken == lines(DAY[:1500])


async def test_a_refused_reading_stands_in_the_quarantine(tmp_path: Path) -> None:
    virtual = VirtualClock(start_ms=NOW_MS)
    bad = lines(DAY[:500])[321]
    async with (
        open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal,
        recording_influx() as endpoint,
    ):
        endpoint.judge = lambda request: Answer(status=400 if bad in request.lines else 204)
        await journal.append(DAY[:500])
        await followed(journal, Follower("influx", influx(endpoint), journal, virtual))
        (count,) = journal.query.poison_counts()
    assert (count.link, count.reason, count.count) == ("influx", "refused", 1)
    assert endpoint.taken == [text for text in lines(DAY[:500]) if text != bad]


async def test_a_caught_up_follower_is_woken_by_what_is_appended(tmp_path: Path) -> None:
    virtual = VirtualClock(start_ms=NOW_MS)
    async with (
        open_journal(tmp_path / "journal.db", clock=SystemClock()) as journal,
        recording_influx() as endpoint,
        following(Follower("influx", influx(endpoint), journal, virtual)),
    ):
        for number in range(3):
            await journal.append(DAY[number : number + 1])
            await endpoint.wait_for(lambda sent=number: len(endpoint.taken) > sent)
    assert endpoint.taken == lines(DAY[:3])
