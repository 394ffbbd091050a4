"""The supply of a room that somebody has left is cut, if so wished: by commands, never against protection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from hub import audit
from hub.campus.life.jobs import Job, JobState, Note, Step, StepName, note
from hub.campus.life.rooms import Rooms
from hub.campus.prepaid.rules import CUT_DEADLINE_S, forbids_cut
from hub.clock import Clock
from hub.command import CommandSpec, Hazard, State
from hub.commands import CommandError, Commands, Order, Record, Refusal, rows
from hub.model import Device

ACTOR = "settlement"
PATIENCE_MS = 7 * 86_400_000  # how long a cut may wait for protection, a device or a second person
_LATER = (Refusal.OFFLINE, Refusal.TOO_MANY, Refusal.UNRESOLVED, Refusal.UNSAFE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """What became of the cut of one device; `reason` is empty where it was cut."""

    device: str
    reason: str = ""


def cut_of(device: Device) -> CommandSpec | None:
    """The command that cuts what this device supplies; None when it has none."""
    specs = device.profile.commands.values()
    return next((one for one in specs if one.hazard is Hazard.CUT and not one.arguments), None)


def cuts_left(rooms: Rooms, job: Job, steps: Sequence[Step]) -> list[Device]:
    """What of a room is still to be cut."""
    names = (StepName.CUT, StepName.NOT_CUT)
    done = {step.read(Cut).device for step in steps if step.name in names}
    found = rooms.devices_in(job.room)
    return [device for device in found if cut_of(device) and device.id not in done]


def is_being_cut(connection: Connection, rooms: Rooms, job: Job) -> bool:
    """Whether a command of this job is under way."""
    keys = [_key(job, device) for device in rooms.devices_in(job.room)]
    known = [rows.by_key(connection, ACTOR, key) for key in keys]
    return any(found is not None and not found[0].state.final for found in known)


class Cutter:
    """Has devices cut, each under a key of its own: killed at any moment, none is told twice."""

    def __init__(self, *, commands: Commands, clock: Clock, rooms: Rooms) -> None:
        self._commands = commands
        self._clock = clock
        self._rooms = rooms

    async def cut(self, job: Job, device: Device, closed_ms: int) -> Cut | str:
        """What became of it, or what it waits for. Raises StoreError."""
        record = await self._commands.of_key(ACTOR, _key(job, device))
        if record is None:
            return await self._tell(job, device, closed_ms)
        if not record.state.final:
            return f"{device.id} is being cut" + (
                "; a second person must approve it" if record.held else ""
            )
        return Cut(device=device.id, reason=_reason(record))

    async def _tell(self, job: Job, device: Device, closed_ms: int) -> Cut | str:
        now_ms = self._clock.now_ms()
        policy, timezone = self._rooms.policy(job.room), self._rooms.timezone
        why = forbids_cut(policy, job.room.room, now_ms, timezone)
        spec = cut_of(device)
        if not why and spec is not None:
            told = await self._submit(job, device, spec)
            if isinstance(told, Cut):
                return told
            why = told
        if why and now_ms >= closed_ms + PATIENCE_MS:
            return Cut(device=device.id, reason=why)
        return f"{device.id} is to be cut" + (f": {why}" if why else "")

    async def _submit(self, job: Job, device: Device, spec: CommandSpec) -> Cut | str:
        wish = Order(
            device=device.id,
            name=spec.name,
            actor=ACTOR,
            key=_key(job, device),
            cause=f"settlement {job.id}",
            deadline_s=min(CUT_DEADLINE_S, spec.deadline_s),
        )
        try:
            await self._commands.submit(wish)
        except CommandError as error:
            return str(error) if error.kind in _LATER else Cut(device=device.id, reason=str(error))
        return ""


def note_cut(connection: Connection, job: Job, cut: Cut, *, is_last: bool, now_ms: int) -> Job:
    """The job with this cut noted, and ended with the last one."""
    name = StepName.NOT_CUT if cut.reason else StepName.CUT
    if not cut.reason:
        said = {"account": job.account, "reason": job.key}
        audit.append(
            connection,
            actor=ACTOR,
            cause=job.key,
            subject=f"supply/{cut.device}",
            action="cut",
            before="",
            after=json.dumps(said),
            time_ms=now_ms,
        )
    done = Note(name=name, actor=ACTOR, now_ms=now_ms, said=cut)
    return note(connection, job, done, state=JobState.DONE if is_last else JobState.OPEN)


def _key(job: Job, device: Device) -> str:
    return f"{job.key}/cut/{device.id}"


def _reason(record: Record) -> str:
    return "" if record.state is State.CONFIRMED else record.reason or str(record.state)
