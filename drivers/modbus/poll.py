"""One poll of one device: its reads in order, until it is silent or all are answered."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from drivers.modbus.bus import Bus
from drivers.modbus.frames import Answer, FrameError
from drivers.modbus.registers import Layout
from drivers.modbus.unit import EXTRA_READS_MAX, Read, Unit
from hub import DeviceError, LinkError

_GATEWAY_EXCEPTIONS = (10, 11)


@dataclass(kw_only=True, slots=True)
class Poll:
    """What a poll brought: answers, the points that failed and why, and why it ended early, if it did."""

    unit: Unit
    answers: list[tuple[Layout, bytes]] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    heard: bool = False
    ended: str = ""

    async def run(self, bus: Bus, now_s: float) -> None:
        """Ask everything; raises LinkError when the line is lost before anything was heard.

        A device that was silent or out of step is first asked its probe: a short request whose answer
        cannot be an old answer to another one.
        """
        reads = deque(self.unit.begin(now_s))
        left = len(reads) + EXTRA_READS_MAX
        if not self.unit.in_step and not await self._probe(bus):
            return
        while reads:
            read = reads.popleft()
            left -= 1
            answer = await self._ask(bus, read) if left >= 0 else None
            if answer is None:
                self._give_up([read, *reads], now_s)
                return
            if answer.exception:
                reads.extendleft(reversed(self._refused(read, answer, now_s)))
            else:
                self.answers.append((read.layout, answer.data))

    async def _probe(self, bus: Bus) -> bool:
        answer = await self._ask(bus, self.unit.probe)
        self.unit.in_step = answer is not None
        return self.unit.in_step

    async def _ask(self, bus: Bus, read: Read) -> Answer | None:
        """The answer; None, with the reason in `ended`, when there is none."""
        try:
            answer = await bus.ask(read.request, read.timeout_s)
        except (DeviceError, FrameError) as error:
            self.unit.in_step = False
            self.ended = error.reason
            return None
        except LinkError:
            if not self.heard:
                raise
            self.ended = "link lost"
            return None
        if answer.exception in _GATEWAY_EXCEPTIONS:
            self.unit.in_step = False
            self.ended = answer.reason
            return None
        self.heard = True
        return answer

    def _give_up(self, reads: list[Read], now_s: float) -> None:
        """The rest of this poll is not asked: one silence is enough."""
        reason = self.ended or "not asked"
        self._fail(reads, reason)
        if self.heard and self.ended == "timeout":
            self.unit.silent(reads[0], now_s)

    def _refused(self, read: Read, answer: Answer, now_s: float) -> list[Read]:
        smaller = self.unit.refuse(read, answer.exception, answer.reason, now_s)
        if not smaller:
            self._fail([read], answer.reason)
        return smaller

    def _fail(self, reads: list[Read], reason: str) -> None:
        self.bad |= {place.name: reason for read in reads for place in read.block.fields}
