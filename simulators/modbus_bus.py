"""One RS-485 bus, or one Modbus TCP gateway before it: its slaves, its time, one talker at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hub import Clock
from simulators.faults import FaultKind
from simulators.line import Line, Schedule
from simulators.slave import Answer, Slave

_WAITING_MAX = 64
_BROADCAST = 0
_RTU_OVERHEAD = 3  # unit and CRC around a PDU on the wire


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A request as it came in: `frame` writes an answer in the words of its connection, `send` sends it.

    `baud` is the asker's speed, where the way to the bus tells it.
    """

    unit: int
    pdu: bytes
    arrived_s: float
    frame: Callable[[int, bytes], bytes]
    send: Callable[[bytes], None]
    baud: int = 0


class Bus:
    """A bus. Whoever asks is answered in turn; a unit that is not there is silence.

    `speaks` are the units that were left at another speed than the line's: asked at any but their own,
    they are silent. `doubles` are second devices at an address that is taken: both answer at once.
    """

    def __init__(self, slaves: Iterable[Slave], line: Line, clock: Clock) -> None:
        self.slaves: Mapping[int, Slave] = {slave.unit: slave for slave in slaves}
        self.line = line
        self.clock = clock
        self.speaks: dict[int, int] = {}
        self.doubles: dict[int, Slave] = {}
        self.exchanges = 0
        self.refused = 0
        self.cut = (
            False  # the cable to it: while cut, whoever is connected or connects is thrown off
        )
        self.callers: set[asyncio.Transport] = set()
        self._schedule = Schedule(line)
        self._waiting: asyncio.Queue[Request] = asyncio.Queue(_WAITING_MAX)

    def cut_off(self, cut: bool) -> None:
        """Cut the way to this bus, as a dead serial server would, or mend it."""
        self.cut = cut
        for transport in list(self.callers) if cut else ():
            transport.abort()

    def ask(self, request: Request) -> None:
        """Put a request in the queue; one too many is dropped and counted, as a serial server does."""
        try:
            self._waiting.put_nowait(request)
        except asyncio.QueueFull:
            self.refused += 1

    async def run(self) -> None:
        """Serve the bus until cancelled."""
        async with asyncio.TaskGroup() as late:
            while True:
                request = await self._waiting.get()
                await self._serve(request, late)

    async def _serve(self, request: Request, late: asyncio.TaskGroup) -> None:
        self.exchanges += 1
        now_ms = self.clock.now_ms()
        asked = len(request.pdu) + _RTU_OVERHEAD
        slave = self.slaves.get(request.unit)
        if request.unit == _BROADCAST:
            for listener in self.slaves.values():
                listener.broadcast(request.pdu, now_ms)
        heard = slave is not None and self._is_understood(request)
        answer = slave.answer(request.pdu, now_ms) if slave and heard else None
        if slave is None or answer is None:
            self._schedule.place(request.arrived_s, asked, 0, 0.0)
            return
        length = len(answer.pdu) + _RTU_OVERHEAD
        slot = self._schedule.place(request.arrived_s, asked, length, slave.turnaround_s)
        await self._until(slot.answered_s)
        double = self.doubles.get(request.unit)
        other = double.answer(request.pdu, now_ms) if double else None
        if other is None:
            await self._send(request, answer, late)
        else:
            frames = [request.frame(one.unit, one.pdu) for one in (answer, other)]
            request.send(_at_once(*frames))
        self._schedule.delivered(slot, self.clock.monotonic_s())

    def _is_understood(self, request: Request) -> bool:
        """Whether the request came at the unit's own speed."""
        own = self.speaks.get(request.unit, self.line.baud)
        return (request.baud or self.line.baud) == own

    async def _until(self, time_s: float) -> None:
        pause_s = time_s - self.clock.monotonic_s()
        if pause_s > 0 and self.line.speed:
            await self.clock.sleep(pause_s)

    async def _send(self, request: Request, answer: Answer, late: asyncio.TaskGroup) -> None:
        frame = request.frame(answer.unit, answer.pdu)
        fault = answer.fault
        kind = fault.kind if fault else None
        if fault is None:
            request.send(frame)
        elif kind is FaultKind.DELAY:
            await self.clock.sleep(fault.delay_s())
            request.send(frame)
        elif kind is FaultKind.LATE:
            # The line goes on: a serial server sends what it has kept when its client has given up.
            late.create_task(self._send_late(request, frame, fault.delay_s()), name="late answer")
        elif kind in (FaultKind.GARBAGE, FaultKind.TRUNCATION):
            request.send(fault.spoil(frame))
        else:
            request.send(frame * 2 if kind is FaultKind.DOUBLED else frame)

    async def _send_late(self, request: Request, frame: bytes, delay_s: float) -> None:
        await self.clock.sleep(delay_s)
        request.send(frame)


def _at_once(first: bytes, second: bytes) -> bytes:
    """Two frames on one pair of wires: where they differ neither is readable."""
    mixed = bytes(one & other for one, other in zip(first, second, strict=False))
    longer = max(first, second, key=len)
    return mixed + longer[len(mixed) :]
