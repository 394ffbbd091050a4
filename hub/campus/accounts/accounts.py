"""Whose money and energy: an account for each room and utility, for each platform, and for the house.

    room/BUILDING/ROOM/UTILITY    what the room has; below 0 it owes
    held/BUILDING/ROOM/UTILITY    paid, and not yet delivered
    meter/BUILDING/ROOM/UTILITY   credit that stands in the meter itself
    platform/NAME                 minus what the platform has collected for the house
    revenue/UTILITY               what was earned; in Wh or ml: free use that was used
    grant/UTILITY                 minus the allowances given
    correction/UTILITY            the other side of every correction
    payout/SETTLEMENT             what somebody who left is to be paid
    debt/SETTLEMENT               minus what somebody who left still owes

A `/` or `%` inside a name is written `%2F` and `%25`, so that no two places share an account.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, insert, select, update

from hub.errors import HubError
from hub.ledger.tables import accounts


class BookError(HubError):
    """This cannot be booked; nothing was. The text says why."""


class Unit(StrEnum):
    """What is counted, always in whole numbers."""

    FEN = "fen"
    WH = "Wh"
    ML = "ml"


class Utility(StrEnum):
    """What a room buys."""

    ELECTRICITY = "electricity"
    HOT_WATER = "hot_water"
    DRINKING_WATER = "drinking_water"

    @property
    def unit(self) -> Unit:
        """What it is measured in."""
        return Unit.WH if self is Utility.ELECTRICITY else Unit.ML


class AccountKind(StrEnum):
    """The first word of an account's id."""

    ROOM = "room"
    HELD = "held"
    METER = "meter"
    PLATFORM = "platform"
    REVENUE = "revenue"
    GRANT = "grant"
    CORRECTION = "correction"
    PAYOUT = "payout"
    DEBT = "debt"


_OF_ROOMS = (AccountKind.ROOM, AccountKind.HELD, AccountKind.METER)
_NAMED = (AccountKind.PLATFORM, AccountKind.PAYOUT, AccountKind.DEBT)  # not by utility
_KNOWN = select(accounts.c.id)
_OPEN = insert(accounts)
_SET = update(accounts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """A room as a customer of one utility; the three accounts it has."""

    building: str
    room: str
    utility: Utility = Utility.ELECTRICITY

    @property
    def account(self) -> str:
        """What the room has."""
        return self._id(AccountKind.ROOM)

    @property
    def held(self) -> str:
        """What was paid for it and is not delivered."""
        return self._id(AccountKind.HELD)

    @property
    def meter(self) -> str:
        """What stands in its meter."""
        return self._id(AccountKind.METER)

    def _id(self, kind: AccountKind) -> str:
        return "/".join((kind, quoted(self.building), quoted(self.room), self.utility))


def platform(name: str) -> str:
    """The account of a payment platform."""
    return f"{AccountKind.PLATFORM}/{quoted(name)}"


def revenue(utility: Utility) -> str:
    """What the house earned with a utility."""
    return f"{AccountKind.REVENUE}/{utility}"


def grant(utility: Utility) -> str:
    """Where allowances come from."""
    return f"{AccountKind.GRANT}/{utility}"


def correction(utility: Utility) -> str:
    """The other side of corrections."""
    return f"{AccountKind.CORRECTION}/{utility}"


def payout(settlement: str) -> str:
    """What whoever left with this settlement is to be paid."""
    return f"{AccountKind.PAYOUT}/{quoted(settlement)}"


def debt(settlement: str) -> str:
    """What whoever left with this settlement owes."""
    return f"{AccountKind.DEBT}/{quoted(settlement)}"


def kind_of(account: str) -> AccountKind:
    """The kind of an account; raises BookError for what is no account's id."""
    _room(account)
    return AccountKind(account.partition("/")[0])


def room_of(account: str) -> Room | None:
    """The room an account is of; None for one of the house. Raises BookError for what is no account's id."""
    return _room(account)


def ensure(connection: Connection, *wanted: str, now_ms: int) -> None:
    """Open those of these accounts that are not open; raises BookError for what is no account's id."""
    known = set(connection.scalars(_KNOWN.where(accounts.c.id.in_(wanted))))
    fresh = [_row(account, now_ms) for account in dict.fromkeys(wanted) if account not in known]
    if fresh:
        connection.execute(_OPEN, fresh)


def ensure_room(connection: Connection, room: Room, *, now_ms: int) -> None:
    """Open what a room needs: its own three accounts and the house's of its utility."""
    house = (revenue(room.utility), grant(room.utility), correction(room.utility))
    ensure(connection, room.account, room.held, room.meter, *house, now_ms=now_ms)


def is_open(connection: Connection, account: str) -> bool:
    """Whether there is such an account."""
    return connection.scalar(_KNOWN.where(accounts.c.id == account)) is not None


def closed_among(connection: Connection, wanted: Iterable[str]) -> set[str]:
    """Those of these accounts that were closed; nothing may be booked on them."""
    query = _KNOWN.where(accounts.c.id.in_(set(wanted)), accounts.c.closed_ms.is_not(None))
    return set(connection.scalars(query))


def opened_ms(connection: Connection, account: str) -> int | None:
    """Since when an account is open, or was before it was closed; None where there is none."""
    return connection.scalar(select(accounts.c.opened_ms).where(accounts.c.id == account))


def close(connection: Connection, account: str, *, now_ms: int) -> None:
    """Nothing may be booked on this account any more, until it is opened anew."""
    connection.execute(_SET.where(accounts.c.id == account).values(closed_ms=now_ms))


def reopen(connection: Connection, account: str, *, now_ms: int) -> None:
    """Whoever has this account from now on begins with nothing; raises BookError unless it is closed."""
    closed = connection.scalar(select(accounts.c.closed_ms).where(accounts.c.id == account))
    if closed is None:
        raise BookError(f"{account} is not closed")
    since_ms = max(now_ms, closed + 1)  # what was booked before is of the one who left
    connection.execute(
        _SET.where(accounts.c.id == account).values(closed_ms=None, opened_ms=since_ms)
    )


def _row(account: str, now_ms: int) -> dict[str, object]:
    room, kind = _room(account), kind_of(account)
    return {
        "id": account,
        "kind": kind,
        "building": room.building if room else "",
        "room": room.room if room else "",
        "utility": room.utility if room else _utility(kind, account),
        "opened_ms": now_ms,
    }


def _utility(kind: AccountKind, account: str) -> str:
    return "" if kind in _NAMED else account.partition("/")[2]


def _room(account: str) -> Room | None:
    kind, *names = account.split("/")
    try:
        found = AccountKind(kind)
        if found in _OF_ROOMS:
            building, room, utility = map(_unquoted, names)
            return Room(building=building, room=room, utility=Utility(utility))
        (name,) = names
        if found not in _NAMED:
            Utility(name)
    except ValueError:
        raise BookError(f"no account is called {account[:200]!r}") from None
    return None


def quoted(name: str) -> str:
    """A name as a part of an id or key: without `/`."""
    return name.replace("%", "%25").replace("/", "%2F")


def _unquoted(name: str) -> str:
    return name.replace("%2F", "/").replace("%25", "%")
