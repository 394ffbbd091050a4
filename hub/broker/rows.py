"""The ledger's credentials: issued, replaced, revoked, each with its row in the audit.

A credential is good until it is revoked. A device has at most two good ones of a kind: the one in use and,
for the time of a rotation, the one before it. Mosquitto knows one password for each name, so the second
password has a name of its own: `washer-1` and `washer-1.2`, in turn.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Row, bindparam, exists, func, insert, select, update

from hub import audit
from hub.ledger.tables import credentials

HUB_USERNAME = "dormhub-hub"  # the hub's own account
LOADED_USERNAME = "dormhub-loaded"  # opens with the mark of the files the broker runs
RESERVED = (HUB_USERNAME, LOADED_USERNAME)
_SECOND = ".2"
_ASKED_AT_ONCE = 500


class Kind(StrEnum):
    """What a device proves itself with."""

    PASSWORD = "password"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """What may be shown of a credential; times are UTC milliseconds, None where it never came.

    Once revoked it is refused; `evicted_ms` is when the broker had surely ended what was connected by it.
    """

    id: str
    device: str
    kind: Kind
    username: str
    serial: str
    issued_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    evicted_ms: int | None
    actor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """One about to be entered: `hash` is Mosquitto's of a password, or a certificate's fingerprint."""

    id: str
    device: str
    hash: str
    serial: str = ""
    expires_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """Who changes credentials of which kind, and when."""

    kind: Kind
    actor: str
    now_ms: int
    cause: str = ""


class Why(StrEnum):
    """Why a device got nothing new."""

    HAS_ONE = "has one already"
    BEING_REPLACED = "is being replaced already"
    HAS_NONE = "has none to replace"


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """How a rotation replaces: the old one ends at `until_ms`; `again` when the new one was lost."""

    until_ms: int
    again: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """A device that got nothing, and id and serial of its newest good one of this kind, empty for none."""

    device: str
    why: Why
    credential: str
    serial: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entered:
    """Username by device of what was entered, and who was left."""

    usernames: Mapping[str, str]
    left: Sequence[Left]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What the broker must know: names with their hashes, every good name by device, every revoked serial."""

    passwords: Sequence[tuple[str, str]]
    usernames: Sequence[tuple[str, str]]
    revoked: Sequence[str]


def issue(connection: Connection, made: Sequence[Made], act: Act) -> Entered:
    """Enter those whose devices have no good one of this kind; the others are left."""
    good = _good_of(connection, [item.device for item in made], act.kind)
    entering = [(item, item.device) for item in made if item.device not in good]
    left = [
        _left(item.device, Why.HAS_ONE, good[item.device]) for item in made if item.device in good
    ]
    return Entered(usernames=_enter(connection, entering, act), left=left)


def rotate(connection: Connection, made: Sequence[Made], act: Act, turn: Turn) -> Entered:
    """Enter those whose devices have a good one, which then ends at the turn's end; the others are left.

    A device whose last rotation is not over is left too: it may still use the older of its two. Where
    nothing may overlap, both end at once. `again` replaces the newer one, and the older one stays as it is.
    """
    good = _good_of(connection, [item.device for item in made], act.kind)
    at_once = turn.until_ms <= act.now_ms
    left: list[Left] = []
    ended: list[Credential] = []
    ending: list[Credential] = []
    entering: list[tuple[Made, str]] = []
    for item in made:
        found = good.get(item.device, [])
        if not found:
            left.append(_left(item.device, Why.HAS_NONE, found))
            continue
        *older, newest = found
        if older and not at_once and not turn.again:
            left.append(_left(item.device, Why.BEING_REPLACED, found))
            continue
        lost = bool(older) and not at_once
        if at_once or lost:
            ended += [newest] if lost else found
        else:
            ending.append(newest)
        entering.append((item, newest.username if lost else _next_name(newest, act.kind)))
    _revoke(connection, ended, act)
    _end_at(connection, ending, turn.until_ms, act)
    return Entered(usernames=_enter(connection, entering, act), left=left)


def revoke(
    connection: Connection, devices: Collection[str], act: Act, credential: str = ""
) -> list[Credential]:
    """Revoke every good one of these devices, or only the one of this id; gives what was revoked."""
    good = _good_of(connection, devices)
    found = [row for rows in good.values() for row in rows if credential in ("", row.id)]
    return _revoke(connection, found, act)


