"""The HTTP API, version 1, as an application made from its parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRouter
from fastapi.security import HTTPBearer
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.api import (
    accounts,
    admin,
    alerts,
    batches,
    bindings,
    bookkeeping,
    credentials,
    devices,
    health,
    inventory,
    life,
    live,
    orders,
    orders_desk,
    payments,
    reconciliation,
    room,
    supply,
    use,
    wire,
)
from hub.api.document import document
from hub.api.limits import READ_TIMEOUT_S, Door, bounded, identified, watched
from hub.api.parts import ApiParts
from hub.api.problems import install
from hub.api.rights import EVERYONE, allow

_ROUTERS = (
    devices.router,
    live.router,
    wire.router,
    orders.router,
    orders_desk.router,
    accounts.router,
    bookkeeping.router,
    payments.router,
    alerts.router,
    room.router,
    reconciliation.router,
    supply.router,
    batches.router,
    credentials.router,
    inventory.router,
    bindings.router,
    use.router,
    life.router,
    health.router,
    admin.router,
)
_PROTECTED = APIRouter()


@_PROTECTED.get("/v1/openapi.json", dependencies=[allow(*EVERYONE)], include_in_schema=False)
async def _openapi(request: Request) -> dict[str, object]:
    return document(request.app)


def make_app(parts: ApiParts, *, read_timeout_s: float = READ_TIMEOUT_S) -> FastAPI:
    """The API over these parts; `read_timeout_s` is how long a client may take nothing of its answer.

    It shows no page: its OpenAPI document stands at `/v1/openapi.json`, for any good key.
    """
    app = _bare_app()
    app.state.parts = parts
    install(app)
    app.router.routes.extend(_routes())
    app.add_middleware(_doors, parts=parts, read_timeout_s=read_timeout_s)
    return app


def _bare_app() -> FastAPI:
    return FastAPI(
        title="Dormhub",
        version="1",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(HTTPBearer(auto_error=False))],
    )


@cache
def _routes() -> Sequence[BaseRoute]:
    """Every route, once for all applications of a process: the first request waits while they are made."""
    app = _bare_app()
    for router in (*_ROUTERS, _PROTECTED):
        app.include_router(router)
    return app.router.routes


def _doors(app: ASGIApp, *, parts: ApiParts, read_timeout_s: float) -> Door:
    inner = identified(bounded(app), parts=parts)
    guarded = watched(inner, traffic=parts.traffic, read_timeout_s=read_timeout_s)

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        # What is not HTTP is only the server's own word that it begins or ends.
        await (guarded if scope["type"] == "http" else app)(scope, receive, send)

    return door
