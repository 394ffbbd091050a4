"""One device on a bus: the requests that read it, and what it has refused so far.

A block that the device answers with "illegal address" is cut in two until the refused point stands alone;
the others keep coming. What was learnt is kept for an hour and then tried again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.modbus.frames import Request, read_request
from drivers.modbus.plan import Block, LineCost, halves, mistakable, plan, shortest
from drivers.modbus.registers import Decoded, Layout, RegisterMap, register_map
from drivers.modbus.settings import LinkSettings
from drivers.modbus.writes import WritePlan, write_plan
from hub import Profile

REFUSED_FOR_S = 3600.0
SILENT_BLOCKS_MAX = 3
EXTRA_READS_MAX = 8
_RTU_FRAMES_BYTES = 8 + 5
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE = 1, 2, 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """One read request of one device, and how its answer is taken apart."""

    block: Block
    layout: Layout
    request: Request
    timeout_s: float


class Product:
    """A profile's plan on one link, shared by all its devices there."""

    def __init__(self, profile: Profile, settings: LinkSettings) -> None:
        self.registers: RegisterMap = register_map(profile)
        self.commands: Mapping[str, WritePlan] = write_plan(profile)
        self._settings = settings
        self.cost: LineCost = settings.cost(self.registers.wire)
        blocks = plan(self.registers.fields, self.registers.wire, self.cost)
        probe = shortest(blocks, self.registers.wire, self.cost)
        self.blocks = tuple((block, _layout(block)) for block in blocks)
        self.probe = (probe, _layout(probe))

    def read(self, unit: int, block: Block, layout: Layout) -> Read:
        """The block as a request to this unit."""
        frames_bytes = _RTU_FRAMES_BYTES + block.shape[1]
        return Read(
            block=block,
            layout=layout,
            request=read_request(unit, block.function, block.start, block.count),
            timeout_s=self.timeout_s(frames_bytes),
        )

    def timeout_s(self, frames_bytes: int) -> float:
        """How long to wait for the answer of an exchange of so many bytes."""
        return self._settings.answer_timeout_s(self.registers.wire, frames_bytes)

    def halves(self, block: Block) -> tuple[tuple[Block, Layout], ...]:
        """The smaller blocks for one the device refuses; none when it brings a single point."""
        parts = halves(block, self.registers.wire, self.cost)
        return tuple((part, _layout(part)) for part in parts)


def _layout(block: Block) -> Layout:
    return Layout(block.function, block.start, block.fields)


class Unit:
    """What is known of one device: its reads, its refused points, whether it is in step."""

    __slots__ = (
        "_retry_s",
        "_silences",
        "in_step",
        "number",
        "probe",
        "product",
        "reads",
        "refused",
        "telling",
        "told",
    )

    def __init__(self, number: int, product: Product) -> None:
        self.number = number
        self.product = product
        self.probe = product.read(number, *product.probe)
        self.in_step = True
        # A poll that meets a command may show what was before it: it is no reading.
        self.telling = False
        self.told = 0
        self._forget()

    @property
    def ambiguous(self) -> bool:
        """Whether an answer that comes late could be taken for the answer to another of its reads.

        The probe alone proves only that the device answers now, not that nothing older is under way.
        """
        blocks = [read.block for read in self.reads]
        return any(mistakable(block, blocks) for block in (self.probe.block, *blocks))

    def _forget(self) -> None:
        self.reads = tuple(self.product.read(self.number, *part) for part in self.product.blocks)
        self.refused: dict[str, str] = {}
        self._silences: Counter[tuple[int, int]] = Counter()
        self._retry_s: float | None = None

    def begin(self, now_s: float) -> list[Read]:
        """The reads of a poll that begins now."""
        if self._retry_s is not None and now_s >= self._retry_s:
            self._forget()
        return list(self.reads)

    def refuse(self, read: Read, exception: int, reason: str, now_s: float) -> list[Read]:
        """The device answered a read with an exception: what to ask instead, at once and from now on.

        Only exceptions that will not change by waiting are remembered; an illegal function holds for the
        whole block, an illegal address or value is looked for by halving.
        """
        if exception not in (_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE):
            return []
        halve = exception != _ILLEGAL_FUNCTION
        return self._replace(read, reason, now_s, halve=halve)

    def silent(self, read: Read, now_s: float) -> None:
        """Other reads were answered and this one was not; after some times it is treated as refused."""
        place = (read.block.function, read.block.start)
        self._silences[place] += 1
        if self._silences[place] >= SILENT_BLOCKS_MAX:
            del self._silences[place]
            self._replace(read, "timeout", now_s, halve=True)

    def take(self, answers: list[tuple[Layout, bytes]]) -> Decoded:
        """The values of a poll, and the points the device has refused before."""
        decoded = self.product.registers.take(answers)
        if self.refused:
            decoded.bad.update(self.refused)
        return decoded

    def _replace(self, read: Read, reason: str, now_s: float, *, halve: bool) -> list[Read]:
        if self._retry_s is None:
            self._retry_s = now_s + REFUSED_FOR_S
        parts = self.product.halves(read.block) if halve else ()
        smaller = [self.product.read(self.number, *part) for part in parts]
        if not smaller:
            self.refused |= {field.name: reason for field in read.block.fields}
        at = self.reads.index(read)
        self.reads = (*self.reads[:at], *smaller, *self.reads[at + 1 :])
        return smaller
