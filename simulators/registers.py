"""A product's registers as a slave holds them: from true values to the bytes of an answer.

Written from the manuals' words (high word first, low byte, packed decimal …) and the profile's data, not
from the driver's decoder: each must find the other right by itself.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

import msgspec

from hub import PointKind, PointSpec, Profile, Value
from simulators.raw import Raw, from_raw, rolled_over, to_raw

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
_BIT_TABLES = (1, 2)
_WHOLE = {"u16": 2, "s16": 2, "u32": 4, "s32": 4, "u64": 8, "s64": 8}
_REAL = {"float32": ">f", "float64": ">d"}
_REMEMBERED = 1000  # different requests whose cells are kept at hand
_FLOAT_STEPS = 100  # displays behind a floating-point register count hundredths


class Refused(Exception):
    """The slave answers with this exception code."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"exception {code}")


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The Modbus keys of a point, with the product's defaults already under them."""

    at: int
    function: int = 3
    type: str = "u16"
    word_order: str = "big"
    byte_order: str = "big"
    address_base: int = 0
    length: int = 0
    byte: int = 0
    bit: int | None = None
    bits: tuple[int, int] | None = None
    layout: str = "YY MM DD W hh mm ss"


class _Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The register by which a product is told from others."""

    at: int
    equals: int
    function: int = 0


class _Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The Modbus keys of a product that bound its answers."""

    function: int = 3
    address_base: int = 0
    identity: _Identity | None = None

    max_registers: int = 125
    max_bits: int = 2000
    align: int = 1
    gaps: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One point in the product's tables: where its first byte is and how it is written."""

    name: str
    spec: PointSpec
    keys: _Keys
    address: int
    size: int

    def encode(self, value: Value, ratio: int) -> tuple[bytes, Value]:
        """The bytes as they travel, and the value that they say."""
        raw = to_raw(self.spec, rolled_over(self.spec, value, self.step()), ratio)
        body, said = _encode(self, raw)
        return body, from_raw(self.spec, said, ratio)

    def decode(self, body: bytes, code: str) -> Value:
        """The value that written bytes mean; `code` is how `struct` reads the type."""
        (raw,) = struct.unpack(code, _ordered(body, self.keys))
        return from_raw(self.spec, raw)

    def step(self) -> Fraction:
        """What the last digit counts, in the point's unit."""
        step = abs(self.spec.factor)
        return step / _FLOAT_STEPS if self.keys.type in _REAL else step


def _encode(cell: Cell, raw: Raw) -> tuple[bytes, Raw]:
    """The bytes in the product's order, and the raw value that is left in them."""
    keys = cell.keys
    if keys.type in _REAL:
        body = struct.pack(_REAL[keys.type], float(raw))
        return _ordered(body, keys), float(struct.unpack(_REAL[keys.type], body)[0])
    if keys.bit is not None or keys.bits is not None:
        return _field(keys, int(raw))
    if keys.type in _WHOLE:
        number = _fitted(cell, round(float(raw)) if isinstance(raw, float) else int(raw))
        body = number.to_bytes(cell.size, "big", signed=keys.type[0] == "s")
        return _ordered(body, keys), number
    if keys.type == "bool":
        return int(raw).to_bytes(2, "big"), bool(raw)
    return _text(cell, raw)


def _field(keys: _Keys, raw: int) -> tuple[bytes, Raw]:
    """Some bits of one word."""
    lowest, count = keys.bits or (keys.bit or 0, 1)
    field = raw & (1 << count) - 1
    body = (field << lowest).to_bytes(2, "big")
    return _ordered(body, keys), field if keys.bits else bool(field)


def _text(cell: Cell, raw: Raw) -> tuple[bytes, Raw]:
    """Packed decimals, letters, or a clock."""
    keys = cell.keys
    if keys.type == "bcd":
        digits = str(raw if isinstance(raw, str) else round(raw)).zfill(2 * cell.size)
        digits = digits[-2 * cell.size :]
        body = _ordered(bytes.fromhex(digits), keys)
        return body, digits if isinstance(raw, str) else int(digits)
    if keys.type == "datetime":
        return _packed_time(str(raw), keys.layout), raw
    return str(raw).encode("ascii")[: cell.size].ljust(cell.size), raw


def _fitted(cell: Cell, number: int) -> int:
    """Counters overflow as their register does; everything else stays at the register's end."""
    bits = 8 * cell.size
    signed = cell.keys.type[0] == "s"
    if cell.spec.point.kind is PointKind.COUNTER and not signed:
        return number % (1 << bits)
    half = 1 << bits - 1
    lowest, highest = (-half, half - 1) if signed else (0, 2 * half - 1)
    return min(max(number, lowest), highest)


def _ordered(body: bytes, keys: _Keys) -> bytes:
    """The bytes in the product's order; the same again brings them back."""
    if len(body) % 2:
        return body
    words = [body[at : at + 2] for at in range(0, len(body), 2)]
    if keys.word_order == "little":
        words.reverse()
    if keys.byte_order == "little":
        words = [word[::-1] for word in words]
    return b"".join(words)