def holders(connection: Connection) -> set[str]:
    """Every device that has a good one; not the hub itself."""
    query = select(credentials.c.device).where(credentials.c.revoked_ms.is_(None)).distinct()
    return {device for (device,) in connection.execute(query)} - {HUB_USERNAME}


def has_expired(connection: Connection, now_ms: int) -> bool:
    """Whether something good has come to its end."""
    over = credentials.c.revoked_ms.is_(None) & (credentials.c.expires_ms <= now_ms)
    return connection.execute(select(credentials.c.id).where(over).limit(1)).first() is not None


def end_expired(connection: Connection, now_ms: int, limit: int) -> int:
    """Revoke up to `limit` that have come to their end; how many there were."""
    over = credentials.c.revoked_ms.is_(None) & (credentials.c.expires_ms <= now_ms)
    query = select(credentials).where(over).order_by(credentials.c.id).limit(limit)
    rows = [_credential(row) for row in connection.execute(query)]
    _revoke(connection, rows, Act(kind=Kind.PASSWORD, actor="hub", now_ms=now_ms, cause="its end"))
    return len(rows)


def find(
    connection: Connection, *, devices: Collection[str] | None, good: bool, after: str, limit: int
) -> list[Credential]:
    """Up to `limit` credentials in the order of their ids, after this one; of these devices when named."""
    query = select(credentials).where(credentials.c.id > after).order_by(credentials.c.id)
    if good:
        query = query.where(credentials.c.revoked_ms.is_(None))
    if devices is not None and len(devices) == 1:
        query = query.where(credentials.c.device.in_(devices))
    found = (_credential(row) for row in connection.execute(query))
    chosen = (row for row in found if devices is None or row.device in devices)
    return [row for row, _ in zip(chosen, range(limit), strict=False)]


def standing(connection: Connection) -> Standing:
    """What the broker must know now, in an order that is always the same."""
    columns = (credentials.c.device, credentials.c.username, credentials.c.kind, credentials.c.hash)
    good = connection.execute(
        select(*columns).where(credentials.c.revoked_ms.is_(None)).order_by(credentials.c.username)
    ).all()
    revoked = select(credentials.c.serial).where(
        credentials.c.revoked_ms.is_not(None) & (credentials.c.kind == Kind.CERTIFICATE.value)
    )
    ordered = revoked.order_by(credentials.c.revoked_ms, credentials.c.id)
    return Standing(
        passwords=[(row.username, row.hash) for row in good if row.kind == Kind.PASSWORD],
        usernames=sorted({(row.username, row.device) for row in good}),
        revoked=[serial for (serial,) in connection.execute(ordered)],
    )


def last_ends(connection: Connection) -> dict[str, int]:
    """When the last good certificate of each device ends."""
    query = (
        select(credentials.c.device, func.max(credentials.c.expires_ms))
        .where(credentials.c.revoked_ms.is_(None) & (credentials.c.kind == Kind.CERTIFICATE.value))
        .group_by(credentials.c.device)
    )
    return {device: ends_ms for device, ends_ms in connection.execute(query)}


def not_evicted(connection: Connection) -> dict[str, str]:
    """Username by id of what is revoked and may still be connected.

    Not what came to its end because it was replaced: the broker cannot tell a session of the old one from
    one of the new one, which has the same name and is good.
    """
    newer = credentials.alias()
    replaced = (credentials.c.expires_ms <= credentials.c.revoked_ms) & exists(
        select(newer.c.id).where(
            (newer.c.device == credentials.c.device)
            & (newer.c.username == credentials.c.username)
            & newer.c.revoked_ms.is_(None)
        )
    )
    ended = credentials.c.revoked_ms.is_not(None) & credentials.c.evicted_ms.is_(None)
    query = select(credentials.c.id, credentials.c.username).where(
        ended & (credentials.c.expires_ms.is_(None) | ~replaced)
    )
    return {row.id: row.username for row in connection.execute(query)}


def evicted(connection: Connection, ids: Iterable[str], now_ms: int) -> None:
    """The broker has ended what was connected by these."""
    for part in _parts(list(ids)):
        query = update(credentials).where(credentials.c.id.in_(part))
        connection.execute(query.values(evicted_ms=now_ms))


