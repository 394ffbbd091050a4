"""What a device can be told to do, as data, and what is known of one telling. Pure.

A product says in its profile which commands it takes, what proves that one was done, and what to do on
silence. Acknowledged is not done: only an ordinary reading, taken after the send, confirms.

    [commands.cut]
    meaning = "open the relay"
    arguments = { seconds = { type = "int", unit = "s", minimum = 1, maximum = 600, meaning = "…" } }
    requires = [{ point = "loop_safety", equals = false }]     # seen fresh before the send, else refused
    confirm = [{ point = "relay_closed", equals = false }]     # all must be seen after the send
    repeat = "verify"          # on silence: "verify" look, then repeat; "safe" repeat; "never" only look
    hazard = "cut"             # which safety rules apply: none open close cut restore start credit
    deadline_s = 60            # from the order to the last moment it may be sent
    confirm_s = 10             # from the send to the last moment a proof is waited for
    offline = "refuse"         # or "queue": wait for the device until the deadline
    confidence = "medium"      # of what it does on the wire; the profile's when absent
    note = "…"                 # what whoever sends it must know
    … and the protocol's own keys: how it is said on the wire

An argument is named elsewhere in a command as "@name". `minimum` and `maximum` of a text count its
characters; `scale` is what one of the device's own units is worth. `from_point` fills one from the
device's own fresh word, plus a number: the next purchase count. It is in the ledger before the send, and
fixed from the first try on that may have reached the device. A credit is proved by its count and by a
balance that has risen by its amount: `hub.rise`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from fractions import Fraction

from hub.confidence import Confidence
from hub.errors import BadValue
from hub.points import PointType, Scalar
from hub.rise import Rise

ARGUMENT_MARK = "@"


class Repeat(StrEnum):
    """What silence allows."""

    VERIFY = "verify"  # look; repeat when it was not done: relay, credit with purchase count
    SAFE = "safe"  # repeat: what has no effect beyond itself, such as a text on a display
    NEVER = "never"  # look only; what cannot be seen is unknown: gate open, wash start


class Hazard(StrEnum):
    """What a command does to people and money; the safety rules go by it."""

    NONE = "none"
    OPEN = "open"
    CLOSE = "close"  # closing, locking, timetables and lockdown of a gate
    CUT = "cut"
    RESTORE = "restore"
    START = "start"
    CREDIT = "credit"


class Offline(StrEnum):
    """What becomes of a command to a device that is away."""

    REFUSE = "refuse"
    QUEUE = "queue"


class Priority(IntEnum):
    """Who goes first on a device and on its bus; the lower number."""

    SAFETY = 0
    PAID = 1  # relay after payment, credit
    OPERATOR = 2
    BATCH = 3


class State(StrEnum):
    """Where a command stands. The last five are final: nothing leaves them."""

    QUEUED = "queued"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether nothing leaves this state."""
        return self not in (State.QUEUED, State.SENT, State.ACKNOWLEDGED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Argument:
    """One value a command takes, in the unit named; `factor` turns it into the number on the wire."""

    name: str
    type: PointType
    unit: str
    factor: Fraction
    minimum: float
    maximum: float
    choices: tuple[str, ...]
    default: Scalar | None
    from_point: str
    plus: int
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Expect:
    """What a reading must show: the point has one of these values ("@name" stands for an argument)."""

    point: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandSpec:
    """One command of a product. `where` holds the protocol's own keys, for its driver to check.

    With a `rise`, `confirm` is the count that goes with it.
    """

    name: str
    meaning: str
    arguments: Mapping[str, Argument]
    requires: tuple[Expect, ...]
    confirm: tuple[Expect, ...]
    rise: Rise | None = None
    repeat: Repeat
    hazard: Hazard
    deadline_s: float
    confirm_s: float
    offline: Offline
    where: Mapping[str, object] = field(default_factory=dict)
    confidence: Confidence = Confidence.HIGH
    note: str = ""

    @property
    def is_named(self) -> bool:
        """Whether its proof names what was ordered, so that nobody else's deed looks the same."""
        if self.rise:
            return True
        given = {name for name, argument in self.arguments.items() if not argument.from_point}
        values = [str(value) for expect in self.confirm for value in expect.values]
        return any(value.startswith(ARGUMENT_MARK) and value[1:] in given for value in values)

    @property
    def count(self) -> Argument | None:
        """The argument that is the device's own next count, which tells one command from the next."""
        kept = self.rise.remembered if self.rise else frozenset()
        filled = (one for one in self.arguments.values() if one.from_point)
        return next((one for one in filled if one.name not in kept), None)

    @property
    def is_counted(self) -> bool:
        """Whether the device's own count tells one from the next."""
        return self.count is not None

    @property
    def proofs(self) -> frozenset[str]:
        """The points that prove it."""
        points = frozenset(expect.point for expect in self.confirm)
        return points | self.rise.points if self.rise else points


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One telling, as a driver gets it. The same id on every try; `attempt` counts them from 1.

    `issued_ms` and `expires_ms` are wall time, for the device to check; `deadline_s` is the clock's
    monotonic second after which no byte of it may leave any more, checked just before the write.
    """

    id: str
    device: str
    spec: CommandSpec
    arguments: Mapping[str, Scalar]
    attempt: int
    issued_ms: int
    expires_ms: int
    deadline_s: float
    priority: Priority
    nonce: str


class Answer(StrEnum):
    """What came back of one try."""

    ACKNOWLEDGED = (
        "acknowledged"  # the device has taken it; whether it did it is for a reading to say
    )
    REFUSED = "refused"  # the device says no, and has done nothing
    NOT_SENT = "not_sent"  # certainly not one byte has reached the device
    SILENT = "silent"  # it may have been done


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """Raw bytes of one try, kept for `dormhub why`."""

    time_ms: int
    outgoing: bool
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one try came to; `reason` is a short word where it is not an acknowledgement."""

    answer: Answer
    reason: str = ""
    frames: tuple[Frame, ...] = ()


def resolve(value: Scalar, arguments: Mapping[str, Scalar]) -> Scalar:
    """The value itself, or the argument that "@name" stands for."""
    if isinstance(value, str) and value.startswith(ARGUMENT_MARK):
        return arguments[value[1:]]
    return value


def is_seen(
    expects: tuple[Expect, ...],
    values: Mapping[str, Scalar],
    arguments: Mapping[str, Scalar],
) -> bool | None:
    """Whether a reading shows all that is expected: True, False, or None when it does not tell."""
    told = [
        values[expect.point] in [resolve(value, arguments) for value in expect.values]
        for expect in expects
        if expect.point in values
    ]
    if not all(told):
        return False
    return True if expects and len(told) == len(expects) else None


def argument_mistake(argument: Argument, value: Scalar) -> str:
    """What is wrong with `value` for this argument, as what would be right; empty when nothing is."""
    match argument.type:
        case PointType.BOOL:
            return "" if isinstance(value, bool) else "write true or false"
        case PointType.TEXT:
            if argument.choices:
                listed = ", ".join(argument.choices)
                return "" if value in argument.choices else f"write one of {listed}"
            fits = isinstance(value, str) and value.isprintable()
            fits = fits and argument.minimum <= len(str(value)) <= argument.maximum
            span = f"{argument.minimum:g} to {argument.maximum:g}"
            return "" if fits else f"write a text of {span} printable characters"
        case _:
            return _number_mistake(argument, value)


def _number_mistake(argument: Argument, value: Scalar) -> str:
    whole = argument.type is PointType.INT
    span = f"from {argument.minimum:.15g} to {argument.maximum:.15g}"
    hint = f"write a {'whole ' if whole else ''}number {span}"
    if isinstance(value, bool | str) or (whole and not isinstance(value, int)):
        return hint
    finite = isinstance(value, int) or math.isfinite(
        value
    )  # a whole number may be too big for a float
    if not finite or not argument.minimum <= value <= argument.maximum:
        return hint
    if whole and (Fraction(value) * argument.factor).denominator != 1:
        return f"write a multiple of {1 / argument.factor}"
    return ""


def wire_number(argument: Argument, value: Scalar) -> Fraction:
    """The number that stands on the wire for a number or flag; raises BadValue for an impossible one."""
    mistake = argument_mistake(argument, value)
    if mistake or isinstance(value, str):
        raise BadValue(f"{argument.name}: {mistake or 'write a number'}")
    exact = Fraction(str(value)) if isinstance(value, float) else Fraction(value)
    return exact * argument.factor
