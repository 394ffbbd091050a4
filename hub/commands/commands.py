"""The front door of commands: takes orders, says how they stand, and finds the open ones after a start."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from hub.clock import Clock
from hub.command import CommandSpec, Frame, State
from hub.commands import rows
from hub.commands.book import Book, OpenCommand
from hub.commands.judge import Judge
from hub.commands.order import (
    Attempt,
    CommandError,
    Order,
    Record,
    Refusal,
    Resolution,
    check_order,
    check_text,
)
from hub.commands.recovery import Recovery
from hub.errors import HubError
from hub.ledger import Ledger
from hub.registry import Registry
from hub.safety import Safety

RECENT_MAX = 1_000


class Commands:
    """Every command, open and ended. `queued` is told each new open one, once it is on disk."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        registry: Registry,
        safety: Safety,
        queued: Callable[[OpenCommand], None],
    ) -> None:
        self.book = Book(ledger=ledger, clock=clock)
        self._ledger = ledger
        self._clock = clock
        self._registry = registry
        self._safety = safety
        unknowns = self.book.unknowns
        self._judge = Judge(clock=clock, registry=registry, safety=safety, unknowns=unknowns)
        self._queued = queued
        self._open: dict[str, OpenCommand] = {}
        self._number = 0
        self._abandoned: deque[OpenCommand] = deque()
        self._half_approved: deque[OpenCommand] = deque()

    async def submit(self, order: Order) -> Record:
        """Take an order; returns when it is on disk. The same order and key again give the first record.

        Raises CommandError (nothing was written) and StoreError (ask again with the same key).
        """
        check_order(order)
        try:
            await self._judge.check_unknowns(order)
            command = self._judge.judge(order, waiting=len(self._open))
        except CommandError as refusal:
            return await self.book.known(order, refusal)
        try:
            record, new = await self.book.queue(command.record, order.body_hash())
        except asyncio.CancelledError:
            self._abandoned.append(command)  # it may be on disk all the same; `adopt` looks
            raise
        except HubError:
            self._safety.give_back(command.spec.hazard, command.device.id, command.record.id)
            raise
        if new:
            self._enter(command)
        else:
            self._safety.give_back(command.spec.hazard, command.device.id, command.record.id)
        return record

    def check(self, order: Order) -> CommandSpec:
        """What this order would tell its device; raises CommandError when it would not be taken now.

        Nothing is written or counted: brake and rate are asked when it is submitted.
        """
        check_order(order)
        return self._judge.check(order)[1]

    def needs_second_person(self, orders: Iterable[tuple[str, str]]) -> bool:
        """Whether so much at once, each a device and its command, is more than the brake lets through now."""
        wishes = []
        for name, command in orders:
            device = self._registry.device(name)
            spec = device.profile.commands.get(command) if device else None
            if spec is not None:
                wishes.append((spec, name))
        return not self._safety.lets_all(wishes)

    def withdraw(self, command: str, reason: str) -> None:
        """Let an open command go no further: never sent, it is refused; else it is only looked at."""
        found = self._open.get(command)
        if found is not None:
            found.stop = found.stop or reason

    async def get(self, command: str) -> Record:
        """The command of this id; raises CommandError (unknown_id) or StoreError."""
        record = await self._ledger.read(lambda connection: rows.by_id(connection, command))
        if record is None:
            raise _unknown_id(command)
        return record

    async def of_key(self, owner: str, key: str) -> Record | None:
        """The command of this owner's key. Raises StoreError."""
        known = await self._ledger.read(lambda connection: rows.by_key(connection, owner, key))
        return known[0] if known else None

    async def recent(
        self, *, device: str = "", state: State | None = None, limit: int = 100
    ) -> list[Record]:
        """The newest commands first, at most `RECENT_MAX`. Raises StoreError."""
        number = max(0, min(limit, RECENT_MAX))
        return await self._ledger.read(
            lambda connection: rows.recent(connection, device=device, state=state, limit=number)
        )

    async def attempts(self, command: str) -> list[tuple[Attempt, tuple[Frame, ...]]]:
        """Every try of a command with its raw frames, in order. Raises StoreError."""
        return await self._ledger.read(lambda connection: rows.attempts(connection, command))

    async def wait(self, command: str, timeout_s: float) -> Record:
        """The command once it has ended, or as it stands after `timeout_s`. Raises as `get`."""
        if command in self._open and not self._open[command].life.state.final:
            await self.book.ended(command, timeout_s)
        return await self.get(command)

    async def approve(self, command: str, actor: str, owner: str = "") -> Record:
        """A second person lets a held command go, and its deadline begins; `owner` as in an order.

        Raises CommandError and StoreError.
        """
        found = self._open.get(command)
        if found is None:
            raise _ended(await self.get(command))
        if not found.record.held:
            raise CommandError(Refusal.NOT_HELD, "", "it waits for nobody")
        if actor == found.record.actor or (owner or actor) == found.record.owner:
            raise CommandError(Refusal.SAME_PERSON, "actor", "a second person must approve it")
        if self._clock.monotonic_s() >= found.deadline_s:
            raise CommandError(Refusal.ENDED, "", "it has expired")
        if found.deciding:
            raise CommandError(Refusal.NOT_HELD, "", "somebody is approving it")
        found.deciding = True
        try:
            record = await self.book.approve(found, actor)
        except asyncio.CancelledError:
            self._half_approved.append(found)  # it may be on disk all the same; `adopt` looks
            raise
        finally:
            found.deciding = found in self._half_approved
        self._let_go(found, record)
        return record

    async def resolve(self, command: str, actor: str, found: Resolution, note: str = "") -> Record:
        """Keep what a person found out of a command that ended unknown; its state stays unknown.

        Raises CommandError and StoreError.
        """
        check_text("note", note)
        return await self.book.unknowns.resolve(await self.get(command), actor, found, note)

    @property
    def open(self) -> Mapping[str, OpenCommand]:
        """The commands that have not ended, by id."""
        return self._open

    def open_on(self, devices: Iterable[str]) -> list[str]:
        """What is open of these devices, as `device name`."""
        named = set(devices)
        return [
            f"{one.device.id} {one.record.name}"
            for one in self._open.values()
            if one.device.id in named
        ]

    def forget(self, command: OpenCommand) -> None:
        """It has ended; the ledger keeps it."""
        self._open.pop(command.record.id, None)

    async def adopt(self) -> None:
        """Take up what a caller left half-way in `submit` or `approve` and is on disk. Raises StoreError."""
        while self._half_approved:
            command = self._half_approved[0]
            record = await self._written(command)
            self._half_approved.popleft()
            command.deciding = False
            if record is not None and not record.held and command.record.held:
                self._let_go(command, record)
        while self._abandoned:
            command = self._abandoned[0]
            if await self._written(command) is None:
                self._safety.give_back(command.spec.hazard, command.device.id, command.record.id)
            else:
                self._enter(command)
            self._abandoned.popleft()

    async def recover(self) -> None:
        """Take up what was open when the hub stopped; before the first `submit`. Raises StoreError."""
        recovery = Recovery(
            ledger=self._ledger,
            clock=self._clock,
            registry=self._registry,
            safety=self._safety,
            book=self.book,
        )
        for command in await recovery.unfinished():
            self._enter(command)

    async def _written(self, command: OpenCommand) -> Record | None:
        """What stands on disk; by the writing thread, so that it comes after the work that was left."""
        return await self._ledger.run(partial(rows.by_id, command=command.record.id))

    def _let_go(self, command: OpenCommand, record: Record) -> None:
        self.book.approved(command, record)
        self._safety.let(command.spec, command.device.id, command.record.id)
        self._queued(command)

    def _enter(self, command: OpenCommand) -> None:
        self._number += 1
        command.number = self._number
        self._open[command.record.id] = command
        self._queued(command)


def _ended(record: Record) -> CommandError:
    word = "it has expired" if record.state is State.EXPIRED else f"it has ended, {record.state}"
    return CommandError(Refusal.ENDED, "", f"{word}: {record.reason}".removesuffix(": "))


def _unknown_id(command: str) -> CommandError:
    return CommandError(Refusal.UNKNOWN_ID, "id", f"no command {command[:64]!r}")
