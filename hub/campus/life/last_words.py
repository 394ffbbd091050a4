"""Asks the meters of a room for their last word, and hears what persons said in their stead."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hub.campus.accounts import accounts
from hub.campus.accounts.accounts import Room
from hub.campus.life.figures import Figure, Heard, Missing, Spoken, final_figure
from hub.campus.life.jobs import Job, JobKind, Step, StepName, last
from hub.campus.life.rooms import Rooms
from hub.campus.life.settlement import Reading
from hub.campus.prepaid.meters import Meter
from hub.clock import Clock
from hub.inventory.bindings import Chosen, find_bindings
from hub.inventory.counts import meters_of
from hub.inventory.figures import in_turns
from hub.inventory.installed import known_devices
from hub.inventory.use import By, edges, reckon
from hub.journal import Journal
from hub.ledger import Ledger

ASK_PERIOD_S = 15.0


def heard_of(steps: Sequence[Step]) -> dict[str, Heard]:
    """The newest word of a person of each device, said since no order was under way."""
    asked = last(steps, StepName.ORDERS)
    found: dict[str, Heard] = {}
    for step in steps:
        if step.name is StepName.WORD and asked is not None and step.place > asked.place:
            spoken = step.read(Spoken)
            found[spoken.device] = Heard(spoken=spoken, actor=step.actor, time_ms=step.time_ms)
    return found


class LastWords:
    """`refresh(link, device)` has a device read as soon as its bus allows."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        clock: Clock,
        rooms: Rooms,
        refresh: Callable[[str, str], None],
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._rooms = rooms
        self._refresh = refresh
        self._asked_s: dict[str, float] = {}

    def wanted(self, job: Job) -> list[Meter]:
        """The meters whose last word a job needs: all at a settlement, else those that keep money."""
        meters = self._rooms.meters(job.room)
        return [one for one in meters if one.holds_credit or job.kind is JobKind.SETTLEMENT]

    async def read(self, job: Job, steps: Sequence[Step]) -> Reading | str:
        """The last words, or which meter is waited for. Raises StoreError."""
        asked = last(steps, StepName.ORDERS)
        assert asked is not None
        meters, heard = self.wanted(job), heard_of(steps)
        latest = await self._journal.latest([meter.device for meter in meters])
        figures: list[Figure] = []
        for meter in meters:
            word = final_figure(
                meter, latest.get(meter.device), heard.get(meter.device), asked.time_ms
            )
            if isinstance(word, Missing):
                self._ask(word.device)
                return f"{word.device} {word.why}"
            figures.append(word)
        if job.kind is not JobKind.SETTLEMENT:
            return Reading(figures=tuple(figures))
        return await self._used(job.room, tuple(figures))

    async def _used(self, room: Room, figures: tuple[Figure, ...]) -> Reading:
        """The same, with what the room used since its account was opened."""
        chosen = Chosen(building=room.building, room=room.room)
        profiles = self._rooms.site.profiles if self._rooms.site else None
        assert profiles is not None
        since_ms, found = await self._ledger.read(
            lambda connection: (
                accounts.opened_ms(connection, room.account) or 0,
                find_bindings(connection, chosen),
            )
        )
        names = {binding.device for binding in found}
        devices = await self._ledger.read(
            lambda connection: known_devices(connection, names, profiles)
        )
        meters = meters_of(names, devices, await self._journal.latest(names))
        until_ms = max(since_ms + 1, *(figure.time_ms for figure in figures), 0)
        moments = edges(since_ms, until_ms, By.ALL, self._rooms.timezone)
        use = await in_turns(reckon(self._journal.query, found, meters, moments))
        return Reading(figures=figures, since_ms=since_ms, used=use.used, estimated=use.estimated)

    def _ask(self, name: str) -> None:
        device, now_s = self._rooms.device(name), self._clock.monotonic_s()
        if device and now_s - self._asked_s.get(name, -ASK_PERIOD_S) >= ASK_PERIOD_S:
            self._asked_s[name] = now_s
            self._refresh(device.link, name)
