"""Alerts in the ledger: what is open, what began and ended, who opted out; in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from hub import audit
from hub.campus.alerts.kinds import Alert, Fact, Kind, Subject
from hub.campus.alerts.settings import Audience, Channel
from hub.ledger.tables import alert_cursors, alert_messages, alert_mutes, alerts
from hub.ledger.tables import audit as audit_rows

Key: TypeAlias = tuple[Kind, str, int]  # kind, subject, level
COOLING = "told not long ago"
LIST_MAX = 1_000
_STEP = 400
_t, _m = alerts, alert_messages


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """How news is told: not again within `cooldown_ms`, and where."""

    now_ms: int
    cooldown_ms: int
    channels: Sequence[Channel] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Which alerts: empty means any."""

    building: str = ""
    room: str = ""
    kind: Kind | None = None
    is_open: bool = False
    before: str = ""
    limit: int = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutes:
    """Who wants to hear nothing of what: (building, room, kind), said by the room or by the desk."""

    rooms: frozenset[tuple[str, str, Kind]] = field(default_factory=frozenset)
    desk: frozenset[tuple[str, str, Kind]] = field(default_factory=frozenset)

    def hide(self, alert: Alert, audience: Audience) -> bool:
        """Whether this is not said there: the desk's word holds everywhere, the room's for itself."""
        key = alert.subject.building, alert.subject.room, alert.kind
        return key in self.desk or (audience is Audience.ROOMS and key in self.rooms)


def open_alerts(
    connection: Connection, *kinds: Kind, of: Collection[str] | None = None
) -> dict[Key, Alert]:
    """Those of these kinds that have not ended; only of these subjects where they are named and few."""
    query = select(_t).where(_t.c.ended_ms.is_(None), _t.c.kind.in_([str(kind) for kind in kinds]))
    if of is not None and len(of) <= _STEP:
        query = query.where(_t.c.subject.in_(sorted(of)))
    found = [alert_of(row) for row in connection.execute(query)]
    return {(alert.kind, alert.subject.id, alert.level): alert for alert in found}


def begin(connection: Connection, news: Sequence[tuple[str, Fact]], telling: Telling) -> int:
    """Raise those facts, each with its new id, that are not open already; how many were.

    What was told within its cool-down waits until that is over, and is not told at all when it ended
    before. An event does not wait: it is kept, and nobody is told.
    """
    subjects = {fact.subject.id for _, fact in news}
    known = open_alerts(connection, *{fact.kind for _, fact in news}, of=subjects)
    fresh: dict[Key, tuple[str, Fact]] = {}
    for id, fact in news:
        key = fact.kind, fact.subject.id, fact.level
        if key not in known:
            fresh.setdefault(key, (id, fact))
    told = _told(connection, fresh)
    raised = [_raised(id, fact, told.get(key), telling) for key, (id, fact) in fresh.items()]
    if raised:
        connection.execute(insert(_t), [_row(alert) for alert in raised])
    messages = [
        _message(alert, channel)
        for alert in raised
        if not alert.quiet
        for channel in telling.channels
        if channel.wants(alert)
    ]
    if messages:
        connection.execute(insert(_m), messages)
    return len(raised)


def end(connection: Connection, ids: Collection[str], *, now_ms: int) -> None:
    """These are over."""
    names = sorted(ids)
    for first in range(0, len(names), _STEP):
        chosen = _t.c.id.in_(names[first : first + _STEP]) & _t.c.ended_ms.is_(None)
        connection.execute(update(_t).where(chosen).values(ended_ms=now_ms))


def list_alerts(connection: Connection, chosen: Chosen) -> list[Alert]:
    """The newest first, those before the id `before`."""
    query = select(_t).where(*_conditions(chosen)).order_by(_t.c.id.desc()).limit(chosen.limit)
    return [alert_of(row) for row in connection.execute(query)]


def last_ended(connection: Connection, kind: Kind, level: int) -> dict[str, int]:
    """When each subject's newest alert of this level ended."""
    query = (
        select(_t.c.subject, func.max(_t.c.ended_ms))
        .where(_t.c.kind == str(kind), _t.c.level == level, _t.c.ended_ms.is_not(None))
        .group_by(_t.c.subject)
    )
    return {subject: int(ended_ms) for subject, ended_ms in connection.execute(query)}


def mutes(connection: Connection) -> Mutes:
    """Every opt-out."""
    found = connection.execute(select(alert_mutes)).all()

    def of(side: Audience | str) -> frozenset[tuple[str, str, Kind]]:
        return frozenset(
            (row.building, row.room, Kind(row.kind)) for row in found if row.side == side
        )

    return Mutes(rooms=of(ROOM_SIDE), desk=of(DESK_SIDE))


ROOM_SIDE, DESK_SIDE = "room", "desk"


def muted(connection: Connection, building: str, room: str, side: str) -> list[Kind]:
    """What this side said the room does not want to hear."""
    here = (
        (alert_mutes.c.building == building)
        & (alert_mutes.c.room == room)
        & (alert_mutes.c.side == side)
    )
    query = select(alert_mutes.c.kind).where(here).order_by(alert_mutes.c.kind)
    return [Kind(name) for name in connection.scalars(query)]


