"""What protects people from commands: the fire latch, the brake on bulk actions, the rate of one device.

The hub cannot hold a gate closed: the latch forbids only what closes or locks, it never holds back an
opening. It is kept in the ledger, and starts as fire until every input was seen without alarm.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, insert, select, update

from hub import audit
from hub.clock import Clock
from hub.command import CommandSpec, Hazard
from hub.confidence import Confidence
from hub.errors import HubError, StoreError
from hub.ledger import Ledger, tables
from hub.model import Device, Reading
from hub.presence import ONLINE, is_stale
from hub.safety_rules import FireInput, SafetyRules, command_name

LATCH = "fire"
DEBOUNCE_S = 0.2  # inputs must have been quiet this long before a person may reset
BRAKE_WINDOW_S = 600.0
RATE_WINDOW_S = 60.0
_RETRY_S = 1.0
_GRAIN_S = 0.002  # a word this little newer may be the same one, come twice
_BRAKED = (Hazard.CUT, Hazard.OPEN)


class StillAlarm(HubError):
    """The latch cannot be reset while an input says alarm, or says nothing."""


@dataclass(slots=True)
class _Input:
    """The last word of a fire input."""

    alarm: bool | None = None
    said_s: float = float("-inf")  # when the newest word was said, by the hub's monotonic clock
    quiet_s: float | None = None  # since when it says no alarm


@dataclass(frozen=True, kw_only=True, slots=True)
class FireState:
    """Whether closing is forbidden, whether the latch is set, and why, for a person."""

    forbids: bool
    latched: bool
    reason: str


class FireLatch:
    """Set by any alarm, reset only by a person; until an input is seen quiet it counts as alarm.

    An alarm is believed however old or doubtful. "No alarm" is believed only while the device is there, and
    only from a word without doubt that is newer than any other of this input, was said since the hub
    started, and is not stale.
    """

    def __init__(self, *, ledger: Ledger, clock: Clock, is_away: Callable[[str], bool]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._is_away = is_away
        self._began_s = clock.monotonic_s()
        self._inputs: dict[FireInput, _Input] = {}
        self._period_s: Callable[[str], float] = lambda _: 60.0
        self._latched = False
        self._cause = ""
        self._alarms = 0
        self._unwritten = asyncio.Event()

    def configure(self, inputs: Sequence[FireInput], period_s: Callable[[str], float]) -> None:
        """Listen to exactly these; `period_s` is how often a device is expected to speak."""
        self._inputs = {place: self._inputs.get(place, _Input()) for place in inputs}
        self._period_s = period_s

    async def start(self) -> None:
        """Read what was latched before; raises StoreError."""
        row = await self._ledger.read(_read_latch)
        if row is not None:
            self._latched, self._cause = row

    async def run(self) -> None:
        """Write every new alarm down, until cancelled; what cannot be written is tried again."""
        while True:
            await self._unwritten.wait()
            alarm = partial(_write_latch, True, "hub", self._cause, self._clock.now_ms())
            try:
                await self._ledger.run(alarm)
            except StoreError:
                await self._clock.sleep(_RETRY_S)
                continue
            self._unwritten.clear()

    def heard(self, readings: Sequence[Reading]) -> None:
        """New readings are stored; an alarm among them latches at once."""
        now_s = self._clock.monotonic_s()
        for reading in readings:
            for place, seen in self._inputs.items():
                if place.device == reading.device:
                    self._hear(place, seen, reading, now_s)

    def state(self) -> FireState:
        """As it is now."""
        if self._latched:
            return FireState(forbids=True, latched=True, reason=self._cause)
        doubt = self._doubt()
        return FireState(forbids=bool(doubt), latched=False, reason=doubt)

    async def reset(self, actor: str, cause: str = "") -> None:
        """A person says that it is over; raises StillAlarm while an input does not, and StoreError."""
        doubt = self._doubt()
        now_s = self._clock.monotonic_s()
        if doubt:
            raise StillAlarm(doubt)
        since_s = [seen.quiet_s for seen in self._inputs.values() if seen.quiet_s is not None]
        if any(now_s - quiet_s < DEBOUNCE_S for quiet_s in since_s):
            raise StillAlarm("an input has only just gone quiet")
        if self._unwritten.is_set():  # else the alarm would be written down after its end
            raise StillAlarm("the alarm is not yet written down")
        now_ms, alarms = self._clock.now_ms(), self._alarms
        await self._ledger.run(partial(_write_latch, False, actor, cause, now_ms))
        self._latched = self._alarms != alarms  # one may have come while it was written
        if self._latched:
            self._unwritten.set()

    def _hear(self, place: FireInput, seen: _Input, reading: Reading, now_s: float) -> None:
        said, before_s = reading.values.get(place.point), seen.said_s
        doubtful = place.point in reading.bad or place.point in reading.uncertain
        if said is None and not doubtful and reading.values.get(ONLINE) is not False:
            return
        said_s = now_s - _age_s(reading, now_s, self._clock.now_ms())
        seen.said_s = max(before_s, said_s)
        if said:
            seen.alarm, seen.quiet_s = True, None
            self._latch(f"{place.device} says {place.point}")
        elif doubtful or said is None:
            seen.alarm, seen.quiet_s = None, None
        elif said_s > max(before_s + _GRAIN_S, self._began_s) and not self._is_old(place, said_s):
            seen.alarm = False
            seen.quiet_s = now_s if seen.quiet_s is None else seen.quiet_s

    def _is_old(self, place: FireInput, said_s: float) -> bool:
        return is_stale(self._clock.monotonic_s() - said_s, self._period_s(place.device))

    def _latch(self, cause: str) -> None:
        self._alarms += 1
        if not self._latched:
            self._latched, self._cause = True, cause
            self._unwritten.set()

    def _doubt(self) -> str:
        """Why it cannot be said that there is no fire; empty when it can."""
        for place, seen in self._inputs.items():
            if seen.alarm:
                return f"{place.device} says {place.point}"
            if self._is_away(place.device):
                return f"{place.device} is away and does not say whether there is fire"
            if seen.alarm is None or self._is_old(place, seen.said_s):
                return f"{place.device} does not say whether there is fire"
        return "" if self._inputs else "no fire input is configured in site.toml [safety]"


def _age_s(reading: Reading, now_s: float, now_ms: int) -> float:
    """How long ago it was said: by the device's clock until it came, by the hub's since."""
    by_wall_s = (now_ms - reading.received_ms) / 1000
    stored_s = now_s - reading.received_s if reading.received_s else by_wall_s
    return (reading.received_ms - reading.time_ms) / 1000 + max(0.0, stored_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deed:
    """What a command does to one thing: two channels of a board are two things, each with its command."""

    hazard: Hazard
    device: str
    name: str


class Brake:
    """Counts the things cut, and those opened, in the last 10 minutes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Command: its deed, and when it was taken or, later, sent; oldest first.
        self._let: dict[Hazard, dict[str, tuple[Deed, float]]] = {hazard: {} for hazard in _BRAKED}

    def lets(self, deed: Deed, command: str, limit: int) -> bool:
        """Whether this may be done without a second person; if so it is counted, from now.

        Asked when the command is taken and again just before the wire: what has waited for so long that
        it is counted no more stands in line like a new one.
        """
        hazard = deed.hazard
        if hazard not in _BRAKED:
            return True
        things = self._things(hazard)
        if command not in self._let[hazard] and deed not in things and len(things) >= limit:
            return False
        self.count(deed, command)
        return True

    def lets_all(self, deeds: Collection[Deed], limit: int) -> bool:
        """Whether all of these may be done within one window without a second person. Counts nothing."""
        return all(
            len(self._things(hazard) | wanted) <= limit
            for hazard in _BRAKED
            if (wanted := {deed for deed in deeds if deed.hazard is hazard})
        )

    def count(self, deed: Deed, command: str, age_s: float = 0.0) -> None:
        """This was, or is being, done by this command; call with falling ages."""
        if deed.hazard in _BRAKED:
            self._let[deed.hazard].pop(command, None)
            self._let[deed.hazard][command] = (deed, self._clock.monotonic_s() - age_s)

    def forget(self, hazard: Hazard, command: str) -> None:
        """This command was not taken after all."""
        if hazard in _BRAKED:
            self._let[hazard].pop(command, None)

    def _things(self, hazard: Hazard) -> set[Deed]:
        """What was done within the window; what is older is forgotten."""
        now_s, let = self._clock.monotonic_s(), self._let[hazard]
        while let and now_s - next(iter(let.values()))[1] > BRAKE_WINDOW_S:
            del let[next(iter(let))]
        return {deed for deed, _ in let.values()}


