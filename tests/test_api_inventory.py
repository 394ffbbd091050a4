"""The inventory through the API: shown, applied, refused in words a machine can tell apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from hub.inventory.apply import Busy
from hub.inventory.installed import find_installed
from hub.inventory.keeper import WAITING_MAX
from tests.api_site import ApiSite, api_site
from tests.provisioned import plan_from

APPLY = "/v1/inventory/apply"
HEADER = "id,profile,link,address\n"
METER = "meter-1,acrel_ddsy1352,bus-1,1\n"
MORE = "meter-2,acrel_ddsy1352,bus-1,2\n"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    async with api_site(tmp_path) as made:
        yield made


@pytest.fixture
async def client(site: ApiSite) -> AsyncIterator[httpx2.AsyncClient]:
    async with site.client() as made:
        yield made


def write(folder: Path, *rows: str) -> Path:
    (folder / "config" / "devices.csv").write_text(HEADER + "".join(rows), "utf-8")
    return folder / "config"


def kind_of(response: httpx2.Response) -> str:
    return str(response.json()["type"]).rpartition(":")[2]


async def test_what_was_applied_and_how_the_files_differ_are_shown(
    client: httpx2.AsyncClient, site: ApiSite, tmp_path: Path
) -> None:
    shown = (await client.get("/v1/inventory")).json()
    assert (shown["number"], shown["devices"], shown["drift"]) == (1, 1, "")
    write(tmp_path, METER, MORE)
    await site.parts.keeper.drift.look(shown["digest"])
    assert (await client.get("/v1/inventory")).json()["drift"] == "changed: see dormhub plan"


async def test_the_plan_that_was_applied_is_answered(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    write(tmp_path, METER.replace(",1\n", ",7\n"), MORE)
    applied = (await client.post(APPLY, json={})).json()
    assert (applied["added"], applied["changed"], applied["retired"]) == (
        ["meter-2"],
        ["meter-1"],
        [],
    )
    assert applied["links"] == ["bus-1"]
    assert applied["counts"]["added"] == 1
    assert applied["inventory"]["number"] == 2
    assert applied["inventory"]["drift"] == ""
    again = (await client.post(APPLY, json={})).json()
    assert again["inventory"] == applied["inventory"]
    assert set(again["counts"].values()) == {0}


async def test_the_actor_in_the_audit_is_the_key(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    write(tmp_path, METER, MORE)
    await client.post(APPLY, json={})
    rows = (await client.get("/v1/audit?subject=inventory/2")).json()["rows"]
    assert [row["actor"].partition("/")[0] for row in rows] == ["key"]


async def test_only_the_plan_that_was_shown_is_applied(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    folder = write(tmp_path, METER, MORE)
    shown = plan_from(find_installed(tmp_path / "ledger.db", folder), folder).digest()
    write(tmp_path, METER, MORE.replace(",2\n", ",3\n"))
    refused = await client.post(APPLY, json={"expect": shown})
    assert (refused.status_code, kind_of(refused)) == (409, "outdated")
    write(tmp_path, METER, MORE)
    assert (await client.post(APPLY, json={"expect": shown})).status_code == 200
    late = await client.post(APPLY, json={"expect": shown})
    assert (late.status_code, kind_of(late)) == (409, "outdated")


async def test_nothing_is_retired_without_prune(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    write(tmp_path, MORE)
    refused = await client.post(APPLY, json={})
    assert (refused.status_code, kind_of(refused)) == (409, "would-retire")
    assert "meter-1" in refused.json()["detail"]
    applied = await client.post(APPLY, json={"prune": True})
    assert applied.json()["retired"] == ["meter-1"]


async def test_every_mistake_in_the_files_is_answered_with_its_place(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    write(tmp_path, METER, METER, "+,acrel_ddsy1352,bus-1,2\n")
    refused = await client.post(APPLY, json={"prune": True})
    assert (refused.status_code, kind_of(refused)) == (409, "mistakes")
    fields = [error["field"].rpartition("devices.csv: ")[2] for error in refused.json()["errors"]]
    assert fields == ["line 3, id", "line 3, address", "line 4, id"]
    assert (await client.get("/v1/inventory")).json()["number"] == 1


async def test_a_retired_device_s_past_is_for_administrators_of_the_site_alone(
    site: ApiSite, tmp_path: Path
) -> None:
    write(tmp_path, "meter-9,acrel_ddsy1352,bus-1,9\n", METER)
    paths = (
        "/v1/devices/meter-9/latest",
        "/v1/devices/meter-9/history?point=energy_import",
    )
    async with site.client() as admin, site.client("viewer") as viewer:
        await admin.post(APPLY, json={})
        assert [(await admin.get(path)).status_code for path in paths] == [404, 404]
        write(tmp_path, METER)
        await admin.post(APPLY, json={"prune": True})
        assert [(await admin.get(path)).status_code for path in paths] == [200, 200]
        assert [(await viewer.get(path)).status_code for path in paths] == [404, 404]
        never = await admin.get("/v1/devices/meter-8/latest")
        assert never.status_code == 404


async def test_a_caller_that_goes_away_does_not_stop_what_it_began(
    site: ApiSite, tmp_path: Path
) -> None:
    write(tmp_path, METER, MORE)
    call = asyncio.create_task(site.parts.keeper.apply(prune=False, actor="gone"))
    await asyncio.sleep(0)
    call.cancel()
    async with asyncio.timeout(10):
        while site.parts.keeper.inventory.number == 1:
            await asyncio.sleep(0.01)
    assert site.parts.keeper.inventory.devices == 2


async def test_many_at_once_are_done_one_after_the_other_and_too_many_refused(
    site: ApiSite, tmp_path: Path
) -> None:
    write(tmp_path, METER, MORE)
    keeper = site.parts.keeper
    calls = [keeper.apply(prune=False, actor=f"{number}") for number in range(WAITING_MAX + 1)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(result, Busy) for result in results] == [False] * WAITING_MAX + [True]
    assert keeper.inventory.number == 2
