"""The row of a device's supply in the ledger, and how it is changed: with its audit row, or not at all."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, Row, insert, select, update

from hub import audit
from hub.campus.supply.desired import Act, Cause, SupplyState
from hub.errors import HubError
from hub.ledger import tables

ACTOR = "supply"
_FEW = 500  # devices that are asked for by name
_t = tables.supplies


class SupplyError(HubError):
    """This cannot be done to a supply; nothing was. The text says why."""


class SupplyMoved(SupplyError):
    """Somebody else has changed it meanwhile; look again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Supply:
    """What the hub knows of one device's supply, and what it is about to do to it.

    `wish` is what the command of this `episode` is to do, none while none is under way; `tries` is the number
    of that command, `begun_ms` when the episode began, `retry_ms` before when no further try is made.
    `trips` count since staff unlocked it; `locked` says why it stays off until they do. `overloads` is the
    device's own count as it was seen last. `batch` holds the proposal in which its cut waits for a second
    person. Until `kept_until_ms` it is not cut.
    """

    device: str
    account: str = ""
    state: SupplyState = SupplyState.ON
    cause: Cause = Cause.NONE
    reason: str = ""
    since_ms: int = 0
    episode: int = 0
    wish: Act = Act.NONE
    wish_cause: Cause = Cause.NONE
    tries: int = 0
    command: str = ""
    begun_ms: int = 0
    retry_ms: int = 0
    trips: int = 0
    locked: str = ""
    overloads: int | None = None
    batch: str = ""
    batch_ms: int = 0
    kept_until_ms: int = 0
    kept_by: str = ""
    kept_reason: str = ""

    @property
    def key(self) -> str:
        """The key of the command under way."""
        first = f"{ACTOR}/{self.device}/{self.episode}"
        return first if self.tries == 1 else f"{first}/{self.tries}"

    def kept(self, now_ms: int) -> str:
        """Who keeps it from being cut now, and why; empty when nobody does."""
        return f"kept by {self.kept_by}: {self.kept_reason}" if now_ms < self.kept_until_ms else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """What the audit says of a change: `action` is one word, `reason` for a person, `details` beside them."""

    action: str
    reason: str
    actor: str = ACTOR
    details: Mapping[str, str | int | None] | None = None


def read(connection: Connection, devices: Collection[str]) -> dict[str, Supply]:
    """How these devices stand, by device; one to which nothing was ever done stands as it is born."""
    query = select(_t)
    if len(devices) <= _FEW:
        query = query.where(_t.c.device.in_(devices))
    known = {row.device: _supply(row) for row in connection.execute(query)}
    return {device: known.get(device) or Supply(device=device) for device in devices}


def save(
    connection: Connection, before: Supply, after: Supply, note: Note | None, now_ms: int
) -> Supply:
    """Bring the row from one to the other; raises SupplyMoved when it does not stand as before."""
    row = connection.execute(select(_t).where(_t.c.device == before.device)).first()
    found = _supply(row) if row else Supply(device=before.device)
    if found != before:
        raise SupplyMoved(f"the supply of {before.device} was changed meanwhile")
    if row is None:
        connection.execute(insert(_t).values(asdict(after)))
    else:
        connection.execute(update(_t).where(_t.c.device == before.device).values(asdict(after)))
    if note is not None:
        told = {"account": after.account, "reason": note.reason, "state": str(after.state)}
        audit.append(
            connection,
            actor=note.actor,
            cause=note.reason,
            subject=f"supply/{before.device}",
            action=note.action,
            before=json.dumps({"state": str(before.state), "cause": str(before.cause)}),
            after=json.dumps({**told, **(note.details or {})}, ensure_ascii=False),
            time_ms=now_ms,
        )
    return after


def begun(row: Supply, act: Act, cause: Cause, now_ms: int) -> Supply:
    """A new episode: one command, or more of them when the first does nothing."""
    return replace(
        row,
        episode=row.episode + 1,
        wish=act,
        wish_cause=cause,
        tries=1,
        command="",
        begun_ms=now_ms,
        retry_ms=0,
    )


def again(row: Supply, retry_ms: int) -> Supply:
    """The command did nothing; another may be made, not before `retry_ms`."""
    return replace(row, tries=row.tries + 1, command="", retry_ms=retry_ms)


def rested(row: Supply) -> Supply:
    """Nothing is wished any more."""
    return replace(row, wish=Act.NONE, wish_cause=Cause.NONE, tries=0, command="", retry_ms=0)


def moved(row: Supply, state: SupplyState, cause: Cause, reason: str, since_ms: int) -> Supply:
    """The supply is so now, and nothing is wished any more."""
    return replace(rested(row), state=state, cause=cause, reason=reason, since_ms=since_ms)


def _supply(row: Row[tuple[object, ...]]) -> Supply:
    named = dict(row._mapping)
    named |= {
        "state": SupplyState(row.state),
        "cause": Cause(row.cause),
        "wish": Act(row.wish),
        "wish_cause": Cause(row.wish_cause),
    }
    return Supply(**named)
