"""From accepted to delivered: a paid order becomes credit in the meter, or in the room's account.

One order of a meter after the other. An order is `delivering` on disk before its command is made, and the
command has the order's key: whatever the hub was doing when it was killed, the next start finds the one
command there is, and makes no second one while that one may have had an effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from hub.campus.accounts.accounts import Room
from hub.campus.alarms import Alarms
from hub.campus.orders import orders, waiting
from hub.campus.orders.credit import (
    ACTOR,
    credit_of,
    key_of,
    number_of,
    outcome_of,
    rests_until_ms,
    wish_of,
)
from hub.campus.orders.late import KEPT_MS, GivenUp, LateEffects, given_up, is_anothers
from hub.campus.orders.orders import Act, Order, OrderError, OrderState
from hub.campus.orders.swaps import is_of, redirect
from hub.clock import Clock
from hub.command import CommandSpec, State
from hub.commands import CommandError, Commands, Record, Refusal, Resolution
from hub.errors import HubError, StoreDamaged, StoreError
from hub.ledger import Ledger
from hub.model import Device, Reading
from hub.registry import Registry

PAUSE_S = 1.0  # between two looks at what an order waits for
SWEEP_PERIOD_S = 1.0
ASK_PERIOD_S = 15.0
REMIND_PERIOD_S = 3_600.0
_WAIT_S = 60.0
_NEVER = (Refusal.INVALID_ARGUMENT,)  # what no waiting makes right
Said = TypeVar("Said")

_log = structlog.get_logger("orders")


class Delivery:
    """Every open order on its way. `take` each new one; `run` serves until cancelled.

    `refresh` has a device of a link read soon: a meter that was silent for long is seldom asked by itself.
    `serving` names the meter that a room's payments are for now, empty when there is none.
    `delivered` is told each order that has come to its room, once that is on disk.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        commands: Commands,
        registry: Registry,
        alarms: Alarms,
        refresh: Callable[[str, str], None] = lambda _link, _device: None,
        serving: Callable[[Room], str] = lambda _room: "",
        delivered: Callable[[Order], None] = lambda _order: None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._commands = commands
        self._registry = registry
        self._alarms = alarms
        self._refresh = refresh
        self._serving = serving
        self._delivered = delivered
        self._asked_s: dict[str, float] = {}
        self._late = LateEffects()
        self._lanes: dict[str, asyncio.Event] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def take(self, order: Order) -> None:
        """An order was accepted; what stands on disk when `run` begins is found by itself."""
        if self._tasks is not None:
            self._wake(order.device, self._tasks)

    async def run(self) -> None:
        """Deliver what is open, and what is taken from now on. Raises StoreDamaged."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self._watch()
            tasks.create_task(self._remind(), name="unknown orders")
            for device in await self._insist(waiting.open_devices):
                self._wake(device, tasks)
            while True:
                await self._sweep()
                await self._clock.sleep(SWEEP_PERIOD_S)

    def heard(self, readings: Sequence[Reading]) -> None:
        """New readings are on disk."""
        self._late.heard(readings)

    async def resolve(self, order: Order, actor: str, found: Resolution, note: str = "") -> Order:
        """What a person found out of an unknown order, and so of its command: done, or not done.

        Raises OrderError when it is not unknown, CommandError for a bad note, and StoreError.
        """
        if order.state is not OrderState.UNKNOWN or found is Resolution.NONE:
            raise OrderError(f"{order.key} is {order.state}; only what is unknown is resolved")
        if order.command:
            record = await self._commands.get(order.command)
            if record.state is State.UNKNOWN:
                record = await self._commands.resolve(record.id, actor, found, note)
                found = record.resolution
        return await self._resolve(order, actor, found, note)

    async def _resolve(self, order: Order, actor: str, found: Resolution, note: str) -> Order:
        state = OrderState.DELIVERED if found is Resolution.DONE else OrderState.REFUND_DUE
        act = Act(
            actor=actor, now_ms=self._clock.now_ms(), cause=note or f"command/{order.command}"
        )
        after = await self._move(order, state, "found out by a person", act)
        self._alarms.end(order.key)
        return after

    def _wake(self, device: str, tasks: asyncio.TaskGroup) -> None:
        lane = self._lanes.get(device)
        if lane is None:
            lane = self._lanes[device] = asyncio.Event()
            tasks.create_task(self._serve(device, lane), name=f"orders {device}")
        lane.set()

    async def _serve(self, device: str, lane: asyncio.Event) -> None:
        """The meter's orders, the oldest first, until there are none."""
        while True:
            lane.clear()
            order = await self._insist(lambda connection: waiting.next_of(connection, device))
            if order is not None:
                await self._try(order)
            elif not lane.is_set():
                break
        del self._lanes[device]

    async def _try(self, order: Order) -> None:
        """One step; what cannot be written now, or was moved by somebody else, is looked at again."""
        try:
            pause_s = await self._step(order)
        except StoreDamaged:
            raise
        except (StoreError, OrderError) as error:
            _log.warning("an order waits", order=order.key, reason=str(error))
            pause_s = PAUSE_S
        except HubError as error:
            self._alarms.say(order.key, str(error))
            pause_s = _WAIT_S
        if pause_s:
            await self._clock.sleep(pause_s)

    async def _step(self, order: Order) -> float:
        """Take it one step further; returns how long to wait before the next."""
        number, record = await self._command(order)
        if record is not None:
            outcome = outcome_of(record, number)
            if outcome is None:
                await self._commands.wait(record.id, _WAIT_S)
                return 0.0
            if outcome is not OrderState.ACCEPTED:
                await self._end(order, outcome, record)
                return 0.0
        serving = self._serving(order.room)
        if serving not in ("", order.device):
            return await self._redirect(order, serving)
        return await self._go_on(order, number, record)

    async def _go_on(self, order: Order, number: int, record: Record | None) -> float:
        """Nothing is under way: tell its meter, wait, or give it back; `record` is what did nothing."""
        device = self._registry.device(order.device)
        spec = credit_of(device) if device else None
        hindrance, now_ms = self._hindrance(order, device), self._clock.now_ms()
        if now_ms >= order.deadline_ms:
            reason = (record.reason if record else hindrance) or "its deadline has passed"
            await self._move(order, OrderState.REFUND_DUE, reason)
            return 0.0
        if device is not None and spec is None and is_of(device, order):
            await self._move(order, OrderState.DELIVERED, "", in_meter=False)
            return 0.0
        if device is not None and hindrance:
            self._ask(device)
        if hindrance or spec is None or (record and now_ms < rests_until_ms(record, number)):
            return PAUSE_S
        if await self._commands.book.unknowns.block(order.device, spec):
            return PAUSE_S
        return await self._tell(order, spec, number + 1)

    async def _redirect(self, order: Order, device: str) -> float:
        act = Act(actor=ACTOR, now_ms=self._clock.now_ms(), cause="its meter was changed")
        await self._ledger.run(lambda connection: redirect(connection, order, device, act))
        _log.info("order", order=order.key, meter=device, reason=act.cause)
        if self._tasks is not None:
            self._wake(device, self._tasks)
        return 0.0

    async def _command(self, order: Order) -> tuple[int, Record | None]:
        """The newest command that was made for it, with its number; 0 and None when there is none."""
        if order.state is OrderState.ACCEPTED:
            return 0, None
        number, record = 0, None
        if order.command:
            record = await self._commands.get(order.command)
            number = number_of(order, record)
        # It may have been made, and the hub killed before the order knew. A key that somebody else took is
        # found at the next try.
        newer = await self._commands.of_key(ACTOR, key_of(order, number + 1))
        if newer is None or newer.actor != ACTOR:
            return number, record
        await self._ledger.run(lambda connection: orders.attach(connection, order, newer.id))
        return number + 1, newer

    async def _tell(self, order: Order, spec: CommandSpec, number: int) -> float:
        if order.state is OrderState.ACCEPTED:
            order = await self._move(order, OrderState.DELIVERING, "")
        now_ms = self._clock.now_ms()
        if now_ms >= order.deadline_ms:  # writing took its time
            return 0.0
        wish = wish_of(order, spec, number, now_ms)
        try:
            record = await self._commands.submit(wish)
        except CommandError as error:
            return await self._refused(order, error)
        await self._ledger.run(lambda connection: orders.attach(connection, order, record.id))
        return 0.0

    async def _refused(self, order: Order, error: CommandError) -> float:
        """The hub takes no such command now: nothing was written."""
        if error.kind is Refusal.CONFLICT:
            await self._move(order, OrderState.UNKNOWN, str(error))
        elif error.kind in _NEVER:
            await self._move(order, OrderState.REFUND_DUE, str(error))
        else:
            _log.warning("an order waits", order=order.key, reason=str(error))
            return PAUSE_S
        return 0.0

    def _ask(self, device: Device) -> None:
        """Have a meter read that somebody has paid for, though it is away: it may be back."""
        now_s = self._clock.monotonic_s()
        if now_s - self._asked_s.get(device.id, -ASK_PERIOD_S) >= ASK_PERIOD_S:
            self._asked_s[device.id] = now_s
            self._refresh(device.link, device.id)

    def _hindrance(self, order: Order, device: Device | None) -> str:
        if device is None:
            return f"{order.device} is gone"
        if not is_of(device, order):
            return f"{device.id} serves another room"
        return f"{device.id} is away" if self._registry.is_offline(device.id) else ""

    async def _end(self, order: Order, state: OrderState, record: Record) -> None:
        reason = "" if state is OrderState.DELIVERED else record.reason or str(record.state)
        if state is OrderState.UNKNOWN:
            self._alarms.say(order.key, f"unknown: {reason}")
        await self._move(order, state, reason)
        device = self._registry.device(order.device)
        spec = credit_of(device) if device else None
        if record.state is State.FAILED and spec is not None:
            self._late.watch(order.id, record, spec)

    async def _move(
        self,
        order: Order,
        state: OrderState,
        reason: str,
        act: Act | None = None,
        *,
        in_meter: bool = True,
    ) -> Order:
        """On disk when this returns: the change, its postings, its audit and what the platform is told."""
        done = act or Act(actor=ACTOR, now_ms=self._clock.now_ms(), cause=order.key)

        def work(connection: Connection) -> Order:
            # What the lane read may be without the command it was given since.
            now = orders.by_id(connection, order.id) or order
            if now.state is not order.state:
                raise OrderError(f"{order.key} is {now.state} by now")
            if state is OrderState.DELIVERED:
                return orders.deliver(connection, now, done, in_meter=in_meter)
            return orders.advance(connection, now, state, done, reason=reason)

        after = await self._ledger.run(work)
        _log.info("order", order=order.key, state=str(state), reason=reason)
        if state is OrderState.DELIVERED:
            self._delivered(after)
        return after

    async def _sweep(self) -> None:
        """What no lane looks at: orders behind another whose time is over, and what people found out."""
        try:
            while await self._give_back() == waiting.GROUP:
                pass
            for order, found in await self._ledger.read(waiting.resolved):
                await self._resolve(order, ACTOR, found, "")
            for one in self._late.seen():
                await self._came_late(one)
        except StoreDamaged:
            raise
        except (StoreError, OrderError) as error:
            _log.warning("orders could not be swept", reason=str(error))

    async def _remind(self) -> None:
        """An order that nobody knows of stays an alarm until somebody does."""
        while True:
            for order in await self._insist(waiting.unknown):
                self._alarms.say(order.key, f"unknown: {order.reason}")
            await self._clock.sleep(REMIND_PERIOD_S)

    async def _watch(self) -> None:
        """Meters of credits that an earlier run of the hub gave up."""
        since_ms = self._clock.now_ms() - KEPT_MS
        for order, record in await self._insist(lambda connection: given_up(connection, since_ms)):
            device = self._registry.device(record.device)
            spec = device.profile.commands.get(record.name) if device else None
            if spec is not None:
                self._late.watch(order, record, spec)

    async def _came_late(self, one: GivenUp) -> None:
        """The meter has counted what was given up, unless another credit made that count."""
        order, anothers = await self._ledger.read(
            lambda connection: (orders.by_id(connection, one.order), is_anothers(connection, one))
        )
        if anothers is None:
            return
        if order is not None and not anothers:
            said = f"its meter has counted it late: {one.point} is {one.count}"
            self._alarms.say(order.key, said)
            if order.state is OrderState.REFUND_DUE:
                await self._move(order, OrderState.UNKNOWN, said)
        self._late.end(one)

    async def _give_back(self) -> int:
        """Give some orders back whose time was over before anything was told; how many."""
        act = Act(actor=ACTOR, now_ms=self._clock.now_ms(), cause="deadline")
        late = await self._ledger.read(lambda connection: waiting.overdue(connection, act.now_ms))
        waited = "it waited behind another until its deadline"
        reasons = {
            order.id: self._hindrance(order, self._registry.device(order.device)) or waited
            for order in late
        }
        if reasons:
            await self._ledger.run(lambda connection: waiting.refund_due(connection, reasons, act))
        return len(late)

    async def _insist(self, query: Callable[[Connection], Said]) -> Said:
        """What must be read before anything can go on."""
        while True:
            try:
                return await self._ledger.read(query)
            except StoreDamaged:
                raise
            except StoreError:
                await self._clock.sleep(PAUSE_S)
