"""The life of a command as a pure machine: what is known of it, and what each event makes of that.

    queued ──Sent──► sent ──Answered──► acknowledged ──Shown──► confirmed
       ▲               │                     │
       └── NOT_SENT ───┘                     └──Over──► failed | unknown

`doubts` counts the tries that may have reached the device. It rises before the wire and falls only when a
try has certainly done nothing, so that a command with a doubt is never called expired or refused, and one
without is never called unknown. Nothing leaves a final state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from hub.command import Answer, Frame, Repeat, State

ATTEMPTS_MAX = 5  # tries that may have reached the device
PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """Where one command stands; `attempts` counts every try, `doubts` those that may have gone through."""

    state: State = State.QUEUED
    reason: str = ""
    attempts: int = 0
    doubts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A try is about to be made; written down before the first byte."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What the try that was under way came to; said once for each try."""

    answer: Answer
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnsweredLate:
    """An answer that names the command but not the try, after that try was given up."""

    answer: Answer
    reason: str = ""
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """An ordinary reading, taken after the send, shows that it is done."""

    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Denied:
    """The hub itself says no, before the wire: a condition or a safety rule is not met."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Over:
    """No try will be made any more and no proof is waited for.

    `shown` is what the last look told: False for not done, None when it did not tell. `certain` means that
    nothing of it can still be under way: the deadline has passed, in this very run of the hub.
    """

    shown: bool | None
    certain: bool
    reason: str = ""


Event: TypeAlias = Sent | Answered | AnsweredLate | Shown | Denied | Over


def after(life: Life, event: Event, repeat: Repeat) -> Life:
    """The life after this event; one that changes nothing gives back the same life."""
    if life.state.final:
        return life
    match event:
        case Sent():
            return replace(
                life,
                state=life.state if life.state is State.ACKNOWLEDGED else State.SENT,
                reason="",
                attempts=life.attempts + 1,
                doubts=life.doubts + 1,
            )
        case Answered():
            return _answered(life, event.answer, event.reason)
        case AnsweredLate():
            return _answered_late(life, event)
        case Shown():
            return _ended(life, State.CONFIRMED, event.reason) if life.doubts else life
        case Denied():
            return life if life.doubts else _ended(life, State.REFUSED, event.reason)
        case Over():
            return _over(life, event, repeat)


def broken_off(life: Life, reason: str) -> Event:
    """The end of a command that must go no further: unknown when it may have been done, else refused."""
    if life.doubts:
        return Over(shown=None, certain=False, reason=reason)
    return Denied(reason=reason)


def may_try_again(life: Life, repeat: Repeat, shown: bool | None) -> bool:
    """Whether silence allows one more try, given what the last look told."""
    if life.state.final or life.doubts >= ATTEMPTS_MAX:
        return False
    match repeat:
        case Repeat.NEVER:
            return life.doubts == 0
        case Repeat.SAFE:
            return True
        case Repeat.VERIFY:
            return life.doubts == 0 or shown is False


def pause_s(attempts: int) -> float:
    """How long to wait after the try of this number before the next."""
    return float(min(PAUSE_FIRST_S * 2 ** min(attempts - 1, 16), PAUSE_MAX_S))


def _answered(life: Life, answer: Answer, reason: str) -> Life:
    match answer:
        case Answer.ACKNOWLEDGED:
            return replace(life, state=State.ACKNOWLEDGED, reason=reason)
        case Answer.SILENT:
            return replace(life, reason=reason or "no answer")
        case Answer.NOT_SENT:
            doubts = life.doubts - 1
            state = life.state if doubts else State.QUEUED
            return replace(life, state=state, doubts=doubts, reason=reason or "not sent")
        case Answer.REFUSED:
            doubts = life.doubts - 1
            if doubts:  # an earlier try may have been the reason to refuse this one
                return replace(life, doubts=doubts, reason=reason or "refused")
            return replace(life, state=State.REFUSED, doubts=0, reason=reason or "refused")


def _answered_late(life: Life, event: AnsweredLate) -> Life:
    if life.state is not State.SENT or not life.doubts:
        return life
    if event.answer is Answer.ACKNOWLEDGED:
        return replace(life, state=State.ACKNOWLEDGED, reason="answered late")
    if event.answer is Answer.REFUSED and life.attempts == 1:
        return _answered(life, Answer.REFUSED, event.reason)
    return life


def _over(life: Life, event: Over, repeat: Repeat) -> Life:
    if not life.doubts:
        return _ended(life, State.EXPIRED, event.reason or life.reason)
    if event.shown is False and event.certain and repeat is not Repeat.NEVER:
        return _ended(life, State.FAILED, event.reason or "a reading shows that it is not done")
    return _ended(life, State.UNKNOWN, event.reason or life.reason or "no reading shows it")


def _ended(life: Life, state: State, reason: str) -> Life:
    return replace(life, state=state, reason=reason)
