"""What the hub does to devices: registry, safety, commands and their dispatch, lending, wired together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from hub import audit
from hub.clock import Clock
from hub.commands import Commands
from hub.dispatch import Dispatcher, Wire
from hub.errors import StoreError
from hub.ledger import Ledger
from hub.lending import Lending, Links
from hub.model import Link, Reading
from hub.presence import PresenceBoard
from hub.registry import Registry
from hub.safety import Safety
from hub.safety_rules import SafetyRules
from hub.status import ControlStatus

PROBE_PERIOD_S = 2.0
NOTE_PERIOD_S = 86_400.0

_log = structlog.get_logger("hub")


class Drivers(Wire, Links, Protocol):
    """What is needed of the supervisor: tell, read, and let a link's driver rest."""


class Control:
    """Made once for each run of the hub; `configure` first, then `start`."""

    def __init__(
        self, *, ledger: Ledger, clock: Clock, presence: PresenceBoard, wire: Drivers
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self.registry = Registry(presence)
        self.safety = Safety(ledger=ledger, clock=clock, is_away=self.registry.is_offline)
        self.dispatcher = Dispatcher(
            wire=wire, clock=clock, rules=self.safety, registry=self.registry
        )
        self.commands = Commands(
            ledger=ledger,
            clock=clock,
            registry=self.registry,
            safety=self.safety,
            queued=self.dispatcher.take,
        )
        self.lending = Lending(
            links=wire,
            registry=self.registry,
            commands=self.commands,
            presence=presence,
            ledger=ledger,
            clock=clock,
        )

    def configure(self, links: Sequence[Link], rules: SafetyRules) -> None:
        """Go by these links and rules from now on."""
        self.registry.configure(links)
        self.safety.configure(rules, self.registry.devices())
        self.lending.fire = frozenset(source.device for source in rules.fire)
        self.dispatcher.configure()

    async def start(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Take up what an earlier run left open, and serve; cancel the tasks to stop. Raises StoreError."""
        await self.safety.latch.start()
        await self.commands.recover()
        return [
            tasks.create_task(self.dispatcher.run(self.commands), name="dispatch"),
            tasks.create_task(self.safety.latch.run(), name="fire latch"),
            tasks.create_task(self.lending.run(), name="lending"),
            tasks.create_task(self._probe(), name="ledger probe"),
            tasks.create_task(self._note(), name="audit head"),
        ]

    def status(self) -> ControlStatus:
        """The fire latch and the open commands, now."""
        fire, waiting = self.safety.latch.state(), self.commands.open.values()
        return ControlStatus(
            fire_forbids=fire.forbids,
            fire_latched=fire.latched,
            fire_reason=fire.reason,
            commands_open=len(waiting),
            commands_held=sum(command.record.held for command in waiting),
        )

    async def _note(self) -> None:
        """Say in the log, at the start and daily, where the audit ends: `dormhub audit verify --noted`."""
        while True:
            with suppress(StoreError):
                head = await self._ledger.read(audit.head)
                _log.info("audit ends", noted=f"{head.number}:{head.hash}")
            await self._clock.sleep(NOTE_PERIOD_S)

    async def _probe(self) -> None:
        """A ledger that has refused may be well again while nobody has anything to write: find out."""
        while True:
            await self._clock.sleep(PROBE_PERIOD_S)
            if self._ledger.stats().reason:
                with suppress(StoreError):
                    await self._ledger.run(audit.touch)

    def stored(self, readings: Sequence[Reading]) -> None:
        """New readings are on disk: alarms, and proofs of commands."""
        self.safety.latch.heard(readings)
        self.dispatcher.heard(readings)
