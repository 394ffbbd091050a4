"""What each room has free in a month: given once, used first, kept or not as its building says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, select

from hub import audit
from hub.campus.accounts import books
from hub.campus.accounts.accounts import AccountKind, Room, Unit, grant, room_of
from hub.campus.accounts.books import Entry, Kind, Posting, transfer
from hub.campus.prepaid.charge import local_day
from hub.campus.prepaid.meters import room_meters
from hub.campus.prepaid.rules import Prepaid, Rules
from hub.clock import Clock
from hub.ledger import Ledger
from hub.ledger.tables import accounts, balances, transactions
from hub.site import Site

ACTOR = "allowance"
_GROUP = 500  # rooms of one transaction: some tens of milliseconds, so that orders go on between

_ROOMS = (
    select(accounts.c.id)
    .where(accounts.c.kind == AccountKind.ROOM, accounts.c.closed_ms.is_(None))
    .order_by(accounts.c.id)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Granted:
    """What became of a month: rooms that were given theirs now, and those that had it, or have none."""

    month: str
    given: int
    passed: int


async def grant_month(ledger: Ledger, site: Site, rules: Rules, *, clock: Clock) -> Granted:
    """Give every open room its allowance of the month that it is now on the campus's calendar.

    Not where the meter holds the credit: it deducts by itself and would never ask the books.
    What is left of the last one goes back first, where it is not carried over: charge the rooms before. One
    transaction for each room and month, for ever: it may be run as often as one likes, and goes on where it
    was broken off. A month in which it was never run is not made up for. Raises StoreError.
    """
    now_ms = clock.now_ms()
    month = local_day(now_ms, site.timezone).strftime("%Y-%m")
    known = await ledger.read(lambda connection: list(connection.scalars(_ROOMS)))
    holding = {meter.room.account for meter in room_meters(site, rules) if meter.holds_credit}
    rooms = [account for account in known if account not in holding]
    given = 0
    for begin in range(0, len(rooms), _GROUP):
        group = rooms[begin : begin + _GROUP]
        given += await ledger.run(
            partial(_give, rooms=group, rules=rules, month=month, now_ms=now_ms)
        )
    return Granted(month=month, given=given, passed=len(rooms) - given)


def _give(
    connection: Connection, *, rooms: Sequence[str], rules: Rules, month: str, now_ms: int
) -> int:
    keys = {account: f"allowance/{month}/{account}" for account in rooms}
    query = select(transactions.c.key).where(transactions.c.key.in_(keys.values()))
    done = set(connection.scalars(query))
    wanted = [account for account in rooms if keys[account] not in done]
    left = _left(connection, wanted)
    entries = [
        Entry(key=keys[account], kind=Kind.GRANT, postings=postings, cause=month)
        for account in wanted
        if (postings := _postings(room_of(account), rules, left))
    ]
    numbers = books.post_all(connection, entries, actor=ACTOR, time_ms=now_ms)
    if numbers:
        said = json.dumps({"month": month, "rooms": len(numbers), "first": numbers[0]})
        entry = audit.Entry(subject="allowance", action="given", before="", after=said)
        audit.append_all(connection, [entry], actor=ACTOR, cause=month, time_ms=now_ms)
    return len(numbers)


def _postings(room: Room | None, rules: Rules, left: Mapping[str, int]) -> tuple[Posting, ...]:
    if room is None:
        return ()
    policy = rules.of(room.building)
    if not policy.charges(room.room):
        return ()
    return (*_lapse(room, policy, left.get(room.account, 0)), *_grant(room, policy))


def _lapse(room: Room, policy: Prepaid, left: int) -> tuple[Posting, ...]:
    if policy.carry_over or left <= 0:
        return ()
    return transfer(room.account, grant(room.utility), room.utility.unit, left)


def _grant(room: Room, policy: Prepaid) -> tuple[Posting, ...]:
    amount = policy.allowance(room.utility)
    if not amount:
        return ()
    return transfer(grant(room.utility), room.account, room.utility.unit, amount)


def _left(connection: Connection, wanted: Sequence[str]) -> dict[str, int]:
    """What is left of allowances; a room's account has no energy but that."""
    query = select(balances.c.account, balances.c.amount).where(
        balances.c.account.in_(wanted), balances.c.unit != Unit.FEN
    )
    return {account: amount for account, amount in connection.execute(query)}
