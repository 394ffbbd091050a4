"""What staff do to a supply: unlock it, keep it from being cut, and approve a timetable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection

from hub.campus.supply import record, timetables, trips
from hub.campus.supply.desired import Cause, SupplyState
from hub.campus.supply.record import Note, Supply, SupplyError, save
from hub.campus.supply.service import Shown, Supplies
from hub.campus.supply.timetables import Timetable
from hub.campus.supply.trips import Trip
from hub.clock import Clock
from hub.ledger import Ledger

KEEP_MAX_MS = 30 * 86_400_000
TRIPS_MAX = 100


_Change = Callable[[Supply], tuple[Supply, str]]


class NoSupply(SupplyError):
    """There is no such supply, or no such timetable."""


class SupplyDesk:
    """The desk of one site's supplies; every change names its person and stands in the audit."""

    def __init__(self, *, ledger: Ledger, clock: Clock, supplies: Supplies) -> None:
        self._ledger = ledger
        self._clock = clock
        self._supplies = supplies

    async def show(self, device: str) -> tuple[Shown, list[Trip]]:
        """One supply with its newest trips; raises NoSupply and StoreError."""
        shown = await self._supplies.one(device)
        if shown is None:
            raise NoSupply(f"the hub switches no room by {device[:64]!r}")
        found = await self._ledger.read(
            lambda connection: trips.newest(connection, device, TRIPS_MAX)
        )
        return shown, found

    async def unlock(self, device: str, actor: str, reason: str) -> Shown:
        """Give it back to the rules after trips, a hand or a person's cut. Raises SupplyError, StoreError."""
        return await self._change(
            device, partial(_unlocked, now_ms=self._clock.now_ms()), actor, reason
        )

    async def keep(self, device: str, until_ms: int, actor: str, reason: str) -> Shown:
        """Let nobody cut it before then, for 30 days at most; a time that has passed ends that.

        What is cut in arrears or by timetable comes back. Raises SupplyError, StoreError.
        """
        now_ms = self._clock.now_ms()
        if until_ms > now_ms + KEEP_MAX_MS:
            raise SupplyError("a room is kept from being cut for 30 days at most")
        kept = partial(_kept, until_ms=until_ms, now_ms=now_ms, actor=actor, reason=reason)
        return await self._change(device, kept, actor, reason)

    async def timetables(self) -> list[Timetable]:
        """The timetables of now, and who approved each. Raises StoreError."""
        return await self._supplies.timetables.forms()

    async def timetable(self, name: str) -> Timetable:
        """One of them; raises NoSupply and StoreError."""
        for found in await self.timetables():
            if found.name == name:
                return found
        raise NoSupply(f"there is no timetable {name[:64]!r}")

    async def approve(self, name: str, actor: str) -> Timetable:
        """A second person lets a timetable run as it is now. Raises SupplyError and StoreError."""
        found = await self.timetable(name)
        work = partial(
            timetables.approve, timetable=found, actor=actor, now_ms=self._clock.now_ms()
        )
        approved = await self._ledger.run(work)
        self._supplies.refresh()
        return approved

    async def _change(self, device: str, change: _Change, actor: str, reason: str) -> Shown:
        if not reason.strip() or not actor.strip():
            raise SupplyError("say why")
        shown = await self._supplies.one(device)
        if shown is None:
            raise NoSupply(f"the hub switches no room by {device[:64]!r}")
        account, now_ms = shown.switch.room.account, self._clock.now_ms()

        def work(connection: Connection) -> Supply:
            before = record.read(connection, [device])[device]
            after, action = change(replace(before, account=account))
            return save(
                connection, before, after, Note(action=action, reason=reason, actor=actor), now_ms
            )

        row = await self._ledger.run(work)
        self._supplies.look_at(device)
        return replace(shown, row=row)


def _unlocked(row: Supply, *, now_ms: int) -> tuple[Supply, str]:
    is_anothers = row.state is SupplyState.CUT and row.cause in (Cause.LOCK, Cause.PERSON)
    is_off = row.state in (SupplyState.TRIPPED, SupplyState.OPENED) or is_anothers
    if not (is_off or row.locked or row.trips):
        raise SupplyError("there is nothing to unlock: it did not trip, and nobody has opened it")
    after = replace(row, trips=0, locked="")
    if is_off:
        after = replace(after, state=SupplyState.CUT, cause=Cause.LOCK, since_ms=now_ms)
    return replace(after, reason="unlocked"), "unlocked"


def _kept(
    row: Supply, *, until_ms: int, now_ms: int, actor: str, reason: str
) -> tuple[Supply, str]:
    if until_ms > now_ms:
        return replace(row, kept_until_ms=until_ms, kept_by=actor, kept_reason=reason), "kept"
    if not row.kept(now_ms):
        raise SupplyError("nobody keeps it, so there is nothing to end")
    return replace(row, kept_until_ms=0, kept_by="", kept_reason=""), "released"
