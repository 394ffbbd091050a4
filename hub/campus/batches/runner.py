"""One batch on its way: each room told in its turn, once, and asked again whether it may be, just before.

An item is `sent` on disk before its command is made, and the command has the item's key: whatever the hub was
doing when it was killed, the next start finds the one command there is, and what waits was never told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from hub.campus.batches import rows
from hub.campus.batches.batch import (
    ALLOWANCE,
    READ,
    Batch,
    BatchState,
    Item,
    ItemState,
    command_key,
    item_state,
)
from hub.campus.batches.ears import Ears
from hub.campus.batches.effects import give, note_supply
from hub.campus.batches.plan import Planner
from hub.campus.prepaid.pace import Pace, feeder_of
from hub.campus.prepaid.pacing import Pacing
from hub.campus.prepaid.rules import CUT_DEADLINE_S
from hub.clock import Clock
from hub.command import CommandSpec, Hazard, Priority, State
from hub.commands import CommandError, Commands, Order, Record, Refusal
from hub.errors import StoreDamaged, StoreError
from hub.ledger import Ledger
from hub.registry import Registry

IN_FLIGHT = 20
READ_S = 30.0
_PAGE = 100
_WAIT_S = 60.0
_RETRY_S = 1.0
_CALL_BACK_S = 1.0
_PLACE_S = 0.1  # how often a place of a feeder is asked for
_BUSY_S, _BUSY_MAX = 5.0, 24  # too many commands just now: how often it is asked again
HUB = "hub"
_OVER = "its time was over"
Said = TypeVar("Said")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """What a run works with; `refresh(link, device)` has a device read soon."""

    ledger: Ledger
    clock: Clock
    commands: Commands
    registry: Registry
    planner: Planner
    pacing: Pacing
    pace: Pace
    ears: Ears
    refresh: Callable[[str, str], None]


class Run:
    """Takes one batch to its end, from wherever it stands."""

    def __init__(self, batch: Batch, tools: Tools) -> None:
        self.stopped = ""
        self._batch = batch
        self._tools = tools
        self._told: set[str] = set()
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def run(self) -> None:
        """Until nothing of it is open. Raises StoreDamaged; other faults of the store are waited for."""
        batch = self._batch
        await self._look()
        if not self.stopped:
            await self._is_over()
        if batch.action == ALLOWANCE:
            await self._give_all()
        else:
            async with asyncio.TaskGroup() as tasks:
                for item in await self._page(ItemState.SENT, limit=_PAGE * IN_FLIGHT):
                    tasks.create_task(self._take_up(item), name=f"batch {item.device}")
                await self._tell_all(tasks)
        await self._write(partial(_close, batch=batch.id, now_ms=self._now_ms))

    async def stop(self, reason: str) -> None:
        """It is stopped on disk: nothing new is told, and what was never sent is called back.

        Returns when that is on disk too, so that no later run of the hub sends it; within a second.
        """
        self.stopped = reason
        commands = self._tools.commands
        for command in self._told:
            commands.withdraw(command, reason)
        ends = (commands.wait(command, _CALL_BACK_S) for command in self._told)
        await asyncio.gather(*ends, return_exceptions=True)

    @property
    def _now_ms(self) -> int:
        return self._tools.clock.now_ms()

    async def _look(self) -> None:
        """It may have been stopped before anybody knew of this run."""
        name = self._batch.id
        now = await self._insist(lambda: self._tools.ledger.read(partial(rows.by_id, batch=name)))
        if now is not None and now.state is not BatchState.RUNNING:
            self.stopped = self.stopped or now.reason

    async def _tell_all(self, tasks: asyncio.TaskGroup) -> None:
        after = -1
        while items := await self._page(ItemState.WAITING, after=after):
            for item in items:
                after = item.place
                await self._tools.pacing.turn(f"batch/{item.batch}", 1000 / self._batch.pause_ms)
                await self._slots.acquire()
                is_over = bool(self.stopped) or await self._is_over()
                if not is_over and await self._begin(item):
                    tasks.create_task(self._tell(item), name=f"batch {item.device}")
                    continue
                self._slots.release()
                if is_over:
                    return

    async def _is_over(self) -> bool:
        if self._now_ms < self._batch.expires_ms:
            return False
        await self._write(partial(_expire, batch=self._batch.id, now_ms=self._now_ms))
        self.stopped = _OVER
        return True

    async def _begin(self, item: Item) -> bool:
        """Wait for its turn; whether its batch runs still, and then it is `sent` on disk."""
        if self._closes(item):
            await self._take_place(item)
        if await self._write(partial(rows.claim, item=item, now_ms=self._now_ms)):
            return True
        self._leave_place(item)
        return False

    async def _take_place(self, item: Item) -> None:
        """Wait for a place of its feeder, which all who restore share; the batch's own time bounds it."""
        limit = self._tools.planner.ground.rules.of(item.where.building).restores_per_s
        clock, pace = self._tools.clock, self._tools.pace
        while not pace.take(self._feeder(item), item.device, limit, clock.monotonic_s()):
            pace.step_out(self._feeder(item), item.device)  # this one asks by itself
            if self.stopped or await self._is_over():
                return
            await clock.sleep(_PLACE_S)

    def _leave_place(self, item: Item) -> None:
        if self._closes(item):
            self._tools.pace.leave(self._feeder(item), item.device, self._tools.clock.monotonic_s())

    async def _tell(self, item: Item) -> None:
        """From `sent` to its end; also of one that an earlier run of the hub had begun."""
        try:
            if self._batch.action == READ:
                await self._read(item)
            elif (record := await self._command(item)) is not None:
                await self._follow(item, record)
        finally:
            self._slots.release()
            self._leave_place(item)

    async def _take_up(self, item: Item) -> None:
        if self._closes(item):
            self._tools.pace.hold(self._feeder(item), item.device)
        await self._slots.acquire()
        await self._tell(item)

    async def _command(self, item: Item) -> Record | None:
        """Its one command; None when it must not be told now, or is not taken: then it has ended."""
        order, tries, pause_s = self._order(item), 0, _RETRY_S
        while True:
            # Made before a kill, or by a try of which the store did not say that it was kept.
            made = await self._insist(lambda: self._tools.commands.of_key(order.owner, order.key))
            if made is not None and (made.device, made.name) == (order.device, order.name):
                return made
            hindrance = self.stopped or await self._hindrance(item)
            if hindrance:
                await self._settle(item, ItemState.SKIPPED, hindrance)
                return None
            try:
                return await self._tools.commands.submit(order)
            except CommandError as error:
                tries += 1
                if error.kind is not Refusal.TOO_MANY or tries >= _BUSY_MAX:
                    await self._settle(item, ItemState.REFUSED, str(error))
                    return None
                pause_s = _BUSY_S
            except StoreDamaged:
                raise
            except StoreError:
                pause_s = _RETRY_S
            await self._tools.clock.sleep(pause_s)

    async def _hindrance(self, item: Item) -> str:
        planner, order = self._tools.planner, self._order(item)
        return await self._insist(lambda: planner.hindrance(self._batch, order, item.where))

    async def _follow(self, item: Item, record: Record) -> None:
        """To the end of its command, however that comes."""
        commands, waits = self._tools.commands, "held for a second person" if record.held else ""
        self._told.add(record.id)
        if self.stopped:
            commands.withdraw(record.id, self.stopped)
        await self._write(
            partial(rows.attach, item=item, command=record.id, reason=waits, now_ms=self._now_ms)
        )
        while not record.state.final:
            record = await self._insist(partial(commands.wait, record.id, _WAIT_S))
            if not record.state.final:
                await self._tools.clock.sleep(_RETRY_S)
        self._told.discard(record.id)
        state = item_state(record.state)
        if state is ItemState.REFUSED and self.stopped and not record.attempts:
            state = ItemState.SKIPPED
        late = f"{record.state}: " if record.state is State.EXPIRED else ""
        await self._settle(item, state, f"{late}{record.reason}".removesuffix(": "))

    async def _read(self, item: Item) -> None:
        tools = self._tools
        device = tools.registry.device(item.device)
        if self.stopped or device is None:
            await self._settle(item, ItemState.SKIPPED, self.stopped or "the device is gone")
            return
        with tools.ears.listening(device.id) as heard:
            tools.refresh(device.link, device.id)
            try:
                async with asyncio.timeout(READ_S):
                    await heard.wait()
            except TimeoutError:
                await self._settle(item, ItemState.FAILED, "it says nothing")
                return
        await self._settle(item, ItemState.DONE, "")

    async def _give_all(self) -> None:
        planner, batch = self._tools.planner, self._batch
        while not self.stopped and not await self._is_over():
            items = await self._page(ItemState.WAITING)
            work = partial(
                give, batch=batch, items=items, hindrance=planner.no_gift, now_ms=self._now_ms
            )
            if not items or not await self._write(work):
                return

    def _order(self, item: Item) -> Order:
        batch, spec = self._batch, self._spec(item)
        is_cut = spec is not None and spec.hazard is Hazard.CUT
        return Order(
            device=item.device,
            name=batch.action,
            arguments=batch.arguments,
            actor=batch.actor,
            owner=batch.owner,
            key=command_key(batch.id, item.device),
            cause=batch.cause,
            # What protects the room was asked for so long only.
            deadline_s=min(CUT_DEADLINE_S, spec.deadline_s) if is_cut and spec else None,
            priority=Priority.BATCH,
            approver=batch.approver,
        )

    def _feeder(self, item: Item) -> str:
        device = self._tools.registry.device(item.device)
        return feeder_of(item.where, device.link if device else "")

    def _closes(self, item: Item) -> bool:
        spec = self._spec(item)
        return spec is not None and spec.hazard is Hazard.RESTORE

    def _spec(self, item: Item) -> CommandSpec | None:
        device = self._tools.registry.device(item.device)
        return device.profile.commands.get(self._batch.action) if device else None

    async def _settle(self, item: Item, state: ItemState, reason: str) -> None:
        spec, now_ms = self._spec(item), self._now_ms

        def work(connection: Connection) -> None:
            ended = rows.settle(connection, item, state, reason, now_ms)
            if ended and state is ItemState.DONE and spec is not None:
                note_supply(connection, self._batch, item, spec, now_ms)

        await self._write(work)

    async def _page(self, state: ItemState, *, after: int = -1, limit: int = _PAGE) -> list[Item]:
        query = partial(rows.items, batch=self._batch.id, state=state, after=after, limit=limit)
        return await self._insist(lambda: self._tools.ledger.read(query))

    async def _write(self, work: Callable[[Connection], Said]) -> Said:
        return await self._insist(lambda: self._tools.ledger.run(work))

    async def _insist(self, step: Callable[[], Awaitable[Said]]) -> Said:
        """What must be done before anything can go on; a full disk is waited for."""
        while True:
            try:
                return await step()
            except StoreDamaged:
                raise
            except StoreError:
                await self._tools.clock.sleep(_RETRY_S)


def _close(connection: Connection, *, batch: str, now_ms: int) -> None:
    """All of it has ended."""
    now = rows.by_id(connection, batch)
    if now is not None and now.state is BatchState.RUNNING:
        rows.move(connection, now, BatchState.DONE, HUB, "", now_ms)
    elif now is not None:
        rows.finish(connection, now, now_ms)


def _expire(connection: Connection, *, batch: str, now_ms: int) -> None:
    now = rows.by_id(connection, batch)
    if now is not None and now.state is BatchState.RUNNING:
        rows.move(connection, now, BatchState.EXPIRED, HUB, _OVER, now_ms)
