"""Commands whose ledger is a database of PostgreSQL: from the front door to the proof."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from hub import State, StoreError, audit
from hub.commands import Record
from hub.ledger import open_reader
from hub.status import Health
from tests.command_bench import Hub, Site, on_virtual_time, order
from tests.command_line import app
from tests.crash_judge import complaints
from tests.crash_town import campaign
from tests.hub_process import HubProcess, hub_process
from tests.postgresql_server import PASSWORD, Database, fresh_database, postgresql_server
from tests.scripted_device import Behaviour
from tests.servers import Server, free_port, wait_until
from tests.site_folder import write_site
from tests.virtual_loop import run_virtual

ORDER = order("gate-1", "credit", "k-1", amount=500)
DEVICES = "id,profile,link,address\n"
KILLS = 4
RECOVERY_S = 3.0  # time to be told something between two losses


@pytest.fixture
def own() -> Iterator[Database]:
    """A database on a server that may be killed."""
    with postgresql_server() as server, fresh_database(server) as database:
        yield database


def test_a_command_is_taken_sent_confirmed_and_audited(
    postgresql: Database, tmp_path: Path
) -> None:
    async def scene(hub: Hub) -> None:
        record = await hub.end(await hub.control.commands.submit(ORDER))
        assert record.state is State.CONFIRMED
        ((attempt, frames),) = await hub.control.commands.attempts(record.id)
        assert (attempt.number, len(frames)) == (1, 1)
        subject = f"command/{record.id}"
        written = await hub.ledger.read(lambda connection: audit.rows(connection, subject=subject))
        actions = [row.action for row in written]
        assert actions == ["queued", "sent", "acknowledged", "confirmed"]
        assert await hub.ledger.read(audit.verify) is None

    site = Site(tmp_path, place=postgresql.url)
    on_virtual_time(site, scene)
    assert len(site.machines["gate-1"].effects) == 1


def test_what_was_under_way_at_a_kill_is_looked_at_and_never_told_again(
    postgresql: Database, tmp_path: Path
) -> None:
    site = Site(tmp_path, place=postgresql.url)
    site.machines["gate-1"].script = [Behaviour.MUTE]

    async def main() -> tuple[Record, Record]:
        async with site.hub() as hub:
            record = await hub.control.commands.submit(ORDER)
            await hub.clock.sleep(0.5)
        async with site.hub() as hub:
            return await hub.end(record), await hub.control.commands.submit(ORDER)

    ended, again = run_virtual(main())
    assert ended.state is State.CONFIRMED  # nobody answered; count and balance say whose it is
    assert again == ended
    assert len(site.machines["gate-1"].effects) == 1


def test_without_the_server_nothing_is_taken_or_told_and_with_it_the_same_hub_goes_on(
    own: Database, tmp_path: Path
) -> None:
    site = Site(tmp_path, place=own.url)

    async def scene(hub: Hub) -> None:
        own.server.kill()
        with pytest.raises(StoreError):
            await hub.control.commands.submit(ORDER)
        await hub.clock.sleep(30)
        own.server.start()
        await hub.clock.sleep(30)
        assert not site.machines["gate-1"].effects
        assert (await hub.end(await hub.control.commands.submit(ORDER))).state is State.CONFIRMED

    on_virtual_time(site, scene)
    assert len(site.machines["gate-1"].effects) == 1


def test_a_hub_stays_alive_without_the_ledgers_server_red_and_green_again(
    mosquitto: Server, own: Database, tmp_path: Path
) -> None:
    listen = f"127.0.0.1:{free_port()}"
    at = f"postgresql://postgres@127.0.0.1:{own.server.port}/{own.name}"
    site = f'[links.m]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {mosquitto.port}\n'
    text = f'ledger_url = "{at}"\nledger_password_file = "secret"\n[api]\nlisten = "{listen}"\n'
    folder = write_site(tmp_path / "config", site=site, devices=DEVICES, hub=text)
    (folder / "secret").write_text(PASSWORD, "utf-8")
    (folder / "secret").chmod(0o600)
    with hub_process(folder) as hub:
        wait_until(lambda: health(hub) is Health.GREEN)
        key = (hub.data / "admin.key").read_text("ascii").strip()
        own.server.kill()
        wait_until(lambda: health(hub) is Health.RED)
        asked = {"headers": {"Authorization": f"Bearer {key}"}, "trust_env": False}
        assert httpx2.get(f"http://{listen}/v1/keys", **asked).status_code == 503
        assert httpx2.get(f"http://{listen}/health", trust_env=False).json()["health"] == "red"
        own.server.start()
        wait_until(lambda: health(hub) is Health.GREEN)
        assert httpx2.get(f"http://{listen}/v1/keys", **asked).status_code == 200
        assert hub.stop() == 0
        assert hub.log.count("ledger refuses") == hub.log.count("ledger stores again") == 1
        assert PASSWORD not in hub.log
    verified = CliRunner().invoke(app, ["audit", "verify", "--config", str(folder)])
    assert verified.exit_code == 0, verified.output
    assert not (hub.data / "ledger.db").exists()


def health(hub: HubProcess) -> Health | None:
    """What the hub says of itself; None while it does not answer."""
    status = hub.status
    return status.health if status else None


@pytest.mark.timeout(600)
async def test_hubs_killed_at_any_moment_leave_a_ledger_that_agrees_with_the_devices(
    mosquitto: Server,
    postgresql: Database,
    tmp_path: Path,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DORMHUB_LEDGER_URL", postgresql.url)
    after = await campaign(tmp_path, mosquitto.port, KILLS, random.Random(seed))
    assert complaints(after) == []
    with open_reader(postgresql.url) as connection:
        assert audit.verify(connection) is None


@pytest.mark.timeout(600)
async def test_a_server_killed_at_any_moment_leaves_a_ledger_that_agrees_with_the_devices(
    mosquitto: Server, own: Database, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)

    async def strike(hub: HubProcess) -> None:
        await asyncio.to_thread(own.server.kill)
        await asyncio.sleep(chance.uniform(0.0, 2.0))
        await asyncio.to_thread(own.server.start)
        await asyncio.sleep(RECOVERY_S)

    monkeypatch.setenv("DORMHUB_LEDGER_URL", own.url)
    after = await campaign(tmp_path, mosquitto.port, KILLS, chance, strike)
    assert complaints(after) == []
    with open_reader(own.url) as connection:
        assert audit.verify(connection) is None
