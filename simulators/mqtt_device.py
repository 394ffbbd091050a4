"""One MQTT device: its machine, its messages and when they are due. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hub import Device, Value
from simulators.chance import draw, seed_of
from simulators.faults import DeviceFaults, Fault, FaultKind
from simulators.ledger import Deed, Diary
from simulators.machine import Happening, Machine
from simulators.mqtt_wire import Message
from simulators.obedience import Obedience
from simulators.payload import Role, Stamp, TopicForm

HEARTBEAT_MS = 10_000
LOOK_MS = 1000  # how often a device with events looks at its lane
_CHANGES_MS = 60_000
_FIRST_WITHIN_MS = 3000
_FAILURE = b'{"error":"device failure","value":NaN}'


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A message to send, so much later than now."""

    message: Message
    delay_s: float = 0.0


class MqttDevice:
    """A device that speaks by itself. `due_ms` is when it next has something to say."""

    def __init__(
        self,
        device: Device,
        machine: Machine,
        *,
        forms: tuple[TopicForm, ...],
        diary: Diary,
        faults: DeviceFaults | None = None,
        seed: int = 0,
        obedience: Obedience | None = None,
    ) -> None:
        self.device = device
        self.machine = machine
        self.obedience = obedience
        self.rebooting_until_ms = 0
        self._forms = forms
        self._diary = diary
        self._faults = faults
        self._sequence = 0
        self._last: dict[str, dict[str, Value]] = {}
        self._frozen: tuple[Fault, Mapping[str, Value]] | None = None
        self._phase = draw(seed_of(seed, device.id, "phase"), 0)
        self._next_ms: dict[str, int] = {}

    def presence(self, online: bool) -> Message | None:
        """The retained message that says whether it is there; also its last will."""
        for form in self._forms:
            if form.role is Role.PRESENCE:
                stamp = Stamp(time_ms=0, sequence=0)
                return form.message(self.device.address, {"online": online}, stamp)[0]
        return None

    def begin(self, now_ms: int) -> None:
        """Power is on: everything is due within the first seconds, spread by the seed."""
        first_ms = now_ms + int(self._phase * _FIRST_WITHIN_MS)
        for form in self._forms:
            if form.role is not Role.PRESENCE:
                self._next_ms[form.name] = first_ms

    @property
    def due_ms(self) -> int:
        """When `messages` next has something to do."""
        return min(self._next_ms.values(), default=2**62)

    def messages(self, now_ms: int) -> list[Outgoing]:
        """Everything due now."""
        outgoing: list[Outgoing] = []
        for form in self._forms:
            due_ms = self._next_ms.get(form.name)
            if due_ms is None or due_ms > now_ms:
                continue
            period_ms = self._period_ms(form)
            self._next_ms[form.name] = due_ms + period_ms * ((now_ms - due_ms) // period_ms + 1)
            if form.role is Role.EVENT:
                for happening in self.machine.happenings(now_ms):
                    outgoing += self._tell(happening, now_ms)
            else:
                values = {} if form.role is Role.HEARTBEAT else self.machine.show(now_ms)
                outgoing += self._say(form, values, now_ms)
        return outgoing

    def obey(self, message: Message, now_ms: int) -> list[Outgoing]:
        """Do what a message says, and say what there is to say of it."""
        if self.obedience is None:
            return []
        answers, changed = self.obedience.obey(message, now_ms)
        outgoing = [Outgoing(message=answer, delay_s=delay_s) for answer, delay_s in answers]
        if changed:
            for form in self._forms:
                if form.role is Role.STATE:
                    outgoing += self._say(form, self.machine.show(now_ms), now_ms)
        return outgoing

    def _period_ms(self, form: TopicForm) -> int:
        usual_ms = round(self.device.period_s * 1000)
        match form.role:
            case Role.HEARTBEAT:
                return HEARTBEAT_MS
            case Role.EVENT:
                return LOOK_MS
            case _:
                return min(usual_ms, _CHANGES_MS) if form.partial else usual_ms

    def _tell(self, happening: Happening, now_ms: int) -> list[Outgoing]:
        """The messages of an event: on every event topic that has a place for it."""
        told: list[Outgoing] = []
        for form in self._forms:
            events = [
                name for name in form.points if name in happening.values and name != "sequence"
            ]
            if form.role is Role.EVENT and events:
                told += self._say(form, happening.values, now_ms, at_ms=happening.time_ms)
        return told

    def _say(
        self, form: TopicForm, values: Mapping[str, Value], now_ms: int, at_ms: int | None = None
    ) -> list[Outgoing]:
        fault = self._faults.next(now_ms) if self._faults else None
        if fault is not None and fault.kind in (FaultKind.SILENCE, FaultKind.REBOOT):
            self._fail(fault, now_ms)
            return []
        values = self._changed(form, self._held(values, fault))
        if not values and form.partial:
            return []
        if fault is not None:
            self._fail(fault, now_ms)
        self._sequence += 1
        time_ms = (now_ms if at_ms is None else at_ms) + (fault.skew_ms() if fault else 0)
        if "sequence" in values:
            values = {**values, "sequence": self._sequence}
        stamp = Stamp(time_ms=time_ms, sequence=self._sequence)
        message, said = form.message(self.device.address, values, stamp)
        self._diary.record(time_ms, Deed.PUBLISHED, said)
        return _spoilt(message, fault)

    def _fail(self, fault: Fault, now_ms: int) -> None:
        """A fault meets a message that is due: it stands in the ledger just before that message."""
        self._diary.record(now_ms, Deed.FAULT, {"kind": fault.kind.value})
        if fault.kind is FaultKind.REBOOT:
            self.rebooting_until_ms = fault.until_ms
            self._sequence = 0

    def _held(self, values: Mapping[str, Value], fault: Fault | None) -> Mapping[str, Value]:
        """The values of the moment in which a fault froze them."""
        if fault is None or fault.kind is not FaultKind.FROZEN or not values:
            return values
        if self._frozen is None or self._frozen[0] != fault:
            self._frozen = (fault, values)
        return self._frozen[1]

    def _changed(self, form: TopicForm, values: Mapping[str, Value]) -> Mapping[str, Value]:
        if not form.partial:
            return values
        before = self._last.get(form.name, {})
        here = {name: values[name] for name in form.points if name in values}
        self._last[form.name] = here
        return {name: value for name, value in here.items() if before.get(name) != value}


def _spoilt(message: Message, fault: Fault | None) -> list[Outgoing]:
    kind = fault.kind if fault else None
    if fault is None:
        return [Outgoing(message=message)]
    if kind in (FaultKind.GARBAGE, FaultKind.TRUNCATION):
        return [Outgoing(message=replace(message, payload=fault.spoil(message.payload)))]
    if kind is FaultKind.EXCEPTION:
        return [Outgoing(message=replace(message, payload=_FAILURE))]
    if kind is FaultKind.WRONG_UNIT:
        return [Outgoing(message=replace(message, topic=f"{message.topic}/elsewhere"))]
    out = Outgoing(message=message, delay_s=fault.delay_s())
    return [out, out] if kind is FaultKind.DOUBLED else [out]
