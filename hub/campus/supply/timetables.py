"""Which form of a timetable a second person has approved; only that one switches anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from hub import audit
from hub.campus.accounts.accounts import Utility
from hub.campus.alarms import Alarms
from hub.campus.supply.record import SupplyError
from hub.campus.supply.schedules import Schedule
from hub.campus.supply.switches import Switch
from hub.clock import Clock
from hub.ledger import Ledger, tables

_t, _i = tables.timetables, tables.inventories


@dataclass(frozen=True, kw_only=True, slots=True)
class Timetable:
    """A form of a timetable: who applied it, and who approved it, empty while nobody has."""

    name: str
    digest: str
    actor: str
    seen_ms: int
    approver: str = ""
    approved_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A timetable that a second person has let run, and who."""

    schedule: Schedule
    approver: str


class Timetables:
    """The timetables of a site in their form of now; `configure` first."""

    def __init__(self, *, ledger: Ledger, clock: Clock, alarms: Alarms) -> None:
        self._ledger = ledger
        self._clock = clock
        self._alarms = alarms
        self._schedules: tuple[Schedule, ...] = ()

    def configure(self, schedules: Sequence[Schedule]) -> None:
        """Go by these from now on."""
        for schedule in self._schedules:
            self._alarms.end(f"timetable/{schedule.name}")
        self._schedules = tuple(schedules)

    async def forms(self) -> list[Timetable]:
        """Each of them, with who applied and who approved it. Raises StoreError."""
        schedules, now_ms = self._schedules, self._clock.now_ms()
        return await self._ledger.run(lambda connection: note(connection, schedules, now_ms))

    async def running(self, switches: Iterable[Switch]) -> dict[str, Running]:
        """What holds for each device, where it is approved; what is not is an alarm. Raises StoreError."""
        if not self._schedules:
            return {}
        approvers = {one.name: one.approver for one in await self.forms()}
        for name, approver in approvers.items():
            if approver:
                self._alarms.end(f"timetable/{name}")
            else:
                said = "it waits for a second person, and switches nothing until then"
                self._alarms.say(f"timetable/{name}", said)
        return {
            switch.device.id: Running(schedule=schedule, approver=approvers[schedule.name])
            for switch in switches
            if switch.room.utility is Utility.ELECTRICITY
            for schedule in self._schedules
            if approvers[schedule.name] and schedule.covers(switch.device.place)
        }


def note(connection: Connection, schedules: Sequence[Schedule], now_ms: int) -> list[Timetable]:
    """Write down the forms that are new, with who applied them; returns how each of these stands."""
    newest = select(_i.c.actor).order_by(_i.c.number.desc()).limit(1)
    actor = connection.scalar(newest) or "nobody"
    found = []
    for schedule in schedules:
        known = find(connection, schedule.name, schedule.digest)
        if known is None:
            known = Timetable(
                name=schedule.name, digest=schedule.digest, actor=actor, seen_ms=now_ms
            )
            connection.execute(
                insert(_t).values(name=known.name, digest=known.digest, actor=actor, seen_ms=now_ms)
            )
        found.append(known)
    return found


def find(connection: Connection, name: str, digest: str) -> Timetable | None:
    """One form."""
    query = select(_t).where(_t.c.name == name, _t.c.digest == digest)
    row = connection.execute(query).first()
    return None if row is None else Timetable(**row._mapping)


def approve(connection: Connection, timetable: Timetable, actor: str, *, now_ms: int) -> Timetable:
    """A second person lets it run; the same again changes nothing. Raises SupplyError for its own author."""
    now = find(connection, timetable.name, timetable.digest)
    if now is None:
        raise SupplyError(f"the timetable {timetable.name} is applied no more")
    if now.approver:
        return now
    if now.actor == actor:
        raise SupplyError("a second person must approve it: you applied it")
    connection.execute(
        update(_t)
        .where(_t.c.name == now.name, _t.c.digest == now.digest)
        .values(approver=actor, approved_ms=now_ms)
    )
    audit.append(
        connection,
        actor=actor,
        cause=f"applied by {now.actor}",
        subject=f"timetable/{now.name}",
        action="approved",
        before="",
        after=f'{{"digest":"{now.digest}"}}',
        time_ms=now_ms,
    )
    return Timetable(
        name=now.name,
        digest=now.digest,
        actor=now.actor,
        seen_ms=now.seen_ms,
        approver=actor,
        approved_ms=now_ms,
    )
