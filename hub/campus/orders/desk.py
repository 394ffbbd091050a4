"""Orders that staff give: credit for a room, by the way of every paid order and told to no platform.

They have the reserved platform `desk`, their giver's own number, and a person and a reason in the audit. One
that nobody can deliver goes back where it came from by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, func, select

from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, Unit, platform
from hub.campus.accounts.desk import CORRECTION_MAX, DAY_TIMES
from hub.campus.orders import listing, orders
from hub.campus.orders.orders import Act, Notice, Order, OrderError, OrderState, Received, Verdict
from hub.campus.orders.platforms import DESK
from hub.clock import Clock
from hub.errors import HubError
from hub.ledger import Ledger
from hub.ledger.tables import postings, transactions

_GROUP = 100  # orders given back in one transaction
_MAX_FEN = CORRECTION_MAX[Unit.FEN]  # of one credit of the house, as of one correction
_DAY_MS = 86_400_000


class NoMeter(HubError):
    """No meter serves the room, or its account is closed; nothing was taken."""


class NumberUsed(HubError):
    """The number was used for another order of the desk; that one stands."""


class Source(StrEnum):
    """Where the money of a desk order comes from."""

    STAFF = "staff"  # given by the house
    METER = "meter"  # what a person read at the room's old meter
    ROOM = "room"  # what the hub keeps for the room, into its meter

    def account(self, room: Room) -> str:
        """The account that pays."""
        accounts = {Source.METER: room.meter, Source.ROOM: room.account}
        return accounts.get(self, platform(DESK))


@dataclass(frozen=True, kw_only=True, slots=True)
class Credit:
    """So much for a room; `number` is its giver's own, `[0-9A-Za-z_-]`. `amount_fen` is above 0."""

    number: str
    room: Room
    amount_fen: int
    source: Source = Source.STAFF
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The meter that serves a room, empty when there is none, and until when an order waits for it."""

    device: str
    deadline_ms: int


class Desk:
    """Gives credit; `target` says which meter serves a room, `taken` is told of each new order on disk."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        target: Callable[[Room], Target],
        taken: Callable[[Order], None],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._ledger = ledger
        self._clock = clock
        self._target = target
        self._taken = taken

    async def give(self, credit: Credit, actor: str) -> Order:
        """The order, on disk; the first one whenever the same is given again.

        Raises OrderError for a credit without a reason, for more than its source has or one person gives at
        once or in a day, NoMeter, NumberUsed, or StoreError when nothing was taken.
        """
        if not credit.reason.strip() or not actor.strip():
            raise OrderError("a credit needs a person and a reason")
        target, id = self._target(credit.room), self._clock.new_id()
        notice = Notice(
            platform=DESK,
            number=credit.number,
            room=credit.room,
            amount_fen=credit.amount_fen,
            source="" if credit.source is Source.STAFF else credit.source.account(credit.room),
        )
        act = Act(actor=actor, now_ms=self._clock.now_ms(), cause=credit.reason)
        found = await self._ledger.run(
            lambda connection: receive(connection, notice, act, id=id, target=target)
        )
        self.counts[found.verdict] += 1
        if found.order is None:
            raise NoMeter(f"no meter serves {credit.room.account}, or it is closed")
        if found.verdict is Verdict.CONFLICT:
            raise NumberUsed(f"{credit.number} was used for another order of the desk")
        if found.verdict is Verdict.TAKEN:
            self._taken(found.order)
        return found.order

    async def give_back(self) -> int:
        """Give back what could not be delivered, some at a time; how many. Raises StoreError."""
        now_ms = self._clock.now_ms()
        if not await self._ledger.read(_due):
            return 0
        return await self._ledger.run(lambda connection: _give_back(connection, now_ms))

    def told(self, order: Order) -> None:
        """An order that somebody else took for the desk is on disk."""
        self.counts[Verdict.TAKEN] += 1
        self._taken(order)


def receive(
    connection: Connection, notice: Notice, act: Act, *, id: str, target: Target
) -> Received:
    """As `orders.receive`, for one of the desk. OrderError for more than its source has, or may give."""
    if orders.find(connection, DESK, notice.number) is None:
        _check_source(connection, notice, act)
    return orders.receive(
        connection, notice, act, id=id, device=target.device, deadline_ms=target.deadline_ms
    )


def _check_source(connection: Connection, notice: Notice, act: Act) -> None:
    """A room gives what it has; the house as much as one person may correct."""
    if notice.source:
        has = books.balance(connection, notice.source)
        if has < notice.amount_fen:
            raise OrderError(f"{notice.source} has {has} fen, not {notice.amount_fen}")
        return
    if notice.amount_fen > _MAX_FEN:
        raise OrderError(f"the house gives at most {_MAX_FEN} fen at once")
    query = (
        select(func.sum(-postings.c.amount))
        .join(transactions, transactions.c.number == postings.c.number)
        .where(postings.c.account == platform(DESK), transactions.c.actor == act.actor)
        .where(transactions.c.kind == str(books.Kind.ACCEPTED))
        .where(transactions.c.time_ms > act.now_ms - _DAY_MS)
    )
    today = int(connection.scalar(query) or 0)
    if today + notice.amount_fen > _MAX_FEN * DAY_TIMES:
        raise OrderError(f"one person gives at most {_MAX_FEN * DAY_TIMES} fen in a day")


def _due(connection: Connection) -> list[Order]:
    return listing.recent(connection, platform=DESK, state=OrderState.REFUND_DUE, limit=_GROUP)


def _give_back(connection: Connection, now_ms: int) -> int:
    due = _due(connection)
    for order in due:
        orders.refund(connection, order, Act(actor=DESK, now_ms=now_ms, cause=order.reason))
    return len(due)
