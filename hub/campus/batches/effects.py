"""What a batch has changed beside its own rows: allowances in the books, the supply of rooms in the audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from hub import audit
from hub.campus.accounts import books
from hub.campus.accounts.accounts import Room, ensure, grant
from hub.campus.accounts.books import Entry, Kind, transfer
from hub.campus.batches import rows
from hub.campus.batches.batch import Batch, BatchState, Item, ItemState
from hub.campus.batches.plan import gift_of, open_accounts
from hub.command import CommandSpec, Hazard
from hub.commands.order import canonical


def give(
    connection: Connection,
    batch: Batch,
    items: Sequence[Item],
    hindrance: Callable[[Item, frozenset[str]], str],
    now_ms: int,
) -> bool:
    """Give these rooms theirs, once for ever; False when the batch runs no more, and nothing was done.

    `hindrance` is asked with the accounts that are open now.
    """
    now = rows.by_id(connection, batch.id)
    if now is None or now.state is not BatchState.RUNNING:
        return False
    known = open_accounts(connection, [item.account for item in items])
    wanted = []
    for item in items:
        reason = hindrance(item, known)
        state = ItemState.SKIPPED if reason else ItemState.DONE
        if rows.settle(connection, item, state, reason, now_ms) and not reason:
            wanted.append(item)
    numbers = _book(connection, batch, wanted, now_ms)
    if numbers:
        said = canonical({"rooms": len(numbers), "first": numbers[0], **batch.arguments})
        rows.note(connection, batch, batch.actor, "given", "", said, now_ms)
    return True


def note_supply(
    connection: Connection, batch: Batch, item: Item, spec: CommandSpec, now_ms: int
) -> None:
    """A room was cut, restored or armed, says the audit of its device; of any other command nothing."""
    if spec.hazard is Hazard.RESTORE:
        action = "armed" if spec.name == "arm" else "restored"
    elif spec.hazard is Hazard.CUT and spec.name == "cut":
        action = "cut"
    else:
        return
    room = Room(building=item.where.building, room=item.where.room)
    said = {"account": room.account, "reason": f"batch/{batch.id}: {batch.cause}"}
    audit.append(
        connection,
        actor=batch.actor,
        cause=batch.cause,
        subject=f"supply/{item.device}",
        action=action,
        before="",
        after=canonical(said),
        time_ms=now_ms,
    )


def _book(connection: Connection, batch: Batch, items: Sequence[Item], now_ms: int) -> list[int]:
    gift = gift_of(batch.arguments)
    source, unit = grant(gift.utility), gift.utility.unit
    ensure(connection, source, now_ms=now_ms)
    entries = [
        Entry(
            key=f"batch/{batch.id}/{item.account}",
            kind=Kind.GRANT,
            postings=transfer(source, item.account, unit, gift.amount),
            cause=batch.cause,
        )
        for item in items
    ]
    return books.post_all(connection, entries, actor=batch.actor, time_ms=now_ms)
