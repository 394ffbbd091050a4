"""Labels for devices on A4: a QR code that says the id, and in words id, place and product. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import segno

from hub.buildings import Buildings
from hub.errors import ConfigError
from hub.model import Device

PAGE_MM = (210.0, 297.0)
_SIZE = re.compile(r"(\d{1,3})x(\d{1,3})")
_SMALLEST_MM = (30, 18)
_EDGE_MM = 2.0
_QUIET_MODULES = 4  # what readers need round a code
_CODE_SHARE = 0.45  # of the label's width, at most
_ID_MM, _TEXT_MM, _LEAST_MM = 3.4, 2.8, 1.6
_LINES_MAX = 3
_LEADING = 1.25
_NARROW = 0.6  # of the size: every letter of the fixed-width font, and more than most others


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """What stands on one label."""

    id: str
    place: str
    product: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of text, its baseline from the page's top left, in mm."""

    text: str
    x_mm: float
    y_mm: float
    size_mm: float
    fixed_width: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A black rectangle from the page's top left, in mm."""

    x_mm: float
    y_mm: float
    width_mm: float
    height_mm: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One label on its page."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSize:
    """The size of one label; a page holds as many as fit, in the middle."""

    width_mm: int
    height_mm: int

    @property
    def columns(self) -> int:
        """How many stand side by side."""
        return int(PAGE_MM[0] // self.width_mm)

    @property
    def rows(self) -> int:
        """How many stand below each other."""
        return int(PAGE_MM[1] // self.height_mm)

    def corner(self, slot: int) -> tuple[float, float]:
        """The top left of the label in this slot of the page, counted row by row."""
        row, column = divmod(slot, self.columns)
        left = (PAGE_MM[0] - self.columns * self.width_mm) / 2
        top = (PAGE_MM[1] - self.rows * self.height_mm) / 2
        return left + column * self.width_mm, top + row * self.height_mm


def label_size(text: str) -> LabelSize:
    """The size written as 70x37; raises ConfigError."""
    parts = _SIZE.fullmatch(text)
    width, height = (int(parts[1]), int(parts[2])) if parts else (0, 0)
    fits = _SMALLEST_MM[0] <= width <= PAGE_MM[0] and _SMALLEST_MM[1] <= height <= PAGE_MM[1]
    if not fits:
        least = "x".join(map(str, _SMALLEST_MM))
        hint = f"write width x height in mm, from {least} to 210x297: 70x37"
        raise ConfigError(file="command line", key="--size", found=f"found {text!r}", hint=hint)
    return LabelSize(width_mm=width, height_mm=height)


def labels_of(devices: Iterable[Device], buildings: Buildings) -> list[Label]:
    """A label for each device, in the order in which a person walks past them."""
    return [
        Label(id=device.id, place=_place(device, buildings), product=_product(device))
        for device in sorted(devices, key=_walk)
    ]


def pages(labels: Sequence[Label], size: LabelSize) -> Iterator[list[Drawn]]:
    """The labels of each page."""
    each = size.columns * size.rows
    for first in range(0, len(labels), each):
        chosen = labels[first : first + each]
        yield [_draw(label, size, slot) for slot, label in enumerate(chosen)]


def _walk(device: Device) -> list[tuple[int, str]]:
    place = device.place
    levels = (place.building, place.floor, place.room, place.circuit, device.id)
    return [part for level in levels for part in (*_natural(level), (0, ""))]


def _natural(text: str) -> Iterator[tuple[int, str]]:
    """Room 99 before room 101."""
    for part in re.findall(r"[0-9]+|[^0-9]+", text):
        yield (int(part) + 1, "") if part.isdecimal() else (1, part)


def _place(device: Device, buildings: Buildings) -> str:
    place = device.place
    known = buildings.known.get(place.building)
    building = (known.name if known else "") or place.building
    return _printable("-".join(filter(None, (building, place.floor, place.room, place.circuit))))


def _product(device: Device) -> str:
    return _printable(device.profile.name.partition("(")[0].strip())


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _draw(label: Label, size: LabelSize, slot: int) -> Drawn:
    left, top = size.corner(slot)
    side = min(size.height_mm - _EDGE_MM, size.width_mm * _CODE_SHARE)
    text_left = left + side
    width = size.width_mm - side - _EDGE_MM
    return Drawn(
        boxes=tuple(_code(label.id, left, top + (size.height_mm - side) / 2, side)),
        lines=tuple(_texts(label, text_left, top, width, size.height_mm)),
    )


def _code(text: str, left: float, top: float, side: float) -> Iterator[Box]:
    """The dark modules of the code, those beside each other as one box."""
    matrix = segno.make(text, error="m", micro=False).matrix
    module = side / (len(matrix) + 2 * _QUIET_MODULES)
    for y, row in enumerate(matrix):
        for run in re.finditer(b"\x01+", bytes(row)):
            yield Box(
                x_mm=left + (run.start() + _QUIET_MODULES) * module,
                y_mm=top + (y + _QUIET_MODULES) * module,
                width_mm=(run.end() - run.start()) * module,
                height_mm=module,
            )


def _texts(label: Label, left: float, top: float, width: float, height: float) -> Iterator[Line]:
    """Id, place and product, each as large as it may be in the width."""
    fitted = [
        (*_fitted(label.id, _ID_MM, width), True),
        (*_fitted(label.place, _TEXT_MM, width), False),
        (*_fitted(label.product, _TEXT_MM, width), False),
    ]
    needed = sum(len(lines) * size * _LEADING for lines, size, _ in fitted)
    shrink = min(1.0, (height - _EDGE_MM) / needed)
    y = top + (height - needed * shrink) / 2
    for lines, size, fixed_width in fitted:
        for text in lines:
            y += size * shrink * _LEADING
            drawn = size * shrink
            yield Line(text=text, x_mm=left, y_mm=y, size_mm=drawn, fixed_width=fixed_width)


def _fitted(text: str, size: float, width: float) -> tuple[list[str], float]:
    """The text in few lines, smaller where it is long; cut with … where it is too long for any."""
    while True:
        lines = list(_wrapped(text, width / size))
        if len(lines) <= _LINES_MAX or size <= _LEAST_MM:
            break
        size = max(_LEAST_MM, size * 0.9)
    if len(lines) > _LINES_MAX:
        lines = [*lines[: _LINES_MAX - 1], lines[_LINES_MAX - 1][:-1] + "…"]
    return lines, size


def _wrapped(text: str, width: float) -> Iterator[str]:
    """Lines of at most this width in sizes of the font, broken after - and spaces where there are any."""
    line = ""
    for word in re.findall(r"[^\s-]*[\s-]|[^\s-]+", text):
        rest = word
        if line and _wide(line + rest) > width:
            yield line
            line = ""
        while len(rest) > 1 and _wide(rest) > width:
            fits = max(1, sum(_wide(rest[:end]) <= width for end in range(1, len(rest))))
            yield rest[:fits]
            rest = rest[fits:]
        line += rest
    yield line


def _wide(text: str) -> float:
    return sum(1.0 if unicodedata.east_asian_width(one) in "WFA" else _NARROW for one in text)
