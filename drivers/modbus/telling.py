"""One try of one command: its requests in order, the device's own word, and what that comes to.

Nothing has reached the device (NOT_SENT) is said only when no write's first byte can have left; when it has
and no answer tells what became of it, the outcome is SILENT. A refusal is one only when nothing of the
command was done before it.
"""

from __future__ import annotations

import asyncio

from drivers.modbus.bus import Bus, Errand
from drivers.modbus.frames import Answer as Heard
from drivers.modbus.frames import FrameError, Request, read_request, write_request
from drivers.modbus.unit import Unit
from drivers.modbus.writes import Result, WritePlan
from hub import Answer, BadValue, Clock, Command, DeviceError, LinkError, Outcome

_OVERHEAD_BYTES = 6  # unit and CRC, both ways
_RESULT_BYTES = 15  # both frames of reading one register
_ACCEPTED = 5  # the device has taken it and needs time
# Exceptions that say what the device has done: nothing. Any other one leaves that open; 4 ("device
# failure") happened while it was at work.
_REFUSALS = {
    1: Answer.REFUSED,
    2: Answer.REFUSED,
    3: Answer.REFUSED,
    6: Answer.NOT_SENT,
    7: Answer.REFUSED,
    10: Answer.NOT_SENT,
}


class _End(Exception):
    """The try is over before its end."""

    def __init__(self, answer: Answer, reason: str) -> None:
        self.answer = answer
        self.reason = reason
        super().__init__(reason)


class Telling:
    """One try on its way over the bus."""

    def __init__(self, bus: Bus, unit: Unit, command: Command, clock: Clock) -> None:
        self._bus = bus
        self._unit = unit
        self._command = command
        self._clock = clock
        # Whether the answer to a read may still come, and be taken for a poll's.
        self.in_doubt = False
        self._errand = Errand(clock=clock, priority=command.priority, deadline_s=command.deadline_s)

    async def run(self) -> Outcome:
        """What the try came to; raises nothing but cancellation."""
        answer, reason = Answer.ACKNOWLEDGED, ""
        try:
            plan = self._unit.product.commands[self._command.spec.name]
            await self._write(self._requests(plan))
            if plan.result:
                answer, reason = await self._result(plan.result)
        except KeyError:
            answer, reason = Answer.NOT_SENT, "unknown command"
        except _End as end:
            answer, reason = end.answer, end.reason
        return Outcome(answer=answer, reason=reason, frames=tuple(self._errand.frames))

    def _requests(self, plan: WritePlan) -> list[Request]:
        try:
            return [
                write_request(
                    self._unit.number,
                    part.pdu,
                    answer_head=part.answer_head,
                    answer_size=part.answer_size,
                )
                for part in plan.requests(self._command.arguments)
            ]
        except BadValue as error:
            raise _End(Answer.NOT_SENT, str(error)) from None

    async def _write(self, requests: list[Request]) -> None:
        """Every request until the first that is not answered as it must be; none beyond the deadline."""
        left_s = self._command.deadline_s - self._clock.monotonic_s()
        self._unit.telling = True
        try:
            # Cancelled in the middle of an exchange, the bus resets its connection: just what is wanted.
            async with asyncio.timeout(left_s):
                await self._into_step()
                for number, request in enumerate(requests):
                    await self._tell(request, number)
        except TimeoutError:
            waited = not self._errand.writes and not self._bus.is_open
            raise self._nothing("link down" if waited else "deadline") from None
        finally:
            self._unit.telling = False
            self._unit.told += 1

    async def _into_step(self) -> None:
        """Ask a device that was silent its probe: an echo that is late must not be taken for ours."""
        probe = self._unit.probe
        if self._unit.in_step or not self._bus.is_serial:
            return
        await self._ask(probe.request, probe.timeout_s)
        self._unit.in_step = True

    async def _tell(self, request: Request, number: int) -> None:
        size = len(request.pdu) + request.answer_size + _OVERHEAD_BYTES
        heard = await self._ask(request, self._unit.product.timeout_s(size))
        if heard.exception in (0, _ACCEPTED):
            return
        answer = _REFUSALS.get(heard.exception, Answer.SILENT)
        # What came before this one may have been done.
        raise _End(Answer.SILENT if number else answer, heard.reason)

    async def _ask(self, request: Request, timeout_s: float) -> Heard:
        """The answer to a request that goes once; a line lost before it went is waited for anew."""
        in_step, self._unit.in_step = self._unit.in_step, False
        while True:
            writes = self._errand.writes
            try:
                await self._bus.wait_open()
                heard = await self._bus.ask(request, timeout_s, self._errand)
            except (DeviceError, FrameError) as error:
                raise self._nothing(error.reason) from None
            except LinkError as error:
                if self._errand.writes > writes or self._bus.is_closed:
                    raise self._nothing(str(error)) from None
            else:
                self._unit.in_step = in_step
                return heard

    async def _result(self, result: Result) -> tuple[Answer, str]:
        """What the device's own word is, asked for a bounded number of times."""
        request = read_request(self._unit.number, result.function, result.start, 1)
        timeout_s = self._unit.product.timeout_s(_RESULT_BYTES)
        for _ in range(result.polls):
            await self._clock.sleep(result.poll_ms / 1000)
            try:
                heard = await self._bus.ask(request, timeout_s, self._errand)
            except (DeviceError, FrameError):
                self._unit.in_step = False
                self.in_doubt = self._bus.is_serial
                continue
            except LinkError:
                continue
            answer = None if heard.exception else result.answer(heard.data)
            if answer:
                reason = "" if answer is Answer.ACKNOWLEDGED else "result "
                return answer, reason and reason + str(int.from_bytes(heard.data))
        return Answer.SILENT, "no result"

    def _nothing(self, reason: str) -> _End:
        return _End(Answer.SILENT if self._errand.writes else Answer.NOT_SENT, reason)
