"""Paid orders as people at a desk see them. The rules are those of `hub.campus.orders`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from hub.api.admin import AuditRowShown
from hub.api.parts import ApiParts, Parts
from hub.api.payments import OrderNumber, OrderShown, PlatformName
from hub.api.problems import NOT_FOUND
from hub.api.rights import RESOLVERS, Who, allow
from hub.api.shapes import Asked, Given, Shown, TimeMs
from hub.auth import EVERYWHERE, Caller
from hub.campus.accounts.accounts import Utility
from hub.campus.orders import orders
from hub.campus.orders.inquiry import Chosen, History, find_orders, history_of
from hub.campus.orders.orders import Order, OrderState
from hub.command import State
from hub.commands import Resolution

router = APIRouter(prefix="/v1", tags=["orders"])

_Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
WordId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,64}-[0-9]{1,9}$")]


class OrdersAsked(Asked):
    """Which orders; empty means all. Those received after `since_ms` (included) and before `until_ms`."""

    platform: _Text = ""
    building: _Text = ""
    room: _Text = ""
    utility: Utility | None = None
    state: OrderState | None = None
    since_ms: TimeMs | None = None
    until_ms: TimeMs | None = None
    after: _Text = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class Outcome(Given):
    """What a person found out of an order that is unknown, and how."""

    outcome: Literal["done", "not_done"]
    note: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]


class OrderPage(Shown):
    """Orders, the newest first; `next` is the `after` of the next page."""

    orders: list[OrderShown]
    next: str | None


class CreditShown(Shown):
    """A command that was made for an order."""

    id: str
    state: State
    reason: str
    attempts: int
    resolution: str
    created_ms: int
    finished_ms: int | None


class ToldShown(Shown):
    """A word for the platform; it is tried again at `next_ms`, or was taken, or is a person's."""

    id: str
    event: str
    attempts: int
    next_ms: int | None
    done_ms: int | None
    error: str


class HistoryShown(Shown):
    """An order, and all that is written of it."""

    order: OrderShown
    audit: list[AuditRowShown]
    commands: list[CreditShown]
    told: list[ToldShown]


class StuckShown(Shown):
    """A word that no try brought to its platform."""

    id: str
    platform: str
    number: str
    event: str
    attempts: int
    error: str


class StuckList(Shown):
    """Words that wait for a person, the oldest first; a hundred at most."""

    stuck: list[StuckShown]


class ComparedShown(Shown):
    """What was on a platform's list: orders, those of them that were new, and refunds."""

    listed: int
    taken: int
    refunded: int


@router.get("/orders", dependencies=[allow(*RESOLVERS)])
async def list_orders(parts: Parts, who: Who, asked: Annotated[OrdersAsked, Query()]) -> OrderPage:
    """Orders, the newest first; a key for one building sees its own."""
    building = asked.building if who.place == EVERYWHERE else who.place
    if asked.building not in ("", building):
        return OrderPage(orders=[], next=None)
    chosen = Chosen(
        platform=asked.platform,
        building=building,
        room=asked.room,
        utility=asked.utility,
        state=asked.state,
        since_ms=asked.since_ms,
        until_ms=asked.until_ms,
    )
    found = await parts.ledger.read(
        lambda connection: find_orders(
            connection, chosen, before=asked.after, limit=asked.limit + 1
        )
    )
    page = found[: asked.limit]
    return OrderPage(
        orders=[_order(order) for order in page],
        next=page[-1].id if len(found) > asked.limit else None,
    )


@router.get("/orders/{platform}/{number}/history", dependencies=[allow(*RESOLVERS)])
async def get_history(
    parts: Parts, who: Who, platform: PlatformName, number: OrderNumber
) -> HistoryShown:
    """One order with its rows of the audit, its commands, and what its platform was told."""
    order = await _mine(parts, who, platform, number)
    history = await parts.ledger.read(lambda connection: history_of(connection, order))
    return _history(order, history)


@router.post("/orders/{platform}/{number}/resolve", dependencies=[allow(*RESOLVERS)])
async def resolve_order(
    parts: Parts, who: Who, platform: PlatformName, number: OrderNumber, given: Outcome
) -> OrderShown:
    """Say what became of an order that is `unknown`, as its meter shows: delivered, or a refund is due."""
    order = await _mine(parts, who, platform, number)
    found = Resolution(given.outcome)
    return _order(await parts.campus.delivery.resolve(order, who.actor, found, given.note))


@router.get("/callbacks", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def list_stuck(parts: Parts) -> StuckList:
    """What platforms could not be told in all the tries there are."""
    words = await parts.campus.outbox.stuck()
    return StuckList(
        stuck=[StuckShown.model_validate(word, from_attributes=True) for word in words]
    )


@router.post(
    "/callbacks/{word}/again",
    status_code=204,
    dependencies=[allow(*RESOLVERS, everywhere=True)],
)
async def tell_again(parts: Parts, who: Who, word: WordId) -> None:
    """Begin anew with a word that is stuck."""
    if not await parts.campus.outbox.again(word, who.actor):
        raise NOT_FOUND


@router.post("/platforms/{platform}/ask", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def ask_platform(parts: Parts, platform: PlatformName) -> ComparedShown:
    """Ask a platform for its list of orders now, and take what never came."""
    known = parts.campus.intake.platforms.get(platform)
    if known is None or not known.list_url:
        raise NOT_FOUND
    return ComparedShown.model_validate(await parts.campus.lists.ask(known), from_attributes=True)


async def _mine(parts: ApiParts, who: Caller, platform: str, number: str) -> Order:
    order = await parts.ledger.read(lambda connection: orders.find(connection, platform, number))
    if order is None or not who.covers(order.room.building):
        raise NOT_FOUND
    return order


def _order(order: Order) -> OrderShown:
    return OrderShown.model_validate(order, from_attributes=True)


def _history(order: Order, history: History) -> HistoryShown:
    return HistoryShown(
        order=_order(order),
        audit=[AuditRowShown.model_validate(row, from_attributes=True) for row in history.audit],
        commands=[
            CreditShown.model_validate(record, from_attributes=True) for record in history.commands
        ],
        told=[ToldShown.model_validate(told, from_attributes=True) for told in history.told],
    )
