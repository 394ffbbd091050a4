"""Rooms' accounts: how they stand, every movement, corrections; the rules are those of `hub.campus`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from hub.api.bindings import RoomWord
from hub.api.orders import IdempotencyKey
from hub.api.parts import ApiParts, Parts
from hub.api.problems import NOT_FOUND, FieldProblem, Problem
from hub.api.rights import RESOLVERS, Who, allow
from hub.api.shapes import TIME_MAX, Asked, Given, Shown, TimeMs
from hub.auth import EVERYWHERE, Caller
from hub.campus.accounts import books
from hub.campus.accounts.accounts import AccountKind, Room, Unit, Utility, is_open
from hub.campus.accounts.books import AMOUNT_MAX, Kind
from hub.campus.accounts.desk import (
    Chosen,
    Correction,
    Holding,
    correct_room,
    find_holdings,
    find_transactions,
    statement_page,
)
from hub.campus.accounts.reversals import reverse
from hub.campus.prepaid.standing import Holder, Standing

router = APIRouter(prefix="/v1", tags=["accounts"])

Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Said = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*[^\x00-\x20]+$")]
_Amount = Annotated[int, Field(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
UtilityWord = Annotated[Utility, Path()]
NumberWord = Annotated[int, Path(ge=1, le=TIME_MAX)]


class AccountsAsked(Asked):
    """Which rooms; empty means all. With `below_fen` those whose account has less; 0: those that owe."""

    building: Text = ""
    room: Text = ""
    utility: Utility | None = None
    below_fen: _Amount | None = None
    after: Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f]*$")] = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class StatementAsked(Asked):
    """Which of a room's three accounts; postings before this transaction."""

    account: AccountKind = AccountKind.ROOM
    after: Annotated[int, Field(ge=0, le=TIME_MAX)] | None = None
    limit: Annotated[int, Field(ge=10, le=1000)] = 100


