"""What a person who looks on is shown of the wire: each frame as it travelled, and what it says in words."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from drivers.modbus.frames import Answer, Request
from drivers.modbus.unit import Unit
from hub import Host, Trace, in_words

_KEPT_BYTES = 1024
_NAMES = {
    1: "read coils",
    2: "read inputs",
    3: "read holding registers",
    4: "read input registers",
    5: "write coil",
    6: "write register",
    16: "write registers",
}
_READ_WITH = {5: 1, 6: 3, 16: 3}  # the table in which what is written can be read
_SEVERAL = (1, 2, 3, 4, 16)


class Taps:
    """The devices of one bus, and who looks at them: the host knows."""

    def __init__(self, host: Host, units: Mapping[str, Unit]) -> None:
        self._host = host
        self._units = {unit.number: (name, unit) for name, unit in units.items()}

    def on(self, request: Request, timeout_s: float) -> Tap | None:
        """The tap on one exchange; None, and nothing done, while nobody looks at its device."""
        if not self._host.tapped():
            return None
        name, unit = self._units.get(request.unit, ("", None))
        if unit is None or not self._host.tapped(name):
            return None
        return Tap(self._host, name, unit, request, timeout_s)


class Tap:
    """One exchange as it is shown: the request when it goes, then what came of it."""

    def __init__(
        self, host: Host, device: str, unit: Unit, request: Request, timeout_s: float
    ) -> None:
        self._host = host
        self._device = device
        self._unit = unit
        self._request = request
        self._timeout_s = timeout_s
        self._heard = b""
        self._heard_ms = 0

    def record(self, outgoing: bool, data: bytes) -> None:
        """Bytes go, or come; what comes in pieces is one frame, of the time of its first piece."""
        now_ms = self._host.clock.now_ms()
        if outgoing:
            self._show(now_ms, data, _asked(self._request, self._unit), outgoing=True)
            return
        self._heard_ms = self._heard_ms or now_ms
        self._heard = (self._heard + data)[:_KEPT_BYTES]

    def answered(self, answer: Answer) -> None:
        """It was answered as it must be."""
        if answer.exception:
            text = f"exception {answer.exception}: {answer.reason}"
        else:
            text = _told(self._request, answer.data, self._unit)
        self._show(self._heard_ms, self._heard, text)

    def failed(self, reason: str) -> None:
        """It was not: `reason` is the fault of the frame, the silence, or the loss of the line."""
        text = reason
        if reason == "timeout":
            what = "only part of an answer" if self._heard else "no answer"
            text = f"timeout: {what} within {self._timeout_s:.3g} s"
        self._show(self._heard_ms or self._host.clock.now_ms(), self._heard, text)

    def _show(self, time_ms: int, data: bytes, text: str, *, outgoing: bool = False) -> None:
        self._host.tap(
            Trace(time_ms=time_ms, device=self._device, outgoing=outgoing, data=data, text=text)
        )


def _span(request: Request) -> tuple[int, int]:
    """The first wire address and how many: of a write to one place the second word is its value."""
    start, count = struct.unpack_from(">HH", request.pdu, 1)
    return start, count if request.function in _SEVERAL else 1


def _asked(request: Request, unit: Unit) -> str:
    name = _NAMES.get(request.function)
    if name is None:
        return f"unit {request.unit}: function 0x{request.function:02X}"
    start, count = _span(request)
    place = f"0x{start:04X}" + (f" to 0x{start + count - 1:04X}" if count > 1 else "")
    value = "" if not request.writes else f" = {_written(request)}"
    function = _READ_WITH.get(request.function, request.function)
    points = [
        field.name
        for field in unit.product.registers.fields
        if field.function == function and field.start < start + count and start < field.end
    ]
    return f"unit {request.unit}: {name} {place}{value}" + (f": {', '.join(points)}" * bool(points))


def _written(request: Request) -> str:
    data = request.pdu[6:] if request.function == 16 else request.pdu[3:]
    return data.hex(" ", 2).upper()


def _told(request: Request, data: bytes, unit: Unit) -> str:
    if request.writes:
        return "done as asked"
    start, _ = _span(request)
    decoded = unit.product.registers.decode([(request.function, start, data)])
    parts = [in_words(name, value) for name, value in decoded.values.items()]
    parts += [f"{name}: {reason}" for name, reason in decoded.bad.items()]
    return ", ".join(parts) or "no points of the profile"
