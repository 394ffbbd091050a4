"""Whether a month was reckoned and kept right: a list of complaints, or none.

The judge reads the meters' diaries, the platform's payments and the price list, and reckons what must be in
the hub's books with a little code of its own. Of the hub it believes only when it gave the allowances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from sqlalchemy import Connection, text

from hub import audit
from hub.campus.accounts import books
from hub.campus.orders.listing import in_states
from hub.campus.orders.orders import Order, OrderState
from hub.ledger import open_reader
from tests.month_alert_judge import alert_complaints
from tests.month_meter import MWMS_PER_WH, Deed, DormMeter
from tests.month_people import Household, Kind, begin_ms, moment_ms
from tests.month_reckoning import (
    Due,
    Purse,
    booked_ms,
    delivered_fen,
    given_ms_of,
    is_charged,
    purses_of,
)
from tests.month_supply_judge import supply_complaints
from tests.month_town import PLATFORM, Town

_ENDED = (OrderState.DELIVERED, OrderState.REFUND_DUE, OrderState.REFUNDED)
_COARSE_WH = 10  # the display of a meter that holds credit


def complaints(town: Town) -> list[str]:
    """Every promise that was broken, in words; empty when none was."""
    with open_reader(town.ledger_path) as connection:
        known = in_states(connection, list(OrderState), limit=100_000)
        purses = purses_of(connection, town, known)
        return [
            *town.refused,
            *_dishonest(town),
            *_unbalanced(connection),
            *_unordered(town, known),
            *_uncredited(town, known),
            *_unbooked(connection, town, known),
            *_mischarged(connection, town, purses),
            *_unsettled(connection, town, purses),
            *supply_complaints(connection, town, known, purses),
            *alert_complaints(town, purses),
            *_different(connection),
        ]


def _dishonest(town: Town) -> Iterator[str]:
    """A meter that does not show what flowed through it would be no witness."""
    for meter in town.meters.values():
        last = meter.said[-1]
        shown = last.counter - meter.start_wh
        flowed = true_wh(meter, meter_began_ms(town, meter.id), last.time_ms)
        if meter.rollover:
            shown %= meter.rollover
        if not 0 <= flowed - shown < _COARSE_WH:
            yield f"{meter.id} shows {shown} Wh, {flowed} flowed"


def _unbalanced(connection: Connection) -> Iterator[str]:
    """The books are right in themselves, and nobody has written into the audit."""
    yield from map(str, books.check(connection))
    broken = audit.verify(connection)
    if broken is not None:
        yield f"the audit is broken at {broken}"
    sums = connection.execute(text("SELECT unit, sum(amount) FROM balances GROUP BY unit"))
    yield from (f"all accounts together have {total} {unit}" for unit, total in sums if total)


def _unordered(town: Town, known: Sequence[Order]) -> Iterator[str]:
    """Every payment is one order, as it was paid, and has come to its end."""
    by_number = {order.number: order for order in known}
    for number, payment in town.platform.payments.items():
        order = by_number.pop(number, None)
        if order is None or order.amount_fen != payment.amount_fen:
            yield f"{payment} is {order}"
        elif order.state not in _ENDED:
            yield f"{order.key} has not ended: {order.state} ({order.reason})"
        elif (payment.state == "refunded") is (order.state is OrderState.DELIVERED):
            yield f"{order.key} is {order.state}, and {payment.state} at the platform"
    yield from (f"nobody paid {order.key}" for order in by_number.values())


def _uncredited(town: Town, known: Sequence[Order]) -> Iterator[str]:
    """Each meter that holds credit has exactly what was delivered to it."""
    credited = Counter(
        (meter.id, entry.value)
        for meter in town.meters.values()
        for entry in meter.diary
        if entry.deed is Deed.CREDITED
    )
    for order in known:
        times = credited.pop((order.device, order.amount_fen), 0)
        holds = bool(town.meters[order.device].rate)
        if times != (holds and order.state is OrderState.DELIVERED):
            yield f"{order.key} is {order.state} ({order.reason}), credited {times} times"
    yield from (f"nobody paid {fen} fen of {device}" for device, fen in credited)


def _unbooked(connection: Connection, town: Town, known: Sequence[Order]) -> Iterator[str]:
    """The books say of the money what the orders say."""
    kept = sum(order.amount_fen for order in known if order.state is not OrderState.REFUNDED)
    if (found := _balance(connection, f"platform/{PLATFORM}")) != -kept:
        yield f"the platform owes {-found} fen, {kept} were paid and not given back"
    for home in town.homes:
        mine = [order for order in known if order.account == home.room.account]
        held = sum(one.amount_fen for one in mine if one.state is OrderState.REFUND_DUE)
        in_meter = delivered_fen(mine) if home.kind is Kind.METER else 0
        found_both = _balance(connection, home.room.held), _balance(connection, home.room.meter)
        if found_both != (held, in_meter):
            yield f"{home.room.account} has {found_both} held and in the meter, not {(held, in_meter)}"


def _different(connection: Connection) -> Iterator[str]:
    """Platform, orders, meters' counts and counters agree on every day: nothing is left to a person."""
    query = text(
        "SELECT day, level, subject, finding, detail FROM differences WHERE ended_ms IS NULL"
    )
    yield from (f"reconciliation of {' '.join(map(str, row))}" for row in connection.execute(query))


