"""What is to be done about the supply of one room device, from all that is known of it now. Pure.

           cut                 restore
    on ──────────► cut ─────────────────────► on
    │ ▲             │  arm           a hand    ▲
    │ │             └──────► armed ────────────┘
    │ └── closed at the device ──┬─────────────┐
    └── by its own limit ──► tripped      opened ◄── by a hand at the device

The hub takes back only what it did itself: it never closes what a device opened for too much power, nor what
a person opened. What is locked stays off until staff unlock it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hub.campus.prepaid.rules import Restore


class SupplyState(StrEnum):
    """What the supply is, as far as the hub knows."""

    ON = "on"
    CUT = "cut"
    ARMED = "armed"  # open, and a hand at the device may close it
    TRIPPED = "tripped"  # the device opened it: too much power, a fault
    OPENED = "opened"  # neither the hub nor the device's limit opened it


class Cause(StrEnum):
    """What the hub cuts a supply for."""

    NONE = ""
    ARREARS = "arrears"
    SCHEDULE = "schedule"
    LOCK = "lock"  # too many trips
    PERSON = "person"  # a command of somebody else: theirs to take back


class Act(StrEnum):
    """What is to be done; the value is the command's name, where it is one."""

    NONE = ""
    CUT = "cut"
    RESTORE = "restore"
    ARM = "arm"
    KEEP_CUT = "keep_cut"  # it is cut already, and stays so for another cause


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Everything that is asked of one device; a text says why, and is empty where it does not hold.

    `protection` and `is_protected` are the rules' word for its room at this hour, and at any; `doubt` is what
    makes the balance unsure, `away` why the device cannot be told anything, `kept` who keeps it from being cut.
    """

    state: SupplyState
    cause: Cause = Cause.NONE
    locked: str = ""
    is_used_up: bool = False
    doubt: str = ""
    protection: str = ""
    is_protected: bool = False
    kept: str = ""
    away: str = ""
    timetable: str = ""  # the schedule by which it is off now
    restore: Restore = Restore.ARM
    can_arm: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What to do and why; where nothing is done, what stands in the way. `needs_person`: nothing else helps."""

    act: Act = Act.NONE
    cause: Cause = Cause.NONE
    reason: str = ""
    needs_person: bool = False


ARREARS = "used up"
UNARMED = "its product cannot be armed, and the policy says arm: a person must close it"


def decide(facts: Facts) -> Decision:
    """What is to be done now."""
    match facts.state:
        case SupplyState.ON | SupplyState.ARMED:
            return _off(facts)
        case SupplyState.TRIPPED:
            off = _off(facts)
            return off if off.cause is Cause.LOCK else Decision(reason=facts.locked or "it tripped")
        case SupplyState.OPENED:
            return Decision(reason="opened by a hand")
        case SupplyState.CUT:
            return _back(facts)


def _off(facts: Facts) -> Decision:
    """Whether it is to be cut: for its lock, then by timetable, then in arrears."""
    wanted = (
        (Cause.LOCK, facts.locked, facts.protection),
        (Cause.SCHEDULE, facts.timetable, "protected room" if facts.is_protected else ""),
        (Cause.ARREARS, ARREARS if facts.is_used_up else "", facts.doubt or facts.protection),
    )
    hindered = ""
    for cause, reason, forbidden in wanted:
        if not reason:
            continue
        hindrance = forbidden or facts.kept or facts.away
        if not hindrance:
            return Decision(act=Act.CUT, cause=cause, reason=reason)
        hindered = hindered or f"{reason}, not cut: {hindrance}"
    return Decision(reason=hindered)


def _back(facts: Facts) -> Decision:
    """What becomes of one that the hub cut."""
    if facts.cause is Cause.PERSON:
        return Decision(reason="cut by a person")
    if facts.locked:
        is_new = facts.cause is not Cause.LOCK
        act = Act.KEEP_CUT if is_new else Act.NONE
        return Decision(act=act, cause=Cause.LOCK, reason=facts.locked)
    off = _off(facts)
    if off.act is Act.CUT and off.cause is Cause.ARREARS and facts.cause is not Cause.ARREARS:
        return Decision(act=Act.KEEP_CUT, cause=Cause.ARREARS, reason=off.reason)
    if off.act is Act.CUT and off.cause is Cause.SCHEDULE:
        return Decision(reason=off.reason)
    if facts.cause is Cause.ARREARS and facts.is_used_up and not (facts.is_protected or facts.kept):
        return Decision(reason=ARREARS)  # a protected hour forbids a cut; it restores none
    return _restore(facts)


def _restore(facts: Facts) -> Decision:
    """How it comes back: as the policy says after a payment, and closed where only a timetable was the cause."""
    if facts.away:
        return Decision(reason=f"to be restored: {facts.away}")
    if facts.cause is Cause.SCHEDULE:
        return Decision(act=Act.RESTORE, cause=facts.cause, reason="its timetable is over")
    if facts.restore is Restore.CLOSE:
        return Decision(act=Act.RESTORE, cause=facts.cause, reason="it has credit")
    if facts.can_arm:
        return Decision(act=Act.ARM, cause=facts.cause, reason="it has credit")
    return Decision(cause=facts.cause, reason=UNARMED, needs_person=True)
