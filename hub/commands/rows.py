"""The rows of commands in the ledger: every statement about them stands here. Plain SQL only."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TypedDict

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from hub import audit
from hub.command import Answer, Frame, Outcome, Priority, State
from hub.commands.life import Life
from hub.commands.order import (
    Attempt,
    Before,
    CommandError,
    Record,
    Refusal,
    Resolution,
    canonical,
)
from hub.errors import StoreDamaged
from hub.ledger import tables

_t = tables.commands
_OPEN = tuple(state for state in State if not state.final)
_OWNER_END = "\n"
_MAYBE = ("", str(Answer.SILENT), str(Answer.ACKNOWLEDGED))
# Made once, because making a statement costs more than running it: every command goes through these.
_BY_KEY = select(_t).where(_t.c.key == bindparam("wanted"))
_BY_ID = select(_t).where(_t.c.id == bindparam("wanted"))
_ADD = insert(_t)
_MOVE = update(_t).where(
    _t.c.id == bindparam("moved"), _t.c.state == bindparam("was"), _t.c.finished_ms.is_(None)
)
_BEGIN = insert(tables.attempts)
_END = update(tables.attempts).where(
    tables.attempts.c.command == bindparam("of"), tables.attempts.c.number == bindparam("ended")
)


class Columns(TypedDict, total=False):
    """What may change in a command's row beside its state."""

    arguments: str
    held: bool
    sent_ms: int
    proof: str


def by_key(connection: Connection, owner: str, key: str) -> tuple[Record, str] | None:
    """The command of this owner's idempotency key, with the hash of its body."""
    row = connection.execute(_BY_KEY, {"wanted": _owned(owner, key)}).one_or_none()
    return None if row is None else (_record(row), str(row.body_hash))


def by_id(connection: Connection, command: str) -> Record | None:
    """The command of this id."""
    row = connection.execute(_BY_ID, {"wanted": command}).one_or_none()
    return None if row is None else _record(row)


def of_keys(connection: Connection, owner: str, keys: Collection[str]) -> list[Record]:
    """The commands of these keys of one owner, of which there are not too many for one statement."""
    query = select(_t).where(_t.c.key.in_([_owned(owner, key) for key in keys]))
    return [_record(row) for row in connection.execute(query)]


def made_within(
    connection: Connection, names: Collection[str], span_ms: tuple[int, int]
) -> list[Record]:
    """The commands of these names that were made from one moment until before another."""
    query = select(_t).where(
        _t.c.created_ms >= span_ms[0], _t.c.created_ms < span_ms[1], _t.c.name.in_(list(names))
    )
    return [_record(row) for row in connection.execute(query)]


def recent(connection: Connection, *, device: str, state: State | None, limit: int) -> list[Record]:
    """The newest commands first; `device` empty means all of them."""
    query = select(_t).order_by(_t.c.id.desc()).limit(limit)
    if device:
        query = query.where(_t.c.device == device)
    if state is not None:
        query = query.where(_t.c.state == str(state))
    return [_record(row) for row in connection.execute(query)]


def since(connection: Connection, time_ms: int) -> list[Record]:
    """Every command made or first sent after this time, the oldest first."""
    query = (
        select(_t).where((_t.c.created_ms > time_ms) | (_t.c.sent_ms > time_ms)).order_by(_t.c.id)
    )
    return [_record(row) for row in connection.execute(query)]


def _owned(owner: str, key: str) -> str:
    return f"{owner}{_OWNER_END}{key}"


def unfinished(connection: Connection) -> list[tuple[Record, Life, Before, int]]:
    """Every open command, oldest first: its life, how its device was before, its uptime at birth in ms."""
    query = select(_t).where(_t.c.state.in_(_OPEN)).order_by(_t.c.id)
    return [
        (record, *_life(connection, record), int(row.created_uptime_ms))
        for row in connection.execute(query)
        for record in [_record(row)]
    ]


def unresolved(connection: Connection, device: str, name: str) -> str:
    """The oldest command of this name that ended unknown and is not resolved; empty when there is none."""
    query = select(_t.c.id).where(
        _t.c.device == device,
        _t.c.name == name,
        _t.c.state == str(State.UNKNOWN),
        _t.c.resolution == "",
    )
    return connection.scalars(query.order_by(_t.c.id).limit(1)).first() or ""


