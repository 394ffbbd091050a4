"""Whose money and energy: an account for each room and utility, for each platform, and for the house.

    room/BUILDING/ROOM/UTILITY    what the room has; below 0 it owes
    held/BUILDING/ROOM/UTILITY    paid, and not yet delivered
    meter/BUILDING/ROOM/UTILITY   credit that stands in the meter itself
    platform/NAME                 minus what the platform has collected for the house
    revenue/UTILITY               what was earned; in Wh or ml: free use that was used
    grant/UTILITY                 minus the allowances given
    correction/UTILITY            the other side of every correction

A `/` or `%` inside a name is written `%2F` and `%25`, so that no two places share an account.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, insert, select

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


_OF_ROOMS = (AccountKind.ROOM, AccountKind.HELD, AccountKind.METER)
_KNOWN = select(accounts.c.id)
_OPEN = insert(accounts)


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
    return "" if kind is AccountKind.PLATFORM else account.partition("/")[2]


def _room(account: str) -> Room | None:
    kind, *names = account.split("/")
    try:
        found = AccountKind(kind)
        if found in _OF_ROOMS:
            building, room, utility = map(_unquoted, names)
            return Room(building=building, room=room, utility=Utility(utility))
        (name,) = names
        if found is not AccountKind.PLATFORM:
            Utility(name)
    except ValueError:
        raise BookError(f"no account is called {account[:200]!r}") from None
    return None


def quoted(name: str) -> str:
    """A name as a part of an id or key: without `/`."""
    return name.replace("%", "%25").replace("/", "%2F")


def _unquoted(name: str) -> str:
    return name.replace("%2F", "/").replace("%25", "%")
