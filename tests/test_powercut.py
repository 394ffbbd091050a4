"""Power cuts: whatever a store said is on disk is there when only the fsynced survives, and whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub import SystemClock, audit
from hub.journal import JournalReader, open_journal
from hub.ledger import open_ledger
from tests.ledger_child import audited, numbers
from tests.powercut import Cut, cuts, recording, require_syncs

CUTS_PER_ROUND = 6


def record(folder: Path, module: list[str], lines: int) -> Path:
    """The log of a process that was killed after it had said this many lines."""
    (folder / "disk").mkdir()
    log = folder / "log"
    with recording(folder / "disk", log, module) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        assert said[-1]
    require_syncs(log)
    return log


async def check_ledger(cut: Cut) -> None:
    async with open_ledger(cut.folder / "ledger.db", clock=SystemClock()) as ledger:
        found = await ledger.read(numbers)
        assert set(map(int, cut.said)) <= set(found)
        assert await ledger.read(audited) == len(found)
        assert await ledger.read(audit.verify) is None


async def check_journal(cut: Cut) -> None:
    said = int(cut.said[-1]) if cut.said else 0
    found: set[int] = set()
    path = cut.folder / "journal.db"
    async with open_journal(path, clock=SystemClock()) as journal:
        for device in range(7):
            series = await journal.history(f"meter-{device}", "energy_import", 0, 2**42)
            found |= {int(value) for value in series.values}
    assert found >= set(range(said))
    assert found == set(range(len(found)))
    with JournalReader(path) as reader:
        assert reader.damage() == ""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("caches", [False, True])
async def test_every_row_the_ledger_acknowledged_survives_a_power_cut(
    tmp_path: Path, rounds: int, seed: int, caches: bool
) -> None:
    module = ["tests.ledger_child", "write", str(tmp_path / "disk")]
    log = await asyncio.to_thread(record, tmp_path, module, 1500)
    lost = 0
    count = rounds * CUTS_PER_ROUND
    for cut in cuts(log, tmp_path, count=count, seed=seed, caches=caches):
        await check_ledger(cut)
        lost += cut.lost
    assert lost > 0  # some cuts came between a write and its fsync


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("caches", [False, True])
async def test_every_reading_the_journal_acknowledged_survives_a_power_cut(
    tmp_path: Path, rounds: int, seed: int, caches: bool
) -> None:
    module = ["tests.journal_child", "append", str(tmp_path / "disk" / "journal.db")]
    log = await asyncio.to_thread(record, tmp_path, module, 300)
    lost = 0
    count = rounds * CUTS_PER_ROUND
    for cut in cuts(log, tmp_path, count=count, seed=seed, caches=caches):
        await check_journal(cut)
        lost += cut.lost
    assert lost > 0


async def test_a_store_that_does_not_sync_is_caught(tmp_path: Path) -> None:
    module = ["tests.powercut.careless", str(tmp_path / "disk" / "rows")]
    log = await asyncio.to_thread(record, tmp_path, module, 20)
    *_, last = cuts(log, tmp_path, count=0, seed=1, caches=False)
    kept = (last.folder / "rows").read_text().splitlines()
    assert kept == ["0"]
    assert last.said[:20] == [str(number) for number in range(20)]
