"""A meter of a room as a stranger to the hub: what flows, its relay and credit, and a diary of all."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate

from hub import Value

HOUR_MS = 3_600_000
MWMS_PER_WH = 1000 * HOUR_MS
MILLION = 1_000_000
_NEVER_MS = 10**15


class Deed(StrEnum):
    """What a meter did, or was done to it."""

    CUT = "cut"
    RESTORED = "restored"
    ARMED = "armed"
    PRESSED = "pressed"  # a hand at the meter closed what was armed
    TRIPPED = "tripped"
    CREDITED = "credited"
    EMPTY = "empty"  # its own credit was used up
    TOLD = "told"  # anything else that was written to it
    LOST = "lost"  # a command or its answer


_OPENINGS = (Deed.CUT, Deed.TRIPPED, Deed.EMPTY)
CLOSINGS = (Deed.RESTORED, Deed.PRESSED)
_SWITCHED = (*_OPENINGS, *CLOSINGS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of a meter's diary."""

    time_ms: int
    deed: Deed
    value: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What its display showed when it was read; `taken` once the hub has said that it is on disk."""

    time_ms: int
    counter: int
    relay_closed: bool
    sound: bool
    taken_ms: int


class Load:
    """What a room would draw, in whole watts for each hour from `begin_ms` on."""

    def __init__(self, begin_ms: int, watts: Sequence[int]) -> None:
        self._begin_ms = begin_ms
        self._watts = watts
        self._before = list(accumulate((w * 1000 * HOUR_MS for w in watts), initial=0))

    def watts(self, now_ms: int) -> int:
        """The power at this moment."""
        return self._watts[min((now_ms - self._begin_ms) // HOUR_MS, len(self._watts) - 1)]

    def mwms(self, now_ms: int) -> int:
        """Milliwatt milliseconds since `begin_ms`, had it never been off."""
        hour, into_ms = divmod(now_ms - self._begin_ms, HOUR_MS)
        hour = min(hour, len(self._watts) - 1)
        return self._before[hour] + self._watts[hour] * 1000 * into_ms

    def when(self, mwms: int) -> int:
        """The first moment at which so much has been drawn."""
        if mwms > self._before[-1]:
            return _NEVER_MS
        hour = max(0, bisect_left(self._before, mwms) - 1)
        into_ms = -(-(mwms - self._before[hour]) // (self._watts[hour] * 1000))
        return self._begin_ms + hour * HOUR_MS + into_ms


@dataclass(kw_only=True, slots=True)
class DormMeter:
    """One meter. `rollover` 0: its counter never begins anew. `rate` 0: it holds no credit itself."""

    id: str
    load: Load
    start_wh: int
    rollover: int = 0
    rate: int = 0  # millionths of a fen for a Wh
    credit_fen: int = 0
    purchases: int = 0
    trips: int = 0
    armed: bool = False
    forced: bool = False  # the hub holds the relay of one with credit open
    opened_ms: int | None = None
    limit_w: int = 0
    schedule: str = ""
    away: tuple[int, int] = (0, 0)  # from when until when it answers nobody
    diary: list[Entry] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    _used_mwms: int = 0
    _since_ms: int = 0

    def begin(self, now_ms: int) -> None:
        """It is mounted."""
        self._since_ms = now_ms

    @property
    def closed(self) -> bool:
        """Whether the room has power."""
        return self.opened_ms is None

    def settle(self, now_ms: int) -> int:
        """The Wh that have flowed through it since it was mounted."""
        if self.closed:
            begun_mwms, until_ms = self.load.mwms(self._since_ms), now_ms
            if self.rate:
                left_mwms = (
                    -(-self.credit_fen * MILLION // self.rate) * MWMS_PER_WH - self._used_mwms
                )
                until_ms = min(now_ms, self.load.when(begun_mwms + max(0, left_mwms)))
            self._used_mwms += self.load.mwms(until_ms) - begun_mwms
            if until_ms < now_ms:
                self._open(until_ms, Deed.EMPTY)
        self._since_ms = now_ms
        return self._used_mwms // MWMS_PER_WH

    def counter(self, now_ms: int) -> int:
        """What its display shows."""
        shown = self.start_wh + self.settle(now_ms)
        return shown % self.rollover if self.rollover else shown

    def credit(self, used_wh: int) -> int:
        """The money left in it."""
        return self.credit_fen - used_wh * self.rate // MILLION

    def show(self, now_ms: int) -> Mapping[str, Value]:
        """Every point of its product that the month needs."""
        counter = self.counter(now_ms)
        watts = float(self.load.watts(now_ms)) if self.closed else 0.0
        if self.rate:
            return {**self._prepaid(counter, watts), "voltage_l1": _volts(now_ms)}
        return {
            "energy_import": counter,
            "active_power_total": watts,
            "voltage_l1": _volts(now_ms),
            "relay_closed": self.closed,
            "relay_armed": self.armed,
            "power_limit": float(self.limit_w),
            "schedule": self.schedule,
        }

    def is_away(self, now_ms: int) -> bool:
        """Whether nobody reaches it."""
        return self.away[0] <= now_ms < self.away[1]

    def tell(self, now_ms: int, name: str, arguments: Mapping[str, Value]) -> bool:
        """Do as told; False, and nothing done, when it refuses."""
        self.settle(now_ms)
        match name:
            case "cut":
                self.armed, self.forced = False, bool(self.rate)
                self._open(now_ms, Deed.CUT)
            case "restore" | "force_closed":
                self.armed = self.forced = False
                self._close(now_ms, Deed.RESTORED)
            case "arm":
                if self.closed:
                    return False
                self.armed = True
                self._note(now_ms, Deed.ARMED)
            case "credit":
                return self._credit(now_ms, int(arguments["amount"]), int(arguments["count"]))
            case "power_limit":
                self.limit_w = int(arguments["power"])
                self._note(now_ms, Deed.TOLD, self.limit_w)
            case "schedule":
                self.schedule = str(arguments["hours"])
                self._note(now_ms, Deed.TOLD)
        return True

    def press(self, now_ms: int) -> None:
        """Somebody presses its button: it closes if armed, or if it holds credit itself and tripped."""
        if not self.closed and (self.armed or (self.rate and not self.forced)):
            self.settle(now_ms)
            self.armed = False
            self._close(now_ms, Deed.PRESSED)

    def lose(self, now_ms: int) -> None:
        """A command did not come, or its answer went astray."""
        self._note(now_ms, Deed.LOST)

    @property
    def has_tripped(self) -> bool:
        """Whether it is open, and opened by itself for too much power."""
        opened = (entry for entry in reversed(self.diary) if entry.deed in _OPENINGS)
        return not self.closed and next(opened).deed is Deed.TRIPPED

    def state_at(self, now_ms: int) -> Deed:
        """What was done to its relay last; pressed where nothing ever was."""
        done = [e.deed for e in self.diary if e.time_ms <= now_ms and e.deed in _SWITCHED]
        return done[-1] if done else Deed.PRESSED

    def overload(self, now_ms: int) -> None:
        """Somebody plugs in a hotplate; where there is power it opens by itself."""
        if self.closed:
            self.settle(now_ms)
            self.trips += 1
            self._open(now_ms, Deed.TRIPPED)

    def off_periods(self, end_ms: int) -> Iterator[tuple[int, int, Deed]]:
        """From when until when the room was dark, and what began it."""
        begun: Entry | None = None
        for entry in self.diary:
            if entry.deed in _OPENINGS:
                begun = begun or entry
            elif entry.deed in CLOSINGS and begun:
                yield begun.time_ms, entry.time_ms, begun.deed
                begun = None
        if begun:
            yield begun.time_ms, end_ms, begun.deed

    def _prepaid(self, counter: int, watts: float) -> dict[str, Value]:
        left_fen = self.credit(self._used_mwms // MWMS_PER_WH)
        return {
            "energy_import": counter // 10 * 10,
            "active_power_l1": watts,
            "credit_money": max(0, left_fen),
            "purchase_count": self.purchases,
            "overload_count": self.trips,
            "arrears": left_fen <= 0,
            "breaker_l1_closed": self.closed,
            "force_control_enabled": self.forced,
        }

    def _credit(self, now_ms: int, fen: int, count: int) -> bool:
        if count != self.purchases + 1:
            return False
        self.credit_fen += fen
        self.purchases = count
        self._note(now_ms, Deed.CREDITED, fen)
        if not self.forced and not self.closed:
            self._close(now_ms, Deed.RESTORED)
        return True

    def _open(self, now_ms: int, deed: Deed) -> None:
        self._note(now_ms, deed)
        if self.opened_ms is None:
            self.opened_ms = now_ms

    def _close(self, now_ms: int, deed: Deed) -> None:
        if self.rate and self.credit(self._used_mwms // MWMS_PER_WH) <= 0:
            return
        self._note(now_ms, deed)
        self.opened_ms = None

    def _note(self, now_ms: int, deed: Deed, value: int = 0) -> None:
        self.diary.append(Entry(time_ms=now_ms, deed=deed, value=value))


def _volts(now_ms: int) -> float:
    """A line's voltage never stands still."""
    return 228.0 + now_ms // 100 % 37 / 10
