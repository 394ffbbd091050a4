"""The supply of every room that the hub can switch: what it should be, and the way there.

A turn compares what each supply is with what it should be, and takes it one step further. It may be broken
off anywhere: what it was about to do stands in the ledger before it is done.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from zoneinfo import ZoneInfo

import structlog

from hub.campus.accounts.accounts import Room, room_of
from hub.campus.alarms import Alarms
from hub.campus.prepaid.pace import Pace
from hub.campus.prepaid.rules import Rules
from hub.campus.prepaid.standing import Standings
from hub.campus.supply import record
from hub.campus.supply.bulk import BulkCuts
from hub.campus.supply.desired import Act, Decision, Hindrance, SupplyState, decide
from hub.campus.supply.episodes import Due, Episodes
from hub.campus.supply.facts import Policy, View, facts_of
from hub.campus.supply.limits import PowerLimits
from hub.campus.supply.record import Note, Supply, SupplyMoved, rested
from hub.campus.supply.schedules import Schedule
from hub.campus.supply.sights import Sights
from hub.campus.supply.switches import Switch, switches, word_of
from hub.campus.supply.telling import Telling
from hub.campus.supply.timetables import Timetables
from hub.clock import Clock
from hub.command import Hazard
from hub.commands import Commands
from hub.errors import HubError, StoreDamaged
from hub.journal import Journal
from hub.ledger import Ledger
from hub.model import Reading
from hub.registry import Registry
from hub.site import Site

TURN_PERIOD_S = 30.0  # between two looks at everything
STEP_PERIOD_S = 0.5  # while a command is under way, or a restore waits for its place
_ANEW = "the hub began anew, and decides anew"
_STEP = 100  # rooms in one go: nobody else waits for longer than these take

_log = structlog.get_logger("supply")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A supply as a person sees it; `why` is what was decided of it last."""

    switch: Switch
    row: Supply
    why: Decision


