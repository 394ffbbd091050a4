"""Is this value possible? Pure rules that every reading passes before it is stored.

A value of the wrong type, outside its range, or a counter that fell or jumped moves from `values` to
`bad` with the reason; the other points of the reading stay. A device clock outside the window is not
believed: the reading gets the hub's time and says so under `uncertain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from hub.model import Device, Reading, Value
from hub.points import POINTS, Point, PointKind, PointType
from hub.profile import PointSpec

CLOCK_EARLY_MS = 7 * 86_400_000  # a device may deliver what it kept for a week
CLOCK_AHEAD_MS = 120_000
ROLLED_OVER = "counter rolled over"  # under `uncertain`: as the product says it does
TIME = "time"  # under `uncertain`: the reading's own time is doubted

_STEP_MARGIN = 1.2  # over rated power, because meters round and clocks drift
_STEP_SLACK = (
    100  # in the counter's unit: the coarsest step of float32 counters, several times over
)
_END_SHARE = 0.01
_RESET_PROOFS = 3  # readings that agree with each other before a fallen counter is a new beginning
ANEW = "counter begins anew"  # under `uncertain`: what it says beyond its last word was not counted
_CLASSES = {PointType.BOOL: bool, PointType.INT: int, PointType.FLOAT: float, PointType.TEXT: str}


class Rule(msgspec.Struct, frozen=True, gc=False):
    """What one point of one product may be. A struct because it is read for every value."""

    kind: type
    minimum: float
    maximum: float
    choices: tuple[str, ...]
    counts: bool
    step_per_s: float
    rollover: float


class _Track(msgspec.Struct):
    """Where a counter stands, and how far a doubted new beginning has proved itself."""

    time_ms: int
    value: int
    doubt_ms: int = 0
    doubt_value: int = 0
    proofs: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What became of a value: good as it is, good with a doubt, or refused."""

    bad: str = ""
    uncertain: str = ""


_GOOD = Verdict()


def _rule(point: Point, spec: PointSpec | None, hourly_max: float) -> Rule:
    return Rule(
        kind=_CLASSES[point.type],
        minimum=spec.minimum if spec else point.minimum,
        maximum=spec.maximum if spec else point.maximum,
        choices=point.choices,
        counts=point.kind is PointKind.COUNTER,
        step_per_s=hourly_max / 3600,
        rollover=(spec.rollover or 0.0) if spec else 0.0,
    )


def rules_for(device: Device | None) -> dict[str, Rule]:
    """The rule of every point: the vocabulary's, narrowed by the device's product where it says so."""
    specs: Mapping[str, PointSpec] = device.profile.points if device else {}
    return {
        name: _rule(
            point, specs.get(name), device.profile.hourly_max(point.unit) if device else 0.0
        )
        for name, point in POINTS.items()
    }


class Plausibility:
    """The rules of every product, and where every counter stands."""

    def __init__(self) -> None:
        self._rules: dict[int, dict[str, Rule]] = {}
        self._common = rules_for(None)
        self._tracks: dict[tuple[str, str], _Track] = {}

    def forget_products(self) -> None:
        """Profiles were read anew: the rules of the old ones must not be taken for those of the new."""
        self._rules.clear()

    def remember(self, device: str, values: Iterable[tuple[str, Value, int]]) -> None:
        """Take what was stored last (point, value, time) as where the device's counters stand."""
        for name, value, time_ms in values:
            rule = self._common.get(name)
            if rule and rule.counts and isinstance(value, int):
                self._tracks[device, name] = _Track(time_ms, value)

    def check(self, reading: Reading, device: Device | None) -> Reading:
        """The reading with every impossible value moved to `bad`; the same object when all is well."""
        rules = self._rules_of(device)
        doubts: list[tuple[str, Verdict]] = []
        time_ms = self._believed_ms(reading)
        for name, value in reading.values.items():
            rule = rules.get(name)
            if rule is None:
                doubts.append((name, Verdict(bad="outside the vocabulary")))
            elif value.__class__ is not rule.kind or rule.kind is str:
                verdict = _odd(value, rule)
                if verdict is not _GOOD:
                    doubts.append((name, verdict))
            elif not rule.minimum <= value <= rule.maximum:  # type: ignore[operator]
                doubts.append((name, Verdict(bad=f"outside {rule.minimum:g}..{rule.maximum:g}")))
            elif rule.counts:
                verdict = self._count(reading, name, rule, time_ms)
                if verdict is not _GOOD:
                    doubts.append((name, verdict))
        if doubts or time_ms != reading.time_ms:
            return _amended(reading, time_ms, doubts)
        return reading

    def _rules_of(self, device: Device | None) -> dict[str, Rule]:
        if device is None:
            return self._common
        # By identity: devices of one product share one Profile object, alive until `forget_products`.
        rules = self._rules.get(id(device.profile))
        if rules is None:
            rules = self._rules[id(device.profile)] = rules_for(device)
        return rules

    def _believed_ms(self, reading: Reading) -> int:
        skew_ms = reading.time_ms - reading.received_ms
        if -CLOCK_EARLY_MS <= skew_ms <= CLOCK_AHEAD_MS:
            return reading.time_ms
        return reading.received_ms

    def _count(self, reading: Reading, name: str, rule: Rule, time_ms: int) -> Verdict:
        key, value = (reading.device, name), int(reading.values[name])
        track = self._tracks.get(key)
        if track is None:
            self._tracks[key] = _Track(time_ms, value)
            return _GOOD
        if reading.received_ms + CLOCK_AHEAD_MS < track.time_ms:
            # The hub's clock had been ahead: how long ago that was cannot be told, so no step is allowed for.
            track.time_ms = time_ms
            if step_is_possible(rule.step_per_s, value - track.value, 0):
                track.value, track.proofs = value, 0
                return _GOOD
            return _doubted(track, rule, value, time_ms)
        if time_ms <= track.time_ms:
            return _GOOD  # late data stands for its own time and moves nothing
        if step_is_possible(rule.step_per_s, value - track.value, time_ms - track.time_ms):
            track.time_ms, track.value, track.proofs = time_ms, value, 0
            return _GOOD
        wrapped = value + rule.rollover - track.value
        if rule.rollover and step_is_possible(rule.step_per_s, wrapped, time_ms - track.time_ms):
            track.time_ms, track.value, track.proofs = time_ms, value, 0
            return Verdict(uncertain=ROLLED_OVER)
        return _doubted(track, rule, value, time_ms)


