"""Which product answers: by its identity register, or, where none is known, by what its registers show. Pure.

A product without an identity is only likely: its voltages and its frequency must stand where the profile
says and be those of a mains (80 to 300 V, 45 to 65 Hz), all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from drivers.modbus.fields import Field
from drivers.modbus.plan import Block, LineCost, plan
from drivers.modbus.registers import RegisterMap, register_map
from hub import POINTS, Confidence, Profile, in_words

Ask = tuple[int, int, int]  # function, wire start, count
Told = Mapping[Ask, bytes]  # the data of what was answered; the rest was refused

_PLAUSIBLE = {"V": (80.0, 300.0), "Hz": (45.0, 65.0)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """How much an answering device is like a product: the plausible values seen."""

    profile: str
    values: tuple[str, ...]


class Mark:
    """What tells one product from others."""

    def __init__(self, profile: Profile, cost: LineCost) -> None:
        self.profile = profile
        self._map: RegisterMap = register_map(profile)
        wire = self._map.wire
        self.identity: Ask | None = None
        self._equals = b""
        if wire.identity is not None:
            function = wire.identity.function or wire.function
            self.identity = (function, wire.identity.at - wire.address_base, 1)
            self._equals = wire.identity.equals.to_bytes(2)
        fields = tuple(self._evidence())
        blocks: Sequence[Block] = plan(fields, wire, cost) if fields else ()
        self.asks: tuple[Ask, ...] = tuple(
            (block.function, block.start, block.count) for block in blocks
        )

    def is_this(self, told: Told) -> bool:
        """Whether the identity register says that it is this product."""
        return self.identity is not None and told.get(self.identity) == self._equals

    def likeness(self, told: Told) -> Likeness | None:
        """The values that are as they must be; None when one is missing or is not."""
        if not self.asks or any(ask not in told for ask in self.asks):
            return None
        decoded = self._map.decode((ask[0], ask[1], told[ask]) for ask in self.asks)
        values: list[str] = []
        for name in self._judged():
            value = decoded.values.get(name)
            lowest, highest = _PLAUSIBLE[POINTS[name].unit]
            if not isinstance(value, int | float) or not lowest <= value <= highest:
                return None
            values.append(in_words(name, value))
        return Likeness(profile=self.profile.id, values=tuple(values))

    @property
    def doubt(self) -> str:
        """What is to be said beside a recognised product."""
        confidence = {spec.confidence for spec in self.profile.points.values()}
        return (
            "" if Confidence.HIGH in confidence else "; its profile waits for a proof on a device"
        )

    def _judged(self) -> list[str]:
        phases = ("voltage_l1", "voltage_l2", "voltage_l3", "frequency")
        return [name for name in phases if name in self.profile.points]

    def _evidence(self) -> Iterable[Field]:
        wanted = set(self._judged())
        for name in tuple(wanted):
            wanted.update(spec for spec in self.profile.points[name].ratio)
        if not self._judged():
            return ()
        return (field for field in self._map.fields if field.name in wanted)


def likest(marks: Iterable[Mark], told: Told) -> list[Likeness]:
    """The products it is most like, by the number of plausible values; none when it is like none."""
    found = [likeness for mark in marks if (likeness := mark.likeness(told)) is not None]
    most = max((len(likeness.values) for likeness in found), default=0)
    return [likeness for likeness in found if len(likeness.values) == most]
