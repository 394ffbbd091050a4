"""Sends commands: a lane for each device, the most urgent first, expired ones never."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import structlog

from hub.clock import Clock
from hub.command import Outcome
from hub.commands import Commands, OpenCommand
from hub.commands.life import AnsweredLate, Event, Over, broken_off
from hub.commands.order import TEXT_MAX
from hub.dispatch.flight import Flight
from hub.dispatch.lane import Lane, Rules, Wire
from hub.dispatch.last_words import LastWords
from hub.errors import StoreError
from hub.model import Reading
from hub.registry import Registry

SWEEP_PERIOD_S = 0.25
_GONE = "the device is gone, or takes this command no more"
_LATE_MAX = 8  # answers of one command that nobody has looked at yet

_log = structlog.get_logger("commands")


class Dispatcher:
    """Everything that is open, on its way. `counters` tells what was dropped, by reason."""

    def __init__(self, *, wire: Wire, clock: Clock, rules: Rules, registry: Registry) -> None:
        self._wire = wire
        self._clock = clock
        self._rules = rules
        self._registry = registry
        self._last_words = LastWords(clock)
        self._commands: Commands | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._lanes: dict[str, Lane] = {}
        self.counters: Counter[str] = Counter()

    async def run(self, commands: Commands) -> None:
        """Serve until cancelled. What is under way then stays as it is in the ledger, for the next start."""
        self._commands = commands
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for lane in self._lanes.values():
                tasks.create_task(self._serve(lane, commands), name=f"commands {lane.device}")
            while True:
                await self._clock.sleep(SWEEP_PERIOD_S)
                await self._sweep(commands)

    def configure(self) -> None:
        """Go by the registry as it is now: who moved is told over its new link, what nobody takes ends."""
        for lane in self._lanes.values():
            for command in (*lane.waiting, *([lane.flying] if lane.flying else [])):
                device = self._registry.device(command.device.id)
                spec = device.profile.commands.get(command.spec.name) if device else None
                if device is None or spec != command.spec:
                    command.stop = _GONE
                else:
                    command.device = device
            lane.moved.set()

    def take(self, command: OpenCommand) -> None:
        """A command is open, or may go now."""
        lane = self._lanes.get(command.device.id)
        if lane is not None:
            lane.add(command)
            return
        lane = self._lanes[command.device.id] = Lane(command.device.id, self._clock)
        lane.add(command)
        if self._tasks is not None and self._commands is not None:
            self._tasks.create_task(
                self._serve(lane, self._commands), name=f"commands {lane.device}"
            )

    def heard(self, readings: Sequence[Reading]) -> None:
        """New readings are on disk."""
        for reading in readings:
            proofs = self._registry.proofs(reading.device)
            device = self._registry.device(reading.device) if proofs else None
            if device is not None:
                self._last_words.hear(reading, device, proofs)
            lane = self._lanes.get(reading.device)
            if lane is not None:
                lane.hear(reading)

    def answered_late(self, link: str, device: str, command: str, outcome: Outcome) -> None:
        """An answer came after its try was given up; it counts only for the open command it names."""
        found = self._commands.open.get(command) if self._commands else None
        if found is None:
            self.counters["late answer to nothing open"] += 1
        elif (found.device.link, found.device.id) != (link, device):
            self.counters["late answer of another device"] += 1
        elif len(found.late) >= _LATE_MAX:
            self.counters["late answers too many"] += 1
        else:
            answer, reason = outcome.answer, outcome.reason
            found.late.append(AnsweredLate(answer=answer, reason=reason, frames=outcome.frames))
            self._wake(device)

    def _wake(self, device: str) -> None:
        lane = self._lanes.get(device)
        if lane is not None:
            lane.moved.set()

    async def _serve(self, lane: Lane, commands: Commands) -> None:
        while lane.waiting:
            now_s = self._clock.monotonic_s()
            command = lane.next(now_s)
            if command is None:
                await lane.rest(lane.wakes_s(now_s), self._clock)
                continue
            lane.waiting.remove(command)
            lane.flying = command
            goes_on = await self._fly(lane, command, commands)
            lane.flying = None
            if goes_on:
                lane.waiting.append(command)
            else:
                self._say(command)
                commands.forget(command)
        del self._lanes[lane.device]

    async def _fly(self, lane: Lane, command: OpenCommand, commands: Commands) -> bool:
        """Take it as far as it goes; returns whether it waits again. A mistake ends it, and nothing else."""
        flight = Flight(
            lane=lane,
            command=command,
            book=commands.book,
            wire=self._wire,
            clock=self._clock,
            rules=self._rules,
            registry=self._registry,
            last_words=self._last_words,
        )
        try:
            await flight.run()
        except Exception as error:
            _log.exception("a command failed in the hub", command=command.record.id)
            await self._break_off(command, commands, f"{type(error).__name__}: {error}")
            return False
        return not command.life.state.final

    async def _break_off(self, command: OpenCommand, commands: Commands, reason: str) -> None:
        await self._note(command, commands, broken_off(command.life, reason[:TEXT_MAX]))

    async def _note(self, command: OpenCommand, commands: Commands, end: Event) -> None:
        """End a command; what cannot even be written stands open until the next start."""
        try:
            await commands.book.note(command, end)
        except StoreError:
            _log.exception("a command could not be ended", command=command.record.id)
            self.counters["commands that could not be ended"] += 1

    async def _sweep(self, commands: Commands) -> None:
        """Take up what a caller left half-way; end what waited too long, wherever its lane is."""
        with suppress(StoreError):
            await commands.adopt()
        now_s = self._clock.monotonic_s()
        async with asyncio.TaskGroup() as tasks:
            for lane in self._lanes.values():
                for command in [one for one in lane.waiting if self._is_over(one, now_s)]:
                    lane.waiting.remove(command)
                    lane.moved.set()
                    tasks.create_task(
                        self._expire(command, commands), name=f"expire {command.record.id}"
                    )

    def _is_over(self, command: OpenCommand, now_s: float) -> bool:
        if command.life.doubts or command.deciding:
            return False
        return bool(command.stop) or now_s >= command.deadline_s

    async def _expire(self, command: OpenCommand, commands: Commands) -> None:
        if command.stop:
            await self._break_off(command, commands, command.stop)
        else:
            reason = "held, and not approved in time" if command.record.held else ""
            await self._note(command, commands, Over(shown=None, certain=True, reason=reason))
        self._say(command)
        commands.forget(command)

    def _say(self, command: OpenCommand) -> None:
        record = command.record
        _log.info(
            "command ended",
            command=record.id,
            device=record.device,
            name=record.name,
            state=str(record.state),
            reason=record.reason,
        )
