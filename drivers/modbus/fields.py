"""Where the points of a profile stand on the wire: the wire keys of a profile, checked and compiled. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Annotated, Literal, TypeAlias

import msgspec

from drivers.modbus.packed import ascii_text, packed_datetime, packed_number, packed_text
from hub import Converter, PointSpec, PointType, Profile, Raw, converter, settings_as

WireType: TypeAlias = Literal[
    "bool",
    "u16",
    "s16",
    "u32",
    "s32",
    "u64",
    "s64",
    "float32",
    "float64",
    "bcd",
    "ascii",
    "datetime",
]
Order: TypeAlias = Literal["big", "little"]
Function: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=4)]
Extract: TypeAlias = Callable[[bytes], Raw]

_FORMATS = {
    "u16": "H",
    "s16": "h",
    "u32": "I",
    "s32": "i",
    "u64": "Q",
    "s64": "q",
    "float32": "f",
    "float64": "d",
}
_UNSIGNED = ("u16", "u32", "u64")
_SIGNED_BITS = {"s16": 16, "s32": 32, "s64": 64}
_DATETIME_LAYOUT = "YY MM DD W hh mm ss"
ADDRESS_MAX = 0xFFFF


class Serial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The line a product leaves the factory with: speed and character format like 8N1."""

    baud: Annotated[int, msgspec.Meta(ge=300, le=1_000_000)] = 9600
    format: Annotated[str, msgspec.Meta(pattern="^[78][NEO][12]$")] = "8N1"


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A register that tells the product: `equals` stands at `at` in every device of it, and in no other."""

    at: Annotated[int, msgspec.Meta(ge=0, le=465_536)]
    function: Literal[3, 4] | None = None
    equals: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]


class Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[modbus]` of a profile: defaults for its points, and the limits of its requests."""

    function: Function = 3
    type: WireType = "u16"
    word_order: Order = "big"
    byte_order: Order = "big"
    address_base: Annotated[int, msgspec.Meta(ge=0, le=50_000)] = 0
    max_registers: Annotated[int, msgspec.Meta(ge=1, le=125)] = 125
    max_bits: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 2000
    align: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    gaps: bool = False
    serial: Serial | None = None
    identity: Identity | None = None
    turnaround_ms: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 30.0


class _Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The wire keys of one point."""

    at: Annotated[int, msgspec.Meta(ge=0, le=465_536)]
    function: Function | None = None
    type: WireType | None = None
    word_order: Order | None = None
    byte_order: Order | None = None
    length: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    byte: Annotated[int, msgspec.Meta(ge=0, le=1)] = 0
    bit: Annotated[int, msgspec.Meta(ge=0, le=63)] | None = None
    bits: tuple[int, int] | None = None
    layout: str = _DATETIME_LAYOUT


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Where one point stands: `count` registers (or one coil) from wire address `start` of `function`.

    Its `size` bytes begin at byte `byte` of the first register; `extract` makes the raw value of them.
    `format` is the struct code of a plain big-endian number, else empty.
    """

    name: str
    function: int
    start: int
    count: int
    byte: int
    size: int
    format: str
    extract: Extract
    convert: Converter

    @property
    def end(self) -> int:
        """The first address behind this field."""
        return self.start + self.count