class Supplies:
    """The supply of a site's rooms; `configure`, then `run`. `heard` each reading, `wake` who paid."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        clock: Clock,
        commands: Commands,
        registry: Registry,
        standings: Standings,
        alarms: Alarms,
        pace: Pace,
        bulk: BulkCuts | None = None,
        refresh: Callable[[str, str], None] = lambda _link, _device: None,
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._commands = commands
        self._registry = registry
        self._standings = standings
        self._alarms = alarms
        self._pace = pace
        self._refresh = refresh
        self._episodes = Episodes(
            ledger=ledger, clock=clock, commands=commands, alarms=alarms, pace=pace
        )
        self.telling = Telling(
            episodes=self._episodes,
            commands=commands,
            clock=clock,
            alarms=alarms,
            pace=pace,
            bulk=bulk,
        )
        self._sights = Sights(
            ledger=ledger, journal=journal, clock=clock, commands=commands, alarms=alarms
        )
        self._limits = PowerLimits(
            journal=journal, clock=clock, commands=commands, registry=registry, alarms=alarms
        )
        self.timetables = Timetables(ledger=ledger, clock=clock, alarms=alarms)
        self._switches: dict[str, Switch] = {}
        self._rooms: dict[Room, list[str]] = {}
        self._policy = Policy(timezone=ZoneInfo("UTC"))
        self._said: dict[str, object] = {}
        self._why: dict[str, Decision] = {}
        self._event = asyncio.Event()
        self._looked_s: float | None = None
        self._is_first = True

    def configure(self, site: Site, rules: Rules, schedules: Sequence[Schedule]) -> None:
        """Go by this site, its rules and timetables from the next turn on."""
        self._switches = {switch.device.id: switch for switch in switches(site)}
        self._rooms = {}
        for name, switch in self._switches.items():
            self._rooms.setdefault(switch.room, []).append(name)
        self.timetables.configure(schedules)
        self._policy = Policy(timezone=site.timezone, rules=rules)
        self._why = {device: why for device, why in self._why.items() if device in self._switches}
        self._looked_s = None
        self._event.set()

    def call_back(self) -> None:
        """Call back the cuts that an earlier run of the hub left waiting: they are decided upon anew.

        To be called before anything is sent: somebody may have paid just before that run ended.
        """
        self._episodes.call_back(_ANEW)

    def wake(self, account: str) -> None:
        """Something has come to this account: look at its room at once."""
        room = room_of(account)
        self._wake(self._rooms.get(room, ()) if room else ())

    def heard(self, readings: Sequence[Reading]) -> None:
        """New readings are on disk; a relay that moved, or a flag, is looked at at once."""
        for reading in readings:
            switch = self._switches.get(reading.device)
            if switch is None:
                continue
            points = (*switch.contacts, "relay_armed", "overload_count")
            told = tuple(reading.values.get(point) for point in points)
            if self._said.get(reading.device) != told:
                self._said[reading.device] = told
                self._wake((reading.device,))

    async def run(self) -> None:
        """Serve until cancelled. Raises StoreDamaged."""
        while True:
            try:
                await self.turn()
            except StoreDamaged:
                raise
            except HubError as error:
                _log.error("supplies wait", reason=str(error))
            await self._rest()

    async def turn(self) -> None:
        """One look at what moved, or at everything when it is time; raises StoreError."""
        now_s = self._clock.monotonic_s()
        is_whole = self._looked_s is None or now_s - self._looked_s >= TURN_PERIOD_S
        if is_whole:
            running = await self.timetables.running(self._switches.values())
            self._policy = replace(self._policy, running=running)
            self._looked_s = now_s
        woken, self.telling.woken = self.telling.woken, set()
        known = self._switches  # another site may be configured meanwhile
        some = known.keys() & (woken | self.telling.busy | self._pace.ready(now_s))
        names = list(known) if is_whole else sorted(some)
        dues: list[Due] = []
        try:
            for begin in range(0, len(names), _STEP):
                dues += await self._look(names[begin : begin + _STEP])
            self._is_first = False
            for name in names:  # who still waits for a place stands in line anew
                self._pace.step_out(known[name].feeder, name)
            await self.telling.tell(dues, self._policy, is_whole=is_whole)
            if is_whole:
                await self._limits.turn(self._switches.values(), self._policy)
        except HubError:
            self.telling.woken |= woken
            raise

    async def all(self, building: str = "") -> list[Shown]:
        """Every supply, or those of one building, as they stand. Raises StoreError."""
        wanted = [
            switch
            for switch in self._switches.values()
            if not building or switch.room.building == building
        ]
        names = [switch.device.id for switch in wanted]
        rows = await self._ledger.read(partial(record.read, devices=names))
        return [self._shown(switch, rows[switch.device.id]) for switch in wanted]

    def switch(self, device: str) -> Switch | None:
        """The switch of a device, where it is one."""
        return self._switches.get(device)

    async def one(self, device: str) -> Shown | None:
        """One supply; None for a device that the hub does not switch. Raises StoreError."""
        switch = self._switches.get(device)
        if switch is None:
            return None
        rows = await self._ledger.read(partial(record.read, devices=[device]))
        return self._shown(switch, rows[device])

    async def may_cut(self, device: str) -> str:
        """Why this room may not be cut in arrears at this moment; empty when it may. Raises StoreError.

        To be asked once more before each cut of a proposal that a person has approved.
        """
        views = await self._views([device] if device in self._switches else [])
        if not views:
            return "the hub does not switch it"
        decision = decide(facts_of(views[0], views[0].row, self._policy, self._registry))
        return "" if decision.act is Act.CUT else decision.reason or "nothing is to be cut"

    async def forbids(self, device: str, hazard: Hazard, *, is_proposal: bool) -> str:
        """Why a batch may not do this to a room's supply now; empty when it may. Raises StoreError."""
        if is_proposal:
            return await self.may_cut(device)
        row = (await self._ledger.read(partial(record.read, devices=[device])))[device]
        if hazard is Hazard.CUT:
            return row.kept(self._clock.now_ms())
        is_tripped = row.state is SupplyState.TRIPPED
        if hazard is Hazard.RESTORE and (row.locked or is_tripped):
            return f"{row.locked or 'it tripped'}: unlock it first"
        return ""

    def hindrances(self) -> Mapping[Hindrance, int]:
        """How many supplies are kept from what is due, by what."""
        return Counter(why.hindrance for why in self._why.values() if why.hindrance)

    def refresh(self) -> None:
        """Something was decided about all: look at everything at once."""
        self._looked_s = None
        self._event.set()

    def look_at(self, device: str) -> None:
        """Something was decided about this device: look at it at once."""
        self._wake((device,))

    def _shown(self, switch: Switch, row: Supply) -> Shown:
        why = self._why.get(switch.device.id, Decision())
        return Shown(switch=switch, row=row, why=why)

    def _wake(self, devices: Iterable[str]) -> None:
        self.telling.woken.update(devices)
        self._event.set()

    async def _rest(self) -> None:
        now_s = self._clock.monotonic_s()
        left_s = TURN_PERIOD_S - (now_s - (self._looked_s or now_s))
        wait_s = (
            min(STEP_PERIOD_S, left_s) if self.telling.busy or self._pace.is_waited_for else left_s
        )
        try:
            async with asyncio.timeout(max(0.01, wait_s)):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()

    async def _look(self, names: Sequence[str]) -> list[Due]:
        """Take each of these one step further; what is to be told now."""
        found = await asyncio.gather(*(self._try(view) for view in await self._views(names)))
        return [due for due in found if due is not None]

    async def _try(self, view: View) -> Due | None:
        try:
            return await self._step(view)
        except SupplyMoved:
            self.telling.woken.add(view.device)
        except StoreDamaged:
            raise
        except HubError as error:  # the others go on; this one is looked at in the next whole turn
            _log.warning("a supply waits", device=view.device, reason=str(error))
        return None

    async def _views(self, names: Collection[str]) -> list[View]:
        wanted = [self._switches[name] for name in names if name in self._switches]
        rows = await self._ledger.read(partial(record.read, devices=names))
        standings = await self._standings.of({switch.room for switch in wanted})
        latest = await self._journal.latest(names)
        now_ms = self._clock.now_ms()
        return [
            View(
                switch=switch,
                row=rows[switch.device.id],
                word=word_of(switch, latest.get(switch.device.id)),
                standing=standings.get(switch.room),
                now_ms=now_ms,
            )
            for switch in wanted
        ]

    async def _step(self, view: View) -> Due | None:
        row, is_busy = await self._follow(view)
        decision = decide(facts_of(view, row, self._policy, self._registry))
        self._why[view.device] = decision
        self.telling.busy.discard(view.device)
        if is_busy:
            if row.command in self._commands.open:
                self.telling.busy.add(view.device)
            else:  # only a reading, or a person, ends it: have it read soon
                self._refresh(view.switch.device.link, view.device)
            return None
        row = await self._settle(row, decision)
        self._remind(view, decision)
        if decision.act in (Act.NONE, Act.KEEP_CUT):
            return None
        if view.now_ms < row.retry_ms:
            if row.wish:
                self.telling.busy.add(view.device)
            return None
        return Due(view=view, row=row, decision=decision)

    async def _follow(self, view: View) -> tuple[Supply, bool]:
        """What became of the command under way, or what the device did; whether one is still under way."""
        if not view.row.wish:
            return await self._sights.take(view, self._policy), False
        row, command = await self._episodes.command(view.row)
        if command is None:  # between two tries: what tripped at the last is not tried again
            return await self._sights.trip(replace(view, row=row), self._policy), False
        if self._is_first and row.wish is not Act.CUT and not command.state.final:
            self._pace.hold(view.switch.feeder, view.device)
        row, is_busy = await self._episodes.end(view, row, command)
        if is_busy and not command.state.final:
            decision = decide(facts_of(view, row, self._policy, self._registry))
            if decision.act is not row.wish:
                self._episodes.withdraw(command, decision)
        return row, is_busy

    async def _settle(self, row: Supply, decision: Decision) -> Supply:
        """What changes without a command: another cause, a wish or a proposal that is over."""
        after, note = row, None
        if row.wish and decision.act is not row.wish:
            after = rested(after)
        if row.batch and decision.act is not Act.CUT:
            after = replace(after, batch="", batch_ms=0)
            self._episodes.call_back(decision.reason or "not wanted any more", row.device)
        if decision.act is Act.KEEP_CUT:
            after = replace(after, cause=decision.cause, reason=decision.reason)
            details = {"cause": str(decision.cause)}
            note = Note(action="cut", reason=decision.reason, details=details)
        return await self._episodes.keep(row, after, note)

    def _remind(self, view: View, decision: Decision) -> None:
        if decision.hindrance is Hindrance.CANNOT_ARM:
            self._alarms.say(f"supply/{view.device}", decision.reason)
