"""A line of a bill against an order, an order against what was done for it. Pure; each has one finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hub.campus.orders.orders import Order, OrderState
from hub.campus.reconcile.results import Finding, Item, Level

_BEFORE_DELIVERY = (OrderState.ACCEPTED, OrderState.DELIVERING)
_GIVEN_BACK = (OrderState.REFUND_DUE, OrderState.REFUNDED)


class LineState(StrEnum):
    """What a platform says of a payment."""

    PAID = "paid"
    REFUNDED = "refunded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One payment on a platform's bill."""

    number: str
    amount_fen: int
    state: LineState
    paid_ms: int


class EffectState(StrEnum):
    """What is known of a credit command."""

    DONE = "done"  # confirmed, or found done by a person
    DOUBTFUL = "doubtful"  # it ended unknown, and nobody has said
    UNDER_WAY = "under_way"
    NONE = "none"  # it had no effect


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """A credit command of a meter; `count` is the purchase it was to be, None where nothing is counted."""

    command: str
    device: str
    key: str
    owner: str
    state: EffectState
    amount_fen: int
    count: int | None
    ended_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Booked:
    """An order's delivery in the books: into the meter, or to the room; `by_person` on a person's word."""

    amount_fen: int
    in_meter: bool
    by_person: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """By what a day is judged: now, how long a refund may take, and until when an order may be billed later.

    `carried_from_ms` is when the last minutes of the day begin, whose orders may stand on the next day's
    bill; the day's end once that bill is known.
    """

    now_ms: int
    refund_ms: int
    carried_from_ms: int


def compare_bill(line: Line | None, order: Order | None, terms: Terms) -> Item:
    """The platform's word and the hub's on one number; at least one of them is there."""
    finding, detail = _bill_finding(line, order, terms)
    known = line or order
    assert known is not None
    return Item(
        level=Level.BILL,
        subject=known.number,
        finding=finding,
        billed=line.amount_fen if line else None,
        ordered=order.amount_fen if order else None,
        detail=detail,
    )


def _bill_finding(line: Line | None, order: Order | None, terms: Terms) -> tuple[Finding, str]:
    if line is None:
        return _unbilled(order, terms)
    if order is None:
        if line.state is LineState.REFUNDED:
            return Finding.EQUAL, ""
        return Finding.PAID_WITHOUT_EFFECT, "the hub has no such order"
    if line.amount_fen != order.amount_fen:
        return Finding.AMOUNT_DIFFERS, f"the order is {order.state}"
    if line.state is LineState.REFUNDED:
        return _refunded(order)
    if order.state is OrderState.REFUNDED:
        text = "refunded here, and not by the platform"
        return Finding.PAID_WITHOUT_EFFECT, text
    if order.state is OrderState.REFUND_DUE:
        if terms.now_ms < order.changed_ms + terms.refund_ms:
            return Finding.PENDING, "its refund is due"
        return Finding.PAID_WITHOUT_EFFECT, "its refund is overdue"
    return Finding.EQUAL, ""


def _unbilled(order: Order | None, terms: Terms) -> tuple[Finding, str]:
    if order is None or order.state is OrderState.REFUNDED:
        return Finding.EQUAL, ""
    if order.received_ms >= terms.carried_from_ms:
        return Finding.PENDING, "it may stand on the bill of the next day"
    return Finding.EFFECT_WITHOUT_PAYMENT, f"{order.state} here, and on no bill"


def _refunded(order: Order) -> tuple[Finding, str]:
    """The platform gave the money back."""
    if order.state in _GIVEN_BACK:
        return Finding.EQUAL, ""
    if order.state in _BEFORE_DELIVERY:
        return Finding.PENDING, f"given back by the platform, {order.state} here"
    if order.state is OrderState.UNKNOWN:
        return Finding.UNKNOWN, "given back by the platform, unknown here"
    return Finding.EFFECT_WITHOUT_PAYMENT, "delivered here, and given back by the platform"


def compare_device(
    order: Order, effects: Sequence[Effect], booked: Booked | None, terms: Terms
) -> Item:
    """An order and what the device ledger has for it."""
    done = [effect.amount_fen for effect in effects if effect.state is EffectState.DONE]
    if booked is not None and (not booked.in_meter or (booked.by_person and not done)):
        done.append(booked.amount_fen)
    finding, detail = _device_finding(order, done, effects, booked, terms)
    return Item(
        level=Level.DEVICE,
        subject=order.number,
        finding=finding,
        ordered=order.amount_fen,
        credited=sum(done),
        detail=detail,
    )


def _device_finding(
    order: Order,
    done: Sequence[int],
    effects: Sequence[Effect],
    booked: Booked | None,
    terms: Terms,
) -> tuple[Finding, str]:
    if len(done) > 1:
        return Finding.DOUBLE_EFFECT, f"credited {len(done)} times"
    if done and (done[0] != order.amount_fen or _otherwise(booked, order)):
        return Finding.AMOUNT_DIFFERS, f"credited {done[0]} fen"
    open_states = {effect.state for effect in effects}
    if EffectState.DOUBTFUL in open_states or order.state is OrderState.UNKNOWN:
        return Finding.UNKNOWN, order.reason or "a credit ended unknown"
    match order.state:
        case OrderState.DELIVERED if done and booked:
            return Finding.EQUAL, ""
        case OrderState.DELIVERED if done:
            return Finding.PAID_WITHOUT_EFFECT, "delivered, and not booked"
        case OrderState.DELIVERED:
            return Finding.PAID_WITHOUT_EFFECT, "delivered, and no credit was confirmed"
        case OrderState.REFUND_DUE | OrderState.REFUNDED:
            if done or booked:
                return Finding.EFFECT_WITHOUT_PAYMENT, f"{order.state}, and credited"
            return Finding.EQUAL, ""
        case _ if EffectState.UNDER_WAY in open_states or terms.now_ms < order.deadline_ms:
            return Finding.PENDING, f"{order.state} within its deadline"
        case _:
            return Finding.PAID_WITHOUT_EFFECT, f"{order.state} after its deadline"


def _otherwise(booked: Booked | None, order: Order) -> bool:
    return booked is not None and booked.amount_fen != order.amount_fen


def without_order(number: str, effect: Effect) -> Item:
    """A credit that names an order which does not exist."""
    is_done = effect.state is EffectState.DONE
    is_pending = effect.state is EffectState.UNDER_WAY
    return Item(
        level=Level.DEVICE,
        subject=number,
        finding=Finding.EFFECT_WITHOUT_PAYMENT
        if is_done
        else (Finding.PENDING if is_pending else Finding.UNKNOWN),
        credited=effect.amount_fen,
        detail=f"{effect.device} was credited for it, and there is no such order",
    )