def _packed_time(text: str, layout: str) -> bytes:
    time = datetime.fromisoformat(text)
    parts = {
        "YY": time.year % 100,
        "MM": time.month,
        "DD": time.day,
        "W": time.isoweekday() % 7,
        "hh": time.hour,
        "mm": time.minute,
        "ss": time.second,
    }
    return bytes.fromhex("".join(f"{parts[token]:02d}" for token in layout.split()))


def _size(keys: _Keys) -> int:
    if keys.bit is not None or keys.bits is not None or keys.type == "bool":
        return 2
    if keys.type == "datetime":
        return len(keys.layout.split())
    return _WHOLE.get(keys.type) or {"float32": 4, "float64": 8}.get(keys.type, keys.length)


class RegisterLayout:
    """Every table of one product, shared by all its devices; it holds no values."""

    def __init__(self, profile: Profile) -> None:
        self.limits = msgspec.convert(profile.wire, _Limits)
        self.cells = {
            name: _cell(name, spec, profile.wire) for name, spec in profile.points.items()
        }
        self._tables: dict[int, dict[int, list[Cell]]] = {1: {}, 2: {}, 3: {}, 4: {}}
        for cell in self.cells.values():
            bits = cell.keys.function in _BIT_TABLES
            span = 1 if bits else (cell.keys.byte + cell.size + 1) // 2
            for address in range(cell.address, cell.address + span):
                self._tables[cell.keys.function].setdefault(address, []).append(cell)
        self._asked: dict[tuple[int, int, int], tuple[Cell, ...]] = {}

    def cells_in(self, request: tuple[int, int, int]) -> tuple[Cell, ...]:
        """The cells a read of (function, start, count) touches; raises Refused where the product would."""
        cells = self._asked.get(request)
        if cells is None:
            cells = self._touched(*request)
            if len(self._asked) < _REMEMBERED:
                self._asked[request] = cells
        return cells

    def _touched(self, function: int, start: int, count: int) -> tuple[Cell, ...]:
        table = self._tables[function]
        if not table:
            raise Refused(ILLEGAL_FUNCTION)
        limit = self.limits.max_bits if function in _BIT_TABLES else self.limits.max_registers
        if not 1 <= count <= limit or (function not in _BIT_TABLES and count % self.limits.align):
            raise Refused(ILLEGAL_VALUE)
        asked = range(start, start + count)
        last = -(-(max(table) + 1) // self.limits.align) * self.limits.align
        inside = min(table) <= asked.start and asked.stop <= last
        misaligned = function not in _BIT_TABLES and start % self.limits.align
        holes = not self.limits.gaps and any(address not in table for address in asked)
        if misaligned or not inside or holes:
            raise Refused(ILLEGAL_ADDRESS)
        found = {cell.name: cell for address in asked for cell in table.get(address, ())}
        return tuple(found.values())

    def read(
        self, request: tuple[int, int, int], values: Mapping[str, Value]
    ) -> tuple[bytes, dict[str, Value]]:
        """The data bytes of an answer to (function, start, count), and what they say of whole points."""
        function, start, count = request
        cells = self.cells_in(request)
        if function in _BIT_TABLES:
            return self._read_bits(cells, start, count, values)
        image = bytearray(2 * count)
        shown: dict[str, Value] = {}
        for cell in cells:
            body, said = cell.encode(values[cell.name], self.ratio(cell, values))
            first = 2 * (cell.address - start) + cell.keys.byte
            for offset, byte in enumerate(body, first):
                if 0 <= offset < len(image):
                    image[offset] |= byte
            if first >= 0 and first + len(body) <= len(image):
                shown[cell.name] = said
        return bytes(image), shown

    def _read_bits(
        self, cells: tuple[Cell, ...], start: int, count: int, values: Mapping[str, Value]
    ) -> tuple[bytes, dict[str, Value]]:
        packed = 0
        shown: dict[str, Value] = {}
        for cell in cells:
            bit = bool(to_raw(cell.spec, values[cell.name]))
            packed |= bit << cell.address - start
            shown[cell.name] = from_raw(cell.spec, bit)
        return packed.to_bytes((count + 7) // 8, "little"), shown

    def ratio(self, cell: Cell, values: Mapping[str, Value]) -> int:
        """The product of the measured ratios this point is multiplied with by its reader."""
        product = 1
        for name in cell.spec.ratio:
            product *= int(values[name])
        return product

    def identity(self, request: tuple[int, int, int]) -> bytes | None:
        """The data of an answer to a read of the identity register alone, where it is no point."""
        keys = self.limits.identity
        if keys is None:
            return None
        function, at = keys.function or self.limits.function, keys.at - self.limits.address_base
        if request != (function, at, 1) or self.cell_at(function, at) is not None:
            return None
        return keys.equals.to_bytes(2)

    def cell_at(self, function: int, address: int) -> Cell | None:
        """The point that stands at this address of this table."""
        return next(iter(self._tables[function].get(address, ())), None)


def _cell(name: str, spec: PointSpec, wire: Mapping[str, object]) -> Cell:
    keys = msgspec.convert({**wire, **spec.where}, _Keys)
    return Cell(
        name=name, spec=spec, keys=keys, address=keys.at - keys.address_base, size=_size(keys)
    )
