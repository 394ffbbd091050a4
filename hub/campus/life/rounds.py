"""Goes round the open jobs: each is taken as far as it goes, and looked at again later where it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from hub.campus.accounts.accounts import Room
from hub.campus.alarms import Alarms
from hub.campus.life import jobs
from hub.campus.life.closed import money_on_closed
from hub.campus.life.cutting import Cutter, cuts_left, note_cut
from hub.campus.life.figures import METER
from hub.campus.life.hindrances import end_orders
from hub.campus.life.jobs import Job, JobKind, JobState, Note, StepName, last
from hub.campus.life.last_words import LastWords
from hub.campus.life.rooms import Rooms
from hub.campus.life.settlement import Reading, settle
from hub.campus.life.transfer import Way, follow_order, move
from hub.campus.orders.desk import Desk, Target
from hub.campus.prepaid.charge import Mark
from hub.campus.prepaid.charging import Charger
from hub.clock import Clock
from hub.errors import HubError, StoreDamaged, StoreError
from hub.ledger import Ledger

LOOK_PERIOD_S = 1.0
WAIT_FIRST_S = 2.0
WAIT_MAX_S = 60.0
ALARM_S = 3_600.0  # a job that waits so long is an alarm
CHECK_PERIOD_S = 3_600.0
_GROUP = 50  # jobs looked at together
_CLOSED = "closed rooms"

_log = structlog.get_logger("rooms")


class Rounds:
    """Does what open jobs have still to do; `target` says where an order for a room goes.

    Only the ledger is remembered: what is here is when to look again.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        alarms: Alarms,
        rooms: Rooms,
        words: LastWords,
        charger: Charger,
        cutter: Cutter,
        desk: Desk,
        target: Callable[[Room], Target],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._alarms = alarms
        self._rooms = rooms
        self._words = words
        self._charger = charger
        self._cutter = cutter
        self._desk = desk
        self._target = target
        self._look_s: dict[str, tuple[float, float]] = {}  # when next, and how long after that
        self._checked_s: float | None = None
        self.cutting = (
            asyncio.Lock()
        )  # held while a supply is cut: a room is not reopened meanwhile

    async def run(self) -> None:
        """A turn each second, until cancelled. Raises StoreDamaged."""
        while True:
            try:
                await self.turn()
            except StoreDamaged:
                raise
            except HubError as error:
                _log.error("jobs of rooms wait", reason=str(error))
            await self._clock.sleep(LOOK_PERIOD_S)

    def look(self, job: str) -> None:
        """Look at this job in the next turn, however long it was to wait."""
        self._look_s.pop(job, None)

    async def turn(self) -> int:
        """Take every job that is due as far as it goes; how many were looked at. Raises StoreError."""
        await self._desk.give_back()
        await self._check()
        now_s = self._clock.monotonic_s()
        found = await self._ledger.read(jobs.open_jobs)
        self._look_s = {job.id: self._look_s[job.id] for job in found if job.id in self._look_s}
        due = [job for job in found if self._look_s.get(job.id, (0.0, 0.0))[0] <= now_s]
        for begin in range(0, len(due), _GROUP):
            await self._group(due[begin : begin + _GROUP])
        return len(due)

    async def _group(self, due: Sequence[Job]) -> None:
        """Some jobs: what they wait for first, then one run of charges for all, then what is booked."""
        ready = [job for job in await self._all(due, self._prepare) if job]
        if not ready or self._rooms.site is None:
            return
        words = [await self._marks(job) for job in ready]
        await self._charger.run(
            self._rooms.site,
            self._rooms.rules,
            rooms={room for job in ready for room in job.rooms},
            flush=True,
            words={device: mark for known in words for device, mark in known.items()},
        )
        booked = [job for job in await self._all(ready, self._book) if job]
        await self._all([job for job in booked if job.state is JobState.OPEN], self._prepare)

    async def _all(
        self, due: Sequence[Job], work: Callable[[Job], Awaitable[Job | None]]
    ) -> list[Job | None]:
        async with asyncio.TaskGroup() as tasks:
            begun = [tasks.create_task(self._try(job, work), name=job.key) for job in due]
        return [task.result() for task in begun]

    async def _try(self, job: Job, work: Callable[[Job], Awaitable[Job | None]]) -> Job | None:
        """What came of it; a job that cannot go on waits with the reason, and stops no other."""
        try:
            return await self._reported(job, work)
        except StoreDamaged:
            raise
        except StoreError as error:
            _log.warning("a job waits", job=job.key, reason=str(error))
            return None

    async def _reported(self, job: Job, work: Callable[[Job], Awaitable[Job | None]]) -> Job | None:
        try:
            return await work(job)
        except StoreError:
            raise
        except HubError as error:
            await self._wait(await self._now(job), str(error))
            return None

    async def _prepare(self, job: Job) -> Job | None:
        """The job once it is ready to be booked; None while it waits, or has nothing more to be booked."""
        while True:
            match job.step:
                case StepName.OPENED:
                    after = await self._ledger.run(
                        partial(end_orders, job=job, now_ms=self._now_ms())
                    )
                case StepName.ORDERS:
                    after = await self._read(job)
                case StepName.READ:
                    return job
                case StepName.MOVED:
                    after = await self._ledger.run(
                        partial(follow_order, job=job, now_ms=self._now_ms())
                    )
                case _:
                    async with self.cutting:
                        after = await self._cut(await self._now(job))
            job_after = await self._after(job, after)
            if job_after is None or job_after.state is not JobState.OPEN:
                return None
            job = job_after

    async def _read(self, job: Job) -> Job | str:
        steps = await self._ledger.read(lambda connection: jobs.steps_of(connection, job.id))
        said = await self._words.read(job, steps)
        if isinstance(said, str):
            return said
        done = Note(name=StepName.READ, actor=job.actor, now_ms=self._now_ms(), said=said)
        return await self._ledger.run(lambda connection: jobs.note(connection, job, done))

    async def _marks(self, job: Job) -> dict[str, Mark]:
        """What persons read at the counters, for the charges."""
        steps = await self._ledger.read(lambda connection: jobs.steps_of(connection, job.id))
        read = last(steps, StepName.READ)
        figures = read.read(Reading).figures if read else ()
        return {
            one.device: Mark(time_ms=one.time_ms, counter=one.counter)
            for one in figures
            if one.by != METER and one.counter is not None and one.credit_fen is None
        }

    async def _book(self, job: Job) -> Job | None:
        if job.kind is JobKind.SETTLEMENT:
            after = await self._ledger.run(
                lambda connection: settle(connection, job, self._now_ms())
            )
            return await self._after(job, after)
        way = self._way(job)
        found = await self._ledger.run(
            lambda connection: move(connection, job, way, self._now_ms())
        )
        if isinstance(found, str):
            return await self._after(job, found)
        moved, order = found
        if order is not None:
            self._desk.told(order)
        return await self._after(job, moved)

    def _way(self, job: Job) -> Way:
        into_meter = self._rooms.holds_credit(job.target)
        return Way(
            into_meter=into_meter,
            free=self._rooms.policy(job.room).allowance_moves,
            target=self._target(job.target),
            order_id=self._clock.new_id(),
        )

    async def _cut(self, job: Job) -> Job | str:
        if job.state is not JobState.OPEN:
            return job
        steps = await self._ledger.read(lambda connection: jobs.steps_of(connection, job.id))
        closed = last(steps, StepName.CLOSED)
        assert closed is not None
        left = cuts_left(self._rooms, job, steps)
        if not left:
            done = Note(name=StepName.ENDED, actor=job.actor, now_ms=self._now_ms())
            return await self._ledger.run(
                lambda connection: jobs.note(connection, job, done, state=JobState.DONE)
            )
        cut = await self._cutter.cut(job, left[0], closed.time_ms)
        if isinstance(cut, str):
            return cut
        after = await self._ledger.run(
            lambda connection: note_cut(
                connection, job, cut, is_last=len(left) == 1, now_ms=self._now_ms()
            )
        )
        if cut.reason:
            self._alarms.say(f"supply/{cut.device}", f"not cut after {job.key}: {cut.reason}")
        return after

    async def _after(self, job: Job, after: Job | str) -> Job | None:
        """What came of a look: the job as it is now, or None while it waits."""
        if isinstance(after, str):
            await self._wait(job, after)
            return None
        _log.info("job", job=job.key, step=str(after.step), state=str(after.state))
        self._look_s.pop(job.id, None)
        self._alarms.end(job.key)
        return after

    async def _wait(self, job: Job, why: str) -> None:
        """Look again later, each time later; what waits for long is a person's."""
        now_s = self._clock.monotonic_s()
        _, pause_s = self._look_s.get(job.id, (0.0, WAIT_FIRST_S))
        self._look_s[job.id] = (now_s + pause_s, min(2 * pause_s, WAIT_MAX_S))
        if self._now_ms() - job.opened_ms >= ALARM_S * 1000:
            self._alarms.say(job.key, f"{job.account} waits: {why}")
        if why != job.waits:
            await self._ledger.run(lambda connection: jobs.wait(connection, job, why))

    async def _now(self, job: Job) -> Job:
        return await self._ledger.read(lambda connection: jobs.find(connection, job.id)) or job

    async def _check(self) -> None:
        """A credit that came after its room was closed is a person's."""
        now_s = self._clock.monotonic_s()
        if self._checked_s is not None and now_s - self._checked_s < CHECK_PERIOD_S:
            return
        self._checked_s = now_s
        found = await self._ledger.read(money_on_closed)
        if found:
            names = ", ".join(room.account for room in found[:5])
            self._alarms.say(_CLOSED, f"{len(found)} have money, reopen and settle: {names}")
        else:
            self._alarms.end(_CLOSED)

    def _now_ms(self) -> int:
        return self._clock.now_ms()
