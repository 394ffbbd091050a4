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
from hub.commands.life import AnsweredLate, Over
from hub.dispatch.flight import Flight
from hub.dispatch.lane import Lane, Rules, Wire
from hub.dispatch.last_words import LastWords
from hub.errors import StoreError
from hub.model import Reading
from hub.registry import Registry

SWEEP_PERIOD_S = 0.25
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
        found = self._commands.find(command) if self._commands else None
        if found is None:
            self.counters["late answer to nothing open"] += 1
        elif (found.device.link, found.device.id) != (link, device):
            self.counters["late answer of another device"] += 1
        elif len(found.late) >= _LATE_MAX:
            self.counters["late answers too many"] += 1
        else:
            found.late.append(AnsweredLate(answer=outcome.answer, reason=outcome.reason))
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
            await self._fly(lane, command, commands)
            lane.flying = None
            if command.life.state.final:
                self._say(command)
                commands.forget(command)
            else:
                lane.waiting.append(command)
        del self._lanes[lane.device]

    async def _fly(self, lane: Lane, command: OpenCommand, commands: Commands) -> None:
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
        await flight.run()

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
        return not command.life.doubts and now_s >= command.deadline_s

    async def _expire(self, command: OpenCommand, commands: Commands) -> None:
        reason = "held, and not approved in time" if command.record.held else ""
        await commands.book.note(command, Over(shown=None, certain=True, reason=reason))
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
