"""Whether what was paid is where the hub says: a list of complaints, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hub import audit
from hub.campus.accounts import accounts, books
from hub.campus.orders.orders import Order, OrderState
from hub.ledger import open_reader
from tests.payment_town import PLATFORM, Aftermath, all_orders

_ENDS = (OrderState.DELIVERED, OrderState.REFUND_DUE, OrderState.UNKNOWN)


def complaints(after: Aftermath) -> list[str]:
    """Every promise that was broken, in words; empty when none was."""
    known = all_orders(after.data)
    return [
        *after.teller.contradictions,
        *_forgotten(after, known),
        *_uncredited(after, known),
        *_unbooked(after, known),
    ]


def _forgotten(after: Aftermath, known: list[Order]) -> Iterator[str]:
    """What was acknowledged to the platform and is not there, or is not as it was paid."""
    by_number = {order.number: order for order in known}
    for number, id in after.teller.taken.items():
        order = by_number.get(number)
        if order is None or order.id != id:
            yield f"{number} was taken as {id}, the hub knows {order}"
    for number, payment in after.platform.payments.items():
        order = by_number.get(number)
        if order is None or order.amount_fen != payment.amount_fen:
            yield f"{payment} is {order}"
    for order in known:
        if order.state not in _ENDS:
            yield f"{order.key} has not ended: {order.state}"


def _uncredited(after: Aftermath, known: list[Order]) -> Iterator[str]:
    """Each meter has exactly what was delivered to it, and order by order too."""
    credited = after.credits()
    sums, delivered = Counter[str](), Counter[str]()
    for (device, fen), times in credited.items():
        sums[device] += fen * times
    for order in known:
        times = credited.pop((order.device, order.amount_fen), 0)
        is_delivered = order.state is OrderState.DELIVERED
        delivered[order.device] += order.amount_fen * is_delivered
        if times != is_delivered and order.state is not OrderState.UNKNOWN:
            yield f"{order.key} is {order.state} ({order.reason}), credited {times} times"
    for device in sums | delivered:
        if sums[device] != delivered[device]:
            yield f"{device} has {sums[device]} fen, {delivered[device]} were delivered"
    for device, fen in credited:
        yield f"nobody paid {fen} fen of {device}"


def _unbooked(after: Aftermath, known: list[Order]) -> Iterator[str]:
    """The books are right in themselves, and say of the money what the orders say."""
    paid_fen = sum(order.amount_fen for order in known)
    held, in_meter = Counter[str](), Counter[str]()
    for order in known:
        delivered = order.state is OrderState.DELIVERED
        (in_meter if delivered else held)[order.account] += order.amount_fen
    with open_reader(after.data / "ledger.db") as connection:
        yield from map(str, books.check(connection))
        broken = audit.verify(connection)
        if broken is not None:
            yield f"the audit is broken at {broken}"
        if books.balance(connection, accounts.platform(PLATFORM)) != -paid_fen:
            yield "the platform owes something else than was paid"
        for order in known:
            found = (
                books.balance(connection, order.room.held),
                books.balance(connection, order.room.meter),
            )
            if found != (held[order.account], in_meter[order.account]):
                yield f"{order.account} has {found} held and in the meter"


def told(after: Aftermath) -> Counter[str]:
    """How many orders came to which end."""
    return Counter(str(order.state) for order in all_orders(after.data))
