"""Credentials over the API: whom they are for, in pages, and that nothing shows a secret twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hub import Link
from hub.auth import Role
from tests.api_site import ApiSite, api_site
from tests.broker_site import link_of, washer

WASHERS = [f"w-{number}" for number in range(1, 8)]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    links: tuple[Link, ...] = (link_of(*map(washer, WASHERS)),)
    async with api_site(tmp_path, links=links) as made:
        yield made


@pytest.fixture
async def client(site: ApiSite) -> AsyncIterator[httpx2.AsyncClient]:
    async with site.client(Role.INSTALLER) as made:
        yield made


async def ask(client: httpx2.AsyncClient, path: str, **body: object) -> httpx2.Response:
    return await client.post(f"/v1/credentials{path}", json=body)


async def listed(client: httpx2.AsyncClient, device: str) -> list[dict[str, str]]:
    answer = await client.get(f"/v1/credentials?device={device}")
    found: list[dict[str, str]] = answer.json()["credentials"]
    return found


async def test_all_devices_get_theirs_page_by_page(client: httpx2.AsyncClient) -> None:
    first = (await ask(client, "", kind="password", limit=4)).json()
    second = (await ask(client, "", kind="password", limit=4, after=first["next"])).json()
    got = [one["device"] for page in (first, second) for one in page["secrets"]]
    assert got == WASHERS
    assert (first["next"], second["next"]) == ("w-4", None)
    assert len({one["password"] for one in first["secrets"] + second["secrets"]}) == 7


async def test_who_has_one_gets_no_second_and_it_is_told(client: httpx2.AsyncClient) -> None:
    first = await ask(client, "", kind="certificate", devices=["w-1"])
    second = (await ask(client, "", kind="certificate", devices=["w-2", "w-1"])).json()
    assert first.status_code == 201
    assert load_pem_private_key(first.json()["secrets"][0]["key"].encode(), None)
    assert [one["device"] for one in second["secrets"]] == ["w-2"]
    assert second["left"] == [
        {
            "device": "w-1",
            "why": "has one already",
            "credential": first.json()["secrets"][0]["id"],
            "serial": (await listed(client, "w-1"))[0]["serial"],
        }
    ]
    assert second["authority"].startswith("-----BEGIN CERTIFICATE-----")


async def test_a_rotation_run_again_after_an_interruption_leaves_the_old_ones_good(
    client: httpx2.AsyncClient,
) -> None:
    await ask(client, "", kind="password")
    await ask(client, "/rotate", kind="password", limit=4)  # and no more: interrupted
    again = (await ask(client, "/rotate", kind="password")).json()
    good = (await client.get("/v1/credentials")).json()["credentials"]
    assert [one["device"] for one in again["secrets"]] == ["w-5", "w-6", "w-7"]
    assert {one["why"] for one in again["left"]} == {"is being replaced already"}
    assert sorted(one["username"] for one in good) == sorted(
        name + end for name in WASHERS for end in ("", ".2")
    )


@pytest.mark.parametrize("kind", ["password", "certificate"])
async def test_a_lost_new_one_is_made_again_and_the_old_one_stays_good(
    client: httpx2.AsyncClient, kind: str
) -> None:
    old = (await ask(client, "", kind=kind, devices=["w-1"])).json()["secrets"][0]
    lost = (await ask(client, "/rotate", kind=kind, devices=["w-1"])).json()["secrets"][0]
    made = (await ask(client, "/rotate", kind=kind, devices=["w-1"], again=True)).json()
    new = made["secrets"][0]
    assert [one["id"] for one in await listed(client, "w-1")] == [old["id"], new["id"]]
    assert new["username"] == lost["username"]


async def test_without_an_overlap_only_the_newest_is_good(client: httpx2.AsyncClient) -> None:
    await ask(client, "", kind="password", devices=["w-1"])
    await ask(client, "/rotate", kind="password", devices=["w-1"])
    made = await ask(client, "/rotate", kind="password", devices=["w-1"], overlap_s=0)
    good = await listed(client, "w-1")
    assert [(one["id"], one["username"]) for one in good] == [
        (made.json()["secrets"][0]["id"], "w-1")
    ]


async def test_the_list_shows_no_secret_and_no_hash(client: httpx2.AsyncClient) -> None:
    await ask(client, "", kind="password", devices=["w-1", "w-2"])
    await ask(client, "/rotate", kind="password", devices=["w-1"])
    await ask(client, "/revoke", devices=["w-2"])
    good = (await client.get("/v1/credentials")).json()["credentials"]
    every = (await client.get("/v1/credentials?all=true&device=w-2")).json()["credentials"]
    assert [(one["device"], one["username"]) for one in good] == [("w-1", "w-1"), ("w-1", "w-1.2")]
    assert [bool(one["revoked_ms"]) for one in every] == [True]
    assert "hash" not in good[0]
    assert "password" not in good[0]


async def test_the_list_comes_in_pages_of_one_building(client: httpx2.AsyncClient) -> None:
    await ask(client, "", kind="password")
    first = (await client.get("/v1/credentials?building=B1&limit=5")).json()
    rest = (await client.get(f"/v1/credentials?building=B1&limit=5&after={first['next']}")).json()
    other = (await client.get("/v1/credentials?building=B2")).json()
    found = [one["device"] for one in first["credentials"] + rest["credentials"]]
    assert (sorted(found), other["credentials"]) == (WASHERS, [])


async def test_one_credential_of_two_can_be_revoked(client: httpx2.AsyncClient) -> None:
    await ask(client, "", kind="password", devices=["w-1"])
    await ask(client, "", kind="certificate", devices=["w-1"])
    good = (await client.get("/v1/credentials")).json()["credentials"]
    answer = await ask(client, "/revoke", devices=["w-1"], credential=good[0]["id"], cause="lost")
    left = (await client.get("/v1/credentials")).json()["credentials"]
    assert [one["kind"] for one in answer.json()["revoked"]] == ["password"]
    assert [one["kind"] for one in left] == ["certificate"]


@pytest.mark.parametrize("name", ["+", "#", "../x", "w-1/#", "W-1", "x" * 65, "w-1\n"])
async def test_what_is_no_id_is_refused_with_its_place(
    client: httpx2.AsyncClient, name: str
) -> None:
    answer = await ask(client, "", kind="password", devices=["w-1", name])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body.devices.1"
    assert (await client.get("/v1/credentials")).json()["credentials"] == []


async def test_an_unknown_device_is_refused_with_its_place_and_nothing_is_issued(
    client: httpx2.AsyncClient,
) -> None:
    answer = await ask(client, "", kind="password", devices=["w-1", "w-99"])
    assert answer.json()["errors"] == [
        {"field": "body.devices.1", "reason": "no such device, or it has no broker"}
    ]
    assert (await client.get("/v1/credentials")).json()["credentials"] == []


async def test_revoking_everything_must_be_said_in_words(client: httpx2.AsyncClient) -> None:
    answer = await ask(client, "/revoke")
    assert answer.json()["errors"][0]["field"] == "body.devices"
    assert (await ask(client, "/revoke", building="B1")).status_code == 200


async def test_without_a_broker_folder_the_answer_says_so(client: httpx2.AsyncClient) -> None:
    answer = (await ask(client, "", kind="password", devices=["w-1"])).json()
    assert answer["broker"] == "no [broker] folder in hub.toml"
    assert (await ask(client, "/revoke", devices=["w-1"])).json()["disconnected"] is False


async def test_every_change_is_in_the_audit_without_a_secret(site: ApiSite) -> None:
    async with site.client(Role.INSTALLER) as client:
        secret = (await ask(client, "", kind="password", devices=["w-1"])).json()["secrets"][0]
        await ask(client, "/rotate", kind="password", devices=["w-1"], overlap_s=60)
        await ask(client, "/revoke", devices=["w-1"], cause="stolen")
    async with site.client(Role.ADMIN) as client:
        rows = (await client.get("/v1/audit?limit=1000")).json()["rows"]
    mine = [row for row in rows if row["subject"].startswith("credential/")]
    assert [row["action"] for row in mine] == ["issued", "ends", "issued", "revoked", "revoked"]
    assert [row["cause"] for row in mine[3:]] == ["stolen", "stolen"]
    assert secret["password"] not in str(rows)


async def test_the_hubs_own_account_is_a_file_on_its_box(site: ApiSite, tmp_path: Path) -> None:
    async with site.client(Role.INSTALLER) as client:
        answer = (await client.post("/v1/credentials/hub")).json()
    path = Path(answer["password_file"])
    assert answer["username"] == "dormhub-hub"
    assert path == tmp_path / "broker" / "hub.password"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().strip() not in str(answer)


@pytest.mark.parametrize("kind", ["password", "certificate"])
async def test_half_an_authority_is_said_and_nothing_is_entered(
    client: httpx2.AsyncClient, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "broker"
    folder.mkdir(exist_ok=True)
    (folder / "ca.key").write_text("half")
    answer = await ask(client, "", kind=kind, devices=["w-1"])
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:dormhub:problem:configuration")
    assert "restore ca.key and ca.crt" in answer.json()["detail"]
    assert await listed(client, "w-1") == []
