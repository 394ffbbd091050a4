"""Batches as a service: planned, taken, approved by a second person, run, stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import Connection

from hub.campus.alarms import Alarms
from hub.campus.batches import rows
from hub.campus.batches.batch import (
    PER_S_MAX,
    PER_S_MIN,
    SUPPLY,
    Asker,
    Batch,
    BatchState,
    Plan,
    Wish,
)
from hub.campus.batches.ears import Ears
from hub.campus.batches.plan import Planner, SupplyWord, ground_of
from hub.campus.batches.runner import HUB, Run, Tools
from hub.campus.batches.scope import Scope
from hub.campus.prepaid.pace import Pace
from hub.campus.prepaid.pacing import Pacing
from hub.campus.prepaid.rules import Rules
from hub.campus.prepaid.standing import Standings
from hub.clock import Clock
from hub.commands import CommandError, Commands, Refusal
from hub.commands.order import KEY_MAX, check_text
from hub.errors import HubError, StoreDamaged, StoreError
from hub.journal import Journal
from hub.ledger import Ledger
from hub.model import Reading
from hub.registry import Registry
from hub.site import Site

APPROVAL_S = 4 * 3_600.0  # how long a batch waits for its second person
RUN_MAX_S = 6 * 3_600.0  # what is not told by then is told never
OPEN_MAX = 20  # batches that wait or run at one time
SWEEP_PERIOD_S = 5.0
_PAUSE_S = 60.0  # after a fault of the hub's own
_LOOK_S = 0.5  # between two looks whether a batch has ended
_CUT = "cut"
_NOBODY = "nobody approved it in time"

_log = structlog.get_logger("batches")


class Batches:
    """Every batch; `configure`, then `run`. What is refused is refused as a command is: CommandError."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        clock: Clock,
        commands: Commands,
        registry: Registry,
        refresh: Callable[[str, str], None],
        alarms: Alarms,
        standings: Standings,
        pace: Pace,
    ) -> None:
        planner = Planner(
            ledger=ledger,
            journal=journal,
            clock=clock,
            commands=commands,
            registry=registry,
            standings=standings,
        )
        self._tools = Tools(
            ledger=ledger,
            clock=clock,
            commands=commands,
            registry=registry,
            planner=planner,
            pacing=Pacing(clock),
            pace=pace,
            ears=Ears(),
            refresh=refresh,
        )
        self._ledger = ledger
        self._clock = clock
        self._alarms = alarms
        self._runs: dict[str, Run] = {}
        self._wake = asyncio.Event()

    def heed(self, supply: SupplyWord) -> None:
        """Ask this before each command from now on."""
        self._tools.planner.supply = supply

    def configure(self, site: Site, rules: Rules) -> None:
        """Go by this site and its rules from now on, also in what runs already."""
        self._tools.planner.ground = ground_of(site, rules)

    async def plan(self, wish: Wish, asker: Asker) -> Plan:
        """What it would do to each room, and why some are left out; nothing is written.

        Raises CommandError for what no batch can be, and StoreError.
        """
        _check(wish)
        return await self._tools.planner.plan(wish, asker)

    async def submit(self, wish: Wish, key: str, asker: Asker, *, waits: bool = False) -> Batch:
        """Take a batch; it and all its items are on disk when this returns. The same key and wish: the first.

        It runs at once, or waits for a second person when it cuts, or opens, more than the brake lets
        through now, or when it `waits` anyway. Raises CommandError (nothing was written) and StoreError.
        """
        _check_key(key)
        known = await self._ledger.read(lambda connection: rows.by_key(connection, asker.name, key))
        if known is not None:
            return _same(known[0] if known[1] == wish.body_hash() else None)
        plan = await self.plan(wish, asker)
        _check_plan(plan, wish)
        batch = self._made(wish, key, asker, plan, waits=waits)
        made = await self._ledger.run(
            lambda connection: _add(connection, batch, wish.body_hash(), plan)
        )
        self._wake.set()
        return _same(made)

    async def approve(self, name: str, asker: Asker) -> Batch:
        """A second person lets a waiting batch run, now. Raises CommandError and StoreError."""
        batch, now_ms = await self.get(name), self._clock.now_ms()
        if batch.state is not BatchState.WAITS:
            raise CommandError(Refusal.NOT_HELD, "", f"it is {batch.state}, and waits for nobody")
        if asker.actor == batch.actor or asker.name == batch.owner:
            raise CommandError(Refusal.SAME_PERSON, "actor", "a second person must approve it")
        if now_ms >= batch.expires_ms:
            raise CommandError(Refusal.ENDED, "", "it has expired")
        expires_ms = now_ms + round(RUN_MAX_S * 1000)
        begun = await self._ledger.run(
            lambda connection: rows.begin(connection, batch, asker.actor, now_ms, expires_ms)
        )
        if begun is None:
            raise CommandError(Refusal.NOT_HELD, "", "it waits for nobody any more")
        self._wake.set()
        return begun

    async def stop(self, name: str, asker: Asker) -> Batch:
        """Tell nobody anything new, from now on; what is under way is told as it ends.

        One that is stopped already stays as it is. Raises CommandError when it has ended, and StoreError.
        """
        await self.get(name)
        reason, now_ms = f"stopped by {asker.actor}", self._clock.now_ms()
        stopped = await self._ledger.run(
            lambda connection: _stop(connection, name, asker.actor, reason, now_ms)
        )
        self._alarms.end(_subject(stopped))
        if name in self._runs:
            await self._runs[name].stop(reason)
        return stopped

    async def get(self, name: str) -> Batch:
        """The batch of this id; raises CommandError (unknown_id) or StoreError."""
        batch = await self._ledger.read(lambda connection: rows.by_id(connection, name))
        if batch is None:
            raise CommandError(Refusal.UNKNOWN_ID, "id", f"no batch {name[:64]!r}")
        return batch

    async def wait(self, name: str, timeout_s: float) -> Batch:
        """The batch once nothing of it is open, or as it stands after that time. Raises as `get`."""
        end_s = self._clock.monotonic_s() + timeout_s
        while True:
            batch, left_s = await self.get(name), end_s - self._clock.monotonic_s()
            if batch.finished_ms is not None or left_s <= 0:
                return batch
            await self._clock.sleep(min(left_s, _LOOK_S))

    async def propose(self, devices: Sequence[str], cause: str) -> str:
        """The hub would cut these: a batch of its own, that always waits for one person; its id.

        The same proposal while it is open is the same batch. At each room it is asked again whether it is
        still used up. Raises CommandError when none of them may be cut or too much is open, and StoreError.
        """
        wish = Wish(action=_CUT, scope=Scope(devices=tuple(sorted(devices))), cause=cause)
        known = await self._ledger.read(
            lambda connection: rows.same_open(connection, SUPPLY, wish.body_hash())
        )
        if known is not None:
            return known.id
        made = await self.submit(wish, self._clock.new_id(), Asker(actor=SUPPLY), waits=True)
        return made.id

    async def is_open(self, name: str) -> bool:
        """Whether this batch waits or runs. Raises StoreError."""
        batch = await self._ledger.read(lambda connection: rows.by_id(connection, name))
        return batch is not None and not batch.state.final

    async def run(self) -> None:
        """Run what may run, also what an earlier run left open; until cancelled. Raises StoreDamaged."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                try:
                    await self._sweep(tasks)
                except StoreDamaged:
                    raise
                except StoreError as error:
                    _log.warning("batches could not be swept", reason=str(error))
                await self._rest()

    def heard(self, readings: Sequence[Reading]) -> None:
        """New readings are on disk."""
        self._tools.ears.heard(readings)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(SWEEP_PERIOD_S):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _sweep(self, tasks: asyncio.TaskGroup) -> None:
        """Begin what may run and does not, end what nobody approved, say what waits."""
        for batch in await self._ledger.read(rows.unfinished):
            if batch.state is BatchState.WAITS:
                await self._wait_on(batch)
            elif batch.id not in self._runs:
                self._alarms.end(_subject(batch))
                run = self._runs[batch.id] = Run(batch, self._tools)
                tasks.create_task(self._serve(batch, run), name=f"batch {batch.id}")

    async def _wait_on(self, batch: Batch) -> None:
        now_ms = self._clock.now_ms()
        if now_ms < batch.expires_ms:
            self._alarms.say(_subject(batch), f"{batch.action} waits for a second person")
            return
        await self._ledger.run(
            lambda connection: rows.move(
                connection, batch, BatchState.EXPIRED, HUB, _NOBODY, now_ms
            )
        )
        self._alarms.end(_subject(batch))

    async def _serve(self, batch: Batch, run: Run) -> None:
        try:
            await run.run()
            _log.info("a batch has ended", batch=batch.id)
        except* StoreDamaged:
            raise
        except* HubError as group:
            reason = str(group.exceptions[0])
            self._alarms.say(_subject(batch), reason)
            await self._clock.sleep(_PAUSE_S)
        finally:
            self._runs.pop(batch.id, None)

    def _made(self, wish: Wish, key: str, asker: Asker, plan: Plan, *, waits: bool) -> Batch:
        now_ms, is_held = self._clock.now_ms(), waits or plan.needs_second_person
        lasts_s = APPROVAL_S if is_held else RUN_MAX_S
        return Batch(
            id=self._clock.new_id(),
            action=wish.action,
            arguments=wish.arguments,
            scope=wish.scope.text,
            building=plan.building,
            actor=asker.actor,
            owner=asker.name,
            key=key,
            cause=wish.cause,
            pause_ms=round(1000 / wish.per_s),
            state=BatchState.WAITS if is_held else BatchState.RUNNING,
            reason="",
            approver="",
            created_ms=now_ms,
            begun_ms=None if is_held else now_ms,
            expires_ms=now_ms + round(lasts_s * 1000),
            finished_ms=None,
        )


def _add(connection: Connection, batch: Batch, body_hash: str, plan: Plan) -> Batch | None:
    if sum(not one.state.final for one in rows.unfinished(connection)) >= OPEN_MAX:
        raise CommandError(Refusal.TOO_MANY, "", f"{OPEN_MAX} batches are open; stop or end one")
    return rows.add(connection, batch, body_hash, plan.parts)


def _stop(connection: Connection, name: str, actor: str, reason: str, now_ms: int) -> Batch:
    batch = rows.by_id(connection, name)
    if batch is not None and not batch.state.final:
        batch = rows.move(connection, batch, BatchState.STOPPED, actor, reason, now_ms)
    if batch is None or batch.state is not BatchState.STOPPED:
        said = batch.state if batch else "gone"
        raise CommandError(Refusal.ENDED, "", f"it has ended, {said}")
    return batch


def _same(batch: Batch | None) -> Batch:
    if batch is None:
        raise CommandError(Refusal.CONFLICT, "key", "was used for another batch")
    return batch


def _check(wish: Wish) -> None:
    check_text("cause", wish.cause)
    if not wish.cause:
        raise CommandError(Refusal.INVALID_ARGUMENT, "cause", "say why")
    if not PER_S_MIN <= wish.per_s <= PER_S_MAX:
        text = f"write a number from {PER_S_MIN} to {PER_S_MAX}"
        raise CommandError(Refusal.INVALID_ARGUMENT, "per_s", text)


def _check_key(key: str) -> None:
    if not 0 < len(key) <= KEY_MAX or not key.isprintable():
        text = f"write 1 to {KEY_MAX} printable characters"
        raise CommandError(Refusal.INVALID_ARGUMENT, "key", text)


def _check_plan(plan: Plan, wish: Wish) -> None:
    if not plan.wanted:
        said = Counter(part.hindrance for part in plan.parts).most_common(1)
        reason = f"nothing to do: {said[0][0]}" if said else "name buildings, floors or rooms"
        raise CommandError(Refusal.INVALID_ARGUMENT, "scope", reason)
    if plan.wanted / wish.per_s > RUN_MAX_S:
        text = f"{plan.wanted} take longer than {RUN_MAX_S / 3600:g} hours"
        raise CommandError(Refusal.INVALID_ARGUMENT, "per_s", text)


def _subject(batch: Batch) -> str:
    return f"batch/{batch.id}"