def resolve(
    connection: Connection, command: str, actor: str, found: Resolution, note: str, time_ms: int
) -> Record:
    """Keep what a person found out, with an audit row; raises CommandError when another was kept."""
    changed = connection.execute(
        update(_t).where(_t.c.id == command, _t.c.resolution == "").values(resolution=str(found))
    )
    record = _record(connection.execute(select(_t).where(_t.c.id == command)).one())
    if record.resolution is not found:
        text = f"it was resolved already, as {record.resolution}"
        raise CommandError(Refusal.NOT_UNKNOWN, "outcome", text)
    if changed.rowcount:
        before, after = canonical({"resolution": ""}), canonical({"resolution": str(found)})
        noted = replace(record, cause=note)
        _note(connection, noted, actor, "resolved", before, after, time_ms)
    return record


def add(connection: Connection, record: Record, body_hash: str, uptime_ms: int) -> None:
    """A new command, with its first audit row."""
    row = {
        "id": record.id,
        "device": record.device,
        "name": record.name,
        "arguments": canonical(dict(record.arguments)),
        "body_hash": body_hash,
        "actor": record.actor,
        "key": _owned(record.owner, record.key),
        "cause": record.cause,
        "priority": int(record.priority),
        "state": str(record.state),
        "held": record.held,
        "created_ms": record.created_ms,
        "created_uptime_ms": uptime_ms,
        "expires_ms": record.expires_ms,
        "deadline_ms": record.deadline_ms,
        "nonce": record.nonce,
    }
    connection.execute(_ADD, row)
    wish = {
        "device": record.device,
        "command": record.name,
        "arguments": dict(record.arguments),
        "priority": int(record.priority),
        "held": record.held,
    }
    _note(connection, record, record.actor, "queued", "", canonical(wish), record.created_ms)


def move(
    connection: Connection, record: Record, life: Life, time_ms: int, columns: Columns
) -> Record:
    """Bring the row to this life, with an audit row; returns it as it is now.

    Raises StoreDamaged when the row does not stand where `record` says: a final state is never left.
    """
    finished_ms = time_ms if life.state.final else None
    row = {
        "moved": record.id,
        "was": str(record.state),
        "state": str(life.state),
        "reason": life.reason,
        "attempts": life.attempts,
        "finished_ms": finished_ms,
    }
    changed = connection.execute(_MOVE, row | columns)
    if changed.rowcount != 1:
        raise StoreDamaged(f"command {record.id} is not {record.state} any more")
    before = {"state": str(record.state), "attempts": record.attempts}
    after: dict[str, object] = {"state": str(life.state), "attempts": life.attempts}
    after |= {"reason": life.reason} if life.reason else {}
    after |= columns
    _note(connection, record, "hub", str(life.state), canonical(before), canonical(after), time_ms)
    moved = replace(
        record,
        state=life.state,
        reason=life.reason,
        attempts=life.attempts,
        finished_ms=finished_ms,
        held=columns.get("held", record.held),
        sent_ms=columns.get("sent_ms", record.sent_ms),
        proof=columns.get("proof", record.proof),
    )
    if "arguments" in columns:
        moved = replace(moved, arguments=json.loads(columns["arguments"]))
    return moved


def begin_attempt(
    connection: Connection, command: str, number: int, before: Before, sent_ms: int
) -> None:
    """A try is about to be made."""
    values = {"command": command, "number": number, "before": str(before), "sent_ms": sent_ms}
    connection.execute(_BEGIN, values)


def end_attempt(
    connection: Connection, command: str, number: int, outcome: Outcome, time_ms: int
) -> None:
    """What a try came to."""
    row = {
        "of": command,
        "ended": number,
        "answered_ms": time_ms,
        "answer": str(outcome.answer),
        "reason": outcome.reason,
    }
    connection.execute(_END, row)


def add_frames(connection: Connection, command: str, attempt: int, frames: Sequence[Frame]) -> None:
    """What was on the wire of a try, after what is kept of it already."""
    if not frames:
        return
    f = tables.frames
    kept = select(func.count()).where(f.c.command == command, f.c.attempt == attempt)
    first = connection.execute(kept).scalar_one()
    added = [
        {
            "command": command,
            "attempt": attempt,
            "place": place,
            "time_ms": frame.time_ms,
            "outgoing": frame.outgoing,
            "data": frame.data,
        }
        for place, frame in enumerate(frames, first)
    ]
    connection.execute(insert(f), added)


