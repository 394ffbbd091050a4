"""The hub is killed at random moments of an apply: the old inventory or the new one, never a mixture."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import Connection, select

from hub import audit, load_site, site_of
from hub.inventory.installed import Row, read_installed, row_of
from hub.ledger import open_reader
from hub.ledger.tables import bindings
from tests.hub_process import HubProcess, hub_process
from tests.servers import free_port, wait_until
from tests.site_folder import write_site

HEADER = "id,profile,link,address,building,floor,room,circuit\n"
SITE = '[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = 9\n'
KILLS_A_ROUND = 2  # twenty in CI
METERS = 400
APPLY_S = 1.0  # more or less what an apply of so many takes, the check of the key included


def write_campus(folder: Path, port: int, number: int) -> None:
    """The campus of this number: some meters come, some go, some move to another room."""
    hub = f'[api]\nlisten = "127.0.0.1:{port}"\n'
    rows = (
        f"m-{meter},generic_meter,broker,m-{meter},B1,1,{meter + number % 3 * 1000},\n"
        for meter in range(number * 7 % 20, METERS + number * 13 % 50)
    )
    write_site(folder, site=f"# {number}\n{SITE}", devices=HEADER + "".join(rows), hub=hub)


@contextmanager
def applying(hub: HubProcess, port: int) -> Iterator[None]:
    """Somebody has asked for it, and will never hear of it."""
    key = (hub.data / "admin.key").read_text("ascii").strip()

    def ask() -> None:
        with suppress(httpx2.TransportError):
            ask_to_apply(port, key)

    caller = threading.Thread(target=ask, name="caller")
    caller.start()
    try:
        yield
    finally:
        caller.join(30)


def ask_to_apply(port: int, key: str) -> httpx2.Response:
    return httpx2.post(
        f"http://127.0.0.1:{port}/v1/inventory/apply",
        json={"prune": True},
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    )


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def complaints(connection: Connection, folder: Path) -> list[str]:
    """Whatever in the ledger is not one whole inventory."""
    installed = read_installed(connection, folder)
    assert installed.files is not None
    wanted = {device.id: row_of(device) for device in site_of(installed.files).devices()}
    found = [f"inventory {installed.number}: other files"] * (
        installed.digest != installed.files.digest()
    )
    if dict(installed.rows) != wanted:
        found.append(f"inventory {installed.number}: devices that are not those of its files")
    serving = {
        row.device: row.room
        for row in connection.execute(select(bindings).where(bindings.c.to_ms.is_(None)))
    }
    if serving != {name: row.room for name, row in wanted.items()}:
        found.append(f"inventory {installed.number}: bindings that are not those of its devices")
    broken = audit.verify(connection)
    return found if broken is None else [*found, f"audit: {broken}"]


def inventory_of(hub: HubProcess) -> tuple[int, dict[str, Row]]:
    """What its ledger has, which must be whole."""
    with open_reader(hub.data / "ledger.db") as connection:
        assert complaints(connection, hub.folder) == []
        installed = read_installed(connection, hub.folder)
    return installed.number, dict(installed.rows)


@pytest.mark.timeout(86_400)
def test_killed_at_any_moment_of_an_apply_the_ledger_has_the_old_or_the_new_inventory_wholly(
    tmp_path: Path, rounds: int, seed: int
) -> None:
    chance, port, folder = random.Random(seed), free_port(), tmp_path / "config"
    write_campus(folder, port, 0)
    taken = 0
    with hub_process(folder) as hub:
        for number in range(1, rounds * KILLS_A_ROUND + 1):
            wait_until(lambda: answers(port))
            before, old = inventory_of(hub)
            write_campus(folder, port, number)
            with applying(hub, port):
                time.sleep(chance.uniform(0.0, APPLY_S))
                hub.kill()
            after, now = inventory_of(hub)
            new = {device.id: row_of(device) for device in load_site(folder).devices()}
            assert (after, now) in ((before, old), (before + 1, new))
            taken += after - before
            hub.start()
            assert hub.status is not None
            assert hub.status.inventory.number == after
        print(f"{rounds * KILLS_A_ROUND} kills, {taken} applied in spite of them")
        wait_until(lambda: answers(port))
        finish(hub, port)
        assert inventory_of(hub)[1] == new


def finish(hub: HubProcess, port: int) -> None:
    """The next apply finishes the job, and the one after it has nothing to do."""
    key = (hub.data / "admin.key").read_text("ascii").strip()
    for _ in range(2):
        answer = ask_to_apply(port, key)
        answer.raise_for_status()
    assert set(answer.json()["counts"].values()) == {0}
