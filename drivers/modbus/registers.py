"""From the bytes of registers and coils to values of the vocabulary, as a profile says. Pure.

`register_map` checks the wire keys of a profile once and compiles them; `decode` runs for every poll.
One `struct.unpack` takes all plain numbers of a block; packed decimal, texts, bit fields, other byte
orders and values that overlap are taken out one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drivers.modbus.fields import Extract, Field, FieldCompiler, Wire
from hub import BadValue, Converter, PointSpec, PointType, Profile, settings_as

_LAYOUTS_MAX = 256  # different blocks one map remembers; far above any plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """The values found, and the reasons why others could not be used. Uncovered points are absent."""

    values: dict[str, bool | int | float | str]
    bad: dict[str, str]


class Layout:
    """How the points of one block of an answer are taken out of its bytes."""

    __slots__ = ("_numbers", "_others", "_unpack")

    def __init__(self, function: int, start: int, fields: Sequence[Field]) -> None:
        bits = function in (1, 2)
        numbers: list[tuple[str, Converter]] = []
        others: list[tuple[str, Extract, Converter]] = []
        code, at = ">", 0
        for field in sorted(fields, key=lambda field: (field.start, field.byte)):
            if bits:
                others.append((field.name, _bit_at(field.start - start), field.convert))
                continue
            offset = 2 * (field.start - start) + field.byte
            if field.format and offset >= at:
                code += f"{offset - at}x{field.format}"
                at = offset + field.size
                numbers.append((field.name, field.convert))
            else:
                others.append((field.name, _bytes_at(offset, field), field.convert))
        self._unpack = struct.Struct(code).unpack_from
        self._numbers = tuple(numbers)
        self._others = tuple(others)

    def decode(self, data: bytes, into: Decoded) -> None:
        """Add the values of this block's bytes, and the reasons of those that cannot be used."""
        values, bad = into.values, into.bad
        for (name, convert), raw in zip(self._numbers, self._unpack(data), strict=True):
            try:
                values[name] = convert(raw)
            except BadValue as error:
                bad[name] = str(error)
        for name, extract, convert in self._others:
            try:
                values[name] = convert(extract(data))
            except BadValue as error:
                bad[name] = str(error)


def _bit_at(index: int) -> Extract:
    byte, shift = divmod(index, 8)
    return lambda data: bool(data[byte] >> shift & 1)


def _bytes_at(offset: int, field: Field) -> Extract:
    end, extract = offset + field.size, field.extract
    return lambda data: extract(data[offset:end])


class RegisterMap:
    """A profile's points on the wire, compiled."""

    def __init__(
        self, wire: Wire, fields: tuple[Field, ...], ratios: dict[str, tuple[PointSpec, ...]]
    ) -> None:
        self.wire = wire
        self.fields = fields
        self._ratios = {name: specs for name, specs in ratios.items() if specs}
        self._covering: dict[tuple[int, int, int], Layout] = {}

    def decode(self, answers: Iterable[tuple[int, int, bytes]]) -> Decoded:
        """The values in (function, wire start address, data bytes) of answers, as on the wire.

        Registers are big-endian pairs of bytes, coils packed bits. A point that the answers do not cover
        whole is absent; one that cannot be used stands in `bad` with the reason.
        """
        return self.take(
            (self._layout_of(function, start, len(data)), data) for function, start, data in answers
        )

    def take(self, blocks: Iterable[tuple[Layout, bytes]]) -> Decoded:
        """The values of blocks whose layout is known, with measured ratios applied."""
        decoded = Decoded(values={}, bad={})
        for layout, data in blocks:
            layout.decode(data, decoded)
        if self._ratios:
            self._apply_ratios(decoded)
        return decoded

    def _layout_of(self, function: int, start: int, size: int) -> Layout:
        key = (function, start, size)
        layout = self._covering.get(key)
        if layout is None:
            end = start + (size * 8 if function in (1, 2) else size // 2)
            fields = [
                field
                for field in self.fields
                if field.function == function and start <= field.start and field.end <= end
            ]
            if len(self._covering) >= _LAYOUTS_MAX:
                self._covering.clear()
            layout = self._covering[key] = Layout(function, start, fields)
        return layout

    def _apply_ratios(self, decoded: Decoded) -> None:
        measured = dict(decoded.values)
        for name, (spec, *ratios) in self._ratios.items():
            value = decoded.values.get(name)
            if value is None:
                continue
            for ratio in ratios:
                factor = measured.get(ratio.point.name)
                if factor is None or isinstance(value, str) or isinstance(factor, str):
                    del decoded.values[name]
                    decoded.bad[name] = f"no {ratio.point.name}"
                    break
                value = value * factor
                whole = spec.point.type is PointType.INT
                decoded.values[name] = round(value) if whole else value


def register_map(profile: Profile) -> RegisterMap:
    """The profile's points on the wire; raises ConfigError with file and key for every wrong wire key."""
    wire = settings_as(Wire, profile.wire, file=profile.file, key="modbus")
    fields = tuple(FieldCompiler(profile, wire, name).field() for name in profile.points)
    ratios = {
        name: (spec, *(profile.points[other] for other in spec.ratio)) if spec.ratio else ()
        for name, spec in profile.points.items()
    }
    return RegisterMap(wire, fields, ratios)
