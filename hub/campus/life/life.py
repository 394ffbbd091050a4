"""What a person asks for a room: settle it, transfer what it has, reopen it; and says of its meters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from hub import audit
from hub.campus.accounts import accounts, books
from hub.campus.accounts.accounts import Room, Unit, platform
from hub.campus.accounts.books import Kind, Posting, transfer
from hub.campus.accounts.desk import CORRECTION_MAX
from hub.campus.life import jobs
from hub.campus.life.cutting import is_being_cut
from hub.campus.life.figures import Spoken
from hub.campus.life.jobs import (
    Job,
    JobError,
    JobKind,
    JobState,
    NoSuchRoom,
    Note,
    Step,
    StepName,
    last,
)
from hub.campus.life.rooms import Rooms
from hub.campus.life.rounds import Rounds
from hub.campus.life.settlement import Settled
from hub.campus.orders.platforms import DESK
from hub.campus.prepaid.charge import Mark, follow
from hub.campus.prepaid.charging import Charger
from hub.campus.prepaid.metering import Metering, read_meterings
from hub.clock import Clock
from hub.ledger import Ledger
from hub.points import INT_MAX

_BEFORE_MONEY = (StepName.OPENED, StepName.ORDERS, StepName.READ)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaving:
    """Somebody leaves a room: see Job."""

    room: Room
    cut: bool = False
    give_back: bool = False
    payee: str = ""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Moving:
    """What a room has goes to another; `swap`: and what that has comes back."""

    room: Room
    other: Room
    swap: bool = False
    give_back: bool = False
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """A job with what was done of it."""

    job: Job
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    reason: str


class Life:
    """The front door of jobs; `rounds` do them. What it answers is on disk."""

    def __init__(
        self, *, ledger: Ledger, clock: Clock, rooms: Rooms, rounds: Rounds, charger: Charger
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._rooms = rooms
        self._rounds = rounds
        self._charger = charger

    async def settle(self, leaving: Leaving, actor: str) -> Job:
        """Begin a settlement. Raises NoSuchRoom, JobError where it is closed or has a job, and StoreError."""
        return await self._open(
            Job(
                id=self._clock.new_id(),
                kind=JobKind.SETTLEMENT,
                state=JobState.OPEN,
                step=StepName.OPENED,
                account=leaving.room.account,
                cut=leaving.cut,
                give_back=leaving.give_back,
                payee=leaving.payee,
                reason=_reason(leaving.reason),
                actor=actor,
                opened_ms=self._clock.now_ms(),
            )
        )

    async def transfer(self, moving: Moving, actor: str) -> Job:
        """Begin a transfer or a swap. Raises as `settle`, and JobError to swap what stands in a meter."""
        room, other = moving.room, moving.other
        if room == other or room.utility is not other.utility:
            raise JobError("a transfer needs two rooms and one utility")
        if not self._rooms.meters(other):
            raise NoSuchRoom(f"no meter serves {other.account}")
        if moving.swap and any(map(self._rooms.holds_credit, (room, other))):
            raise JobError("a meter keeps the money of one of them; make two transfers")
        return await self._open(
            Job(
                id=self._clock.new_id(),
                kind=JobKind.SWAP if moving.swap else JobKind.TRANSFER,
                state=JobState.OPEN,
                step=StepName.OPENED,
                account=room.account,
                other=other.account,
                give_back=moving.give_back,
                reason=_reason(moving.reason),
                actor=actor,
                opened_ms=self._clock.now_ms(),
            )
        )

    async def say(self, id: str, spoken: Spoken, actor: str) -> Job | None:
        """A person read a meter, and emptied one that keeps money; None where there is no such job.

        Raises JobError where the job does not wait for this, or the meter cannot have made that.
        """
        now_ms = self._clock.now_ms()
        said = Note(name=StepName.WORD, actor=actor, now_ms=now_ms, said=spoken)

        def work(connection: Connection) -> Job | None:
            job = jobs.find(connection, id)
            if job is not None:
                self._check_word(connection, job, spoken, now_ms)
                job = jobs.note(connection, job, said)
            return job

        job = await self._ledger.run(work)
        self._rounds.look(id)
        return job

    async def cancel(self, id: str, reason: str, actor: str) -> Job | None:
        """End a job before anything is booked; None where there is none. Raises JobError when too late."""
        why, now_ms = _reason(reason), self._clock.now_ms()
        done = Note(name=StepName.ENDED, actor=actor, now_ms=now_ms, said=_Ended(reason=why))

        def work(connection: Connection) -> Job | None:
            job = jobs.find(connection, id)
            if job is None:
                return None
            if job.state is not JobState.OPEN or job.step not in _BEFORE_MONEY:
                raise JobError(f"{job.key} is {job.state}, {job.step}; too late to cancel it")
            return jobs.note(connection, job, done, state=JobState.CANCELLED)

        return await self._ledger.run(work)

    async def resume(self, id: str) -> Job | None:
        """Have a job looked at now; None where there is none."""
        self._rounds.look(id)
        return await self._ledger.read(lambda connection: jobs.find(connection, id))

    async def pay(self, id: str, how: str, actor: str) -> Job | None:
        """What a settlement left was paid out, or its debt was paid; None where there is no such job.

        Raises JobError when there is nothing to pay, or it was paid.
        """
        now_ms, note = self._clock.now_ms(), _reason(how)
        return await self._ledger.run(
            lambda connection: _pay(
                connection,
                id,
                Note(name=StepName.PAID, actor=actor, now_ms=now_ms, said=_Ended(reason=note)),
            )
        )

    async def reopen(self, room: Room, reason: str, actor: str) -> None:
        """Somebody moves into a closed room; what its meters counted meanwhile is nobody's.

        A settlement that has still to cut its supply ends. Raises NoSuchRoom, BookError when it is not
        closed, and JobError while a cut is on its way.
        """
        why = _reason(reason)
        if self._rooms.site is not None:
            await self._charger.run(self._rooms.site, self._rooms.rules, rooms=[room], flush=True)
        now_ms = self._clock.now_ms()
        done = Note(name=StepName.ENDED, actor=actor, now_ms=now_ms, said=_Ended(reason="reopened"))

        def work(connection: Connection) -> None:
            if not accounts.is_open(connection, room.account):
                raise NoSuchRoom(f"there is no {room.account}")
            accounts.reopen(connection, room.account, now_ms=now_ms)
            job = jobs.open_of(connection, room.account)
            if job is not None and is_being_cut(connection, self._rooms, job):
                raise JobError(f"{room.account} is being cut; reopen it after that")
            if job is not None:
                jobs.note(connection, job, done, state=JobState.DONE)
            audit.append(
                connection,
                actor=actor,
                cause=why,
                subject=f"account/{room.account}",
                action="reopened",
                before="",
                after="",
                time_ms=now_ms,
            )

        async with self._rounds.cutting:
            await self._ledger.run(work)

    async def whole(self, id: str) -> Whole | None:
        """A job with its steps; None where there is none."""

        def query(connection: Connection) -> Whole | None:
            job = jobs.find(connection, id)
            steps = jobs.steps_of(connection, id)
            return None if job is None else Whole(job=job, steps=tuple(steps))

        return await self._ledger.read(query)

    async def _open(self, job: Job) -> Job:
        now_ms = job.opened_ms

        def work(connection: Connection) -> Job:
            if job.other:
                accounts.ensure_room(connection, job.target, now_ms=now_ms)
            return jobs.open_job(connection, job)

        return await self._ledger.run(work)

    def _check_word(self, connection: Connection, job: Job, spoken: Spoken, now_ms: int) -> None:
        if job.state is not JobState.OPEN or job.step is not StepName.ORDERS:
            raise JobError(f"{job.key} is {job.state}, {job.step}; it waits for no meter now")
        meter = next(
            (one for one in self._rooms.meters(job.room) if one.device == spoken.device), None
        )
        if meter is None:
            raise JobError(f"{spoken.device} is no meter of {job.account}")
        if not spoken.reason.strip():
            raise JobError("a reading needs a reason")
        if meter.holds_credit != (spoken.credit_fen is not None):
            raise JobError(
                f"say what {spoken.device} showed, in fen, before it was emptied"
                if meter.holds_credit
                else f"{spoken.device} keeps no money; say its counter"
            )
        if meter.holds_credit:
            _check_purse(books.balance(connection, job.room.meter), spoken)
        else:
            found = read_meterings(connection, {meter.device: meter}, now_ms=now_ms)
            _check_counter(found, spoken, now_ms)


def _check_purse(told_fen: int, spoken: Spoken) -> None:
    """What stood in a meter and was never told to it is a correction, and bounded as one."""
    most, credit_fen = CORRECTION_MAX[Unit.FEN], spoken.credit_fen or 0
    if not -most <= credit_fen <= max(0, told_fen) + most:
        raise JobError(
            f"{spoken.device} was told {told_fen} fen; it cannot have shown {credit_fen}: "
            f"correct the account, at most {most} fen at once"
        )


def _check_counter(found: Sequence[Metering], spoken: Spoken, now_ms: int) -> None:
    """A word that the counter cannot have come to is refused before it holds the metering."""
    counter = spoken.counter
    if counter is None or not 0 <= counter <= INT_MAX:
        raise JobError(f"say the counter of {spoken.device}")
    for one in found:
        if one.device == spoken.device and one.to_ms is None and one.begun:
            track = follow(one.mark, [(Mark(time_ms=now_ms, counter=counter), False)], one.register)
            if track.held or one.mark.time_ms >= now_ms:
                raise JobError(f"{spoken.device}: {track.held or 'it was charged just now'}")


def _pay(connection: Connection, id: str, done: Note) -> Job | None:
    job = jobs.find(connection, id)
    if job is None:
        return None
    settled = last(jobs.steps_of(connection, id), StepName.SETTLED)
    if job.kind is not JobKind.SETTLEMENT or settled is None:
        raise JobError(f"{job.key} has settled nothing")
    said = _payment(job, settled.read(Settled))
    if not said or books.balance(connection, said[0].account) == 0:
        raise JobError(f"{job.key} has nothing to pay, or it was paid")
    accounts.ensure(connection, platform(DESK), now_ms=done.now_ms)
    books.post(
        connection,
        key=f"{job.key}/paid",
        kind=Kind.SETTLEMENT,
        postings=said,
        actor=done.actor,
        cause=job.payee or job.reason,
        time_ms=done.now_ms,
    )
    return jobs.note(connection, job, done)


def _payment(job: Job, settled: Settled) -> tuple[Posting, ...]:
    """The account of the settlement first."""
    if settled.payout_fen:
        return transfer(accounts.payout(job.id), platform(DESK), Unit.FEN, settled.payout_fen)
    if settled.debt_fen:
        return transfer(accounts.debt(job.id), platform(DESK), Unit.FEN, -settled.debt_fen)
    return ()


def _reason(text: str) -> str:
    if not text.strip():
        raise JobError("say why")
    return text
