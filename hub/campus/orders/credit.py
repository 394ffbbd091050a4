"""An order as a credit of a meter that keeps its own: which command, under which key, what its end means."""

from __future__ import annotations

import math

from hub.campus.orders.orders import Order, OrderState
from hub.command import CommandSpec, Hazard, Priority, State
from hub.commands import Order as Wish
from hub.commands import Record, Resolution
from hub.model import Device

ACTOR = "delivery"
PAUSE_MAX_S = (
    600.0  # between two commands of one order; one that has more time makes another after it
)
TRIES_MAX = 3  # commands of one order that the meter itself refused
_AGAIN_FIRST_S = 10.0  # from the end of a command without effect to the next
_SETTLED = {
    State.CONFIRMED: OrderState.DELIVERED,
    State.FAILED: OrderState.REFUND_DUE,  # its deadline has passed, and a reading showed no effect
    State.EXPIRED: OrderState.ACCEPTED,  # certainly nothing has reached the meter
}
_FOUND = {
    Resolution.DONE: OrderState.DELIVERED,
    Resolution.NOT_DONE: OrderState.REFUND_DUE,
    Resolution.NONE: OrderState.UNKNOWN,
}


def credit_of(device: Device) -> CommandSpec | None:
    """The command that puts money into this device; None when the hub keeps it."""
    found = (spec for spec in device.profile.commands.values() if spec.hazard is Hazard.CREDIT)
    return next(found, None)


def key_of(order: Order, number: int) -> str:
    """The key of an order's command of this number, from 1: the order's own for the first."""
    return order.key if number == 1 else f"{order.key}/{number}"


def number_of(order: Order, record: Record) -> int:
    """Which of an order's commands this is, from 1."""
    tail = record.key.removeprefix(order.key).removeprefix("/")
    return int(tail) if tail else 1


def wish_of(order: Order, spec: CommandSpec, number: int, now_ms: int) -> Wish:
    """What is to be told to the meter, which may be told it no later than the order's own deadline."""
    amounts = {
        argument.name: order.amount_fen
        for argument in spec.arguments.values()
        if argument.unit == "fen" and not argument.from_point
    }
    return Wish(
        device=order.device,
        name=spec.name,
        arguments=amounts,
        actor=ACTOR,
        key=key_of(order, number),
        cause=f"order {order.platform} {order.number}",
        deadline_s=min((order.deadline_ms - now_ms) / 1000, spec.deadline_s),
        priority=Priority.PAID,
    )


def rests_until_ms(record: Record, number: int) -> int:
    """Before when an order's next command is not made."""
    pause_s = min(math.ldexp(_AGAIN_FIRST_S, min(number - 1, 16)), PAUSE_MAX_S)
    return (record.finished_ms or 0) + round(pause_s * 1000)


def outcome_of(record: Record, number: int) -> OrderState | None:
    """What the end of its command makes of an order: accepted is to be told again. None before the end."""
    if record.state is State.UNKNOWN:
        return _FOUND[record.resolution]
    if record.state is State.REFUSED:
        by_meter = record.attempts > 0
        return OrderState.REFUND_DUE if by_meter and number >= TRIES_MAX else OrderState.ACCEPTED
    return _SETTLED.get(record.state)