class FieldCompiler:
    """Turns the wire keys of one point into its field."""

    def __init__(self, profile: Profile, wire: Wire, name: str) -> None:
        self._profile = profile
        self._wire = wire
        self._key = f"points.{name}"
        self._spec = profile.points[name]
        self._place = settings_as(_Place, self._spec.where, file=profile.file, key=self._key)
        self._function = self._place.function or wire.function
        self._bits = self._place.bit is not None or self._place.bits is not None
        self._type = self._wire_type()

    def field(self) -> Field:
        """The field, checked against the limits of addresses and requests."""
        size = self._size()
        coil = self._function in (1, 2)
        count = 1 if coil else (self._place.byte + size + 1) // 2
        start = self._place.at - self._wire.address_base
        align = 1 if coil else self._wire.align
        end = -(-(start + count) // align) * align
        span = end - start // align * align
        if start < 0 or end > ADDRESS_MAX + 1:
            self._wrong("at", self._place.at, f"the wire address must be 0 to {ADDRESS_MAX}")
        if span > (self._wire.max_bits if coil else self._wire.max_registers):
            self._wrong("at", self._place.at, "it does not fit into one request of max_registers")
        self._check_type()
        plain = not coil and not self._bits and self._order() == tuple(range(size))
        return Field(
            name=self._spec.point.name,
            function=self._function,
            start=start,
            count=count,
            byte=self._place.byte,
            size=size,
            format=_FORMATS.get(self._type, "") if plain else "",
            extract=self._extract(),
            convert=converter(self._signed_absent()),
        )

    def _wrong(self, key: str, found: object, hint: str) -> None:
        raise self._profile.wrong(f"{self._key}.{key}", f"found {found!r}", hint)

    def _wire_type(self) -> WireType:
        """The type that counts; a coil is a flag, and bits are of one register unless it says more."""
        given = self._place.type
        if self._function in (1, 2):
            if given not in (None, "bool") or self._bits or self._place.byte:
                self._wrong(
                    "type", given, 'a coil or discrete input is a "bool" without bit or byte'
                )
            return "bool"
        if self._bits:
            chosen = given or (self._wire.type if self._wire.type in _UNSIGNED else "u16")
            if chosen not in (*_UNSIGNED, "bool"):
                self._wrong("type", chosen, "bits are taken from u16, u32 or u64")
            return "u16" if chosen == "bool" else chosen
        chosen = given or self._wire.type
        if chosen == "bool":
            self._wrong("type", chosen, "name the bit of the register: bit = 0")
        return chosen

    def _size(self) -> int:
        if self._type == "bool":
            return 1
        if self._type == "datetime":
            return len(self._place.layout.split())
        if self._type in ("bcd", "ascii"):
            if self._place.length is None:
                self._wrong("length", None, "write the number of bytes")
            return self._place.length or 1
        return struct.calcsize(">" + _FORMATS[self._type])

    def _order(self) -> tuple[int, ...]:
        """The places of the field's bytes on the wire, highest byte first."""
        size = self._size()
        word_order = self._place.word_order or self._wire.word_order
        byte_order = self._place.byte_order or self._wire.byte_order
        if self._type in ("bool", "datetime") or (word_order, byte_order) == ("big", "big"):
            return tuple(range(size))
        if size % 2:
            self._wrong("length", size, "an odd number of bytes has no word or byte order but big")
        words = range(0, size, 2) if word_order == "big" else range(size - 2, -1, -2)
        pair = (0, 1) if byte_order == "big" else (1, 0)
        return tuple(word + byte for word in words for byte in pair)

    def _check_type(self) -> None:
        """Refuse what could never become a value of the point."""
        text = self._spec.point.type is PointType.TEXT
        gives_text = self._type in ("ascii", "datetime") or (self._type == "bcd" and text)
        if not self._spec.values and text is not gives_text:
            kind = self._spec.point.type.value
            self._wrong(
                "type", self._type, f"the point is {kind}: choose another type or give values"
            )

    def _signed_absent(self) -> PointSpec:
        """Not-available codes are written as seen on the wire (0x8000), also for signed numbers."""
        width = _SIGNED_BITS.get(self._type)
        if width is None or not self._spec.absent:
            return self._spec
        half, whole = 1 << width - 1, 1 << width
        codes = tuple(
            code - whole if isinstance(code, int) and half <= code < whole else code
            for code in self._spec.absent
        )
        return replace(self._spec, absent=codes)

    def _extract(self) -> Extract:
        taken = self._extract_in_order()
        order = self._order()
        if order == tuple(range(len(order))):
            return taken
        pick = itemgetter(*order)
        return lambda data: taken(bytes(pick(data)))

    def _extract_in_order(self) -> Extract:
        match self._type:
            case "bool":
                return lambda data: bool(data[0] & 1)
            case "ascii":
                return ascii_text
            case "bcd":
                text = self._spec.point.type is PointType.TEXT
                return packed_text if text else packed_number
            case "datetime":
                return self._datetime()
            case _:
                return self._number()

    def _datetime(self) -> Extract:
        tokens = tuple(self._place.layout.split())
        if not set(tokens) <= {"YY", "MM", "DD", "W", "hh", "mm", "ss"} or "YY" not in tokens:
            self._wrong("layout", self._place.layout, f"write it like {_DATETIME_LAYOUT!r}")
        return packed_datetime(tokens)

    def _number(self) -> Extract:
        unpack = struct.Struct(">" + _FORMATS[self._type]).unpack
        bit, bits, width = self._place.bit, self._place.bits, 8 * self._size()
        if bit is not None:
            if bit >= width or bits is not None:
                self._wrong("bit", bit, f"one bit from 0 to {width - 1}, or bits")
            return lambda data: bool(unpack(data)[0] >> bit & 1)
        if bits is not None:
            lowest, count = bits
            if lowest < 0 or count < 1 or lowest + count > width:
                self._wrong("bits", bits, f"[lowest, count] inside {width} bits")
            mask = (1 << count) - 1
            return lambda data: int(unpack(data)[0] >> lowest & mask)
        return lambda data: _first(unpack(data))


def _first(numbers: tuple[int | float, ...]) -> int | float:
    return numbers[0]
