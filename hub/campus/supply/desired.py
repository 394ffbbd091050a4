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

    `protection` and `is_protected` are the rules' word for its room at this hour, and at any; `doubt` is
    what makes the balance unsure, `away` why the device can be told nothing, `kept` who keeps it on, `fault`
    what it says of itself by which no power may come back.
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
    fault: str = ""
    timetable: str = ""  # the schedule by which it is off now
    is_closed: bool = False  # nobody lives there: no power comes back by itself
    restore: Restore = Restore.ARM
    can_arm: bool = True


class Hindrance(StrEnum):
    """What keeps the hub from what is due; counted."""

    NONE = ""
    DOUBT = "doubt"
    PROTECTED = "protected"
    KEPT = "kept"
    AWAY = "away"
    FAULT = "fault"
    CANNOT_ARM = "cannot_arm"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What to do and why; where nothing is done, why not, and what stood in the way of what was due."""

    act: Act = Act.NONE
    cause: Cause = Cause.NONE
    reason: str = ""
    hindrance: Hindrance = Hindrance.NONE


ARREARS = "used up"
CLOSED = "its account is closed"
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
    is_armed = facts.state is SupplyState.ARMED  # a timetable waits until a hand has closed it
    always = "protected room" if facts.is_protected else ""
    wanted = (
        (Cause.LOCK, facts.locked, "", facts.protection),
        (Cause.SCHEDULE, "" if is_armed else facts.timetable, "", always),
        (Cause.ARREARS, ARREARS if facts.is_used_up else "", facts.doubt, facts.protection),
    )
    first = Decision()
    for cause, reason, doubt, protection in wanted:
        if not reason:
            continue
        hindrance, text = _hindrance(facts, doubt, protection)
        if not hindrance:
            return Decision(act=Act.CUT, cause=cause, reason=reason)
        if not first.hindrance:
            first = Decision(reason=f"{reason}, not cut: {text}", hindrance=hindrance)
    return first


def _hindrance(facts: Facts, doubt: str, protection: str) -> tuple[Hindrance, str]:
    """What forbids a cut, the first of all that does."""
    reasons = (
        (Hindrance.PROTECTED, protection),
        (Hindrance.KEPT, facts.kept),
        (Hindrance.DOUBT, doubt),
        (Hindrance.AWAY, facts.away),
    )
    return next(((kind, text) for kind, text in reasons if text), (Hindrance.NONE, ""))


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
    if facts.cause is Cause.ARREARS and facts.is_closed:
        return Decision(reason=CLOSED)
    return _restore(facts)


def _restore(facts: Facts) -> Decision:
    """How it comes back: as the policy says after a payment; closed where only a timetable was the cause."""
    reasons = ((Hindrance.AWAY, facts.away), (Hindrance.FAULT, facts.fault))
    for hindrance, text in reasons:
        if text:
            said = f"to be restored: {text}"
            return Decision(cause=facts.cause, reason=said, hindrance=hindrance)
    if facts.cause is Cause.SCHEDULE:
        return Decision(act=Act.RESTORE, cause=facts.cause, reason="its timetable is over")
    if facts.restore is Restore.CLOSE:
        return Decision(act=Act.RESTORE, cause=facts.cause, reason="it has credit")
    if facts.can_arm:
        return Decision(act=Act.ARM, cause=facts.cause, reason="it has credit")
    return Decision(cause=facts.cause, reason=UNARMED, hindrance=Hindrance.CANNOT_ARM)