def _mischarged(connection: Connection, town: Town, purses: Mapping[str, Purse]) -> Iterator[str]:
    """Each room has what it paid, less what its meters counted at the price of the day, to the fen."""
    for home in town.homes:
        account = home.room.account
        given_ms = given_ms_of(connection, account)
        yield from (f"{account}: {said}" for said in _late(town, home, given_ms))
        purse = purses.get(account, Purse(course=[Due(time_ms=0, fen=0, free_wh=0)], moved=[]))
        wanted = purse.left(town.end_ms) if town.end_ms < purse.closed_ms else (0, 0)
        found = _balance(connection, account), _balance(connection, account, "Wh")
        if found[0] != wanted[0]:
            yield f"{account} has {found[0]} fen, {wanted[0]} must be left"
        if found[1] != wanted[1]:
            yield f"{account} has {found[1]} Wh of its allowance, not {wanted[1]}"


def _unsettled(connection: Connection, town: Town, purses: Mapping[str, Purse]) -> Iterator[str]:
    """Whoever left is paid what his room had, or owes it; whoever moved has moved."""
    for life in town.lives:
        at_ms = booked_ms(connection, life.key)
        if at_ms is None:  # which is right where there was nothing
            fen, free_wh = purses[life.account].left(life.asked_ms)
            if fen or (free_wh and not life.other):
                yield f"nothing was booked for {life.key} of {life.account}"
        elif not life.other:
            job = life.key.partition("/")[2]
            left_fen = purses[life.account].left(at_ms)[0]
            found = _balance(connection, f"payout/{job}") + _balance(connection, f"debt/{job}")
            if found != left_fen:
                yield f"{life.key} of {life.account} came to {found} fen, {left_fen} were left"


def _late(town: Town, home: Household, given_ms: Mapping[str, int]) -> Iterator[str]:
    """The allowance of a month is given soon after it began, or as soon as there is a hub again."""
    if not is_charged(home):
        wanted: dict[str, int] = {}
    else:
        wanted = {"2026-09": begin_ms(), "2026-10": moment_ms(date(2026, 10, 1), 0)}
    if given_ms.keys() != wanted.keys():
        yield f"was given allowances in {sorted(given_ms)}"
    within_ms = town.plan.notice_ms
    for month, since_ms in wanted.items():
        at_ms = given_ms.get(month, since_ms)
        away_ms = sum(until - since for since, until in town.down if since < since_ms + within_ms)
        if not since_ms <= at_ms <= since_ms + within_ms + away_ms:
            yield f"was given the allowance of {month} {(at_ms - since_ms) / 1000:.0f} s late"


def true_wh(meter: DormMeter, since_ms: int, until_ms: int) -> int:
    """What flowed while the relay was closed, reckoned anew from the diary."""
    off = list(meter.off_periods(until_ms))
    edges = [since_ms, *(moment for begun, ended, _ in off for moment in (begun, ended)), until_ms]
    on = zip(edges[::2], edges[1::2], strict=True)
    flowed = sum(meter.load.mwms(end) - meter.load.mwms(begin) for begin, end in on if end > begin)
    return flowed // MWMS_PER_WH


def meter_began_ms(town: Town, name: str) -> int:
    """When a meter was mounted."""
    return town.mounted_ms.get(name, begin_ms())


def told(town: Town) -> Counter[str]:
    """How many orders came to which end."""
    with open_reader(town.ledger_path) as connection:
        return Counter(
            str(one.state) for one in in_states(connection, list(OrderState), limit=10**6)
        )


def _balance(connection: Connection, account: str, unit: str = "fen") -> int:
    query = text("SELECT sum(amount) FROM postings WHERE account = :of AND unit = :unit")
    return connection.scalar(query, {"of": account, "unit": unit}) or 0
