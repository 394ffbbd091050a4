"""Paid orders: taken by a platform's signature, shown by key. See `hub.campus.orders.intake`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, cast

from fastapi import APIRouter, Path, Request
from fastapi.responses import PlainTextResponse

from hub.api.limits import SIGNED_PATH, SIGNED_QUESTION
from hub.api.parts import Parts
from hub.api.problems import NOT_FOUND, FieldProblem, Problem
from hub.api.rights import RESOLVERS, Who, allow
from hub.api.shapes import Shown
from hub.campus.orders import orders
from hub.campus.orders.inquiry import standing_of
from hub.campus.orders.notices import NUMBER_PATTERN
from hub.campus.orders.orders import Order, OrderState

ALIPAY_TAKEN = "success"

router = APIRouter(prefix=SIGNED_PATH, tags=["orders"])

PlatformName = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,32}$")]
OrderNumber = Annotated[str, Path(pattern=NUMBER_PATTERN)]

_NOTICE: dict[str, object] = {
    "type": "object",
    "required": ["number", "building", "room", "amount_fen", "receiver"],
    "additionalProperties": False,
    "properties": {
        "number": {"type": "string", "pattern": NUMBER_PATTERN},
        "building": {"type": "string", "minLength": 1, "maxLength": 64},
        "room": {"type": "string", "minLength": 1, "maxLength": 64},
        "utility": {"type": "string", "enum": ["electricity", "hot_water", "drinking_water"]},
        "amount_fen": {"type": "integer", "minimum": 1},
        "receiver": {"type": "string", "minLength": 1, "maxLength": 64},
        "paid_ms": {"type": ["integer", "null"]},
    },
}
_FORM: dict[str, object] = {"type": "object", "additionalProperties": {"type": "string"}}
_SEALS = [
    {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
]


class OrderTaken(Shown):
    """The order is on disk. The same notice always gets the same answer; `GET` tells how it stands."""

    id: str
    platform: str
    number: str
    amount_fen: int
    received_ms: int


class Standing(Shown):
    """How an order stands, for the platform it is of; `sequence` counts its states, as in call-backs."""

    id: str
    number: str
    state: OrderState
    reason: str
    amount_fen: int
    sequence: int
    received_ms: int
    deadline_ms: int
    changed_ms: int


class OrderShown(Shown):
    """An order as it stands; `command` is the credit's, `deadline_ms` is when a refund becomes due."""

    id: str
    platform: str
    number: str
    account: str
    device: str
    amount_fen: int
    state: OrderState
    reason: str
    command: str
    received_ms: int
    deadline_ms: int
    changed_ms: int


@router.post(
    "",
    openapi_extra={
        "parameters": _SEALS,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _NOTICE}}},
    },
)
async def take(parts: Parts, request: Request) -> OrderTaken:
    """A paid order, signed by Standard Webhooks; on disk when this answers."""
    order = await parts.campus.intake.standard(request.headers, await request.body())
    return OrderTaken.model_validate(order, from_attributes=True)


@router.post(
    "/alipay/{platform}",
    response_class=PlainTextResponse,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": _FORM}},
        },
    },
)
async def take_form(parts: Parts, request: Request) -> PlainTextResponse:
    """A paid order, signed as Alipay does; on disk when this answers `success`."""
    name = cast(str, request.path_params["platform"])
    await parts.campus.intake.alipay(name, await request.body())
    return PlainTextResponse(ALIPAY_TAKEN)


@router.get(
    SIGNED_QUESTION.removeprefix(SIGNED_PATH),
    openapi_extra={
        "parameters": [
            {
                "name": "number",
                "in": "query",
                "required": True,
                "schema": {"type": "string", "pattern": NUMBER_PATTERN},
            },
            *_SEALS,
        ]
    },
)
async def answer_platform(parts: Parts, request: Request) -> Standing:
    """How one of its own orders stands, for a platform that signs `GET /v1/orders/query?number=…`."""
    target = b"GET %b?%b" % (SIGNED_QUESTION.encode(), request.scope["query_string"])
    platform = await parts.campus.intake.question(request.headers, target)
    pairs = request.query_params.multi_items()
    if [name for name, _ in pairs] != ["number"]:
        wrong = FieldProblem(field="query.number", reason="name one, and nothing else")
        raise Problem(422, "invalid", "which order is asked for?", (wrong,))
    stood = await parts.ledger.read(
        lambda connection: standing_of(connection, platform.name, pairs[0][1])
    )
    if stood is None:
        raise NOT_FOUND
    order, sequence = stood
    return Standing.model_validate({**asdict(order), "sequence": sequence})


@router.get("/{platform}/{number}", dependencies=[allow(*RESOLVERS)])
async def get_order(
    parts: Parts, who: Who, platform: PlatformName, number: OrderNumber
) -> OrderShown:
    """One order by its platform's number."""
    order = await parts.ledger.read(lambda connection: orders.find(connection, platform, number))
    if order is None or not who.covers(order.room.building):
        raise NOT_FOUND
    return _order(order)


def _order(order: Order) -> OrderShown:
    return OrderShown.model_validate(order, from_attributes=True)
