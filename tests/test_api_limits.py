"""What bad input gets: bodies too large, too deep or broken, and nothing of how the hub is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from hub.api.limits import bounded
from hub.auth import Role
from hub.errors import StoreError
from hub.status import Status
from tests.api_site import ApiSite, api_site

HEADERS = {"Idempotency-Key": "order-1", "Content-Type": "application/json"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    async with api_site(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b" " * (64 * 1024) + b"{}", 413),
        (b"[" * 21 + b"]" * 21, 400),
        (b'{"cause": "' + b"[" * 100 + b'", "device": "meter-1", "name": "cut"}', 202),
        (b"[" * 60_000, 400),
        (b"{", 422),
        (b"", 422),
        (b"\xff\xfe", 422),
        (b'{"device": "\\ud800", "name": "cut"}', 422),
        (
            b'{"device": "meter-1", "name": "cut", "cause": "x", "deadline_s": '
            + b"9" * 5000
            + b"}",
            400,
        ),
        (b'"' * 60_000, 422),
        (
            b'{"cause": "\\\\\\"' + b"[" * 100 + b'\\\\", "device": "meter-1", "name": "cut"}',
            202,
        ),
        (b'{"cause": "\\\\", "device": ' + b"[" * 30 + b"]" * 30 + b"}", 400),
        (b'{"device": "meter-1", "name": "cut", "device": 7}', 422),
    ],
)
async def test_a_bad_body_is_refused_as_a_problem(site: ApiSite, body: bytes, status: int) -> None:
    async with site.client() as client:
        response = await client.post("/v1/commands", content=body, headers=HEADERS)
    assert response.status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/devices/no-such", 404),
        ("GET", "/v1/devices/%00", 422),
        ("GET", "/v1/devices/%F0%28", 422),
        ("PUT", "/v1/devices", 405),
        ("OPTIONS", "/v1/devices", 405),
        ("GET", "/v1/commands/DROP", 422),
        ("GET", "/v1/audit?after=99999999999999999999999", 422),
    ],
)
async def test_every_error_is_a_problem_document(
    site: ApiSite, method: str, path: str, status: int
) -> None:
    async with site.client() as client:
        response = await client.request(method, path)
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, problem["status"]) == (status, status)
    assert problem["type"].startswith("urn:dormhub:problem:")


async def test_no_other_site_may_read_an_answer_and_nothing_is_kept(site: ApiSite) -> None:
    async with site.client() as client:
        response = await client.get("/v1/devices", headers={"Origin": "http://elsewhere"})
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (StoreError("/secret/path: disk full"), 503, "store"),
        (RuntimeError("/secret/path: select *"), 500, "internal"),
    ],
)
async def test_an_error_inside_tells_the_caller_nothing_of_the_inside(
    site: ApiSite, error: Exception, status: int, kind: str
) -> None:
    def status_of_the_hub() -> Status:
        raise error

    broken = site.with_parts(replace(site.parts, status=status_of_the_hub))
    async with broken.client() as client:
        response = await client.get("/v1/health")
    assert response.status_code == status
    assert response.json()["type"] == f"urn:dormhub:problem:{kind}"
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("who", "status"),
    [(Role.ROOM, 413), (Role.VIEWER, 413), (Role.OPERATOR, 413), (Role.FINANCE, 409)],
)
async def test_a_long_body_is_read_only_from_who_may_send_one(
    site: ApiSite, who: Role, status: int
) -> None:
    bill = {"day": "2026-11-22", "platform": "nobody", "bill": "[" * 4_000_000}
    async with site.client(who) as client:
        response = await client.post("/v1/reconciliation/runs", json=bill)
    assert response.status_code == status, response.text


async def test_a_made_up_method_is_counted_without_a_place_of_its_own(site: ApiSite) -> None:
    async with site.client() as client:
        for method in ("BREW", "POUR", "DRINK"):
            await client.request(method, "/v1/devices")
    assert {method for method, *_ in site.parts.traffic.requests} == {"other"}


async def test_a_body_that_does_not_come_is_given_up(site: ApiSite) -> None:
    door = bounded(site.app, body_timeout_s=0.01)
    transport = httpx2.ASGITransport(app=door)
    async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as client:
        response = await client.post("/v1/commands", content=endless())
    assert response.status_code == 408


async def endless() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()
