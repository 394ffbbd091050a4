"""Commands while the ledger's disk is full: before the wire, after the answer, what the hub says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from hub import State, StoreError
from hub.commands import Record
from hub.safety_rules import SafetyRules
from hub.status import Health
from tests.command_bench import Hub, Site, on_virtual_time
from tests.hub_process import HubProcess, hub_process
from tests.scripted_device import Behaviour
from tests.servers import free_port, wait_until
from tests.site_folder import write_site
from tests.small_disk import fill, mounted_disk
from tests.virtual_loop import run_virtual

B = Behaviour


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk") as folder:
        yield folder


async def waiting(site: Site, hub: Hub) -> Record:
    """A command on disk that waits for its device, which is away."""
    site.machines["gate-1"].is_mute = True
    await hub.clock.sleep(100)
    hub.ingest.sweep()
    record = await hub.send("gate-1", "restore")
    await hub.clock.sleep(1)
    return record


async def come_back(site: Site, hub: Hub) -> None:
    site.machines["gate-1"].is_mute = False
    await hub.poll("gate-1")


def test_nothing_is_told_before_its_send_is_on_disk(small_disk: Path) -> None:
    site = Site(small_disk)
    machine = site.machines["gate-1"]

    async def scene(hub: Hub) -> None:
        record = await waiting(site, hub)
        ballast = fill(small_disk)
        await come_back(site, hub)
        await hub.clock.sleep(20)
        assert machine.tries == []
        assert not hub.ledger.stats().healthy
        ballast.unlink()
        assert (await hub.end(record)).state is State.CONFIRMED
        assert hub.ledger.stats().healthy

    on_virtual_time(site, scene)
    assert len(machine.tries) == 1


def test_what_could_not_be_written_until_its_deadline_is_never_told(small_disk: Path) -> None:
    site = Site(small_disk)

    async def scene(hub: Hub) -> None:
        record = await waiting(site, hub)
        ballast = fill(small_disk)
        await come_back(site, hub)
        await hub.clock.sleep(120)
        ballast.unlink()
        assert (await hub.end(record)).state is State.EXPIRED

    on_virtual_time(site, scene)
    assert site.machines["gate-1"].tries == []


async def done_but_not_written(small_disk: Path, site: Site, hub: Hub) -> tuple[Record, Path]:
    """A cut that is done, and whose answer finds the disk full; the ballast on the disk."""
    machine = site.machines["gate-1"]
    machine.script = [B.MUTE]
    await hub.poll("gate-1")
    record = await hub.send("gate-1", "cut")
    await hub.until(lambda: machine.tries)
    ballast = fill(small_disk)
    await hub.clock.sleep(5)
    assert (await hub.control.commands.get(record.id)).state is State.SENT
    assert not hub.ledger.stats().healthy
    return record, ballast


def test_an_answer_that_cannot_be_written_waits_for_room(small_disk: Path) -> None:
    site = Site(small_disk)

    async def scene(hub: Hub) -> None:
        record, ballast = await done_but_not_written(small_disk, site, hub)
        ballast.unlink()
        assert (await hub.end(record)).state is State.CONFIRMED

    on_virtual_time(site, scene)
    assert len(site.machines["gate-1"].tries) == 1


def test_an_answer_that_was_never_written_is_looked_for_after_a_restart(small_disk: Path) -> None:
    site = Site(small_disk)

    async def main() -> None:
        async with site.hub() as hub:
            record, ballast = await done_but_not_written(small_disk, site, hub)
        ballast.unlink()
        async with site.hub() as hub:
            assert (await hub.end(record)).state is State.CONFIRMED

    run_virtual(main())
    assert len(site.machines["gate-1"].tries) == 1


def test_what_a_full_disk_refused_does_not_use_up_the_brake(small_disk: Path) -> None:
    site = Site(small_disk, machines=300, rules=SafetyRules())

    async def scene(hub: Hub) -> None:
        ballast = fill(small_disk)
        for number in range(1, 6):
            with pytest.raises(StoreError):
                await hub.send(f"gate-{number}", "cut")
        ballast.unlink()
        records = [await hub.send(f"gate-{number}", "cut") for number in range(6, 10)]
        assert [record.held for record in records] == [False, False, False, True]

    on_virtual_time(site, scene)


SITE = '[links.mqtt]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = 1\n'
DEVICES = "id,profile,link,address,building\nmeter-1,generic_meter,mqtt,meter-1,B1\n"


def told(hub: HubProcess, port: int, key: str) -> int:
    """The answer to an order under this key."""
    secret = (hub.data / "admin.key").read_text("ascii").strip()
    headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": key}
    body = {"device": "meter-1", "name": "restore", "cause": "a full disk"}
    url = f"http://127.0.0.1:{port}/v1/commands"
    return httpx2.post(url, json=body, headers=headers).status_code


def ledger_of(hub: HubProcess) -> str:
    assert hub.status is not None
    return hub.status.ledger


def test_the_hub_is_red_while_commands_cannot_be_written_and_heals_by_itself(
    small_disk: Path, tmp_path: Path
) -> None:
    port = free_port()
    settings = f'data = "{small_disk}"\n[api]\nlisten = "127.0.0.1:{port}"\n'
    config = write_site(tmp_path / "config", site=SITE, devices=DEVICES, hub=settings)
    with hub_process(config) as hub:
        wait_until(lambda: hub.status is not None and (hub.data / "admin.key").exists())
        assert told(hub, port, "first") == 202
        ballast = fill(small_disk)
        wait_until(lambda: told(hub, port, "second") == 503)
        assert hub.status is not None
        assert (hub.status.health, "full" in ledger_of(hub)) == (Health.RED, True)
        ballast.unlink()
        wait_until(lambda: not ledger_of(hub), timeout_s=60)
        assert told(hub, port, "second") == 202
