"""What is known of one device's supply now, put together from rules, timetables, standing and presence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from hub.campus.prepaid.rules import Prepaid, Rules, forbids_cut
from hub.campus.prepaid.standing import Holder, Standing
from hub.campus.supply.desired import Facts
from hub.campus.supply.record import Supply
from hub.campus.supply.switches import Switch, Word
from hub.campus.supply.timetables import Running
from hub.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One device at one moment."""

    switch: Switch
    row: Supply
    word: Word
    standing: Standing | None
    now_ms: int

    @property
    def device(self) -> str:
        """Whose supply it is."""
        return self.switch.device.id


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The rules of a site, and by device the timetable that is running."""

    timezone: ZoneInfo
    rules: Rules = field(default_factory=Rules)
    running: Mapping[str, Running] = field(default_factory=dict)

    def local(self, time_ms: int) -> datetime:
        """The site's own time."""
        return datetime.fromtimestamp(time_ms / 1000, self.timezone)

    def of(self, switch: Switch) -> Prepaid:
        """The rules of the device's building."""
        return self.rules.of(switch.room.building)

    def protection(self, switch: Switch, now_ms: int) -> str:
        """Why its room may not be cut from now until a cut ordered now has left at the latest."""
        return forbids_cut(self.of(switch), switch.room.room, now_ms, self.timezone)

    def timetable(self, device: str, now_ms: int) -> str:
        """The timetable by which it is off now; empty when none is."""
        running = self.running.get(device)
        is_off = running is not None and running.schedule.is_off(self.local(now_ms))
        return f"timetable {running.schedule.name}" if running and is_off else ""

    def limit_w(self, switch: Switch, now_ms: int) -> int | None:
        """To what its timetable limits it now; None for nothing. No protected room is: it would trip."""
        running = self.running.get(switch.device.id)
        if running is None or switch.room.room in self.of(switch).protected_rooms:
            return None
        return running.schedule.limit_w(self.local(now_ms))

    def approver(self, device: str) -> str:
        """Who approved the timetable of this device; empty where none is running."""
        running = self.running.get(device)
        return running.approver if running else ""


def facts_of(view: View, row: Supply, policy: Policy, registry: Registry) -> Facts:
    """Everything that the decision is made by."""
    switch, standing = view.switch, view.standing
    prepaid = policy.of(switch)
    counts = standing is not None and standing.holder is Holder.HUB
    return Facts(
        state=row.state,
        cause=row.cause,
        locked=row.locked,
        is_used_up=bool(counts and standing and standing.is_used_up),
        doubt=_doubt(standing),
        protection=policy.protection(switch, view.now_ms),
        is_protected=switch.room.room in prepaid.protected_rooms,
        kept=row.kept(view.now_ms),
        away=away(view, registry),
        fault=_fault(view.word, row),
        timetable=policy.timetable(view.device, view.now_ms),
        is_closed=standing is None and prepaid.charges(switch.room.room),
        restore=prepaid.restore,
        can_arm=switch.can_arm,
    )


def away(view: View, registry: Registry) -> str:
    """Why the device can be told nothing now; empty when it can."""
    device = registry.device(view.device)
    if device is None:
        return "it is gone"
    if registry.only_observes(device):
        return "its link only observes"
    return f"{device.id} is away" if registry.is_offline(device.id) else ""


def _fault(word: Word, row: Supply) -> str:
    """A trip that is not written down yet: no power is brought back onto it, nor tried again."""
    counts = (word.overloads, row.overloads)
    is_more = None not in counts and (word.overloads or 0) > (row.overloads or 0)
    return "it has tripped" if is_more else ""


def _doubt(standing: Standing | None) -> str:
    if standing is None:
        return "not charged"
    return standing.doubt or ("paid, and not delivered yet" if standing.held_fen > 0 else "")
