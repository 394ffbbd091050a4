"""Jobs of a room and their steps: each step is a row, in the transaction of what it did, and is done once.

    settlement   opened → orders → read → charged → settled → closed → cut | not_cut → ended
    transfer     opened → orders → read → moved → delivered | given_back
    swap         opened → orders → read → moved

What is not done yet is done by whoever looks next, in the same order, however often the hub is killed.
`word` is what a person said meanwhile. A room has one open job at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, func, insert, or_, select, update

from hub import audit
from hub.campus.accounts.accounts import BookError, Room, room_of
from hub.errors import HubError
from hub.ledger.tables import accounts, room_jobs, room_steps

SHOWN_MAX = 1_000
_j, _s = room_jobs, room_steps
Said = TypeVar("Said")


class JobError(HubError):
    """This cannot become of a room; nothing was changed. The text says why."""


class NoSuchRoom(HubError):
    """The room has no account of this utility."""


class JobKind(StrEnum):
    """What happens to a room."""

    SETTLEMENT = "settlement"  # somebody leaves it
    TRANSFER = "transfer"  # what it has goes to another
    SWAP = "swap"  # two rooms change what they have


class JobState(StrEnum):
    """Where a job stands."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"  # nothing has moved, or it has gone back
    CANCELLED = "cancelled"


