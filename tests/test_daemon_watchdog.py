from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub.clock import SystemClock
from hub.config import load_config
from hub.daemon import Daemon
from hub.errors import StoreError
from hub.inventory.keeper import Keeper
from hub.journal import open_journal
from hub.ledger import open_ledger
from tests.servers import free_port
from tests.site_folder import write_site


async def test_a_hub_whose_journal_writes_no_more_ends_so_that_it_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    site = f'[links.m]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {free_port()}\n'
    folder = write_site(tmp_path / "config", site=site, devices="id,profile,link,address\n")
    config, clock = load_config(folder), SystemClock()
    config.data.mkdir()
    async with (
        open_journal(config.data / "journal.db", clock=clock) as journal,
        open_ledger(config.data / "ledger.db", clock=clock) as ledger,
    ):
        keeper = Keeper(folder=folder, ledger=ledger, clock=clock)
        await keeper.start()
        daemon = Daemon(
            folder=folder,
            clock=clock,
            config=config,
            keeper=keeper,
            journal=journal,
            ledger=ledger,
        )
        journal.writer.stop()
        with pytest.raises(ExceptionGroup) as ended:
            async with asyncio.timeout(20):
                await daemon.run(asyncio.Event(), asyncio.Event())
    assert ended.value.subgroup(StoreError) is not None
