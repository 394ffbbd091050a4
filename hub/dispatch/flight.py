"""One command under way: conditions, the wire, and the look whether it was done."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import Enum, auto
from functools import partial

from hub.clock import Clock
from hub.command import (
    Answer,
    Command,
    Hazard,
    Offline,
    Outcome,
    Repeat,
    State,
    is_seen,
)
from hub.commands import Before, Book, CommandError, OpenCommand
from hub.commands.life import Denied, Over, Shown, broken_off, may_try_again, pause_s
from hub.commands.order import checked
from hub.dispatch.guard import guarded, may_be_called_off
from hub.dispatch.lane import Lane, Rules, Watch, Wire
from hub.dispatch.last_words import LastWords
from hub.dispatch.proof import Proof
from hub.errors import StoreError
from hub.points import Scalar
from hub.registry import Registry

ANSWER_MAX_S = 15.0  # after the deadline; a driver that still says nothing is given up
LOOK_PERIOD_S = 1.0
LAST_LOOK_S = 2.0
BEFORE_LOOK_S = 0.3  # for what nobody has seen yet: how a gate stands before it is told to open
RECOVERY_LOOK_S = 30.0  # links must come up first
REQUIRED_FRESH_S = (
    5.0  # from the reading that shows what it requires to the last moment of the send
)
OPENING_WAITS_S = 1.0  # for the answer to another try, and for the look after another opening
AWAY_PAUSE_S = 0.5
STORE_PAUSE_S = 1.0


class Clearance(Enum):
    """Whether a command may go to the wire now."""

    GO = auto()
    WAIT = auto()
    NO = auto()


class Flight:
    """Takes one command as far as it goes: to its end, or back to waiting when it certainly did not go."""

    def __init__(
        self,
        *,
        lane: Lane,
        command: OpenCommand,
        book: Book,
        wire: Wire,
        clock: Clock,
        rules: Rules,
        registry: Registry,
        last_words: LastWords,
    ) -> None:
        self._lane = lane
        self._command = command
        self._book = book
        self._wire = wire
        self._clock = clock
        self._rules = rules
        self._registry = registry
        self._looked_s = 0.0
        self._told_s = 0.0
        self._proof = Proof(command=command, lane=lane, last_words=last_words, clock=clock)

    async def run(self) -> None:
        """Returns when the command has ended or must wait; its `not_before_s` says until when."""
        command = self._command
        if command.stop:
            await self._stop()
            return
        if command.recovered:
            await self._look_back()
            return
        while not command.life.state.final:
            if command.life.doubts and not await self._prove():
                return
            arguments: dict[str, Scalar] = dict(command.record.arguments)
            clearance = await self._clear(arguments)
            if clearance is Clearance.NO and command.life.doubts:
                await self._end(self._proof.shown())
            if clearance is not Clearance.GO:
                return
            await self._tell(arguments)
            if not command.life.doubts:
                return

    async def _clear(self, arguments: dict[str, Scalar]) -> Clearance:
        """Check everything that must hold before the wire, and fill what the device must say first."""
        command, now_s = self._command, self._clock.monotonic_s()
        if now_s >= command.deadline_s:
            if not command.life.doubts:
                await self._end(None)
            return Clearance.NO
        forbidden = self._forbidden()
        if forbidden:
            return await self._deny(forbidden)
        is_away = self._registry.is_offline(command.device.id)
        if is_away and command.spec.offline is Offline.QUEUE and not command.life.doubts:
            return self._wait(AWAY_PAUSE_S)
        clearance = await self._pass_unknowns()
        if clearance is Clearance.GO:
            clearance = await self._look_before(arguments)
        if clearance is not Clearance.GO:
            return clearance
        if command.spec.repeat is Repeat.NEVER and self._proof.before(arguments) is Before.UNSEEN:
            await self._fresh({expect.point for expect in command.spec.confirm}, BEFORE_LOOK_S)
        if forbidden := self._forbidden():  # looking took its time
            return await self._deny(forbidden)
        if not self._rules.holds(command.spec, command.device.id, command.record.id):
            return Clearance.GO
        return await self._hold()

    async def _hold(self) -> Clearance:
        """Too many others went while it waited: a second person must decide."""
        command = self._command
        if command.life.doubts:
            return Clearance.NO
        try:
            await self._book.hold(command, self._rules.approval_s)
        except StoreError:
            return self._wait(STORE_PAUSE_S)
        return Clearance.WAIT

    def _forbidden(self) -> str:
        device, spec = self._command.device, self._command.spec
        if self._command.stop:
            return self._command.stop
        if self._registry.only_observes(device):
            return f"link {device.link} only observes"
        return self._rules.forbids(spec.hazard) or self._rules.unproven(device, spec)

    async def _pass_unknowns(self) -> Clearance:
        """An earlier one of a counted command may have ended unknown while this one waited."""
        command = self._command
        if command.life.doubts:
            return Clearance.GO
        try:
            blocked = await self._book.unknowns.block(command.device.id, command.spec)
        except StoreError:
            return self._wait(STORE_PAUSE_S)
        return await self._deny(blocked) if blocked else Clearance.GO

    async def _look_before(self, arguments: dict[str, Scalar]) -> Clearance:
        """See what it requires in a reading of now, and take the arguments the device itself fills."""
        spec, doubts = self._command.spec, self._command.life.doubts
        filled = [
            argument
            for argument in spec.arguments.values()
            # Anew while no try may have reached the device: its count may have moved meanwhile.
            if argument.from_point and not (argument.name in arguments and doubts)
        ]
        if not spec.requires and not filled:
            return Clearance.GO
        points = {expect.point for expect in spec.requires} | {one.from_point for one in filled}
        began_s = self._clock.monotonic_s()
        values = await self._fresh(points, spec.confirm_s)
        if is_seen(spec.requires, values, arguments) is False:
            unmet = ", ".join(f"{name} is {values[name]}" for name in sorted(points & {*values}))
            return await self._deny(unmet)
        if not points <= {*values} or (filled and not self._proof.is_alive()):
            return self._wait(pause_s(1))
        self._looked_s = self._clock.monotonic_s()
        if filled:
            self._command.compared_s = began_s
        for argument in filled:
            value = values[argument.from_point]
            try:
                number = 0 if isinstance(value, str) else value
                arguments[argument.name] = checked(argument, number + argument.plus)
            except CommandError as error:
                return await self._deny(str(error))
        return Clearance.GO

    async def _fresh(self, points: set[str], patience_s: float) -> Mapping[str, Scalar]:
        """What the device says of these points from now on, within the time there is."""
        command, clock = self._command, self._clock
        watch = self._lane.watch = Watch(clock)
        end_s = min(command.deadline_s, clock.monotonic_s() + patience_s)
        while (now_s := clock.monotonic_s()) < end_s:
            if points <= {*watch.values} and (command.life.doubts or self._proof.is_alive()):
                break
            if command.stop or self._gives_way(now_s) or self._lane.is_overtaken(command, now_s):
                break
            self._wire.refresh(command.device.link, command.device.id)
            await self._lane.rest(min(end_s, now_s + LOOK_PERIOD_S), clock)
        return watch.values

    async def _tell(self, arguments: Mapping[str, Scalar]) -> None:
        """One try, written down before the wire. Without a doubt afterwards it waits, or has ended."""
        command, lane = self._command, self._lane
        try:
            await self._book.send(command, arguments, self._proof.before(arguments))
        except StoreError:
            self._wait(STORE_PAUSE_S)
            return
        lane.watch = Watch(self._clock)
        outcome = await self._execute()
        lane.watch.sent(
            min((frame.time_ms for frame in outcome.frames if frame.outgoing), default=0)
        )
        await self._book.answer(command, outcome)
        if not command.life.doubts:
            self._wait(pause_s(command.life.attempts))

    async def _execute(self) -> Outcome:
        command, spec = self._command, self._command.spec
        if barred := command.stop or self._rules.forbids(spec.hazard):
            return Outcome(answer=Answer.NOT_SENT, reason=barred)
        # What it requires was seen a moment ago; when it does not go soon, it is looked at again.
        freshly_s = self._looked_s + REQUIRED_FRESH_S if spec.requires else command.deadline_s
        deadline_s = min(command.deadline_s, freshly_s)
        left_s = deadline_s - self._clock.monotonic_s()
        if left_s <= 0:
            return Outcome(answer=Answer.NOT_SENT, reason="its time was over")
        now_ms = self._clock.now_ms()
        telling = Command(
            id=command.record.id,
            device=command.device.id,
            spec=spec,
            arguments=command.record.arguments,
            attempt=command.life.attempts,
            issued_ms=now_ms,
            expires_ms=now_ms + int(left_s * 1000),
            deadline_s=deadline_s,
            priority=command.record.priority,
            nonce=command.record.nonce,
        )
        self._told_s = self._clock.monotonic_s()
        execute = partial(self._wire.execute, command.device.link, telling)
        try:
            async with asyncio.timeout(left_s + ANSWER_MAX_S):
                if may_be_called_off(command.device, spec):
                    return await guarded(execute(), partial(self._called_off, spec.hazard))
                return await execute()
        except TimeoutError:
            return Outcome(answer=Answer.SILENT, reason="the driver gave no answer")

    def _called_off(self, hazard: Hazard) -> str:
        """Why the try under way shall not be waited for; empty when it shall."""
        if hazard is Hazard.CLOSE and (barred := self._command.stop or self._rules.forbids(hazard)):
            return barred
        now_s = self._clock.monotonic_s()
        is_slow = now_s >= self._told_s + OPENING_WAITS_S
        return "an opening waits" if is_slow and self._gives_way(now_s) else ""

    def _gives_way(self, now_s: float) -> bool:
        """Whether an opening waits, which no look keeps but the first second of that after another one."""
        command = self._command
        is_kept = command.spec.hazard is Hazard.OPEN and now_s < self._told_s + OPENING_WAITS_S
        return not is_kept and self._lane.has_opening(now_s)

    async def _prove(self) -> bool:
        """Look until it is shown or the policy has no more to say; returns whether to try once more."""
        command, clock = self._command, self._clock
        spec, window_s = command.spec, command.spec.confirm_s if command.spec.confirm else 0.0
        end_s = clock.monotonic_s() + window_s
        while not command.life.state.final:
            over = await self._look(end_s)
            now_s = clock.monotonic_s()
            shown = self._proof.shown()
            if over or self._is_enough(now_s):
                await self._end(shown, certain=over)
            elif may_try_again(command.life, spec.repeat, shown):
                await self._look_until(now_s + pause_s(command.life.doubts))
                if not command.life.state.final and clock.monotonic_s() < command.deadline_s:
                    return True
                end_s = clock.monotonic_s()
            else:
                end_s = min(now_s + max(window_s, LOOK_PERIOD_S), command.deadline_s)
        return False

    def _is_enough(self, now_s: float) -> bool:
        """Whether looking longer, or trying again, is out of the question before the deadline."""
        command = self._command
        acknowledged = command.life.state is State.ACKNOWLEDGED
        if command.spec.repeat is Repeat.NEVER or (acknowledged and not command.spec.confirm):
            return True
        if command.stop or self._gives_way(now_s) or self._proof.objection():
            return True
        return self._lane.is_overtaken(command, now_s)

    def _is_gone(self) -> bool:
        """Whether nothing can be seen of the device any more."""
        return self._registry.device(self._command.device.id) is None

    async def _look_back(self) -> None:
        """After a start: look only; it is never told again."""
        command = self._command
        self._lane.watch = Watch(self._clock)
        window_s = max(command.spec.confirm_s, RECOVERY_LOOK_S) if command.spec.confirm else 0.0
        await self._look(self._clock.monotonic_s() + window_s)
        if not command.life.state.final:
            await self._end(None, reason="the hub stopped while it was under way")

    async def _look(self, end_s: float) -> bool:
        """Look until then, or until it has ended; then once more with fresh eyes.

        Returns whether the last look began after the deadline: then nothing is under way any more.
        """
        await self._look_until(end_s)
        over = self._clock.monotonic_s() >= self._command.deadline_s
        if self._command.spec.confirm and not self._command.life.state.final:
            self._lane.watch = Watch(self._clock)
            await self._look_until(self._clock.monotonic_s() + LAST_LOOK_S, is_last=True)
        return over

    async def _look_until(self, end_s: float, *, is_last: bool = False) -> None:
        command, clock = self._command, self._clock
        look_s = clock.monotonic_s()
        while not await self._is_ended() and (now_s := clock.monotonic_s()) < end_s:
            told = self._proof.shown()
            is_done = told is not None if is_last else self._lane.is_overtaken(command, now_s)
            if is_done or self._is_gone() or self._gives_way(now_s):
                return
            if now_s >= look_s:
                self._wire.refresh(command.device.link, command.device.id)
                look_s = now_s + LOOK_PERIOD_S
            await self._lane.rest(min(end_s, look_s), clock)

    async def _is_ended(self) -> bool:
        """Take in what came late and what was seen; returns whether that ended it."""
        command = self._command
        while command.late and not command.life.state.final:
            await self._book.answer_late(command, command.late.pop(0))
        if self._proof.shown():
            shown = Shown(reason=self._proof.remark())
            await self._book.note(command, shown, self._proof.words())
        return command.life.state.final

    async def _end(self, shown: bool | None, *, certain: bool = False, reason: str = "") -> None:
        if shown is None:
            reason = self._proof.doubt() or reason
        reason = reason or self._command.stop
        await self._book.note(self._command, Over(shown=shown, certain=certain, reason=reason))

    async def _stop(self) -> None:
        await self._book.note(self._command, broken_off(self._command.life, self._command.stop))

    async def _deny(self, reason: str) -> Clearance:
        await self._book.note(self._command, Denied(reason=reason))
        return Clearance.NO

    def _wait(self, seconds: float) -> Clearance:
        self._command.not_before_s = self._clock.monotonic_s() + seconds
        return Clearance.WAIT
