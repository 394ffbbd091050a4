"""Whether a month was reckoned and kept right: a list of complaints, or none.

The judge reads the meters' diaries, the platform's payments and the price list, and reckons what must be in
the hub's books with a little code of its own. Of the hub it believes only when it gave the allowances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from sqlalchemy import Connection, text

from hub import audit
from hub.campus.accounts import books
from hub.campus.orders.listing import in_states
from hub.campus.orders.orders import Order, OrderState
from hub.ledger import open_reader
from tests.month_meter import MILLION, MWMS_PER_WH, Deed, DormMeter, Said
from tests.month_people import RATES, ZONE, Household, Kind, begin_ms, moment_ms
from tests.month_town import ALLOWANCE_WH, CARRIES_OVER, PLATFORM, UNBILLED, Town

_WITHIN_MS = 3 * 3_600_000  # of the month's begin, or of the hub's return, an allowance is given
_ENDED = (OrderState.DELIVERED, OrderState.REFUND_DUE, OrderState.REFUNDED)
_COARSE_WH = 10  # the display of a meter that holds credit


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """So much flowed from one word of a meter to its next."""

    meter: str
    begin_ms: int
    end_ms: int
    wh: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """What a room must have been charged, and what it must have left of its allowance."""

    fen: int
    free_wh: int


def complaints(town: Town) -> list[str]:
    """Every promise that was broken, in words; empty when none was."""
    with open_reader(town.ledger_path) as connection:
        known = in_states(connection, list(OrderState), limit=100_000)
        return [
            *town.refused,
            *_dishonest(town),
            *_unbalanced(connection),
            *_unordered(town, known),
            *_uncredited(town, known),
            *_unbooked(connection, town, known),
            *_mischarged(connection, town, known),
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


def _mischarged(connection: Connection, town: Town, known: Sequence[Order]) -> Iterator[str]:
    """Each room has what it paid, less what its meters counted at the price of the day, to the fen."""
    for home in town.homes:
        account = home.room.account
        given_ms = _given_ms(connection, account)
        yield from (f"{account}: {said}" for said in _late(town, home, given_ms))
        due = due_of(town, home, list(given_ms.values()))
        mine = [order for order in known if order.account == account]
        paid_fen = delivered_fen(mine) if home.kind is not Kind.METER else 0
        found, free_wh = _balance(connection, account), _balance(connection, account, "Wh")
        if found != paid_fen - due.fen:
            yield f"{account} has {found} fen: paid {paid_fen}, and {due.fen} are due"
        if free_wh != due.free_wh:
            yield f"{account} has {free_wh} Wh of its allowance, not {due.free_wh}"


def _late(town: Town, home: Household, given_ms: Mapping[str, int]) -> Iterator[str]:
    """The allowance of a month is given soon after it began, or as soon as there is a hub again."""
    if not _is_charged(home):
        wanted: dict[str, int] = {}
    else:
        wanted = {"2026-09": begin_ms(), "2026-10": moment_ms(date(2026, 10, 1), 0)}
    if given_ms.keys() != wanted.keys():
        yield f"was given allowances in {sorted(given_ms)}"
    for month, since_ms in wanted.items():
        at_ms = given_ms.get(month, since_ms)
        away_ms = sum(until - since for since, until in town.down if since < since_ms + _WITHIN_MS)
        if not since_ms <= at_ms <= since_ms + _WITHIN_MS + away_ms:
            yield f"was given the allowance of {month} {(at_ms - since_ms) / 1000:.0f} s late"


def due_of(town: Town, home: Household, given_ms: Sequence[int]) -> Due:
    """What a room must pay for what its meters counted, the allowance first."""
    served = home.served if _is_charged(home) else []
    steps = [step for name in served for step in steps_of(town, name)]
    happened: list[tuple[int, Step | None]] = [
        *((step.end_ms, step) for step in steps),  # first: charged before an allowance is given
        *((at_ms, None) for at_ms in given_ms),
    ]
    free_wh, due = 0, Counter[str]()
    for _, step in sorted(happened, key=lambda one: one[0]):
        if step is None:
            free_wh = ALLOWANCE_WH + (free_wh if home.room.building == CARRIES_OVER else 0)
            continue
        for day, wh in by_day(step):
            free = min(free_wh, wh)
            free_wh -= free
            due[step.meter] += (wh - free) * rate_of(day)
    return Due(fen=sum(parts // MILLION for parts in due.values()), free_wh=free_wh)


def steps_of(town: Town, name: str) -> Iterator[Step]:
    """What flowed between the sound words of a meter."""
    meter = town.meters[name]
    sound = [said for said in meter.said if said.sound]
    for before, after in pairwise(_once(sound)):
        wh = after.counter - before.counter
        yield Step(
            meter=name,
            begin_ms=before.time_ms,
            end_ms=after.time_ms,
            wh=wh % meter.rollover if meter.rollover else wh,
        )


def by_day(step: Step) -> Iterator[tuple[date, int]]:
    """What of a step fell on each day, by time, as the documents say."""
    begun, reached, at_ms = _day(step.begin_ms), 0, step.begin_ms
    while at_ms < step.end_ms:
        next_ms = min(step.end_ms, moment_ms(begun + timedelta(days=1), 0))
        until = step.wh * (next_ms - step.begin_ms) // (step.end_ms - step.begin_ms)
        yield begun, until - reached
        begun, reached, at_ms = begun + timedelta(days=1), until, next_ms


def rate_of(day: date) -> int:
    """Millionths of a fen for a Wh on this day."""
    yuan = next(rate for begins, rate in reversed(RATES.items()) if begins <= day)
    return int(Decimal(yuan) * 100_000)


def true_wh(meter: DormMeter, since_ms: int, until_ms: int) -> int:
    """What flowed while the relay was closed, reckoned anew from the diary."""
    off = list(meter.off_periods(until_ms))
    edges = [since_ms, *(moment for begun, ended, _ in off for moment in (begun, ended)), until_ms]
    on = zip(edges[::2], edges[1::2], strict=True)
    flowed = sum(meter.load.mwms(end) - meter.load.mwms(begin) for begin, end in on if end > begin)
    return flowed // MWMS_PER_WH


def meter_began_ms(town: Town, name: str) -> int:
    """When a meter was mounted."""
    return next((swap.time_ms for swap in town.swaps if swap.new == name), begin_ms())


def delivered_fen(known: Sequence[Order]) -> int:
    """The money of those that were delivered."""
    return sum(order.amount_fen for order in known if order.state is OrderState.DELIVERED)


def told(town: Town) -> Counter[str]:
    """How many orders came to which end."""
    with open_reader(town.ledger_path) as connection:
        return Counter(
            str(one.state) for one in in_states(connection, list(OrderState), limit=10**6)
        )


def _once(sound: Sequence[Said]) -> list[Said]:
    """The words of a meter in order of time, each time once."""
    return [said for _, said in sorted({said.time_ms: said for said in sound}.items())]


def _given_ms(connection: Connection, account: str) -> dict[str, int]:
    query = text("SELECT cause, time_ms FROM transactions WHERE key = 'allowance/' || cause || :of")
    return dict(connection.execute(query, {"of": f"/{account}"}).tuples().all())


def _balance(connection: Connection, account: str, unit: str = "fen") -> int:
    query = text("SELECT sum(amount) FROM postings WHERE account = :of AND unit = :unit")
    return connection.scalar(query, {"of": account, "unit": unit}) or 0


def _is_charged(home: Household) -> bool:
    """Whether the hub charges the room: it holds its credit, and the room pays for what it uses."""
    return home.kind is not Kind.METER and (home.room.building, home.room.room) != UNBILLED


def _day(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, ZONE).date()
