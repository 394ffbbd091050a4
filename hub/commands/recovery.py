"""What is to be done at a start with every command that was open when the hub stopped."""

from __future__ import annotations

import structlog

from hub.clock import Clock
from hub.command import CommandSpec
from hub.commands import rows
from hub.commands.book import Book, OpenCommand
from hub.commands.life import Life, Over
from hub.commands.order import Before, Record
from hub.ledger import Ledger
from hub.registry import Registry
from hub.safety import BRAKE_WINDOW_S, Safety

_CLOCKS_APART_MS = 2_000  # more, and one of the two clocks was set, or the machine restarted

_log = structlog.get_logger("commands")


class Recovery:
    """One start of the hub."""

    def __init__(
        self, *, ledger: Ledger, clock: Clock, registry: Registry, safety: Safety, book: Book
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._registry = registry
        self._safety = safety
        self._book = book

    async def unfinished(self) -> list[OpenCommand]:
        """The commands to go on with. Raises StoreError.

        What was never sent goes on while its time can be trusted, else it expires here; what may have
        been sent is only looked at. The brake remembers what the last minutes let go.
        """
        await self._remember()
        found = []
        for record, life, before, uptime_ms in await self._ledger.read(rows.unfinished):
            command = await self._take_up(record, life, before, uptime_ms)
            if command is not None:
                _log.info("a command is taken up again", command=record.id, state=record.state)
                found.append(command)
        return found

    async def _remember(self) -> None:
        now_ms = self._clock.now_ms()
        window_ms = now_ms - round(BRAKE_WINDOW_S * 1000)
        let_go: list[tuple[float, CommandSpec, Record]] = []
        for record in await self._ledger.read(lambda connection: rows.since(connection, window_ms)):
            device = self._registry.device(record.device)
            spec = device.profile.commands.get(record.name) if device else None
            if spec is not None and not record.held:
                # From the order, or the approval, and again from the send.
                let_ms = max(record.expires_ms - record.deadline_ms, record.sent_ms or 0)
                let_go.append((max(0.0, (now_ms - let_ms) / 1000), spec, record))
        for age_s, spec, record in sorted(let_go, key=lambda one: one[0], reverse=True):
            self._safety.let(spec, record.device, record.id, age_s)

    async def _take_up(
        self, record: Record, life: Life, before: Before, uptime_ms: int
    ) -> OpenCommand | None:
        device = self._registry.device(record.device)
        spec = device.profile.commands.get(record.name) if device else None
        if device is None or spec is None:
            await self._book.give_up(record, life, "the device takes this command no more")
            return None
        command = OpenCommand(
            record=record,
            device=device,
            spec=spec,
            life=life,
            deadline_s=(uptime_ms + record.expires_ms - record.created_ms) / 1000,
            recovered=life.doubts > 0,
            before=before,
            was_otherwise=before is Before.OTHERWISE,
            compared_s=self._compared_s(record, spec),
        )
        if command.recovered or self._is_trusted(record, uptime_ms):
            return command
        reason = "a clock was set, or the machine restarted, while it waited"
        await self._book.note(command, Over(shown=None, certain=True, reason=reason))
        return None

    def _compared_s(self, record: Record, spec: CommandSpec) -> float:
        """When its device was asked before the first try, at the earliest, by the wall clock."""
        sent_ms = record.sent_ms or record.created_ms
        ago_s = (self._clock.now_ms() - sent_ms) / 1000 + spec.confirm_s
        return self._clock.monotonic_s() - ago_s

    def _is_trusted(self, record: Record, uptime_ms: int) -> bool:
        """Whether both clocks agree on how long it has waited: only then its deadline means anything."""
        waited_ms = self._clock.now_ms() - record.created_ms
        up_ms = round(self._clock.monotonic_s() * 1000) - uptime_ms
        return up_ms >= 0 and abs(waited_ms - up_ms) <= _CLOCKS_APART_MS
