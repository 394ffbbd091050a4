"""The rows of batches in the ledger: every statement about them stands here. Plain SQL only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, update

from hub import audit
from hub.campus.batches.batch import Batch, BatchState, Item, ItemState, Part
from hub.commands.order import canonical
from hub.ledger.tables import batch_items, batches
from hub.model import Place

_b, _i = batches, batch_items
_OWNER_END = "\n"
_OPEN = (str(ItemState.WAITING), str(ItemState.SENT))


def add(
    connection: Connection, batch: Batch, body_hash: str, parts: Sequence[Part]
) -> Batch | None:
    """A new batch with all its items and its first audit row; the one of the same key when there is one.

    None when that one has another body.
    """
    known = by_key(connection, batch.owner, batch.key)
    if known is not None:
        return known[0] if known[1] == body_hash else None
    row = {name: getattr(batch, name) for name in Batch.__slots__ if name != "owner"}
    row |= {
        "key": _owned(batch.owner, batch.key),
        "arguments": canonical(dict(batch.arguments)),
        "state": str(batch.state),
        "body_hash": body_hash,
    }
    connection.execute(insert(_b), row)
    connection.execute(insert(_i), [_row(batch, place, part) for place, part in enumerate(parts)])
    said = {
        "action": batch.action,
        "arguments": dict(batch.arguments),
        "scope": json.loads(batch.scope),
        "state": str(batch.state),
        "rooms": sum(not part.hindrance for part in parts),
        "left_out": sum(bool(part.hindrance) for part in parts),
    }
    note(connection, batch, batch.actor, "submitted", "", canonical(said), batch.created_ms)
    return batch


def by_key(connection: Connection, owner: str, key: str) -> tuple[Batch, str] | None:
    """The batch of this owner's idempotency key, with the hash of its body."""
    query = select(_b).where(_b.c.key == _owned(owner, key))
    row = connection.execute(query).one_or_none()
    return (_batch(row), str(row.body_hash)) if row else None


def by_id(connection: Connection, batch: str) -> Batch | None:
    """The batch of this id."""
    row = connection.execute(select(_b).where(_b.c.id == batch)).one_or_none()
    return _batch(row) if row else None


def recent(
    connection: Connection,
    *,
    building: str = "",
    state: BatchState | None = None,
    before: str = "",
    limit: int = 100,
) -> list[Batch]:
    """The newest first; those wholly in one building when it is named, those made before an id."""
    query = select(_b).order_by(_b.c.id.desc()).limit(limit)
    if building:
        query = query.where(_b.c.building == building)
    if state is not None:
        query = query.where(_b.c.state == str(state))
    if before:
        query = query.where(_b.c.id < before)
    return [_batch(row) for row in connection.execute(query)]


def unfinished(connection: Connection) -> list[Batch]:
    """Those that have something open, the oldest first; also stopped ones of which something is told yet."""
    query = select(_b).where(_b.c.finished_ms.is_(None)).order_by(_b.c.id)
    return [_batch(row) for row in connection.execute(query)]


def same_open(connection: Connection, actor: str, body_hash: str) -> Batch | None:
    """The batch of this actor and body that has not ended."""
    query = select(_b).where(
        _b.c.actor == actor,
        _b.c.body_hash == body_hash,
        _b.c.state.in_([str(BatchState.WAITS), str(BatchState.RUNNING)]),
    )
    row = connection.execute(query.order_by(_b.c.id).limit(1)).one_or_none()
    return _batch(row) if row else None


def counts(connection: Connection, names: Iterable[str]) -> dict[str, dict[ItemState, int]]:
    """How many items of each of these batches are in which state."""
    query = (
        select(_i.c.batch, _i.c.state, func.count().label("number"))
        .where(_i.c.batch.in_(list(names)))
        .group_by(_i.c.batch, _i.c.state)
    )
    found: dict[str, dict[ItemState, int]] = {}
    for row in connection.execute(query):
        found.setdefault(row.batch, {})[ItemState(row.state)] = int(row.number)
    return found


def items(
    connection: Connection,
    batch: str,
    *,
    state: ItemState | None = None,
    after: int = -1,
    limit: int = 100,
) -> list[Item]:
    """Its items after this place, in the order in which they are told."""
    query = select(_i).where(_i.c.batch == batch, _i.c.place > after)
    if state is not None:
        query = query.where(_i.c.state == str(state))
    rows = connection.execute(query.order_by(_i.c.place).limit(limit))
    return [_item(row) for row in rows]


def claim(connection: Connection, item: Item, now_ms: int) -> bool:
    """Whether this one may be told now: its batch still runs and nobody has taken it. It is `sent` then."""
    running = (
        select(_b.c.id).where(_b.c.id == item.batch, _b.c.state == str(BatchState.RUNNING)).exists()
    )
    changed = connection.execute(
        update(_i)
        .where(_is(item), _i.c.state == str(ItemState.WAITING), running)
        .values(state=str(ItemState.SENT), changed_ms=now_ms)
    )
    return changed.rowcount == 1


