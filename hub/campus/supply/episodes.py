"""The commands of a supply: an episode stands on disk before its command is made, and is followed to its end.

Whatever the hub was doing when it was killed, the next start finds the one command there is by its key, or
that there is none. What ends unknown is looked at: a later word of the device tells what became of it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

import structlog

from hub.campus.alarms import Alarms
from hub.campus.prepaid.pace import Pace
from hub.campus.prepaid.rules import CUT_DEADLINE_S
from hub.campus.supply.desired import Act, Cause, Decision, SupplyState
from hub.campus.supply.facts import View
from hub.campus.supply.record import (
    ACTOR,
    Note,
    Supply,
    SupplyMoved,
    again,
    begun,
    moved,
    save,
)
from hub.clock import Clock
from hub.command import Priority, State
from hub.commands import CommandError, Commands, Order, Record, Refusal, Resolution
from hub.commands.order import TEXT_MAX
from hub.ledger import Ledger

ALARM_MS = 1_800_000  # an episode that lasts longer needs a person
_PAUSE_FIRST_S = {Act.CUT: 30.0, Act.RESTORE: 2.0, Act.ARM: 2.0}
_PAUSE_MAX_S = 300.0
_HOPELESS = (Refusal.UNPROVEN, Refusal.OBSERVE_ONLY, Refusal.UNKNOWN_COMMAND)
_DONE = {
    Act.CUT: (SupplyState.CUT, "cut"),
    Act.RESTORE: (SupplyState.ON, "restored"),
    Act.ARM: (SupplyState.ARMED, "armed"),
}

_log = structlog.get_logger("supply")


class End(StrEnum):
    """What a command came to."""

    OPEN = "open"
    DONE = "done"
    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A command that is to be made now."""

    view: View
    row: Supply
    decision: Decision


