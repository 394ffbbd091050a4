"""What every simulated device can do, and what a device shows of points it has no story for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from hub import POINTS, Point, PointType, Value
from simulators.chance import between, seed_of
from simulators.ledger import Diary

if TYPE_CHECKING:
    from simulators.relay_board import RelayBoard

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
EPOCH_MS = 1_767_225_600_000  # 2026-01-01 UTC: since then every counter has been counting


@dataclass(frozen=True, kw_only=True, slots=True)
class Birth:
    """What a device is made from: its chance, its clock's zone, its diary, the points of its product."""

    seed: int
    zone_ms: int
    begin_ms: int
    diary: Diary
    points: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Happening:
    """Something that happened in a device at one time, with the event's points."""

    time_ms: int
    values: Mapping[str, Value]


class Machine(Protocol):
    """A simulated device: a state machine that only moves when told the time, and does no I/O.

    Times are UTC milliseconds and never go back from call to call. `board` is the board of relays that
    coils switch, where the device has one.
    """

    @property
    def board(self) -> RelayBoard | None:
        """The relays behind the device's coils."""

    def show(self, now_ms: int) -> Mapping[str, Value]:
        """Every point of its product that is not an event, in the vocabulary's units."""

    def happenings(self, now_ms: int) -> Sequence[Happening]:
        """What happened since the last call."""

    def write(self, now_ms: int, point: str, value: Value) -> bool:
        """Apply a write to a point; False when the device has nothing there to write."""


def local_text(now_ms: int, zone_ms: int) -> str:
    """Local time as a device without zones shows it."""
    moment = datetime.fromtimestamp((now_ms + zone_ms) // 1000, UTC)
    return moment.replace(tzinfo=None).isoformat()


def since(days: float, zone_ms: int) -> str:
    """Local text of so many days after the counters began."""
    return local_text(EPOCH_MS + round(timedelta(days=days).total_seconds() * 1000), zone_ms)


def plain_value(name: str, birth: Birth, now_ms: int) -> Value:
    """What a point shows that no part of the device gives a meaning to: its resting value."""
    known: dict[str, Value] = {
        "online": True,
        "device_time": local_text(now_ms, birth.zone_ms),
        "counter_since": since(0, birth.zone_ms),
        "meter_number": str(birth.seed % 10**12).zfill(12),
        "uptime": (now_ms - birth.begin_ms) // 1000,
        "signal": -55,
        "temperature": round(between(seed_of(birth.seed, "heat"), now_ms // MINUTE_MS, 24, 38), 1),
        "software_version": 200,
        "type_code": 7,
    }
    return known[name] if name in known else _rest(POINTS[name])


def _rest(point: Point) -> Value:
    if point.type is PointType.BOOL:
        return point.name.startswith(("breaker", "relay_closed"))
    if point.type is PointType.TEXT:
        return point.choices[0] if point.choices else ""
    zero = min(max(0, point.minimum), point.maximum)
    return int(zero) if point.type is PointType.INT else float(zero)