def attach(connection: Connection, item: Item, command: str, reason: str, now_ms: int) -> None:
    """The command that was made for it."""
    values = {"command": command, "reason": reason, "changed_ms": now_ms}
    connection.execute(
        update(_i).where(_is(item), _i.c.state == str(ItemState.SENT)).values(**values)
    )


def settle(connection: Connection, item: Item, state: ItemState, reason: str, now_ms: int) -> bool:
    """It has ended so; False when it had ended before: an end is never changed."""
    changed = connection.execute(
        update(_i)
        .where(_is(item), _i.c.state.in_(_OPEN))
        .values(state=str(state), reason=reason, changed_ms=now_ms)
    )
    return changed.rowcount == 1


def move(
    connection: Connection, batch: Batch, state: BatchState, actor: str, reason: str, now_ms: int
) -> Batch | None:
    """Bring a batch to this state, with an audit row; None when it stands elsewhere by now.

    What still waits in one that ends is skipped for this reason; one with nothing open is finished.
    """
    values: dict[str, object] = {"state": str(state), "reason": reason}
    changed = connection.execute(
        update(_b).where(_b.c.id == batch.id, _b.c.state == str(batch.state)).values(**values)
    )
    if changed.rowcount != 1:
        return None
    if state.final:
        waiting = (_i.c.batch == batch.id) & (_i.c.state == str(ItemState.WAITING))
        skipped = {"state": str(ItemState.SKIPPED), "reason": reason, "changed_ms": now_ms}
        connection.execute(update(_i).where(waiting).values(**skipped))
    before = canonical({"state": str(batch.state)})
    number = counts(connection, [batch.id]).get(batch.id, {})
    after = {"state": str(state), "reason": reason}
    said = after | {"items": {str(name): amount for name, amount in number.items()}}
    note(connection, batch, actor, str(state), before, canonical(said), now_ms)
    return finish(connection, replace(batch, state=state, reason=reason), now_ms)


def finish(connection: Connection, batch: Batch, now_ms: int) -> Batch:
    """An ended batch with nothing open is finished."""
    query = select(func.count()).where(_i.c.batch == batch.id, _i.c.state.in_(_OPEN))
    if not batch.state.final or connection.scalar(query):
        return batch
    connection.execute(update(_b).where(_b.c.id == batch.id).values(finished_ms=now_ms))
    return replace(batch, finished_ms=now_ms)


def begin(
    connection: Connection, batch: Batch, approver: str, now_ms: int, expires_ms: int
) -> Batch | None:
    """A second person lets it run, with an audit row; None when it waits no more."""
    values = {
        "state": str(BatchState.RUNNING),
        "approver": approver,
        "begun_ms": now_ms,
        "expires_ms": expires_ms,
    }
    changed = connection.execute(
        update(_b).where(_b.c.id == batch.id, _b.c.state == str(BatchState.WAITS)).values(**values)
    )
    if changed.rowcount != 1:
        return None
    before, after = (canonical({"state": str(word)}) for word in (batch.state, BatchState.RUNNING))
    note(connection, batch, approver, "approved", before, after, now_ms)
    return replace(
        batch,
        state=BatchState.RUNNING,
        approver=approver,
        begun_ms=now_ms,
        expires_ms=expires_ms,
    )


def note(
    connection: Connection,
    batch: Batch,
    actor: str,
    action: str,
    before: str,
    after: str,
    now_ms: int,
) -> None:
    """One row of the audit about a batch."""
    audit.append(
        connection,
        actor=actor,
        cause=batch.cause,
        subject=f"batch/{batch.id}",
        action=action,
        before=before,
        after=after,
        time_ms=now_ms,
    )


def _is(item: Item) -> ColumnElement[bool]:
    return (_i.c.batch == item.batch) & (_i.c.place == item.place)


def _owned(owner: str, key: str) -> str:
    return f"{owner}{_OWNER_END}{key}"


def _row(batch: Batch, place: int, part: Part) -> Mapping[str, object]:
    return {
        "batch": batch.id,
        "place": place,
        "device": part.device,
        "account": part.account,
        "building": part.where.building,
        "floor": part.where.floor,
        "room": part.where.room,
        "state": str(ItemState.SKIPPED if part.hindrance else ItemState.WAITING),
        "reason": part.hindrance,
        "changed_ms": batch.created_ms,
    }


def _batch(row: Row[tuple[object, ...]]) -> Batch:
    owner, _, key = row.key.partition(_OWNER_END)
    return Batch(
        id=row.id,
        action=row.action,
        arguments=json.loads(row.arguments),
        scope=row.scope,
        building=row.building,
        actor=row.actor,
        owner=owner,
        key=key,
        cause=row.cause,
        pause_ms=row.pause_ms,
        state=BatchState(row.state),
        reason=row.reason,
        approver=row.approver,
        created_ms=row.created_ms,
        begun_ms=row.begun_ms,
        expires_ms=row.expires_ms,
        finished_ms=row.finished_ms,
    )


def _item(row: Row[tuple[object, ...]]) -> Item:
    return Item(
        batch=row.batch,
        place=row.place,
        device=row.device,
        account=row.account,
        where=Place(building=row.building, floor=row.floor, room=row.room),
        state=ItemState(row.state),
        reason=row.reason,
        command=row.command,
    )
