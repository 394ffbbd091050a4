"""The doors before the API: every request's key, size, depth and time, and a client that does not read.

Each door is an ASGI application around another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.api.parts import ApiParts
from hub.api.problems import NOT_KNOWN, TOO_OFTEN, Problem, answer, problem_of
from hub.api.rights import RESOLVERS
from hub.api.traffic import Traffic
from hub.auth import Caller, Role
from hub.errors import HubError

OPEN_PATHS = ("/health",)
SIGNED_PATH = "/v1/orders"  # a POST there, or under the next, is known by its signature
SIGNED_UNDER = "/v1/orders/alipay/"  # and one name
SIGNED_QUESTION = "/v1/orders/query"  # a GET there likewise
LIVE_PATH = "/v1/live"
TRACE_END = "/trace"  # of the paths of streams that end by themselves
BODY_MAX_BYTES = 64 * 1024
RECONCILE_PATH = "/v1/reconciliation/runs"
# A platform's bill of a day, as the text of its file; from these roles, for a long body keeps the hub busy.
LONG_BODIES = {RECONCILE_PATH: (5 << 20, RESOLVERS)}
DEPTH_MAX = 20
BODY_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 30.0
LONG_ANSWERS_S = {  # ten thousand devices on a small box
    "/v1/inventory/apply": 180.0,
    "/v1/allowance": 180.0,
    "/v1/books/check": 180.0,
    "/v1/use/ranking": 180.0,
    "/v1/sharing": 180.0,
    RECONCILE_PATH: 180.0,  # every order of a day
}
READ_TIMEOUT_S = 10.0  # a client that takes nothing for so long is given up
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_OPENING = b"[{"
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

Door = Callable[[Scope, Receive, Send], Awaitable[None]]


class SlowClient(Exception):
    """The client does not read what it asked for; not a HubError, for no answer can be made of it."""


def watched(app: ASGIApp, *, traffic: Traffic, read_timeout_s: float = READ_TIMEOUT_S) -> Door:
    """Count every answer, bound its time, and give up a client that does not read."""

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise Problem(404, "not-found")
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(_HEADERS)
            try:
                async with asyncio.timeout(read_timeout_s):
                    await send(message)
            except TimeoutError:
                raise SlowClient("does not read") from None

        try:
            await _in_time(app, scope, receive, sending, lambda: status > 0)
        except SlowClient:
            traffic.dropped["slow"] += 1
        finally:
            traffic.count(scope["method"], getattr(scope.get("route"), "path", "none"), status)

    return door


async def _in_time(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, begun: Callable[[], bool]
) -> None:
    is_stream = scope["path"] == LIVE_PATH or scope["path"].endswith(TRACE_END)
    limit_s = None if is_stream else LONG_ANSWERS_S.get(scope["path"], ANSWER_TIMEOUT_S)
    try:
        async with asyncio.timeout(limit_s) as bound:
            await app(scope, receive, send)
    except TimeoutError:
        if not bound.expired() or begun():
            raise
        await answer(Problem(503, "too-slow", "it took too long"))(scope, receive, send)


def identified(app: ASGIApp, *, parts: ApiParts) -> Door:
    """Let in who presents a good key; every other gets the same answer, whatever is wrong with it."""

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in OPEN_PATHS or _is_signed(scope):
            await app(scope, receive, send)
            return
        scheme, _, presented = Headers(scope=scope).get("authorization", "").partition(" ")
        try:
            caller = await parts.keys.check(presented) if scheme.lower() == "bearer" else None
        except HubError as error:
            await answer(problem_of(error))(scope, receive, send)
            return
        if caller is None:
            await answer(NOT_KNOWN)(scope, receive, send)
            return
        if caller.role is Role.ROOM and not parts.quota.take(caller.id, parts.clock.monotonic_s()):
            await answer(TOO_OFTEN)(scope, receive, send)
            return
        Request(scope).state.caller = caller
        Request(scope).state.presented = presented
        await app(scope, receive, send)

    return door


def _is_signed(scope: Scope) -> bool:
    path = str(scope["path"])
    if scope["method"] == "GET":
        return path == SIGNED_QUESTION
    is_form = path.startswith(SIGNED_UNDER) and "/" not in path[len(SIGNED_UNDER) :]
    return scope["method"] == "POST" and (path == SIGNED_PATH or is_form)


def bounded(app: ASGIApp, *, body_timeout_s: float = BODY_TIMEOUT_S) -> Door:
    """Take a body of at most 64 KiB, or its path's limit, 20 levels deep, in 30 s; then let it in whole."""

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in ("GET", "HEAD"):
            await app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(body_timeout_s):
                body = await _body(receive, _limit(scope))
            _check_depth(body)
        except TimeoutError:
            problem = Problem(408, "too-slow", "the body did not come in time")
            await answer(problem)(scope, receive, send)
        except Problem as problem:
            await answer(problem)(scope, receive, send)
        else:
            await app(scope, _again(body, receive), send)

    return door


def _limit(scope: Scope) -> int:
    limit, roles = LONG_BODIES.get(scope["path"], (BODY_MAX_BYTES, ()))
    caller: Caller | None = getattr(Request(scope).state, "caller", None)
    return limit if caller is not None and caller.role in roles else BODY_MAX_BYTES


async def _body(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit:
            raise Problem(413, "too-large", f"a body has at most {limit} bytes")
        if not message.get("more_body", False):
            return bytes(body)


def _check_depth(body: bytes) -> None:
    """Count what stands outside of texts, in whole passes: five megabytes must not take long."""
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2]
    depth = 0
    for bracket in b"".join(bare).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        if depth > DEPTH_MAX:
            raise Problem(400, "too-deep", f"a body has at most {DEPTH_MAX} levels")


def _again(body: bytes, receive: Receive) -> Receive:
    """The body as one message, and then whatever comes."""
    told = False

    async def receiving() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
