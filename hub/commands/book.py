"""The book of open commands: the one place where a life moves on, in the ledger first and then in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from hub.clock import Clock
from hub.command import CommandSpec, Hazard, Outcome, Repeat
from hub.commands import rows
from hub.commands.life import Answered, AnsweredLate, Event, Life, Over, Sent, after
from hub.commands.order import Before, CommandError, Order, Record, Refusal, canonical
from hub.commands.unknowns import Unknowns
from hub.errors import StoreDamaged, StoreError
from hub.ledger import Ledger
from hub.model import Device
from hub.points import Scalar

_RETRY_S = 1.0


@dataclass(slots=True, eq=False)
class OpenCommand:
    """A command that has not ended. `deadline_s` is the clock's monotonic second.

    `not_before_s` keeps it waiting after a try that certainly did not go. `recovered` ones may have been
    sent by an earlier run of the hub: they are only looked at. `late` holds answers nobody has taken yet.
    `number` counts commands as they came. `stop` says why it must go no further; empty while it may.
    `before` is how the device was before the first try that may have reached it; `was_otherwise` that it was
    seen otherwise then, or since. While `deciding` an approval may be on its way to the disk. `compared_s` is
    when the device was asked for what its balance is compared with.
    """

    record: Record
    device: Device
    spec: CommandSpec
    life: Life
    deadline_s: float
    not_before_s: float = 0.0
    recovered: bool = False
    late: list[AnsweredLate] = field(default_factory=list)
    number: int = 0
    stop: str = ""
    deciding: bool = False
    before: Before = Before.UNSEEN
    was_otherwise: bool = False
    compared_s: float = 0.0

    @property
    def urgency(self) -> tuple[bool, bool, int, int]:
        """Who goes first: a mere look back, an opening, the more urgent, then the one that came first."""
        is_no_opening = self.spec.hazard is not Hazard.OPEN
        return not self.recovered, is_no_opening, int(self.record.priority), self.number


class Book:
    """Writes every step of every command, and tells who waits for an end."""

    def __init__(self, *, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self.unknowns = Unknowns(ledger=ledger, clock=clock)
        self._waiting: dict[str, set[asyncio.Event]] = {}

    async def queue(self, record: Record, body_hash: str) -> tuple[Record, bool]:
        """Write a new command down, unless its key is known; returns it and whether it is new.

        Raises CommandError (conflict) when the key was used for another body, and StoreError.
        """
        uptime_ms = round(self._clock.monotonic_s() * 1000)

        def work(connection: Connection) -> tuple[Record, bool]:
            known = rows.by_key(connection, record.owner, record.key)
            if known is not None:
                return _same(known, body_hash), False
            rows.add(connection, record, body_hash, uptime_ms)
            return record, True

        return await self._ledger.run(work)

    async def known(self, order: Order, refusal: CommandError) -> Record:
        """The first record of this key, though its order would be refused by now; else raises `refusal`.

        Raises CommandError (conflict) when the key was used for another body, and StoreError.
        """
        known = await self._ledger.read(
            lambda connection: rows.by_key(connection, order.owner or order.actor, order.key)
        )
        if known is None:
            raise refusal
        return _same(known, order.body_hash())

    async def give_up(self, record: Record, life: Life, reason: str) -> None:
        """End a command that nobody can send or look at any more. Raises StoreError."""
        over = Over(shown=None, certain=False, reason=reason)
        now_ms, last = self._clock.now_ms(), after(life, over, Repeat.NEVER)
        await self._ledger.run(lambda connection: rows.move(connection, record, last, now_ms, {}))

    async def send(
        self, command: OpenCommand, arguments: Mapping[str, Scalar], before: Before
    ) -> None:
        """A try is about to be made: on disk before its first byte. Raises StoreError; then do not send."""
        life = after(command.life, Sent(), command.spec.repeat)
        now_ms, record = self._clock.now_ms(), command.record
        columns: rows.Columns = {} if record.sent_ms else {"sent_ms": now_ms}
        if arguments != record.arguments:
            columns["arguments"] = canonical(dict(arguments))

        def work(connection: Connection) -> Record:
            rows.begin_attempt(connection, record.id, life.attempts, before, now_ms)
            return rows.move(connection, record, life, now_ms, columns)

        command.record = await self._ledger.run(work)
        if not command.life.doubts:
            command.before, command.was_otherwise = before, before is Before.OTHERWISE
        command.life = life

    async def answer(self, command: OpenCommand, outcome: Outcome) -> None:
        """What the try under way came to, with its frames; returns when on disk, however long that takes."""
        life = after(
            command.life,
            Answered(answer=outcome.answer, reason=outcome.reason),
            command.spec.repeat,
        )
        await self._settle(command, life, outcome)

    async def answer_late(self, command: OpenCommand, late: AnsweredLate) -> None:
        """An answer after its try was given up; one that says nothing new leaves no trace.

        The last try stands as it ended, with the late frames after its own: nobody knows which one it was.
        """
        life = after(command.life, late, command.spec.repeat)
        if life != command.life:
            await self._settle(command, life, late)

    async def note(self, command: OpenCommand, event: Event, proof: str = "") -> None:
        """Anything else that happened; returns when on disk, however long that takes."""
        life = after(command.life, event, command.spec.repeat)
        if life != command.life:
            await self._settle(command, life, None, proof)

    async def hold(self, command: OpenCommand, approval_s: float) -> None:
        """It must wait this long for a second person after all. Raises StoreError; then it is not held."""
        record, now_ms = command.record, self._clock.now_ms()
        deadline_s = self._clock.monotonic_s() + approval_s
        expires_ms = record.expires_ms + round((deadline_s - command.deadline_s) * 1000)
        command.record = await self._ledger.run(
            lambda connection: rows.hold(connection, record, expires_ms, now_ms)
        )
        command.deadline_s = deadline_s

    async def approve(self, command: OpenCommand, actor: str) -> Record:
        """A second person lets a held command go: its deadline begins now, before this is on disk.

        Returns what is on disk then; the command itself is as before until `approved`. Raises CommandError
        when it is held no more, and StoreError.
        """
        record, now_ms = command.record, self._clock.now_ms()
        deadline_s = self._clock.monotonic_s() + record.deadline_ms / 1000
        expires_ms = record.expires_ms + round((deadline_s - command.deadline_s) * 1000)
        return await self._ledger.run(
            lambda connection: rows.approve(connection, record, actor, expires_ms, now_ms)
        )

    @staticmethod
    def approved(command: OpenCommand, record: Record) -> None:
        """The approval is on disk, as this record."""
        command.deadline_s += (record.expires_ms - command.record.expires_ms) / 1000
        command.record = record

    async def ended(self, command: str, timeout_s: float) -> None:
        """Return when this command ends in this run of the hub, or after the time-out."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(command, set())
        waiting.add(event)
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(command, None)

    async def _settle(
        self,
        command: OpenCommand,
        life: Life,
        outcome: Outcome | AnsweredLate | None,
        proof: str = "",
    ) -> None:
        now_ms, record = self._clock.now_ms(), command.record
        columns: rows.Columns = {"proof": proof} if proof else {}

        def work(connection: Connection) -> Record:
            if isinstance(outcome, Outcome):
                rows.end_attempt(connection, record.id, life.attempts, outcome, now_ms)
            if outcome is not None:
                rows.add_frames(connection, record.id, life.attempts, outcome.frames)
            return rows.move(connection, record, life, now_ms, columns)

        command.record = await self._insist(work)
        command.life = life
        if life.state.final:
            for event in self._waiting.get(record.id, ()):
                event.set()

    async def _insist(self, work: Callable[[Connection], Record]) -> Record:
        """What has happened must be written; a full disk is waited for."""
        while True:
            try:
                return await self._ledger.run(work)
            except StoreDamaged:
                raise
            except StoreError:
                await self._clock.sleep(_RETRY_S)


def _same(known: tuple[Record, str], body_hash: str) -> Record:
    record, first_hash = known
    if first_hash != body_hash:
        text = f"was used for another command, {record.id}"
        raise CommandError(Refusal.CONFLICT, "key", text)
    return record