def _doubted(track: _Track, rule: Rule, value: int, time_ms: int) -> Verdict:
    """A counter that fell or jumped: refused until it has agreed with itself several times."""
    if track.proofs == 0 or time_ms > track.doubt_ms:  # the same message once more proves nothing
        agrees = track.proofs > 0 and step_is_possible(
            rule.step_per_s, value - track.doubt_value, time_ms - track.doubt_ms
        )
        track.proofs = track.proofs + 1 if agrees else 1
        track.doubt_ms, track.doubt_value = time_ms, value
    if track.proofs < _RESET_PROOFS:
        what = "fell" if value < track.value else "jumped"
        return Verdict(bad=f"counter {what} from {track.value} to {value}")
    was = track.value
    track.time_ms, track.value, track.proofs = time_ms, value, 0
    return Verdict(uncertain=f"{ANEW}, was {was}")


def believed_step(rule: Rule, before: int, after: int, passed_ms: int) -> int | None:
    """What a counter counted from one of its words to a later one, over its end too; None: it cannot have."""
    if step_is_possible(rule.step_per_s, after - before, passed_ms):
        return after - before
    wrapped = round(after + rule.rollover - before)
    # Of unknown power: a fall from anywhere but near its end is a reset, not a hundred years of use.
    near_end = bool(rule.step_per_s) or wrapped <= rule.rollover * _END_SHARE
    believed = rule.rollover and near_end and step_is_possible(rule.step_per_s, wrapped, passed_ms)
    return wrapped if believed else None


def step_is_possible(step_per_s: float, step: float, passed_ms: int) -> bool:
    """Whether a counter that makes so much in a second (0: any) can have gone on by `step` in this time."""
    if step < 0:
        return False
    if not step_per_s:
        return True
    return step <= step_per_s * passed_ms / 1000 * _STEP_MARGIN + _STEP_SLACK


def _odd(value: Value, rule: Rule) -> Verdict:
    """A text, or a value of another type than its point's."""
    if isinstance(value, str) and rule.kind is str:
        if len(value) > rule.maximum:
            return Verdict(bad="text too long")
        if rule.choices and value not in rule.choices:
            return Verdict(bad=f"unknown word {value[:32]!r}")
        return _GOOD
    return Verdict(bad=f"not a {rule.kind.__name__}")


def _amended(reading: Reading, time_ms: int, doubts: list[tuple[str, Verdict]]) -> Reading:
    bad = {name: verdict.bad for name, verdict in doubts if verdict.bad}
    uncertain = {name: verdict.uncertain for name, verdict in doubts if verdict.uncertain}
    if time_ms != reading.time_ms:
        skew_s = round((reading.time_ms - reading.received_ms) / 1000)
        uncertain[TIME] = f"device clock off by {skew_s} s"
    return Reading(
        device=reading.device,
        time_ms=time_ms,
        received_ms=reading.received_ms,
        received_s=reading.received_s,
        values={name: value for name, value in reading.values.items() if name not in bad},
        bad={**reading.bad, **bad},
        uncertain={**reading.uncertain, **uncertain},
    )
