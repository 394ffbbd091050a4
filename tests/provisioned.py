"""A building of few rooms for the tests of provisioning: its files, and what a ledger has of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hub import Clock, SystemClock, read_files, site_of
from hub.inventory.apply import Application, check_plan
from hub.inventory.installed import Installed, installed_site, read_installed
from hub.inventory.plan import Plan, make_plan
from hub.ledger import Ledger
from tests.site_folder import write_site

HEADER = "id,profile,link,address,building,floor,room,circuit,settings,note"
SITE = """
[links.bus-1]
driver = "modbus"
host = "127.0.0.1"
port = 9
[links.bus-2]
driver = "modbus"
host = "127.0.0.1"
port = 10
"""
METERS: Mapping[str, str] = {
    "m-1": "m-1,eastron_sdm120,bus-1,1,B1,1,101,socket,,",
    "m-2": "m-2,eastron_sdm120,bus-1,2,B1,1,102,socket,,",
    "m-3": "m-3,eastron_sdm120,bus-2,3,B1,2,201,socket,,",
}
CLOCK: Clock = SystemClock(seed=1)


def write_building(folder: Path, *rows: str, site: str = SITE) -> Path:
    """The building with these rows, or with its three meters."""
    table = "\n".join((HEADER, *(rows or METERS.values()))) + "\n"
    return write_site(folder, site=site, devices=table)


def plan_from(installed: Installed, folder: Path) -> Plan:
    """What applying the files of the folder would change."""
    files = read_files(folder)
    return make_plan(installed, files, site_of(files), installed_site(installed))


def without(*names: str) -> Sequence[str]:
    """The rows of the meters but these."""
    return [row for name, row in METERS.items() if name not in names]


async def installed_in(ledger: Ledger, folder: Path) -> Installed:
    """What the ledger has."""
    return await ledger.read(lambda connection: read_installed(connection, folder))


async def apply(ledger: Ledger, folder: Path, *, prune: bool = False, clock: Clock = CLOCK) -> Plan:
    """Take the files of the folder into the ledger, as the hub does."""
    plan = plan_from(await installed_in(ledger, folder), folder)
    check_plan(plan, prune=prune)
    if not plan.is_empty:
        made = Application(plan, read_files(folder), actor="test", clock=clock)
        await ledger.run(made.write)
    return plan
