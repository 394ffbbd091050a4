"""What a simulated MQTT device does when it is told something, and how it may misbehave. No I/O."""

from __future__ import annotations

from dataclasses import replace

from simulators.conduct import OF_BUSES, Conduct
from simulators.dialects import DONE, Dialect, Request
from simulators.faults import DeviceFaults
from simulators.ledger import Deed, Diary
from simulators.machine import Machine
from simulators.meter import Meter
from simulators.mqtt_wire import Message
from simulators.turnstile import Turnstile
from simulators.washer import Washer
from simulators.water import WaterMeter

REPORT = "report"
_LATE_S = 2.0


class Obedience:
    """A device's ear for commands; `faults` says how it takes them now."""

    def __init__(
        self, machine: Machine, dialect: Dialect, diary: Diary, faults: DeviceFaults
    ) -> None:
        self._machine = machine
        self._dialect = dialect
        self._diary = diary
        self._faults = faults

    @property
    def topics(self) -> tuple[str, ...]:
        """Where the device listens."""
        return self._dialect.topics

    def obey(self, message: Message, now_ms: int) -> tuple[list[tuple[Message, float]], bool]:
        """Do what is told; gives the answers with their delays (s), and whether the state is to be said."""
        try:
            request = self._dialect.read(message, now_ms)
        except (ValueError, KeyError, TypeError):
            self._diary.record(now_ms, Deed.HEARD, {"verdict": "unreadable"})
            return [], False
        conduct = self._faults.bearing(now_ms).conduct
        conduct = Conduct.OBEYS if conduct in OF_BUSES else conduct
        if request.name == REPORT and not request.refused and conduct is not Conduct.SILENT:
            return [], True
        if conduct is not Conduct.OBEYS:
            self._diary.record(now_ms, Deed.FAULT, {"kind": conduct.value})
        if conduct is Conduct.SILENT:
            self._note(request, "ignored", now_ms)
            return [], False
        code = self._do(request, conduct, now_ms)
        self._note(request, code, now_ms)
        return self._answers(request, code, conduct, now_ms), code in DONE

    def _do(self, request: Request, conduct: Conduct, now_ms: int) -> str:
        if request.refused:
            return request.refused
        if conduct is Conduct.REFUSES:
            return "rejected"
        if conduct is Conduct.ONLY_ANSWERS:
            return "accepted"
        code = _carry_out(self._machine, request, now_ms)
        self._dialect.done(request, code)
        return code

    def _note(self, request: Request, verdict: str, now_ms: int) -> None:
        values = {"id": request.id, "command": request.name, "verdict": verdict}
        self._diary.record(now_ms, Deed.HEARD, values)

    def _answers(
        self, request: Request, code: str, conduct: Conduct, now_ms: int
    ) -> list[tuple[Message, float]]:
        if conduct is Conduct.ONLY_DOES:
            return []
        if conduct is Conduct.ANSWERS_FOR_ANOTHER:
            request = replace(request, id="another-command")
        answer = self._dialect.answer(request, code, now_ms)
        if answer is None:
            return []
        delay_s = _LATE_S if conduct is Conduct.ANSWERS_LATE else 0.0
        times = 2 if conduct is Conduct.ANSWERS_TWICE else 1
        return [(answer, delay_s)] * times


def _carry_out(machine: Machine, request: Request, now_ms: int) -> str:
    """The effect on the machine, as the code that an honest device answers."""
    said = request.arguments
    match machine, request.name:
        case Washer(), "start":
            return machine.start(now_ms, str(said.get("order", "")), str(said.get("program")))
        case Washer(), "cancel":
            return machine.cancel(now_ms, str(said.get("order", "")))
        case Washer(), "stop":
            return machine.stop(now_ms, str(said.get("order", "")))
        case Turnstile(), "open":
            return machine.open(now_ms, str(said.get("direction")))
        case Turnstile(), "mode":
            lasts_s = said.get("duration_s", 86_400)
            return machine.set_mode(now_ms, str(said.get("mode")), int(str(lasts_s)))
        case Turnstile(), "display":
            return "done"
        case Meter() | WaterMeter(), "cut" | "restore" | "arm":
            return machine.switch(now_ms, request.name)
        case Meter(), "power_limit":
            return machine.keep(now_ms, "power_limit", float(str(said.get("power_w", 0))))
        case Meter(), "schedule":
            return machine.keep(now_ms, "schedule", str(said.get("hours")))
        case _:
            return "rejected"
