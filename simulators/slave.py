"""One Modbus device: its machine, its registers, and its answers to requests. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hub import Device, Value
from simulators.conduct import Bearing, Conduct
from simulators.desks import Desk
from simulators.faults import DeviceFaults, Fault, FaultKind
from simulators.ledger import Deed, Diary
from simulators.machine import Machine
from simulators.meter import Meter
from simulators.modbus_wire import MAKERS_WRITE, READ_FUNCTIONS
from simulators.registers import (
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    Refused,
    RegisterLayout,
)
from simulators.relay_board import RelayBoard

_DEVICE_FAILURE = 4
_ON, _OFF, _TOGGLE = 0xFF00, 0x0000, 0x5500
# Relay boards after Waveshare's wiki: coils beyond the relays are orders to the board.
_ALL, _TOGGLE_ALL, _FLASH_ON, _FLASH_OFF, _FLASH_UNIT_MS = 0x00FF, 0x01FF, 0x0200, 0x0400, 100
_WRITABLE = {"u16": ">H", "s16": ">h", "u32": ">I", "s32": ">i", "float32": ">f"}
TURNAROUND_MS = 40.0
_REBOOT_MS = 2_000
# What of a purchase is gone again: money, count.
_LOSES = {
    Conduct.COUNTS_ONLY: (True, False),
    Conduct.CREDITS_ONLY: (False, True),
    Conduct.FORGETS: (True, True),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a slave sends: the unit it calls itself, the PDU, and the fault that spoils it on its way."""

    unit: int
    pdu: bytes
    fault: Fault | None = None


