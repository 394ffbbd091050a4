"""Every route against every role; a route that is not in the table fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from hub.auth import Role
from tests.api_site import ApiSite, api_site

ALL = frozenset(Role) - {Role.ROOM}  # of the house
ROOM = frozenset({Role.ROOM})
ADMIN = frozenset({Role.ADMIN})
OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
INSTALLERS = frozenset({Role.INSTALLER, Role.ADMIN})
RESOLVERS = frozenset({Role.FINANCE, Role.ADMIN})
SENDERS = ALL - {Role.VIEWER}
ID = "0" * 26
ORDER: dict[str, object] = {"device": "meter-1", "name": "cut", "cause": "arrears"}
CREDIT: dict[str, object] = {
    "device": "meter-1",
    "name": "credit",
    "arguments": {"amount": 1000},
    "cause": "paid",
}
CREDENTIAL: dict[str, object] = {"kind": "password", "devices": ["washer-1"]}
BINDING: dict[str, object] = {"device": "meter-1", "building": "B1", "room": "101", "from_ms": 1}
ACCOUNT = "/v1/accounts/B1/101/electricity"
KEY: dict[str, object] = {"name": "new", "role": "viewer"}
LEAVING: dict[str, object] = {"building": "B1", "room": "101", "reason": "left"}
MOVING = LEAVING | {"to_building": "B1", "to_room": "102"}
GIVEN = LEAVING | {"number": "1", "amount_fen": 1}
REASON: dict[str, object] = {"reason": "so"}
WORD = REASON | {"device": "meter-1", "counter": 1}
BATCH: dict[str, object] = {"action": "cut", "scope": {"buildings": ["B1"]}, "cause": "drill"}
GIFT = BATCH | {"action": "allowance", "arguments": {"amount": 1000}}

# method, route, who may, an example's path and body
ROUTES: list[tuple[str, str, frozenset[Role], str, dict[str, object] | None]] = [
    ("GET", "/v1/devices", ALL, "", None),
    ("GET", "/v1/devices/{device}", ALL, "/v1/devices/meter-1", None),
    ("GET", "/v1/devices/{device}/latest", ALL, "/v1/devices/meter-1/latest", None),
    (
        "GET",
        "/v1/devices/{device}/history",
        ALL,
        "/v1/devices/meter-1/history?point=energy_import&start_ms=0",
        None,
    ),
    ("GET", "/v1/latest", ALL, "", None),
    ("GET", "/v1/live", ALL, "", None),
    ("GET", "/v1/alarms", ALL, "", None),
    ("GET", "/v1/health", ALL, "", None),
    ("GET", "/v1/metrics", ALL, "", None),
    ("GET", "/v1/openapi.json", ALL, "", None),
    ("GET", "/v1/commands", ALL, "", None),
    ("GET", "/v1/commands/{command}", ALL, f"/v1/commands/{ID}", None),
    ("POST", "/v1/commands", OPERATORS, "", ORDER),
    ("POST", "/v1/commands", frozenset({Role.FINANCE, Role.ADMIN}), "", CREDIT),
    ("POST", "/v1/commands/{command}/approve", OPERATORS, f"/v1/commands/{ID}/approve", None),
    (
        "POST",
        "/v1/commands/{command}/resolve",
        frozenset({Role.FINANCE, Role.ADMIN}),
        f"/v1/commands/{ID}/resolve",
        {"outcome": "done"},
    ),
    ("POST", "/v1/alarms/fire/reset", OPERATORS, "", {"cause": "drill"}),
    ("POST", "/v1/devices/{device}/read", SENDERS, "/v1/devices/meter-1/read?wait_s=0.1", None),
    ("GET", "/v1/devices/{device}/trace", INSTALLERS, "/v1/devices/meter-1/trace?seconds=1", None),
    ("POST", "/v1/links/{link}/lend", INSTALLERS, "/v1/links/bus-1/lend", {}),
    ("DELETE", "/v1/links/{link}/lend", INSTALLERS, f"/v1/links/bus-1/lend?lease={ID}", None),
    ("GET", "/v1/credentials", INSTALLERS, "", None),
    ("POST", "/v1/credentials", INSTALLERS, "", CREDENTIAL),
    ("POST", "/v1/credentials/rotate", INSTALLERS, "", CREDENTIAL),
    ("POST", "/v1/credentials/revoke", INSTALLERS, "", {"devices": ["washer-1"]}),
    ("POST", "/v1/credentials/hub", INSTALLERS, "", None),
    ("GET", "/v1/inventory", INSTALLERS, "", None),
    ("POST", "/v1/inventory/apply", INSTALLERS, "", {"prune": True}),
    ("GET", "/v1/bindings", ALL, "", None),
    ("POST", "/v1/bindings", INSTALLERS, "", BINDING),
    ("DELETE", "/v1/bindings/{binding}", INSTALLERS, f"/v1/bindings/{ID}", None),
    ("GET", "/v1/rooms/{building}/{room}/use", ALL, "/v1/rooms/B1/101/use", None),
    ("GET", "/v1/orders/{platform}/{number}", RESOLVERS, "/v1/orders/campus-pay/1", None),
    ("GET", "/v1/supplies", ALL, "", None),
    ("GET", "/v1/supplies/{device}", ALL, "/v1/supplies/meter-1", None),
    (
        "POST",
        "/v1/supplies/{device}/unlock",
        OPERATORS,
        "/v1/supplies/meter-1/unlock",
        {"reason": "looked at"},
    ),
    (
        "POST",
        "/v1/supplies/{device}/hold",
        OPERATORS,
        "/v1/supplies/meter-1/hold",
        {"until_ms": 1, "reason": "exams"},
    ),
    ("GET", "/v1/timetables", ALL, "", None),
    (
        "POST",
        "/v1/timetables/{name}/approve",
        OPERATORS,
        "/v1/timetables/nights/approve",
        None,
    ),
    ("GET", "/v1/alerts", ALL, "", None),
    ("GET", "/v1/alerts/mutes/{building}/{room}", ALL, "/v1/alerts/mutes/B1/101", None),
    (
        "PUT",
        "/v1/alerts/mutes/{building}/{room}",
        OPERATORS,
        "/v1/alerts/mutes/B1/101",
        {"muted": ["trip"]},
    ),
    ("POST", "/v1/alerts/test/{channel}", OPERATORS, "/v1/alerts/test/duty", None),
    ("GET", "/v1/room", ROOM, "", None),
    ("GET", "/v1/room/use", ROOM, "", None),
    ("GET", "/v1/room/alerts", ROOM, "", None),
    ("PUT", "/v1/room/alerts", ROOM, "", {"muted": ["low_balance"]}),
    ("GET", "/v1/use/ranking", ALL, "", None),
    ("GET", "/v1/sharing", RESOLVERS, "/v1/sharing?building=B1&month=2026-10", None),
    ("POST", "/v1/sharing", RESOLVERS, "", {"building": "B1", "month": "2026-10"}),
    ("GET", "/v1/orders", RESOLVERS, "", None),
    (
        "GET",
        "/v1/orders/{platform}/{number}/history",
        RESOLVERS,
        "/v1/orders/campus-pay/1/history",
        None,
    ),
    ("GET", "/v1/reconciliation/runs", RESOLVERS, "", None),
    ("POST", "/v1/reconciliation/runs", RESOLVERS, "", {"day": "2026-11-22"}),
    ("GET", "/v1/reconciliation/differences", RESOLVERS, "", None),
    ("GET", "/v1/reconciliation/differences.csv", RESOLVERS, "", None),
    (
        "GET",
        "/v1/reconciliation/differences/{difference}",
        RESOLVERS,
        f"/v1/reconciliation/differences/{ID}",
        None,
    ),
    (
        "POST",
        "/v1/orders/{platform}/{number}/resolve",
        RESOLVERS,
        "/v1/orders/campus-pay/1/resolve",
        {"outcome": "done", "note": "its display"},
    ),
    ("GET", "/v1/callbacks", RESOLVERS, "", None),
    ("POST", "/v1/callbacks/{word}/again", RESOLVERS, f"/v1/callbacks/{ID}-1/again", None),
    ("POST", "/v1/platforms/{platform}/ask", RESOLVERS, "/v1/platforms/campus-pay/ask", None),
    ("GET", "/v1/accounts", RESOLVERS, "", None),
    ("GET", "/v1/accounts/{building}/{room}/{utility}", RESOLVERS, ACCOUNT, None),
    (
        "GET",
        "/v1/accounts/{building}/{room}/{utility}/statement",
        RESOLVERS,
        f"{ACCOUNT}/statement",
        None,
    ),
    (
        "POST",
        "/v1/accounts/{building}/{room}/{utility}/corrections",
        RESOLVERS,
        f"{ACCOUNT}/corrections",
        {"amount": 1, "reason": "a mistake"},
    ),
    ("GET", "/v1/transactions", RESOLVERS, "", None),
    (
        "POST",
        "/v1/transactions/{number}/reverse",
        RESOLVERS,
        "/v1/transactions/1/reverse",
        {"reason": "a mistake"},
    ),
    ("GET", "/v1/meterings/held", RESOLVERS, "", None),
    (
        "POST",
        "/v1/meterings/{binding}/release",
        RESOLVERS,
        f"/v1/meterings/{ID}/release",
        {"counter": 1, "reason": "seen"},
    ),
    ("POST", "/v1/books/check", RESOLVERS, "", None),
    ("GET", "/v1/prices", RESOLVERS, "", None),
    ("POST", "/v1/prices", RESOLVERS, "", {"from_day": "2030-01-01", "yuan": "0.5"}),
    ("POST", "/v1/allowance", RESOLVERS, "", None),
    ("POST", "/v1/settlements", RESOLVERS, "", LEAVING),
    ("POST", "/v1/transfers", RESOLVERS, "", MOVING),
    ("POST", "/v1/credits", RESOLVERS, "", GIVEN),
    (
        "POST",
        "/v1/rooms/{building}/{room}/reopen",
        RESOLVERS,
        "/v1/rooms/B1/101/reopen",
        REASON,
    ),
    ("GET", "/v1/jobs", RESOLVERS, "", None),
    ("GET", "/v1/jobs/{job}", RESOLVERS, f"/v1/jobs/{ID}", None),
    ("POST", "/v1/jobs/{job}/word", RESOLVERS, f"/v1/jobs/{ID}/word", WORD),
    ("POST", "/v1/jobs/{job}/resume", RESOLVERS, f"/v1/jobs/{ID}/resume", None),
    ("POST", "/v1/jobs/{job}/cancel", RESOLVERS, f"/v1/jobs/{ID}/cancel", REASON),
    ("POST", "/v1/jobs/{job}/paid", RESOLVERS, f"/v1/jobs/{ID}/paid", REASON),
    ("GET", "/v1/jobs/{job}/sheet", RESOLVERS, f"/v1/jobs/{ID}/sheet", None),
    ("GET", "/v1/jobs/{job}/sheet.csv", RESOLVERS, f"/v1/jobs/{ID}/sheet.csv", None),
    (
        "POST",
        "/v1/reconciliation/differences/{difference}/assign",
        RESOLVERS,
        f"/v1/reconciliation/differences/{ID}/assign",
        {"owner": "ann"},
    ),
    (
        "POST",
        "/v1/reconciliation/differences/{difference}/end",
        RESOLVERS,
        f"/v1/reconciliation/differences/{ID}/end",
        {"note": "paid back"},
    ),
    ("GET", "/v1/batches", ALL, "", None),
    ("POST", "/v1/batches", OPERATORS, "", BATCH),
    ("POST", "/v1/batches", RESOLVERS, "", GIFT),
    ("GET", "/v1/batches/{batch}", ALL, f"/v1/batches/{ID}", None),
    ("GET", "/v1/batches/{batch}/items", ALL, f"/v1/batches/{ID}/items", None),
    ("GET", "/v1/batches/{batch}/results.csv", ALL, f"/v1/batches/{ID}/results.csv", None),
    (
        "POST",
        "/v1/batches/{batch}/approve",
        frozenset({Role.OPERATOR, Role.FINANCE, Role.ADMIN}),
        f"/v1/batches/{ID}/approve",
        None,
    ),
    (
        "POST",
        "/v1/batches/{batch}/stop",
        frozenset({Role.OPERATOR, Role.FINANCE, Role.ADMIN}),
        f"/v1/batches/{ID}/stop",
        None,
    ),
    ("GET", "/v1/audit", ADMIN, "", None),
    ("GET", "/v1/keys", ADMIN, "", None),
    ("POST", "/v1/keys", ADMIN, "", KEY),
    ("DELETE", "/v1/keys/{key}", ADMIN, f"/v1/keys/{ID}", None),
]
# Not by key: by a payment platform's signature.
SIGNED = [
    ("POST", "/v1/orders"),
    ("POST", "/v1/orders/alipay/{platform}"),
    ("GET", "/v1/orders/query"),
]
CASES = [
    pytest.param(method, path or route, allowed, body, id=f"{method} {route} {place}")
    for place, (method, route, allowed, path, body) in enumerate(ROUTES)
    if route != "/v1/live"  # endless: see test_api_live
]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    async with api_site(tmp_path) as made:
        yield made


async def test_every_route_is_in_the_table(site: ApiSite) -> None:
    async with site.client() as client:
        document = (await client.get("/v1/openapi.json")).json()
    found = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    listed = {(method, route) for method, route, *_ in ROUTES}
    assert found | {("GET", "/v1/openapi.json")} == listed | {("GET", "/health"), *SIGNED}


async def _statuses(
    site: ApiSite, method: str, path: str, body: dict[str, object] | None
) -> dict[Role, int]:
    """What each role is answered, one after the other."""
    found = {}
    for role in Role:
        async with site.client(role) as client:
            found[role] = (await _ask(client, method, path, body)).status_code
    return found


@pytest.mark.parametrize(("method", "path", "allowed", "body"), CASES)
async def test_exactly_the_roles_of_the_table_get_in(
    site: ApiSite,
    method: str,
    path: str,
    allowed: frozenset[Role],
    body: dict[str, object] | None,
) -> None:
    statuses = await _statuses(site, method, path, body)
    assert {role for role, status in statuses.items() if status != 403} == allowed
    assert max(statuses.values()) < 500


@pytest.mark.parametrize(("method", "path"), SIGNED)
async def test_no_key_opens_what_needs_a_signature(site: ApiSite, method: str, path: str) -> None:
    statuses = await _statuses(site, method, path, {})
    assert set(statuses.values()) == {401}


async def test_nobody_gets_in_without_a_key(site: ApiSite) -> None:
    answers = {}
    async with site.client("nobody") as client:
        for method, route, _, path, body in ROUTES:
            response = await _ask(client, method, path or route, body)
            said = response.status_code, response.headers.get("www-authenticate")
            answers[method, route] = said
    assert {route: said for route, said in answers.items() if said != (401, "Bearer")} == {}


async def test_health_alone_answers_anybody_and_says_one_word(site: ApiSite) -> None:
    async with site.client("nobody") as client:
        response = await client.get("/health")
        others = [await client.get(path) for path in ("/docs", "/openapi.json", "/nowhere")]
    assert response.json() == {"health": "yellow"}
    assert [other.status_code for other in others] == [401, 401, 401]


async def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(site: ApiSite) -> None:
    good = site.keys[Role.VIEWER]
    revoked = await site.parts.keys.add(name="gone", role=Role.ADMIN, actor="test")
    await site.parts.keys.revoke(revoked.split("_")[1], "test")
    expired = await site.parts.keys.add(name="old", role=Role.ADMIN, actor="test", expires_ms=1)
    presented = ["", "x", f"{good}x", good[:-1], revoked, expired, "dormhub_é_" + "0" * 64]
    async with site.client("nobody") as client:
        answers = [
            await client.get("/v1/devices", headers={b"Authorization": f"Bearer {key}".encode()})
            for key in presented
        ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1


async def _ask(
    client: httpx2.AsyncClient, method: str, path: str, body: dict[str, object] | None
) -> httpx2.Response:
    return await client.request(method, path, json=body, headers={"Idempotency-Key": "order-1"})
