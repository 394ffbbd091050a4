"""What ended unknown: what it holds up, and what a person found out of it. The end itself never changes."""

from __future__ import annotations

from hub.clock import Clock
from hub.command import CommandSpec, State
from hub.commands import rows
from hub.commands.order import CommandError, Record, Refusal, Resolution
from hub.ledger import Ledger


class Unknowns:
    """Asks the ledger each time: there are few, and a person is waiting for each."""

    def __init__(self, *, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def block(self, device: str, spec: CommandSpec) -> str:
        """Why this device may not be told a counted command now; empty when it may. Raises StoreError.

        While nobody knows whether an earlier one arrived, the next could be told the same count.
        """
        if not spec.is_counted:
            return ""
        earlier = await self._ledger.read(
            lambda connection: rows.unresolved(connection, device, spec.name)
        )
        return f"an earlier {spec.name} is unknown; resolve it first: {earlier}" if earlier else ""

    async def resolve(self, record: Record, actor: str, found: Resolution, note: str) -> Record:
        """Write down what a person found out; the same word again changes nothing.

        Raises CommandError (not_unknown) when there is nothing to find out, and StoreError.
        """
        if record.state is not State.UNKNOWN:
            text = f"it is {record.state}; only what ended unknown is resolved"
            raise CommandError(Refusal.NOT_UNKNOWN, "", text)
        now_ms = self._clock.now_ms()
        return await self._ledger.run(
            lambda connection: rows.resolve(connection, record.id, actor, found, note, now_ms)
        )
