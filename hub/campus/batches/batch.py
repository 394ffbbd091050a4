"""The nouns of batches: what is wished, what it is made of, where it stands. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hub.campus.batches.scope import Scope
from hub.command import State
from hub.commands.order import canonical
from hub.model import Place
from hub.points import Scalar

ALLOWANCE = "allowance"  # free Wh or ml more, in the books
READ = "read"  # every meter asked for its counter now
SUPPLY = "supply"  # the hub itself, where it proposes
PER_S = 2.0
PER_S_MIN, PER_S_MAX = 0.1, 20.0


class BatchState(StrEnum):
    """Where a batch stands. The last three are final."""

    WAITS = "waits"  # for a second person
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    EXPIRED = "expired"  # nobody approved it, or it could not be done in its time

    @property
    def final(self) -> bool:
        """Whether nothing leaves this state."""
        return self not in (BatchState.WAITS, BatchState.RUNNING)


class ItemState(StrEnum):
    """What became of one room's part. The last five are final."""

    WAITING = "waiting"
    SENT = "sent"  # about to be told, or told and not ended
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"  # it may have been done: a person must look
    REFUSED = "refused"
    SKIPPED = "skipped"  # nothing was told: protected, overtaken, stopped


@dataclass(frozen=True, kw_only=True, slots=True)
class Asker:
    """Who wishes, approves or stops: as in an order. `building` is all his key is good for, empty for all."""

    actor: str
    owner: str = ""
    building: str = ""

    @property
    def name(self) -> str:
        """Whose idempotency keys these are."""
        return self.owner or self.actor


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """`action` is a command of the rooms' devices, `allowance` or `read`; `per_s` how many a second."""

    action: str
    scope: Scope
    cause: str
    arguments: Mapping[str, Scalar] = field(default_factory=dict)
    per_s: float = PER_S

    def body_hash(self) -> str:
        """SHA-256 of what is wished: it tells a repetition from another wish."""
        body = {
            "action": self.action,
            "scope": self.scope.text,
            "cause": self.cause,
            "arguments": dict(self.arguments),
            "per_s": self.per_s,
        }
        return hashlib.sha256(canonical(body).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What a batch would do to one device, or to one account; `hindrance` says why it is left out."""

    where: Place
    device: str = ""
    account: str = ""
    hindrance: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All parts in the order in which they would be told; nothing of it is written."""

    parts: tuple[Part, ...]
    needs_second_person: bool

    @property
    def wanted(self) -> int:
        """How many would be told."""
        return sum(not part.hindrance for part in self.parts)

    @property
    def building(self) -> str:
        """The one building all of it is in; empty when there are more."""
        found = {part.where.building for part in self.parts}
        return found.pop() if len(found) == 1 else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A batch as it stands in the ledger. `expires_ms` is the end of its approval, then of its whole run."""

    id: str
    action: str
    arguments: Mapping[str, Scalar]
    scope: str
    building: str
    actor: str
    owner: str
    key: str
    cause: str
    pause_ms: int
    state: BatchState
    reason: str
    approver: str
    created_ms: int
    begun_ms: int | None
    expires_ms: int
    finished_ms: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One part of a batch as it stands; `command` is its id among the commands, once there is one."""

    batch: str
    place: int
    device: str
    account: str
    where: Place
    state: ItemState
    reason: str
    command: str


_ENDS = {
    State.CONFIRMED: ItemState.DONE,
    State.REFUSED: ItemState.REFUSED,
    State.FAILED: ItemState.FAILED,
    State.EXPIRED: ItemState.FAILED,
    State.UNKNOWN: ItemState.UNKNOWN,
}


def item_state(state: State) -> ItemState:
    """What a command's end is to its item."""
    return _ENDS.get(state, ItemState.SENT)


def command_key(batch: str, device: str) -> str:
    """The one command of a batch for a device: so nobody is told twice, however often the hub begins anew."""
    return f"batch/{batch}/{device}"