def mute(
    connection: Connection,
    where: tuple[str, str, str],
    kinds: Iterable[Kind],
    *,
    actor: str,
    now_ms: int,
) -> list[Kind]:
    """From now on exactly these kinds are not told of `where`: building, room, side. With its audit row."""
    building, room, side = where
    before, after = muted(connection, *where), sorted(set(kinds))
    if before == after:
        return after
    here = (
        (alert_mutes.c.building == building)
        & (alert_mutes.c.room == room)
        & (alert_mutes.c.side == side)
    )
    connection.execute(delete(alert_mutes).where(here))
    rows = [
        {
            "building": building,
            "room": room,
            "kind": str(kind),
            "side": side,
            "since_ms": now_ms,
            "actor": actor,
        }
        for kind in after
    ]
    if rows:
        connection.execute(insert(alert_mutes), rows)
    audit.append(
        connection,
        actor=actor,
        cause="",
        subject=f"mutes/{building}/{room}",
        action=f"set by the {side}",
        before=json.dumps(before),
        after=json.dumps(after),
        time_ms=now_ms,
    )
    return after


def cursor(connection: Connection, name: str) -> int | None:
    """How far this work has come; None when it never began."""
    query = select(alert_cursors.c.number).where(alert_cursors.c.name == name)
    return connection.scalar(query)


def move_cursor(connection: Connection, name: str, number: int) -> None:
    """This work is done with everything up to this number."""
    here = alert_cursors.c.name == name
    if not connection.execute(update(alert_cursors).where(here).values(number=number)).rowcount:
        connection.execute(insert(alert_cursors), {"name": name, "number": number})


def audit_after(
    connection: Connection, number: int, prefix: str, limit: int
) -> tuple[list[audit.AuditRow], int]:
    """Rows after this one whose subject begins so, and the number up to which there are no others."""
    head = audit.head(connection).number
    query = (
        select(audit_rows)
        .where(audit_rows.c.number > number, audit_rows.c.number <= head)
        .where(audit_rows.c.subject.startswith(prefix, autoescape=True))
        .order_by(audit_rows.c.number)
        .limit(limit)
    )
    found = [audit.row_of(row) for row in connection.execute(query)]
    return found, found[-1].number if len(found) == limit else max(head, number)


def alert_of(row: Row[tuple[object, ...]]) -> Alert:
    """A row of the table."""
    return Alert(
        id=row.id,
        kind=Kind(row.kind),
        subject=Subject(id=row.subject, building=row.building, room=row.room),
        level=row.level,
        args=json.loads(row.args),
        raised_ms=row.raised_ms,
        tell_ms=row.tell_ms,
        ended_ms=row.ended_ms,
        quiet=row.quiet,
    )


def _told(connection: Connection, keys: Collection[Key]) -> Mapping[Key, int]:
    """When each of these was told last; what ended before its time was not."""
    subjects = sorted({subject for _, subject, _ in keys})
    found: dict[Key, int] = {}
    for first in range(0, len(subjects), _STEP):
        query = (
            select(_t.c.kind, _t.c.subject, _t.c.level, func.max(_t.c.tell_ms))
            .where(_t.c.subject.in_(subjects[first : first + _STEP]), _t.c.quiet == "")
            .where(or_(_t.c.ended_ms.is_(None), _t.c.ended_ms >= _t.c.tell_ms))
            .group_by(_t.c.kind, _t.c.subject, _t.c.level)
        )
        for kind, subject, level, tell_ms in connection.execute(query):
            found[Kind(kind), subject, level] = int(tell_ms)
    return found


def _raised(id: str, fact: Fact, told_ms: int | None, telling: Telling) -> Alert:
    now_ms = telling.now_ms
    again_ms = now_ms if told_ms is None else max(now_ms, told_ms + telling.cooldown_ms)
    is_cooling = fact.is_event and again_ms > now_ms
    return Alert(
        id=id,
        kind=fact.kind,
        subject=fact.subject,
        level=fact.level,
        args=fact.args,
        raised_ms=now_ms,
        tell_ms=now_ms if fact.is_event or fact.quiet else again_ms,
        ended_ms=now_ms if fact.is_event else None,
        quiet=fact.quiet or (COOLING if is_cooling else ""),
    )


def _row(alert: Alert) -> dict[str, object]:
    return {
        "id": alert.id,
        "kind": str(alert.kind),
        "subject": alert.subject.id,
        "level": alert.level,
        "building": alert.subject.building,
        "room": alert.subject.room,
        "args": json.dumps(dict(alert.args), sort_keys=True, separators=(",", ":")),
        "raised_ms": alert.raised_ms,
        "tell_ms": alert.tell_ms,
        "ended_ms": alert.ended_ms,
        "quiet": alert.quiet,
    }


def _message(alert: Alert, channel: Channel) -> dict[str, object]:
    return {
        "id": f"{alert.id}-{channel.name}",
        "channel": channel.name,
        "alert": alert.id,
        "next_ms": alert.tell_ms,
    }


def _conditions(chosen: Chosen) -> list[ColumnElement[bool]]:
    found = [
        _t.c[name] == getattr(chosen, name)
        for name in ("building", "room")
        if getattr(chosen, name)
    ]
    if chosen.kind is not None:
        found.append(_t.c.kind == str(chosen.kind))
    if chosen.is_open:
        found.append(_t.c.ended_ms.is_(None))
    if chosen.before:
        found.append(_t.c.id < chosen.before)
    return found
