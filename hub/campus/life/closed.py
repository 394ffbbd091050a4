"""Rooms that are closed and have money all the same: a credit came late, and a person must settle again."""

from __future__ import annotations

from sqlalchemy import Connection, select

from hub.campus.accounts.accounts import AccountKind, Room, Utility
from hub.ledger.tables import accounts, balances

_SHOWN_MAX = 100


def money_on_closed(connection: Connection) -> list[Room]:
    """Closed rooms with something on their accounts or in their meters."""
    query = select(accounts).where(
        accounts.c.kind == str(AccountKind.ROOM), accounts.c.closed_ms.is_not(None)
    )
    rooms = [
        Room(building=row.building, room=row.room, utility=Utility(row.utility))
        for row in connection.execute(query)
    ]
    with_money = select(balances.c.account).where(
        balances.c.amount != 0,
        balances.c.account.in_(
            select(accounts.c.id).where(
                accounts.c.kind.in_([str(AccountKind.ROOM), str(AccountKind.METER)])
            )
        ),
    )
    if not rooms:
        return []
    having = set(connection.scalars(with_money))
    found = [room for room in rooms if having & {room.account, room.meter}]
    return found[:_SHOWN_MAX]