def hash_of_hub(connection: Connection) -> str:
    """The hash of the hub's own password; empty when it has none."""
    query = select(credentials.c.hash).where(
        (credentials.c.device == HUB_USERNAME) & credentials.c.revoked_ms.is_(None)
    )
    return connection.scalar(query) or ""


def enter_hub(connection: Connection, made: Made, act: Act) -> None:
    """The hub's own password from now on; the one before ends at once."""
    for rows in _good_of(connection, [HUB_USERNAME]).values():
        _revoke(connection, rows, act)
    _enter(connection, [(made, HUB_USERNAME)], act)


def _enter(connection: Connection, made: Sequence[tuple[Made, str]], act: Act) -> dict[str, str]:
    rows: list[dict[str, object]] = [
        {
            "id": item.id,
            "device": item.device,
            "kind": str(act.kind),
            "username": username,
            "serial": item.serial,
            "issued_ms": act.now_ms,
            "expires_ms": item.expires_ms,
            "actor": act.actor,
        }
        for item, username in made
    ]
    if rows:
        hashed = [row | {"hash": item.hash} for row, (item, _) in zip(rows, made, strict=True)]
        connection.execute(insert(credentials), hashed)
    _audit(connection, "issued", [(str(row["id"]), row) for row in rows], act)
    return {item.device: username for item, username in made}


def _next_name(newest: Credential, kind: Kind) -> str:
    second = kind is Kind.PASSWORD and newest.username == newest.device
    return newest.device + _SECOND if second else newest.device


def _left(device: str, why: Why, good: Sequence[Credential]) -> Left:
    newest = good[-1] if good else None
    return Left(
        device=device,
        why=why,
        credential=newest.id if newest else "",
        serial=newest.serial if newest else "",
    )


def _revoke(connection: Connection, rows: list[Credential], act: Act) -> list[Credential]:
    for part in _parts([row.id for row in rows]):
        query = update(credentials).where(credentials.c.id.in_(part))
        connection.execute(query.values(revoked_ms=act.now_ms))
    said = [(row.id, {"device": row.device, "kind": str(row.kind)}) for row in rows]
    _audit(connection, "revoked", said, act)
    return rows


def _end_at(connection: Connection, rows: list[Credential], until_ms: int, act: Act) -> None:
    ends = {row.id: min(until_ms, row.expires_ms or until_ms) for row in rows}
    query = update(credentials).where(credentials.c.id == bindparam("which"))
    query = query.values(expires_ms=bindparam("ends_ms"))
    if ends:
        found = [{"which": which, "ends_ms": ends_ms} for which, ends_ms in ends.items()]
        connection.execute(query, found)
    said = [(row.id, {"device": row.device, "expires_ms": ends[row.id]}) for row in rows]
    _audit(connection, "ends", said, act)


def _audit(
    connection: Connection, action: str, said: Iterable[tuple[str, Mapping[str, object]]], act: Act
) -> None:
    entries = [
        audit.Entry(
            subject=f"credential/{credential}",
            action=action,
            before="",
            after=json.dumps(after, sort_keys=True, separators=(",", ":")),
        )
        for credential, after in said
    ]
    audit.append_all(connection, entries, actor=act.actor, cause=act.cause, time_ms=act.now_ms)


def _good_of(
    connection: Connection, devices: Collection[str], kind: Kind | None = None
) -> dict[str, list[Credential]]:
    """Every good credential of these devices, the oldest first."""
    found: dict[str, list[Credential]] = {}
    for part in _parts(list(devices)):
        query = select(credentials).where(
            credentials.c.device.in_(part) & credentials.c.revoked_ms.is_(None)
        )
        if kind is not None:
            query = query.where(credentials.c.kind == kind.value)
        ordered = query.order_by(credentials.c.issued_ms, credentials.c.id)
        for row in connection.execute(ordered):
            found.setdefault(row.device, []).append(_credential(row))
    return found


def _parts(items: list[str]) -> Iterable[list[str]]:
    for start in range(0, len(items), _ASKED_AT_ONCE):
        yield items[start : start + _ASKED_AT_ONCE]


def _credential(row: Row[tuple[object, ...]]) -> Credential:
    return Credential(
        id=row.id,
        device=row.device,
        kind=Kind(row.kind),
        username=row.username,
        serial=row.serial,
        issued_ms=row.issued_ms,
        expires_ms=row.expires_ms,
        revoked_ms=row.revoked_ms,
        evicted_ms=row.evicted_ms,
        actor=row.actor,
    )
