"""What is due is told: restores as fast as their feeders let, few cuts at once, many by a proposal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from hub.campus.alarms import Alarms
from hub.campus.prepaid.pace import Pace
from hub.campus.supply.bulk import BulkCuts, share
from hub.campus.supply.desired import Act, Cause
from hub.campus.supply.episodes import Due, Episodes
from hub.campus.supply.facts import Policy
from hub.campus.supply.record import SupplyMoved
from hub.campus.supply.switches import CUT
from hub.clock import Clock
from hub.commands import CommandError, Commands
from hub.errors import StoreDamaged, StoreError

CUTS_MAX = 1_000  # by timetable under way at a time
_ALL, _PROPOSAL = "supply", "supply proposal"

_log = structlog.get_logger("supply")


class Telling:
    """Has the commands made that are due; `bulk` asks a second person for many cuts.

    `busy` are the devices that something is under way for, or that wait for their moment; `woken` those to be
    looked at in the next turn.
    """

    def __init__(
        self,
        *,
        episodes: Episodes,
        commands: Commands,
        clock: Clock,
        alarms: Alarms,
        pace: Pace,
        bulk: BulkCuts | None,
    ) -> None:
        self._episodes = episodes
        self._commands = commands
        self._clock = clock
        self._alarms = alarms
        self._pace = pace
        self.bulk = bulk
        self.busy: set[str] = set()
        self.woken: set[str] = set()

    async def tell(self, dues: Sequence[Due], policy: Policy, *, is_whole: bool) -> None:
        """Make what may be made of these now; `is_whole` where all that is due is among them.

        Raises StoreError.
        """
        await self._restore([due for due in dues if due.decision.act is not Act.CUT], policy)
        cuts = [due for due in dues if due.decision.act is Act.CUT]
        timed = [due for due in cuts if due.decision.cause is Cause.SCHEDULE]
        await self._make(timed[:CUTS_MAX], policy)
        if is_whole:  # how many are due together is known of a whole turn only
            others = [due for due in cuts if due.decision.cause is not Cause.SCHEDULE]
            await self._cut(others, policy)

    async def _restore(self, dues: Sequence[Due], policy: Policy) -> None:
        """So many as their feeders let now; the others stand in line."""
        now_s, going = self._clock.monotonic_s(), []
        for due in dues:
            feeder, limit = due.view.switch.feeder, policy.of(due.view.switch).restores_per_s
            if self._pace.take(feeder, due.view.device, limit, now_s):
                going.append(due)
        made = await self._make(going, policy)
        for due in going:
            if due.view.device not in made:
                self._pace.leave(due.view.switch.feeder, due.view.device, now_s)

    async def _cut(self, dues: Sequence[Due], policy: Policy) -> None:
        """Cut a few, or ask for many."""
        proposals = {due.row.batch for due in dues if due.row.batch}
        is_open = {batch for batch in proposals if self.bulk and await self.bulk.is_open(batch)}
        wishes = [(due.view.device, CUT) for due in dues]
        part = share(
            dues,
            is_open,
            is_too_much=self._commands.needs_second_person(wishes),
            now_ms=self._clock.now_ms(),
        )
        await self._make(part.now, policy)
        if part.waiting:
            self._alarms.say(_ALL, f"{part.waiting} cuts are due and wait for a second person")
        else:
            self._alarms.end(_ALL)
            self._alarms.end(_PROPOSAL)
        if part.propose and self.bulk is not None:
            await self._propose(part.propose, self.bulk)

    async def _propose(self, dues: Sequence[Due], bulk: BulkCuts) -> None:
        devices = [due.view.device for due in dues]
        try:
            batch = await bulk.propose(devices, f"{len(devices)} rooms are used up")
        except CommandError as error:  # too much is open; the next whole turn asks again
            self._alarms.say(_PROPOSAL, f"{len(devices)} cuts cannot be proposed: {error}")
            return
        self._alarms.end(_PROPOSAL)
        now_ms = self._clock.now_ms()
        for due in dues:
            try:
                account = due.view.switch.room.account
                noted = replace(due.row, account=account, batch=batch, batch_ms=now_ms)
                await self._episodes.keep(due.row, noted)
            except SupplyMoved:
                self.woken.add(due.view.device)

    async def _make(self, dues: Sequence[Due], policy: Policy) -> set[str]:
        """Have these told; the devices of which there is a command now."""
        made = await asyncio.gather(*(self._tell(due, policy) for due in dues))
        return {due.view.device for due, is_made in zip(dues, made, strict=True) if is_made}

    async def _tell(self, due: Due, policy: Policy) -> bool:
        """Have it told; one that cannot be written down now is looked at again."""
        self.busy.add(due.view.device)
        is_timed = due.decision.act is Act.CUT and due.decision.cause is Cause.SCHEDULE
        approver = policy.approver(due.view.device) if is_timed else ""
        try:
            return await self._episodes.make(due, approver=approver)
        except StoreDamaged:
            raise
        except (StoreError, SupplyMoved) as error:
            _log.warning("a supply waits", device=due.view.device, reason=str(error))
            self.woken.add(due.view.device)
            return False