class TransactionsAsked(Asked):
    """What was booked from `since_ms` until before `until_ms`, after this number."""

    since_ms: TimeMs = 0
    until_ms: TimeMs = TIME_MAX
    after: Annotated[int, Field(ge=0, le=TIME_MAX)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class CorrectionGiven(Given):
    """By how much an account is put right, above 0 in favour of the room, and why."""

    unit: Annotated[Unit, Field(strict=False)] = Unit.FEN
    amount: _Amount
    reason: Said


class AccountShown(Shown):
    """What stands in the books: fen, what is free (Wh or ml), paid and not delivered, put into the meter."""

    account: str
    building: str
    room: str
    utility: Utility
    unit: Unit
    fen: int
    free: int
    held_fen: int
    meter_fen: int


class AccountPage(Shown):
    """Accounts in their order; `next` is the `after` of the next page."""

    accounts: list[AccountShown]
    next: str | None


class StandingShown(Shown):
    """What a room has at its last reading; `doubt` says why that is not sure, empty when it is."""

    holder: Holder
    devices: list[str]
    balance_fen: int | None
    credit: int | None
    allowance: int
    held_fen: int
    as_of_ms: int
    doubt: str
    is_used_up: bool


class AccountDetail(Shown):
    """A room in the books, and how it stands; null where it is not charged, or has no meter."""

    account: AccountShown
    standing: StandingShown | None


class LineShown(Shown):
    """One posting of an account."""

    number: int
    time_ms: int
    kind: Kind
    key: str
    unit: Unit
    amount: int
    actor: str
    cause: str


class StatementShown(Shown):
    """Postings, the newest first; `next` is the `after` of the next page."""

    lines: list[LineShown]
    next: int | None


class PostingShown(Shown):
    """So much more, or less, on an account."""

    account: str
    unit: Unit
    amount: int


class TransactionShown(Shown):
    """A transaction with its postings, which come to 0 in each unit."""

    number: int
    time_ms: int
    kind: Kind
    key: str
    actor: str
    cause: str
    postings: list[PostingShown]


class TransactionPage(Shown):
    """Transactions in their order; `next` is the `after` of the next page."""

    transactions: list[TransactionShown]
    next: int | None


class ReversalGiven(Given):
    """Why a transaction should never have been."""

    reason: Said


class ReversalShown(Shown):
    """The transaction that takes another back; not `fresh`: it was taken back before."""

    number: int
    reverses: int
    fresh: bool


class CorrectionShown(Shown):
    """The transaction of a correction, and what the account has now; not `fresh`: it was booked before."""

    number: int
    account: str
    unit: Unit
    amount: int
    balance: int
    fresh: bool


@router.get("/accounts", dependencies=[allow(*RESOLVERS)])
async def list_accounts(
    parts: Parts, who: Who, asked: Annotated[AccountsAsked, Query()]
) -> AccountPage:
    """What rooms have by the books; a key for one building sees its own."""
    building = asked.building if who.place == EVERYWHERE else who.place
    if asked.building not in ("", building):
        return AccountPage(accounts=[], next=None)
    chosen = Chosen(
        building=building, room=asked.room, utility=asked.utility, below_fen=asked.below_fen
    )
    found = await parts.ledger.read(
        lambda connection: find_holdings(
            connection, chosen, after=asked.after, limit=asked.limit + 1
        )
    )
    page = found[: asked.limit]
    return AccountPage(
        accounts=[_account(item) for item in page],
        next=page[-1].room.account if len(found) > asked.limit else None,
    )


@router.get("/accounts/{building}/{room}/{utility}", dependencies=[allow(*RESOLVERS)])
async def get_account(
    parts: Parts, who: Who, building: RoomWord, room: RoomWord, utility: UtilityWord
) -> AccountDetail:
    """One room: what the books have, and how it stands at its last reading."""
    here = await _mine(parts, who, building, room, utility)
    chosen = Chosen(building=building, room=room, utility=utility)
    (item,) = await parts.ledger.read(lambda connection: find_holdings(connection, chosen, limit=1))
    standing = (await parts.campus.standings.of([here])).get(here)
    return AccountDetail(account=_account(item), standing=_standing(standing))


@router.get("/accounts/{building}/{room}/{utility}/statement", dependencies=[allow(*RESOLVERS)])
async def get_statement(
    parts: Parts,
    who: Who,
    building: RoomWord,
    room: RoomWord,
    utility: UtilityWord,
    asked: Annotated[StatementAsked, Query()],
) -> StatementShown:
    """Every movement of a room's account, the newest first."""
    here = await _mine(parts, who, building, room, utility)
    ids = {
        AccountKind.ROOM: here.account,
        AccountKind.HELD: here.held,
        AccountKind.METER: here.meter,
    }
    if asked.account not in ids:
        wrong = FieldProblem(field="query.account", reason="is room, held or meter")
        raise Problem(422, "invalid", "a room has three accounts", (wrong,))
    lines, following = await parts.ledger.read(
        lambda connection: statement_page(
            connection, ids[asked.account], before=asked.after, limit=asked.limit
        )
    )
    shown = [LineShown.model_validate(line, from_attributes=True) for line in lines]
    return StatementShown(lines=shown, next=following)


@router.post("/accounts/{building}/{room}/{utility}/corrections", dependencies=[allow(*RESOLVERS)])
async def correct(
    parts: Parts,
    who: Who,
    key: IdempotencyKey,
    building: RoomWord,
    room: RoomWord,
    utility: UtilityWord,
    given: CorrectionGiven,
) -> CorrectionShown:
    """Put an account right, with a reason; the same key is one correction, for ever.

    Refused (409) above the bounds of one correction, or of one person's day.
    """
    here = await _mine(parts, who, building, room, utility)
    if not given.amount:
        wrong = FieldProblem(field="body.amount", reason="is 0")
        raise Problem(422, "invalid", "there is nothing to correct", (wrong,))
    wish = Correction(
        room=here,
        unit=given.unit,
        amount=given.amount,
        reason=given.reason,
        owner=who.name,
        key=key,
    )
    now_ms = parts.clock.now_ms()
    number, fresh = await parts.ledger.run(
        lambda connection: correct_room(connection, wish, actor=who.actor, now_ms=now_ms)
    )
    left = await parts.ledger.read(
        lambda connection: books.balance(connection, here.account, given.unit)
    )
    return CorrectionShown(
        number=number,
        account=here.account,
        unit=given.unit,
        amount=given.amount,
        balance=left,
        fresh=fresh,
    )


@router.get("/transactions", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def list_transactions(
    parts: Parts, asked: Annotated[TransactionsAsked, Query()]
) -> TransactionPage:
    """What was booked in a span of time, in its order."""
    found = await parts.ledger.read(
        lambda connection: find_transactions(
            connection,
            asked.since_ms,
            asked.until_ms,
            after=asked.after,
            limit=asked.limit + 1,
        )
    )
    page = found[: asked.limit]
    return TransactionPage(
        transactions=[TransactionShown.model_validate(one, from_attributes=True) for one in page],
        next=page[-1].number if len(found) > asked.limit else None,
    )


@router.post("/transactions/{number}/reverse", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def reverse_transaction(
    parts: Parts, who: Who, number: NumberWord, given: ReversalGiven
) -> ReversalShown:
    """Take a whole transaction back by another, with a reason; once, however often this is asked.

    Refused (409) where there is none, and for those of orders and settlements.
    """
    now_ms = parts.clock.now_ms()
    made, fresh = await parts.ledger.run(
        lambda connection: reverse(
            connection, number, actor=who.actor, reason=given.reason, time_ms=now_ms
        )
    )
    return ReversalShown(number=made, reverses=number, fresh=fresh)


async def _mine(parts: ApiParts, who: Caller, building: str, room: str, utility: Utility) -> Room:
    """A room that has an account of this utility, and that this key may know of."""
    here = Room(building=building, room=room, utility=utility)
    if not who.covers(building) or not await parts.ledger.read(
        lambda connection: is_open(connection, here.account)
    ):
        raise NOT_FOUND
    return here


def _account(item: Holding) -> AccountShown:
    room = item.room
    return AccountShown(
        account=room.account,
        building=room.building,
        room=room.room,
        utility=room.utility,
        unit=room.utility.unit,
        fen=item.fen,
        free=item.free,
        held_fen=item.held_fen,
        meter_fen=item.meter_fen,
    )


def _standing(standing: Standing | None) -> StandingShown | None:
    if standing is None:
        return None
    return StandingShown.model_validate(standing, from_attributes=True)