class Episodes:
    """Makes the commands of supplies and takes in their ends."""

    def __init__(
        self, *, ledger: Ledger, clock: Clock, commands: Commands, alarms: Alarms, pace: Pace
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._commands = commands
        self._alarms = alarms
        self._pace = pace

    async def keep(self, before: Supply, after: Supply, note: Note | None = None) -> Supply:
        """The row is on disk as `after`; raises SupplyMoved and StoreError."""
        if before == after:
            return after
        now_ms = self._clock.now_ms()
        return await self._ledger.run(
            lambda connection: save(connection, before, after, note, now_ms)
        )

    async def command(self, row: Supply) -> tuple[Supply, Record | None]:
        """The command of the try under way, where there is one by now."""
        if row.command:
            return row, await self._commands.get(row.command)
        if self._clock.now_ms() < row.retry_ms:
            return row, None
        found = await self._commands.of_key(ACTOR, row.key)
        if found is None:
            return row, None
        if found.actor != ACTOR:  # somebody took the key; nothing of theirs counts here
            return await self.keep(row, again(row, 0)), None
        return await self.keep(row, replace(row, command=found.id)), found

    def withdraw(self, record: Record, decision: Decision) -> None:
        """It is not wanted any more: what has not left must not leave."""
        command = self._commands.open.get(record.id)
        if command is not None and not command.recovered:  # one that may be out is only looked at
            self._commands.withdraw(record.id, decision.reason[:TEXT_MAX] or "not wanted any more")

    def call_back(self, reason: str, device: str = "") -> None:
        """The hub's own cuts, or those of one device, that have not left: they must not leave."""
        for command in self._commands.open.values():
            is_ours = command.record.actor == ACTOR and command.record.name == Act.CUT
            if is_ours and device in ("", command.device.id) and not command.recovered:
                self._commands.withdraw(command.record.id, reason[:TEXT_MAX])

    async def end(self, view: View, row: Supply, record: Record) -> tuple[Supply, bool]:
        """Take in how its command stands; the row then, and whether it is still under way."""
        now_ms, subject = self._clock.now_ms(), f"supply/{row.device}"
        end = end_of(row, record, view)
        if end is End.OPEN:
            if record.held:
                self._alarms.say(subject, f"its {record.name} waits for a second person")
            return row, True
        self._pace.leave(view.switch.feeder, row.device, self._clock.monotonic_s())
        if end is End.UNKNOWN:
            said = f"{record.name} ended unknown: {record.reason}"
            self._alarms.say(subject, f"{said}; a reading will show, or see command {record.id}")
            return row, True
        if end is End.DONE:
            self._alarms.end(subject)
            return await self._done(view, row, record), False
        if record.state is State.FAILED or now_ms - row.begun_ms > ALARM_MS:
            self._alarms.say(subject, f"{record.name} is {record.state}: {record.reason}")
        return await self.keep(row, again(row, now_ms + round(1000 * pause_s(row)))), False

    async def make(self, due: Due, *, approver: str = "") -> bool:
        """Have it done: the episode on disk, then its command; whether there is one now."""
        decision, device = due.decision, due.view.device
        row, now_ms = due.row, self._clock.now_ms()
        if row.wish is Act.NONE:
            fresh = replace(row, account=due.view.switch.room.account)
            row = await self.keep(row, begun(fresh, decision.act, decision.cause, now_ms))
        try:
            record = await self._commands.submit(_order(due, row, approver))
        except CommandError as error:
            await self._refused(row, error)
            return False
        _log.info("supply", device=device, act=str(decision.act), reason=decision.reason)
        with suppress(SupplyMoved):  # then it is found by its key at the next look
            await self.keep(row, replace(row, command=record.id))
        return True

    async def _done(self, view: View, row: Supply, record: Record) -> Supply:
        state, action = _DONE[row.wish]
        cause = Cause.NONE if state is SupplyState.ON else row.wish_cause
        since_ms = record.finished_ms or self._clock.now_ms()
        after = moved(row, state, cause, record.cause, since_ms)
        after = replace(after, account=view.switch.room.account, batch="", batch_ms=0)
        details = {"cause": str(row.wish_cause), "command": record.id}
        return await self.keep(
            row, after, Note(action=action, reason=record.cause, details=details)
        )

    async def _refused(self, row: Supply, error: CommandError) -> None:
        """The hub takes no such command now: nothing was written."""
        now_ms = self._clock.now_ms()
        retry_ms = now_ms + round(1000 * pause_s(row))
        is_used = error.kind is Refusal.CONFLICT
        after = again(row, retry_ms) if is_used else replace(row, retry_ms=retry_ms)
        await self.keep(row, after)
        if error.kind in _HOPELESS or now_ms - row.begun_ms > ALARM_MS:
            self._alarms.say(f"supply/{row.device}", f"{row.wish} is refused: {error}")


def end_of(row: Supply, record: Record, view: View) -> End:
    """What the command came to; one that ended unknown by what a person or the device has said since."""
    if not record.state.final:
        return End.OPEN
    if record.state is State.CONFIRMED or record.resolution is Resolution.DONE:
        return End.DONE
    if record.state is not State.UNKNOWN or record.resolution is Resolution.NOT_DONE:
        return End.NOT_DONE
    word = view.word
    if word.closed is None or word.time_ms <= (record.finished_ms or view.now_ms):
        return End.UNKNOWN
    is_so = {
        Act.CUT: not word.closed,
        Act.RESTORE: word.closed,
        Act.ARM: word.closed or word.is_armed,
    }
    return End.DONE if is_so[row.wish] else End.NOT_DONE


def pause_s(row: Supply) -> float:
    """How long after a try that did nothing before the next."""
    first_s = _PAUSE_FIRST_S.get(row.wish, _PAUSE_MAX_S)
    return min(math.ldexp(first_s, min(max(row.tries - 1, 0), 16)), _PAUSE_MAX_S)


def _order(due: Due, row: Supply, approver: str) -> Order:
    is_cut = row.wish is Act.CUT
    spec = due.view.switch.device.profile.commands[row.wish]
    return Order(
        device=row.device,
        name=str(row.wish),
        actor=ACTOR,
        key=row.key,
        cause=due.decision.reason[:TEXT_MAX],
        deadline_s=min(CUT_DEADLINE_S, spec.deadline_s) if is_cut else None,
        priority=Priority.BATCH if is_cut else Priority.PAID,
        approver=approver,
    )
