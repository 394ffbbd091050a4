"""Which requests read a device: the fewest and shortest for the speed of its bus. Pure.

The points of one function are put in order of address and cut into blocks by dynamic programming, so the
plan is the cheapest of all ways to cut them; reading each point alone is one of those ways.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

from drivers.modbus.fields import Field, Wire

_REQUEST_BYTES = 8  # unit, function, start, count, CRC
_ANSWER_BYTES = 5  # unit, function, byte count, CRC
_SILENCE_CHARACTERS = 3.5
_SILENCE_FAST_S = 0.00175  # fixed above 19200 baud
_FAST_BAUD = 19_200
_COILS = (1, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class LineCost:
    """What time a request takes: `byte_s` for each byte on the wire, `fixed_s` whatever it carries."""

    byte_s: float
    fixed_s: float

    def of(self, function: int, count: int) -> float:
        """Seconds to read `count` coils or registers, silences and turn-around included."""
        data = (count + 7) // 8 if function in _COILS else 2 * count
        return self.fixed_s + (_REQUEST_BYTES + _ANSWER_BYTES + data) * self.byte_s


@dataclass(frozen=True, kw_only=True, slots=True)
class SerialTiming:
    """Times of a serial line: one character, and the silence that ends a frame."""

    byte_s: float
    silence_s: float

    def cost(self, turnaround_s: float) -> LineCost:
        """Two silences and the device's turn-around belong to every request."""
        return LineCost(byte_s=self.byte_s, fixed_s=2 * self.silence_s + turnaround_s)


def serial_timing(baud: int, character_format: str) -> SerialTiming:
    """Start bit, data bits, parity and stop bits of a format like 8E1 at this speed."""
    data, parity, stop = tuple(character_format)
    bits = 1 + int(data) + (parity != "N") + int(stop)
    silence_s = _SILENCE_FAST_S if baud > _FAST_BAUD else _SILENCE_CHARACTERS * bits / baud
    return SerialTiming(byte_s=bits / baud, silence_s=silence_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One read request: `count` coils or registers from `start`, and the fields it brings."""

    function: int
    start: int
    count: int
    fields: tuple[Field, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Function and byte count: all an RTU answer says of the question it answers."""
        return self.function, (self.count + 7) // 8 if self.function in _COILS else 2 * self.count


def plan(fields: Iterable[Field], wire: Wire, cost: LineCost) -> tuple[Block, ...]:
    """The blocks that read every field once, cheapest in time on this line.

    They are in such an order that two whose answers look alike follow each other as seldom as may be.

    No block crosses the profile's limits; start and count keep its alignment; unless it allows gaps, a
    block holds no register without a point, but for what the alignment itself demands.
    """
    ordered = sorted(fields, key=lambda field: (field.function, field.start, field.end, field.byte))
    blocks: list[Block] = []
    for function, group in groupby(ordered, key=lambda field: field.function):
        blocks += _plan_function(function, tuple(group), wire, cost)
    return tuple(_apart(blocks))


def _apart(blocks: Iterable[Block]) -> Iterator[Block]:
    """Always one of the shape that most blocks have, but not that of the one before."""
    left = list(blocks)
    last: tuple[int, int] | None = None
    while left:
        counts = Counter(block.shape for block in left)
        others = [block for block in left if block.shape != last] or left
        block = max(others, key=lambda block: counts[block.shape])
        left.remove(block)
        last = block.shape
        yield block


def halves(block: Block, wire: Wire, cost: LineCost) -> tuple[Block, ...]:
    """Two or more smaller blocks for a block the device refuses; none when it holds one field only."""
    middle = len(block.fields) // 2
    if not middle:
        return ()
    return plan(block.fields[:middle], wire, cost) + plan(block.fields[middle:], wire, cost)


def shortest(blocks: Sequence[Block], wire: Wire, cost: LineCost) -> Block:
    """The shortest useful request, if possible one whose answer looks like that of no other block.

    An RTU answer does not name its address. A request that is not `mistakable`, answered, proves that the
    device is in step again: an older answer to another request would be seen as foreign.
    """
    parts = [
        part
        for block in blocks
        for first in range(len(block.fields))
        for last in (first + 1, first + 2)
        for part in plan(block.fields[first:last], wire, cost)
    ]
    candidates = [*parts, *blocks, *(_grown(part, wire) for part in parts if wire.gaps)]
    return min(
        candidates,
        key=lambda block: (mistakable(block, blocks), cost.of(block.function, block.count)),
    )


def mistakable(probe: Block, blocks: Iterable[Block]) -> bool:
    """Whether the answer to another of the blocks could be taken for this one's."""
    place = (probe.start, probe.count)
    return any(
        block.shape == probe.shape and (block.start, block.count) != place for block in blocks
    )


def _grown(block: Block, wire: Wire) -> Block:
    """The block one step of alignment longer; itself where a limit forbids that."""
    step, limit = (
        (8, wire.max_bits) if block.function in _COILS else (wire.align, wire.max_registers)
    )
    count = block.count + step
    return replace(block, count=count) if count <= limit and block.start + count <= 65536 else block


def _plan_function(
    function: int, fields: tuple[Field, ...], wire: Wire, cost: LineCost
) -> list[Block]:
    """Cheapest cut of fields in order of address: best[i] reads the first i of them."""
    coils = function in _COILS
    align, limit = (1, wire.max_bits) if coils else (wire.align, wire.max_registers)
    starts = [field.start // align * align for field in fields]
    ends = [-(-field.end // align) * align for field in fields]
    reached = list(accumulate(ends, max))
    best: list[tuple[float, int]] = [(0.0, 0)]
    for i in range(len(fields)):
        choices: list[tuple[float, int]] = []
        end = 0
        for j in range(i, -1, -1):
            end = max(end, ends[j])
            if end - starts[j] > limit and j < i:
                break
            choices.append((best[j][0] + cost.of(function, end - starts[j]), j))
            if not wire.gaps and j and starts[j] > reached[j - 1]:
                break
        best.append(min(choices))
    return _cut(function, fields, best, (starts, ends))


def _cut(
    function: int,
    fields: tuple[Field, ...],
    best: Sequence[tuple[float, int]],
    spans: tuple[Sequence[int], Sequence[int]],
) -> list[Block]:
    blocks: list[Block] = []
    i = len(fields)
    while i:
        j = best[i][1]
        start, end = spans[0][j], max(spans[1][j:i])
        blocks.append(Block(function=function, start=start, count=end - start, fields=fields[j:i]))
        i = j
    return blocks[::-1]