class StepName(StrEnum):
    """What was done."""

    OPENED = "opened"
    WORD = "word"  # a person said what a meter shows
    ORDERS = "orders"  # none is under way any more
    READ = "read"  # every meter has said its last word
    CHARGED = "charged"
    SETTLED = "settled"  # the account has nothing on it
    CLOSED = "closed"
    CUT = "cut"
    NOT_CUT = "not_cut"
    MOVED = "moved"
    DELIVERED = "delivered"
    GIVEN_BACK = "given_back"
    PAID = "paid"  # a person paid out, or has got, what was left
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job as it stands; `step` is the last one done, `waits` says for what, empty while it does not.

    `cut`: its supply is cut at the end; `give_back`: orders of which nothing is told yet are given back and
    not waited for. `payee` is who is paid what is left.
    """

    id: str
    kind: JobKind
    state: JobState
    step: StepName
    account: str
    other: str = ""
    cut: bool = False
    give_back: bool = False
    payee: str = ""
    reason: str = ""
    waits: str = ""
    actor: str
    opened_ms: int
    ended_ms: int | None = None

    @property
    def key(self) -> str:
        """What it is called in the audit, the books and the alarms."""
        return f"{self.kind}/{self.id}"

    @property
    def room(self) -> Room:
        """The room it is about."""
        return _room(self.account)

    @property
    def target(self) -> Room:
        """The room that a transfer goes to."""
        return _room(self.other)

    @property
    def rooms(self) -> tuple[Room, ...]:
        """Every room it is about."""
        return (self.room, self.target) if self.other else (self.room,)

    @property
    def givers(self) -> tuple[Room, ...]:
        """Those of them whose money goes: their orders must have ended."""
        return self.rooms if self.kind is JobKind.SWAP else (self.room,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step as it was done; `said` is JSON: see `read`."""

    job: str
    place: int
    name: StepName
    time_ms: int
    actor: str
    said: str

    def read(self, shape: type[Said]) -> Said:
        """What was noted with it."""
        return msgspec.json.decode(self.said, type=shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A step to be noted: what, by whom, when."""

    name: StepName
    actor: str
    now_ms: int
    said: object = None


def open_job(connection: Connection, job: Job) -> Job:
    """A new job, with its first step. Raises NoSuchRoom, or JobError where a room is closed or has one."""
    wanted = [room.account for room in job.rooms]
    query = select(accounts.c.id, accounts.c.closed_ms).where(accounts.c.id.in_(wanted))
    known = {row.id: row.closed_ms for row in connection.execute(query)}
    for account in wanted:
        if account not in known:
            raise NoSuchRoom(f"there is no {account}")
        if known[account] is not None:
            raise JobError(f"{account} is closed")
        other = open_of(connection, account)
        if other is not None:
            raise JobError(f"{account} has the {other.kind} {other.id} under way")
    row = {name: getattr(job, name) for name in Job.__slots__}
    connection.execute(insert(_j), row | {"kind": str(job.kind), "state": str(job.state)})
    return note(connection, job, Note(name=StepName.OPENED, actor=job.actor, now_ms=job.opened_ms))


def note(connection: Connection, job: Job, done: Note, *, state: JobState = JobState.OPEN) -> Job:
    """The job with this step done, its row and its audit. Raises JobError when it stands otherwise by now."""
    is_aside = done.name in (StepName.WORD, StepName.PAID)
    after = replace(
        job,
        step=job.step if is_aside else done.name,
        state=job.state if is_aside else state,
        waits="",
        ended_ms=done.now_ms if state is not JobState.OPEN else job.ended_ms,
    )
    still = (_j.c.id == job.id, _j.c.state == str(job.state), _j.c.step == str(job.step))
    changed = {"step": str(after.step), "state": str(after.state), "waits": ""}
    values = changed | {"ended_ms": after.ended_ms}
    if connection.execute(update(_j).where(*still).values(**values)).rowcount != 1:
        raise JobError(f"{job.key} stands otherwise by now")
    place = connection.scalar(select(func.max(_s.c.place)).where(_s.c.job == job.id)) or 0
    said = msgspec.json.encode(done.said).decode()
    connection.execute(
        insert(_s),
        {
            "job": job.id,
            "place": place + 1,
            "name": str(done.name),
            "time_ms": done.now_ms,
            "actor": done.actor,
            "said": said,
        },
    )
    audit.append(
        connection,
        actor=done.actor,
        cause=job.reason,
        subject=job.key,
        action=str(done.name),
        before=job.account,
        after=said,
        time_ms=done.now_ms,
    )
    return after


def wait(connection: Connection, job: Job, why: str) -> None:
    """Note for what a job waits; nothing where it stands otherwise by now."""
    still = (_j.c.id == job.id, _j.c.state == str(JobState.OPEN), _j.c.step == str(job.step))
    connection.execute(update(_j).where(*still).values(waits=why))


def find(connection: Connection, id: str) -> Job | None:
    """The job of this id."""
    row = connection.execute(select(_j).where(_j.c.id == id)).one_or_none()
    return None if row is None else _job(row)


def open_of(connection: Connection, account: str) -> Job | None:
    """The open job that a room's account has a part in."""
    mine = or_(_j.c.account == account, _j.c.other == account)
    row = connection.execute(select(_j).where(_j.c.state == str(JobState.OPEN), mine)).first()
    return None if row is None else _job(row)


def open_jobs(connection: Connection) -> list[Job]:
    """Every open job, the oldest first."""
    query = select(_j).where(_j.c.state == str(JobState.OPEN)).order_by(_j.c.id)
    return [_job(row) for row in connection.execute(query)]


def recent(
    connection: Connection,
    *,
    kind: JobKind | None = None,
    state: JobState | None = None,
    building: str = "",
    only_there: bool = False,
    before: str = "",
    limit: int = 100,
) -> list[Job]:
    """The newest jobs first; `before` is the id of the last one seen.

    `building` is where the room is that is left; with `only_there` every other room of the job too.
    """
    found: list[ColumnElement[bool]] = []
    if kind:
        found.append(_j.c.kind == str(kind))
    if state:
        found.append(_j.c.state == str(state))
    if building:
        found.append(accounts.c.building == building)
    if before:
        found.append(_j.c.id < before)
    query = select(_j).join(accounts, accounts.c.id == _j.c.account).where(*found)
    if only_there:
        other = accounts.alias()
        is_there = or_(_j.c.other == "", other.c.building == building)
        query = query.outerjoin(other, other.c.id == _j.c.other).where(is_there)
    query = query.order_by(_j.c.id.desc()).limit(min(limit, SHOWN_MAX))
    return [_job(row) for row in connection.execute(query)]


def steps_of(connection: Connection, job: str) -> list[Step]:
    """What was done of a job, in order."""
    query = select(_s).where(_s.c.job == job).order_by(_s.c.place)
    return [
        Step(
            job=row.job,
            place=row.place,
            name=StepName(row.name),
            time_ms=row.time_ms,
            actor=row.actor,
            said=row.said,
        )
        for row in connection.execute(query)
    ]


def last(steps: Sequence[Step], name: StepName) -> Step | None:
    """The newest step of this name."""
    return next((step for step in reversed(steps) if step.name is name), None)


def _room(account: str) -> Room:
    room = room_of(account)
    if room is None:
        raise BookError(f"{account} is no room's account")
    return room


def _job(row: Row[tuple[object, ...]]) -> Job:
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        step=StepName(row.step),
        account=row.account,
        other=row.other,
        cut=row.cut,
        give_back=row.give_back,
        payee=row.payee,
        reason=row.reason,
        waits=row.waits,
        actor=row.actor,
        opened_ms=row.opened_ms,
        ended_ms=row.ended_ms,
    )