def attempts(connection: Connection, command: str) -> list[tuple[Attempt, tuple[Frame, ...]]]:
    """Every try with what was on the wire, in order."""
    a = tables.attempts
    rows = connection.execute(select(a).where(a.c.command == command).order_by(a.c.number))
    return [
        (
            Attempt(
                number=row.number,
                sent_ms=row.sent_ms,
                answered_ms=row.answered_ms,
                answer=row.answer,
                reason=row.reason,
                before=Before(row.before),
            ),
            _frames(connection, command, row.number),
        )
        for row in rows.all()
    ]


def hold(connection: Connection, record: Record, expires_ms: int, time_ms: int) -> Record:
    """One that was never sent must wait for a second person; raises StoreDamaged when it waits no more."""
    changed = connection.execute(
        update(_t)
        .where(_t.c.id == record.id, _t.c.state == str(State.QUEUED), ~_t.c.held)
        .values(held=True, expires_ms=expires_ms)
    )
    if changed.rowcount != 1:
        raise StoreDamaged(f"command {record.id} is not queued any more")
    before = canonical({"held": False, "expires_ms": record.expires_ms})
    after = canonical({"held": True, "expires_ms": expires_ms})
    _note(connection, record, "hub", "held", before, after, time_ms)
    return replace(record, held=True, expires_ms=expires_ms)


def approve(
    connection: Connection, record: Record, actor: str, expires_ms: int, time_ms: int
) -> Record:
    """A second person lets a held command go; raises CommandError when it is held no more."""
    changed = connection.execute(
        update(_t)
        .where(_t.c.id == record.id, _t.c.state == str(State.QUEUED), _t.c.held)
        .values(held=False, expires_ms=expires_ms)
    )
    if changed.rowcount != 1:
        raise CommandError(Refusal.NOT_HELD, "", "it is held no more")
    values = {"command": record.id, "actor": actor, "time_ms": time_ms}
    connection.execute(insert(tables.approvals).values(values))
    _note(
        connection,
        record,
        actor,
        "approved",
        canonical({"held": True, "expires_ms": record.expires_ms}),
        canonical({"held": False, "expires_ms": expires_ms}),
        time_ms,
    )
    return replace(record, held=False, expires_ms=expires_ms)


def _frames(connection: Connection, command: str, attempt: int) -> tuple[Frame, ...]:
    f = tables.frames
    rows: Sequence[Row[tuple[object, ...]]] = connection.execute(
        select(f).where(f.c.command == command, f.c.attempt == attempt).order_by(f.c.place)
    ).all()
    return tuple(Frame(time_ms=row.time_ms, outgoing=row.outgoing, data=row.data) for row in rows)


def _life(connection: Connection, record: Record) -> tuple[Life, Before]:
    """Its life, and how its device was before the first try that may have reached it."""
    a = tables.attempts
    query = select(a.c.before).where(a.c.command == record.id, a.c.answer.in_(_MAYBE))
    befores = list(connection.scalars(query.order_by(a.c.number)))
    life = Life(
        state=record.state, reason=record.reason, attempts=record.attempts, doubts=len(befores)
    )
    return life, Before(befores[0]) if befores else Before.UNSEEN


def _record(row: Row[tuple[object, ...]]) -> Record:
    return Record(
        id=row.id,
        device=row.device,
        name=row.name,
        arguments=json.loads(row.arguments),
        actor=row.actor,
        cause=row.cause,
        owner=row.key.partition(_OWNER_END)[0],
        key=row.key.partition(_OWNER_END)[2],
        priority=Priority(row.priority),
        state=State(row.state),
        reason=row.reason,
        held=row.held,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        deadline_ms=row.deadline_ms,
        sent_ms=row.sent_ms,
        finished_ms=row.finished_ms,
        attempts=row.attempts,
        nonce=row.nonce,
        proof=row.proof,
        resolution=Resolution(row.resolution),
    )


def _note(
    connection: Connection,
    record: Record,
    actor: str,
    action: str,
    before: str,
    after: str,
    time_ms: int,
) -> None:
    audit.append(
        connection,
        actor=actor,
        cause=record.cause,
        subject=f"command/{record.id}",
        action=action,
        before=before,
        after=after,
        time_ms=time_ms,
    )
