"""What a caller asks for, what is kept of it, and why it may be turned down. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hub.command import Argument, CommandSpec, Priority, State, argument_mistake
from hub.errors import HubError
from hub.points import PointType, Scalar

KEY_MAX = 200
TEXT_MAX = 256


class Refusal(StrEnum):
    """Why a command is not taken; the API's problem types go by it."""

    UNKNOWN_DEVICE = "unknown_device"
    UNKNOWN_COMMAND = "unknown_command"
    UNKNOWN_ID = "unknown_id"
    INVALID_ARGUMENT = "invalid_argument"
    CONFLICT = "conflict"  # the key was used for something else
    UNSAFE = "unsafe"  # the fire latch
    UNPROVEN = "unproven"  # its bytes are an assumption that the site does not allow
    OBSERVE_ONLY = "observe_only"
    OFFLINE = "offline"
    TOO_MANY = "too_many"  # of this device in a minute, or waiting at all
    NOT_HELD = "not_held"
    ENDED = "ended"
    UNRESOLVED = "unresolved"  # an earlier one of its kind ended unknown
    NOT_UNKNOWN = "not_unknown"
    SAME_PERSON = "same_person"


class Resolution(StrEnum):
    """What a person found out of a command that ended unknown."""

    DONE = "done"
    NOT_DONE = "not_done"
    NONE = ""


class CommandError(HubError):
    """A command that is not taken: `kind`, the `field` to blame (empty when none) and a text for a person."""

    def __init__(self, kind: Refusal, field: str, text: str) -> None:
        self.kind = kind
        self.field = field
        self.text = text
        super().__init__(f"{field}: {text}" if field else text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One wish of a person, a rule or a service.

    `key` is its owner's own name for this wish, kept for ever: the same order again gives the first
    record. `owner` is who that is, whatever key they come with today; empty means the actor. `cause` says
    why (an order number, a rule, a ticket). `deadline_s` None means the profile's; any other may only be
    shorter. `approver` is the second person who has approved it beforehand, with the whole batch it is of:
    the brake counts such a one and does not hold it. Only a service that has asked that person says so.
    """

    device: str
    name: str
    actor: str
    key: str
    owner: str = ""
    arguments: Mapping[str, Scalar] = field(default_factory=dict)
    cause: str = ""
    deadline_s: float | None = None
    priority: Priority = Priority.OPERATOR
    approver: str = ""

    def body_hash(self) -> str:
        """SHA-256 of what is wished: it tells a repetition from another wish."""
        body: dict[str, object] = {
            "device": self.device,
            "name": self.name,
            "arguments": dict(self.arguments),
            "cause": self.cause,
            "deadline_s": self.deadline_s,
            "priority": int(self.priority),
        }
        body |= {"approver": self.approver} if self.approver else {}
        return hashlib.sha256(canonical(body).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A command as it stands in the ledger; times in UTC ms, None when not yet.

    `resolution` is what a person found out of one that ended unknown; its state stays so.
    `held` waits for a second person, until `expires_ms`; with the approval its deadline of `deadline_ms`
    begins, and `expires_ms` moves. `arguments` are complete once it was sent. `proof` is the reading
    that confirmed it, as JSON. `approver` had approved it before it was made; empty when nobody had.
    """

    id: str
    device: str
    name: str
    arguments: Mapping[str, Scalar]
    actor: str
    cause: str
    owner: str
    key: str
    priority: Priority
    state: State
    reason: str
    held: bool
    created_ms: int
    expires_ms: int
    deadline_ms: int
    sent_ms: int | None
    finished_ms: int | None
    attempts: int
    nonce: str
    proof: str
    resolution: Resolution = Resolution.NONE
    approver: str = ""


class Before(StrEnum):
    """Whether a device was, just before a try, as its command would have it; by its last word."""

    SO = "so"
    OTHERWISE = "otherwise"
    UNSEEN = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try; `answer` is empty while it is under way, and for ever when the hub was killed then."""

    number: int
    sent_ms: int
    answered_ms: int | None
    answer: str
    reason: str
    before: Before


def canonical(value: object) -> str:
    """JSON with one way to write it."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )


def check_order(order: Order) -> None:
    """What every order must have, whatever the device; raises CommandError."""
    if not 0 < len(order.key) <= KEY_MAX or not order.key.isprintable():
        raise _invalid("key", f"write 1 to {KEY_MAX} printable characters")
    check_text("actor", order.actor)
    check_text("cause", order.cause)
    check_text("owner", order.owner)
    check_text("approver", order.approver)
    if not order.actor:
        raise _invalid("actor", "somebody must answer for it")
    if order.approver and order.approver in (order.actor, order.owner):
        raise CommandError(Refusal.SAME_PERSON, "approver", "a second person must approve it")
    for name, value in order.arguments.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _invalid(f"arguments.{name}", "write a number")


def check_text(field: str, text: str) -> None:
    """What may stand in the audit; raises CommandError."""
    if len(text) > TEXT_MAX or not text.isprintable():
        raise _invalid(field, f"write at most {TEXT_MAX} printable characters")


def deadline_s(order: Order, spec: CommandSpec) -> float:
    """Seconds from now to the last moment it may be sent; raises CommandError."""
    if order.deadline_s is None:
        return spec.deadline_s
    if not 0 < order.deadline_s <= spec.deadline_s:
        text = f"write seconds above 0 and up to {spec.deadline_s:g}, the profile's"
        raise _invalid("deadline_s", text)
    return order.deadline_s


def complete(order: Order, spec: CommandSpec) -> dict[str, Scalar]:
    """The arguments with defaults, but for those the device fills; raises CommandError."""
    for name in order.arguments:
        if name not in spec.arguments:
            known = ", ".join(spec.arguments) or "it takes none"
            raise _invalid(f"arguments.{name}", f"no such argument; known: {known}")
    found: dict[str, Scalar] = {}
    for argument in spec.arguments.values():
        value = order.arguments.get(argument.name)
        if argument.from_point:
            if value is not None:
                raise _argument(argument, f"is filled from the device's {argument.from_point}")
        elif value is not None:
            found[argument.name] = checked(argument, value)
        elif argument.default is not None:
            found[argument.name] = argument.default
        else:
            raise _argument(argument, "is missing")
    return found


def checked(argument: Argument, value: Scalar) -> Scalar:
    """The value, whole numbers as floats where the argument is one; raises CommandError when it cannot be."""
    mistake = argument_mistake(argument, value)
    if mistake:
        raise _argument(argument, f"found {value!r}, {mistake}"[:TEXT_MAX])
    return float(value) if argument.type is PointType.FLOAT else value


def _invalid(field: str, text: str) -> CommandError:
    return CommandError(Refusal.INVALID_ARGUMENT, field, text)


def _argument(argument: Argument, text: str) -> CommandError:
    return _invalid(f"arguments.{argument.name}", text)
