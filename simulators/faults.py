"""What goes wrong, by seed: the same seed gives the same faults to the same devices in the same order."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from simulators.chance import draw, seed_of
from simulators.conduct import OBEYS, Bearing, Conduct


class FaultKind(StrEnum):
    """How a device can fail. The first four last a while; the others spoil one answer or message."""

    SILENCE = "silence"
    REBOOT = "reboot"  # silent, and what it counted since its start begins again
    CLOCK_SKEW = "clock_skew"
    FROZEN = "frozen"  # answers, but the values stand still
    DELAY = "delay"  # slow, within any reader's patience
    LATE = "late"  # after the reader has given up
    DOUBLED = "doubled"
    GARBAGE = "garbage"
    TRUNCATION = "truncation"
    WRONG_UNIT = "wrong_unit"
    EXCEPTION = "exception"


_LASTING_S = {
    FaultKind.SILENCE: (5, 60),
    FaultKind.REBOOT: (3, 12),
    FaultKind.CLOCK_SKEW: (60, 600),
    FaultKind.FROZEN: (30, 300),
}
_DELAY_S = {FaultKind.DELAY: (0.05, 0.4), FaultKind.LATE: (1.5, 5.0)}
SKEW_MAX_MS = 3 * 3600 * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One fault of one device; `chance` in [0, 1) decides its details, `until_ms` when a lasting one ends."""

    kind: FaultKind
    chance: float
    since_ms: int
    until_ms: int

    def delay_s(self) -> float:
        """How much later than usual the answer comes."""
        lowest, highest = _DELAY_S.get(self.kind, (0.0, 0.0))
        return lowest + self.chance * (highest - lowest)

    def skew_ms(self) -> int:
        """How far the device's clock is off."""
        if self.kind is not FaultKind.CLOCK_SKEW:
            return 0
        return round((2 * self.chance - 1) * SKEW_MAX_MS)

    def spoil(self, frame: bytes) -> bytes:
        """The frame as it comes out: unreadable bytes of the same length, or its beginning only."""
        if self.kind is FaultKind.TRUNCATION:
            return frame[: int(self.chance * len(frame))]
        seed = int(self.chance * 2**53)
        noise = bytes(int(draw(seed, place) * 255) + 1 for place in range(len(frame)))
        return bytes(byte ^ other for byte, other in zip(frame, noise, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A fault that a person ordered: devices by pattern, from and to seconds after the campus began."""

    device: str
    kind: FaultKind
    from_s: float = 0.0
    to_s: float = 1e9


class _FaultFile(msgspec.Struct, forbid_unknown_fields=True):
    fault: list[Window] = []
    conduct: list[Bearing] = []


def read_windows(text: str) -> tuple[tuple[Window, ...], tuple[Bearing, ...]]:
    """The tables of a TOML text: `[[fault]]` with device, kind, from_s, to_s; `[[conduct]]` with conduct.

    Raises ValueError.
    """
    try:
        file = msgspec.convert(tomllib.loads(text), _FaultFile)
        return tuple(file.fault), tuple(file.conduct)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"fault file: {error}") from None


class DeviceFaults:
    """The faults of one device. Asked once for each answer or message, it says what goes wrong with it."""

    def __init__(self, seed: int, plan: FaultPlan, device: str) -> None:
        self._seed = seed
        self._plan = plan
        self._device = device
        self._asked = 0
        self._lasting: Fault | None = None

    def next(self, now_ms: int) -> Fault | None:
        """The fault that meets the next answer; None when all is well."""
        ordered = self._ordered(now_ms)
        if ordered is not None:
            return ordered
        if self._lasting is not None and now_ms < self._lasting.until_ms:
            return self._lasting
        self._lasting = None
        self._asked += 1
        if not self._plan.rate or draw(self._seed, self._asked) >= self._plan.rate:
            return None
        fault = self._drawn(now_ms)
        if fault.until_ms > now_ms:
            self._lasting = fault
        return fault

    def bearing(self, now_ms: int) -> Bearing:
        """How the device takes a command now."""
        since_s = (now_ms - self._plan.begin_ms) / 1000
        for bearing in self._plan.bearings:
            hit = bearing.from_s <= since_s < bearing.to_s
            if hit and fnmatchcase(self._device, bearing.device):
                return bearing
        return OBEYS

    def _drawn(self, now_ms: int) -> Fault:
        kinds = self._plan.kinds
        chance = draw(self._seed ^ 1, self._asked)
        kind = kinds[int(draw(self._seed ^ 2, self._asked) * len(kinds))]
        lowest_s, highest_s = _LASTING_S.get(kind, (0, 0))
        length_ms = round((lowest_s + chance * (highest_s - lowest_s)) * 1000)
        return Fault(kind=kind, chance=chance, since_ms=now_ms, until_ms=now_ms + length_ms)

    def _ordered(self, now_ms: int) -> Fault | None:
        since_s = (now_ms - self._plan.begin_ms) / 1000
        for window in self._plan.windows:
            hit = window.from_s <= since_s < window.to_s
            if hit and fnmatchcase(self._device, window.device):
                begin_ms = self._plan.begin_ms
                return Fault(
                    kind=window.kind,
                    chance=draw(self._seed, 0),
                    since_ms=begin_ms + round(window.from_s * 1000),
                    until_ms=begin_ms + round(window.to_s * 1000),
                )
        return None


class FaultPlan:
    """All faults of a campus: `rate` is the share of answers and messages with which something begins.

    `windows` and `bearings` are what a person ordered; they may be changed while the campus lives.
    """

    def __init__(
        self,
        *,
        seed: int,
        begin_ms: int,
        rate: float = 0.0,
        kinds: Sequence[FaultKind] = tuple(FaultKind),
        windows: Sequence[Window] = (),
        bearings: Sequence[Bearing] = (),
    ) -> None:
        self.rate = rate
        self.kinds = tuple(kinds)
        self.begin_ms = begin_ms
        self.windows = list(windows)
        self.bearings = list(bearings)
        self._seed = seed

    def order(self, device: str, conduct: Conduct) -> None:
        """From now on these devices (a pattern) take commands so, whatever was ordered before."""
        self.bearings.insert(0, Bearing(device=device, conduct=conduct))

    def of(self, device: str) -> DeviceFaults:
        """This device's faults."""
        return DeviceFaults(seed_of(self._seed, "faults", device), self, device)