class Slave:
    """A device on a bus: asked with a PDU, it answers with one, or is silent."""

    def __init__(
        self,
        device: Device,
        machine: Machine,
        *,
        layout: RegisterLayout,
        diary: Diary,
        faults: DeviceFaults | None = None,
        desk: Desk | None = None,
    ) -> None:
        self.unit = int(device.address, 0)
        self.device = device
        self.machine = machine
        self.turnaround_s = _turnaround_ms(device) / 1000
        self._layout = layout
        self._diary = diary
        self._faults = faults
        self._desk = desk
        self._frozen: tuple[Fault, Mapping[str, Value]] | None = None
        self._dark_until_ms = 0

    def answer(self, pdu: bytes, now_ms: int) -> Answer | None:
        """The answer to a request of this unit; None when the device is silent."""
        if now_ms < self._dark_until_ms:
            return None
        fault = self._faults.next(now_ms) if self._faults else None
        if fault is not None:
            self._diary.record(now_ms, Deed.FAULT, {"kind": fault.kind.value})
            if fault.kind in (FaultKind.SILENCE, FaultKind.REBOOT):
                return None
        if fault is not None and fault.kind is FaultKind.EXCEPTION:
            return Answer(unit=self.unit, pdu=bytes((pdu[0] | 0x80, _DEVICE_FAILURE)))
        if self._faults and pdu[0] not in READ_FUNCTIONS and fault is None:
            return self._told(pdu, now_ms, self._faults.bearing(now_ms))
        return self._answer(pdu, now_ms, fault)

    def _told(self, pdu: bytes, now_ms: int, bearing: Bearing) -> Answer | None:
        """The answer to a write, by the device's conduct."""
        conduct = bearing.conduct
        if conduct is not Conduct.OBEYS:
            self._diary.record(now_ms, Deed.FAULT, {"kind": conduct.value})
        if conduct is Conduct.SILENT:
            return None
        if conduct is Conduct.REFUSES:
            return Answer(unit=self.unit, pdu=bytes((pdu[0] | 0x80, bearing.exception)))
        if conduct is Conduct.ONLY_ANSWERS:
            return Answer(unit=self.unit, pdu=_echo(pdu))
        answer = self._answer(pdu, now_ms, None)
        if isinstance(self.machine, Meter) and conduct in _LOSES:
            money, count = _LOSES[conduct]
            self.machine.lose(now_ms, money=money, count=count)
        return self._said(answer, pdu, now_ms, conduct)

    def _said(self, answer: Answer, pdu: bytes, now_ms: int, conduct: Conduct) -> Answer | None:
        """What is heard of the answer to a write that was obeyed."""
        match conduct:
            case Conduct.REBOOTS | Conduct.FORGETS:
                self._dark_until_ms = now_ms + _REBOOT_MS
                self._diary.record(now_ms, Deed.REBOOTED)
                return None
            case Conduct.ONLY_DOES:
                return None
            case Conduct.ANSWERS_LATE:
                return replace(answer, fault=_played(FaultKind.LATE, now_ms))
            case Conduct.ANSWERS_TWICE:
                return replace(answer, fault=_played(FaultKind.DOUBLED, now_ms))
            case Conduct.ANSWERS_FOR_ANOTHER:
                address = int.from_bytes(pdu[1:3]) ^ 1
                return replace(answer, pdu=pdu[:1] + address.to_bytes(2) + answer.pdu[3:])
            case _:
                return answer

    def _answer(self, pdu: bytes, now_ms: int, fault: Fault | None) -> Answer:
        try:
            body = self._obey(pdu, now_ms, fault)
        except Refused as refused:
            request = {"function": pdu[0], "code": refused.code}
            self._diary.record(now_ms, Deed.REFUSED, request)
            body = bytes((pdu[0] | 0x80, refused.code))
        answer = Answer(unit=self.unit, pdu=body, fault=fault)
        if fault is not None and fault.kind is FaultKind.WRONG_UNIT:
            return replace(answer, unit=self.unit % 247 + 1)
        return answer

    def broadcast(self, pdu: bytes, now_ms: int) -> None:
        """Obey without a word; what cannot be obeyed is passed over."""
        if pdu[0] in READ_FUNCTIONS:
            return
        try:
            self._obey(pdu, now_ms, None)
        except Refused as refused:
            self._diary.record(now_ms, Deed.REFUSED, {"function": pdu[0], "code": refused.code})

    def _obey(self, pdu: bytes, now_ms: int, fault: Fault | None) -> bytes:
        function = pdu[0]
        if function in READ_FUNCTIONS and len(pdu) == 5:
            return self._read(pdu, now_ms, fault)
        if function in (5, 6) and len(pdu) == 5:
            address, word = struct.unpack(">HH", pdu[1:])
            if function == 5:
                self._write_coil(address, word, now_ms)
            else:
                self._write_registers(address, pdu[3:], now_ms)
            return pdu
        if function in (15, 16, MAKERS_WRITE) and len(pdu) > 5 and len(pdu) == 6 + pdu[5]:
            self._write_many(pdu, now_ms)
            return _echo(pdu)
        raise Refused(ILLEGAL_FUNCTION)

    def _read(self, pdu: bytes, now_ms: int, fault: Fault | None) -> bytes:
        function, start, count = struct.unpack(">BHH", pdu)
        on_desk = self._desk.read(now_ms, start, count) if self._desk and function == 3 else None
        if on_desk is not None:
            return bytes((function, len(on_desk))) + on_desk
        identity = self._layout.identity((function, start, count))
        if identity is not None:
            self._diary.record(now_ms, Deed.IDENTIFIED)
            return bytes((function, len(identity))) + identity
        values = self._values(now_ms, fault)
        data, shown = self._layout.read((function, start, count), values)
        self._diary.record(now_ms, Deed.ANSWERED, shown)
        return bytes((function, len(data))) + data

    def _values(self, now_ms: int, fault: Fault | None) -> Mapping[str, Value]:
        """What the machine shows, unless a fault holds its values or moves its clock."""
        kind = fault.kind if fault else None
        if fault is None or kind not in (FaultKind.FROZEN, FaultKind.CLOCK_SKEW):
            return self.machine.show(now_ms)
        if kind is FaultKind.FROZEN:
            if self._frozen is None or self._frozen[0] != fault:
                self._frozen = (fault, self.machine.show(now_ms))
            return self._frozen[1]
        values = dict(self.machine.show(now_ms))
        if "device_time" in values:
            time = datetime.fromisoformat(str(values["device_time"]))
            shifted = time + timedelta(milliseconds=fault.skew_ms())
            values["device_time"] = shifted.replace(microsecond=0).isoformat()
        return values

    def _write_coil(self, address: int, word: int, now_ms: int) -> None:
        board = self.machine.board
        if board is None:
            raise Refused(ILLEGAL_FUNCTION)
        if address in (_ALL, _TOGGLE_ALL):
            for channel in range(board.channels):
                self._switch(board, channel, _TOGGLE if address == _TOGGLE_ALL else word, now_ms)
            return
        for base, on in ((_FLASH_OFF, False), (_FLASH_ON, True)):
            if base <= address < base + board.channels:
                board.flash(now_ms, address - base, on, word * _FLASH_UNIT_MS)
                return
        if address >= board.channels:
            raise Refused(ILLEGAL_ADDRESS)
        self._switch(board, address, word, now_ms)

    def _switch(self, board: RelayBoard, channel: int, word: int, now_ms: int) -> None:
        if word not in (_ON, _OFF, _TOGGLE):
            raise Refused(ILLEGAL_VALUE)
        board.step(now_ms)
        on = not board.relays[channel] if word == _TOGGLE else word == _ON
        board.switch(now_ms, channel, on)

    def _write_many(self, pdu: bytes, now_ms: int) -> None:
        function, address, count = struct.unpack(">BHH", pdu[:5])
        data = pdu[6:]
        if function != 15:
            if len(data) != 2 * count:
                raise Refused(ILLEGAL_VALUE)
            if self._desk and self._desk.write(now_ms, function, address, data):
                return
            if function != 16:
                raise Refused(ILLEGAL_FUNCTION)
            self._write_registers(address, data, now_ms)
            return
        if len(data) != (count + 7) // 8:
            raise Refused(ILLEGAL_VALUE)
        bits = int.from_bytes(data, "little")
        for place in range(count):
            self._write_coil(address + place, _ON if bits >> place & 1 else _OFF, now_ms)

    def _write_registers(self, address: int, data: bytes, now_ms: int) -> None:
        """Whole points only: a write that covers half of one is refused before anything is changed."""
        writes: list[tuple[str, Value]] = []
        at = 0
        while at < len(data):
            cell = self._layout.cell_at(3, address + at // 2)
            code = _WRITABLE.get(cell.keys.type) if cell else None
            if cell is None or code is None or cell.address != address + at // 2:
                raise Refused(ILLEGAL_ADDRESS)
            body = data[at : at + cell.size]
            if len(body) < cell.size:
                raise Refused(ILLEGAL_ADDRESS)
            writes.append((cell.name, cell.decode(body, code)))
            at += cell.size
        for name, value in writes:
            if not self.machine.write(now_ms, name, value):
                raise Refused(ILLEGAL_ADDRESS)


def _echo(pdu: bytes) -> bytes:
    """The answer to a write: all of it for one value, function, address and count for several."""
    return pdu if pdu[0] in (5, 6) else pdu[:5]


def _played(kind: FaultKind, now_ms: int) -> Fault:
    return Fault(kind=kind, chance=0.0, since_ms=now_ms, until_ms=now_ms)


def _turnaround_ms(device: Device) -> float:
    given = device.profile.wire.get("turnaround_ms", TURNAROUND_MS)
    return float(given) if isinstance(given, int | float) else TURNAROUND_MS
