"""What happened to a supply without the hub's rules: trips, hands, and the commands of people."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from sqlalchemy import Connection

from hub.campus.alarms import Alarms
from hub.campus.supply import trips
from hub.campus.supply.desired import Cause, SupplyState
from hub.campus.supply.facts import Policy, View
from hub.campus.supply.record import ACTOR, Note, Supply, moved, save
from hub.campus.supply.switches import ARM, CUT, POWERS, RESTORE
from hub.campus.supply.trips import Seen, Sight, Trip
from hub.clock import Clock
from hub.command import Hazard, State
from hub.commands import Commands, Record
from hub.journal import Journal
from hub.ledger import Ledger

KEPT_MS = 86_400_000  # what a person restores is not cut again for so long
AGAIN_MS = 3_600_000  # nor what closed by itself, in arrears
_NEWEST = 20
_OURS = (CUT, RESTORE, ARM)
_MAYBE = (State.CONFIRMED, State.UNKNOWN)


class Sights:
    """Brings rows in line with what the devices say."""

    def __init__(
        self, *, ledger: Ledger, journal: Journal, clock: Clock, commands: Commands, alarms: Alarms
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._commands = commands
        self._alarms = alarms

    async def take(self, view: View, policy: Policy) -> Supply:
        """The row after this device's last word; raises SupplyMoved and StoreError."""
        row, seen = view.row, trips.look(view.row, view.word)
        match seen.sight:
            case Sight.FIRST:
                return await self._keep(row, replace(row, overloads=view.word.overloads), None)
            case Sight.TRIP:
                return await self._tripped(view, seen, policy.of(view.switch).trips_max)
            case Sight.OPEN:
                return await self._opened(view)
            case Sight.CLOSED:
                return await self._closed(view)
        return row

    async def trip(self, view: View, policy: Policy) -> Supply:
        """The row after a trip that its last word shows, and of nothing else; raises as `take`."""
        seen = trips.look(view.row, view.word)
        if seen.sight is not Sight.TRIP:
            return view.row
        return await self._tripped(view, seen, policy.of(view.switch).trips_max)

    async def _tripped(self, view: View, seen: Seen, trips_max: int) -> Supply:
        row, word = view.row, view.word
        time_ms = word.time_ms or view.now_ms
        before_w, after_w = await trips.power_around(self._journal, row.device, POWERS, time_ms)
        number = row.trips + seen.trips
        overloads = row.overloads if word.overloads is None else word.overloads
        after = replace(row, account=view.switch.room.account, trips=number, overloads=overloads)
        # A lock, and a person's cut, keep it off harder. A trip just before a cut is a trip.
        is_kept_off = row.state is SupplyState.CUT and row.cause in (Cause.LOCK, Cause.PERSON)
        if word.closed is False and not is_kept_off:
            after = moved(after, SupplyState.TRIPPED, Cause.NONE, seen.kind, time_ms)
        trip = Trip(
            id=self._clock.new_id(),
            device=row.device,
            account=after.account,
            kind=seen.kind,
            time_ms=time_ms,
            number=number,
            power_before_w=before_w,
            power_after_w=after_w,
        )
        locked = f"{number} trips by power" if number >= trips_max and not row.locked else ""
        now_ms = self._clock.now_ms()
        return await self._ledger.run(
            lambda connection: _keep_trip(connection, row, after, trip, locked, now_ms)
        )

    async def _opened(self, view: View) -> Supply:
        """Open, and not by the rules: a person's command, or a hand."""
        row = view.row
        command = await self._newest(view)
        if command is not None and not command.state.final:
            return row  # somebody's command is under way
        fresh = replace(row, account=view.switch.room.account, batch="", batch_ms=0)
        if command is not None and command.name == CUT:
            # What the hub proposed itself is in arrears, and a payment takes it back.
            cause = Cause.ARREARS if command.actor == ACTOR or row.batch else Cause.PERSON
            reason = command.cause or f"by {command.actor}"
            after = moved(fresh, SupplyState.CUT, cause, reason, _end_ms(command))
            details = {"cause": str(cause), "command": command.id}
            note = Note(action="cut", reason=reason, actor=command.actor, details=details)
            return await self._keep(row, after, _unless_batch(command, note))
        reason = "opened by a hand"
        after = moved(fresh, SupplyState.OPENED, Cause.NONE, reason, view.word.time_ms)
        return await self._keep(row, after, Note(action="opened", reason=reason))

    async def _closed(self, view: View) -> Supply:
        """Closed, and not by the rules: a person's command, a hand that was let, or the device itself."""
        row, word = view.row, view.word
        command = await self._newest(view)
        if command is not None and not command.state.final:
            return row
        by_person = command is not None and command.name != CUT
        actor = command.actor if by_person and command else ACTOR
        reason = f"by {actor}" if by_person else "closed at the device"
        since_ms = _end_ms(command) if by_person and command else word.time_ms
        after = moved(row, SupplyState.ON, Cause.NONE, reason, since_ms)
        if row.state is SupplyState.CUT and by_person:
            kept_ms = view.now_ms + KEPT_MS
            after = replace(
                after, kept_until_ms=kept_ms, kept_by=actor, kept_reason="restored by hand"
            )
        elif row.state is SupplyState.CUT:
            self._alarms.say(f"supply/{row.device}", "it was cut, and is closed again by nobody")
            after = replace(after, retry_ms=0 if row.locked else view.now_ms + AGAIN_MS)
        note = Note(action="restored", reason=reason, actor=actor)
        if by_person:
            self._alarms.end(f"supply/{row.device}")
        return await self._keep(row, after, _unless_batch(command, note))

    async def _newest(self, view: View) -> Record | None:
        """The newest command of somebody else that has switched it, or may have, since it is as it is."""
        for record in await self._commands.recent(device=view.device, limit=_NEWEST):
            spec = view.switch.device.profile.commands.get(record.name)
            if spec is None or spec.hazard not in (Hazard.CUT, Hazard.RESTORE):
                continue
            if spec.name not in _OURS and spec.hazard is Hazard.CUT:
                continue  # a limit, a timetable of its own
            is_new = (record.finished_ms or view.now_ms) > view.row.since_ms
            is_out = record.state in _MAYBE or (record.attempts and not record.state.final)
            is_own = record.actor == ACTOR and record.key.startswith(f"{ACTOR}/{view.device}/")
            if is_new and is_out and not is_own:
                return record
        return None

    async def _keep(self, before: Supply, after: Supply, note: Note | None) -> Supply:
        return await self._ledger.run(
            partial(save, before=before, after=after, note=note, now_ms=self._clock.now_ms())
        )


def _keep_trip(
    connection: Connection, row: Supply, after: Supply, trip: Trip, locked: str, now_ms: int
) -> Supply:
    details: dict[str, str | int | None] = {
        "kind": trip.kind,
        "number": trip.number,
        "power_before_w": trip.power_before_w,
        "power_after_w": trip.power_after_w,
    }
    save(connection, row, after, Note(action="tripped", reason=trip.kind, details=details), now_ms)
    trips.add(connection, trip)
    if not locked:
        return after
    note = Note(action="locked", reason=locked)
    return save(connection, after, replace(after, locked=locked), note, now_ms)


def _unless_batch(command: Record | None, note: Note) -> Note | None:
    """A batch has written down itself what it did."""
    is_batch = command is not None and command.key.startswith("batch/")
    return None if is_batch else note


def _end_ms(record: Record) -> int:
    return record.finished_ms or record.created_ms