class Rate:
    """Counts what each device was told in the last minute, its openings apart."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[tuple[str, bool], deque[tuple[float, str]]] = {}

    def lets(self, hazard: Hazard, device: str, command: str, limit: int) -> bool:
        """Whether one more is not too many; if so it is counted."""
        now_s = self._clock.monotonic_s()
        told = self._told.setdefault((device, hazard is Hazard.OPEN), deque())
        while told and now_s - told[0][0] > RATE_WINDOW_S:
            told.popleft()
        if len(told) >= limit:
            return False
        told.append((now_s, command))
        return True

    def forget(self, hazard: Hazard, device: str, command: str) -> None:
        """This command was not taken after all."""
        told = self._told.get((device, hazard is Hazard.OPEN), deque())
        self._told[device, hazard is Hazard.OPEN] = deque(one for one in told if one[1] != command)


class Safety:
    """The rules of this site over every command; `latch` is the fire latch."""

    def __init__(self, *, ledger: Ledger, clock: Clock, is_away: Callable[[str], bool]) -> None:
        self.latch = FireLatch(ledger=ledger, clock=clock, is_away=is_away)
        self._rules = SafetyRules()
        self._devices: dict[str, Device] = {}
        self._brake = Brake(clock)
        self._rate = Rate(clock)

    def configure(self, rules: SafetyRules, devices: Sequence[Device]) -> None:
        """Go by these rules and devices from now on."""
        self._rules = rules
        self._devices = {device.id: device for device in devices}
        self.latch.configure(rules.fire, self._period_s)

    def forbids(self, hazard: Hazard) -> str:
        """Why a command of this hazard may not be sent now; empty when it may."""
        if hazard is not Hazard.CLOSE:
            return ""
        state = self.latch.state()
        return f"fire: {state.reason}" if state.forbids else ""

    def unproven(self, device: Device, spec: CommandSpec) -> str:
        """Why this device may not be told what its product takes only as an assumption; empty when it may."""
        name = command_name(device.profile, spec)
        if spec.confidence is not Confidence.LOW or name in self._rules.allow_unproven:
            return ""
        because = f" ({spec.note})" if spec.note else ""
        return (
            f"unproven command{because}: try it on one device, then name {name} in allow_unproven"
        )

    def holds(
        self, spec: CommandSpec, device: str, command: str, *, is_approved: bool = False
    ) -> bool:
        """Whether it must wait for a second person; if not it is counted. Fire holds back no opening.

        Asked when it is taken, and once more just before the wire. One that a second person `is_approved`
        by beforehand is counted and never held.
        """
        if spec.hazard is Hazard.OPEN and self.latch.state().latched:
            return False
        if is_approved:
            self.let(spec, device, command)
            return False
        return not self._brake.lets(_deed(spec, device), command, self._limit)

    def lets_all(self, wishes: Iterable[tuple[CommandSpec, str]]) -> bool:
        """Whether each of these devices may be told this now, without a second person. Counts nothing."""
        return self._brake.lets_all({_deed(spec, device) for spec, device in wishes}, self._limit)

    @property
    def approval_s(self) -> float:
        """How long what is held waits for its second person."""
        return self._rules.approval_s

    def let(self, spec: CommandSpec, device: str, command: str, age_s: float = 0.0) -> None:
        """It was let go, by a second person or before the hub started."""
        self._brake.count(_deed(spec, device), command, age_s)

    def is_too_many(self, hazard: Hazard, device: str, command: str) -> bool:
        """Whether this device is told too much in a minute; if not it is counted. Fire counts no opening."""
        if hazard is Hazard.OPEN and self.latch.state().latched:
            return False
        return not self._rate.lets(hazard, device, command, self._rules.rate_per_minute)

    def give_back(self, hazard: Hazard, device: str, command: str) -> None:
        """What was counted for this command does not count: it was not taken after all."""
        self._brake.forget(hazard, command)
        self._rate.forget(hazard, device, command)

    @property
    def _limit(self) -> int:
        return self._rules.brake_limit(len(self._devices))

    def _period_s(self, device: str) -> float:
        known = self._devices.get(device)
        return known.period_s if known else 60.0


def _deed(spec: CommandSpec, device: str) -> Deed:
    return Deed(hazard=spec.hazard, device=device, name=spec.name)


def _read_latch(connection: Connection) -> tuple[bool, str] | None:
    latches = tables.latches
    row = connection.execute(select(latches).where(latches.c.name == LATCH)).one_or_none()
    return None if row is None else (bool(row.latched), str(row.cause))


def _write_latch(
    latched: bool, actor: str, cause: str, now_ms: int, connection: Connection
) -> None:
    latches = tables.latches
    before = _read_latch(connection)
    values = {"latched": latched, "changed_ms": now_ms, "actor": actor, "cause": cause}
    if before is None:
        connection.execute(insert(latches).values(name=LATCH, **values))
    else:
        connection.execute(update(latches).where(latches.c.name == LATCH).values(**values))
    audit.append(
        connection,
        actor=actor,
        cause=cause,
        subject=f"latch/{LATCH}",
        action="latched" if latched else "reset",
        before="" if before is None else str(before[0]).lower(),
        after=str(latched).lower(),
        time_ms=now_ms,
    )
