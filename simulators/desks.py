"""Places of a product that are no points: blocks and mailboxes through which it is told what to do. No I/O.

Acrel, after its decompiled configuration tool: registers 0x57 and 0x58 force the relay; function 0x20 at
0x0200 writes the money block, each field behind a byte that enables it. Schneider, after DOCA0005: command
number at register 5250 with its parameters behind it, and a result register that tells later.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from hub import Profile
from simulators.machine import Machine
from simulators.meter import Meter
from simulators.modbus_wire import MAKERS_WRITE
from simulators.registers import ILLEGAL_ADDRESS, ILLEGAL_VALUE, Refused


class Desk(Protocol):
    """What takes orders beside the points."""

    def read(self, now_ms: int, start: int, count: int) -> bytes | None:
        """The registers of this span; None when they do not lie here."""

    def write(self, now_ms: int, function: int, address: int, data: bytes) -> bool:
        """Take an order; False when it does not lie here. Raises Refused, and has then done nothing."""


class PrepaidDesk:
    """Forced control and the money block of a prepaid meter."""

    _FORCE, _MONEY = 0x0057, 0x0200
    # Fee control, remaining money, purchase count, two energies, two alarms, four prices, overdraft, number.
    _FIELDS = (2, 4, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3)
    _REMAINING, _COUNT = 1, 2

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def read(self, now_ms: int, start: int, count: int) -> bytes | None:
        """Orders cannot be read back."""
        return None

    def write(self, now_ms: int, function: int, address: int, data: bytes) -> bool:
        """Force the relay, or take a purchase."""
        if (function, address) == (16, self._FORCE) and len(data) == 4:
            enabled, opened = struct.unpack(">HH", data)
            if enabled > 1 or opened > 1:
                raise Refused(ILLEGAL_VALUE)
            self._meter.force(now_ms, enabled=bool(enabled), opened=bool(opened))
            return True
        if function != MAKERS_WRITE:
            return False
        if address != self._MONEY:
            raise Refused(ILLEGAL_ADDRESS)
        if len(data) != sum(self._FIELDS) + len(self._FIELDS):
            raise Refused(ILLEGAL_VALUE)
        self._purchase(now_ms, data)
        return True

    def _purchase(self, now_ms: int, data: bytes) -> None:
        given: dict[int, int] = {}
        at = 0
        for place, size in enumerate(self._FIELDS):
            if data[at]:
                given[place] = int.from_bytes(data[at + 1 : at + 1 + size])
            at += 1 + size
        if given.keys() != {self._REMAINING, self._COUNT}:
            raise Refused(ILLEGAL_VALUE)
        if not self._meter.credit(now_ms, given[self._REMAINING], given[self._COUNT]):
            raise Refused(ILLEGAL_VALUE)


class Mailbox:
    """Schneider's: a command is taken at once, done after a while, and only then its result stands there."""

    COMMAND, ECHO, RESULT = 0x1481, 0x14FE, 0x14FF
    _SET_TARIFF = 2008
    _DONE, _NO_COMMAND, _WRONG_PARAMETER, _WRONG_COUNT = 0, 3000, 3001, 3002
    _PENDING = 0xFFFF
    _TAKES_MS = 300

    def __init__(self, note: Callable[[int, dict[str, int]], None]) -> None:
        self._note = note
        self._number = 0
        self._parameters: tuple[int, ...] = ()
        self._done_ms = 0
        self._result = self._DONE

    def read(self, now_ms: int, start: int, count: int) -> bytes | None:
        """The number of the last command and what became of it."""
        if not self.ECHO <= start <= start + count - 1 <= self.RESULT:
            return None
        self._work(now_ms)
        words = (self._number, self._result)
        return b"".join(word.to_bytes(2) for word in words[start - self.ECHO :][:count])

    def write(self, now_ms: int, function: int, address: int, data: bytes) -> bool:
        """Take a command with its parameters."""
        if function != 16 or address != self.COMMAND:
            return False
        self._work(now_ms)
        self._number, *parameters = struct.unpack(f">{len(data) // 2}H", data)
        self._parameters = tuple(parameters)
        self._result = self._PENDING
        self._done_ms = now_ms + self._TAKES_MS
        return True

    def _work(self, now_ms: int) -> None:
        if self._result != self._PENDING or now_ms < self._done_ms:
            return
        self._result = self._verdict()
        if self._result == self._DONE:
            self._note(self._done_ms, {"tariff": self._parameters[-1]})

    def _verdict(self) -> int:
        """The last parameter is the tariff, 1 to 4; what stands before it is not in the source."""
        if self._number != self._SET_TARIFF:
            return self._NO_COMMAND
        if not self._parameters:
            return self._WRONG_COUNT
        return self._DONE if 1 <= self._parameters[-1] <= 4 else self._WRONG_PARAMETER


def desk_of(profile: Profile, machine: Machine) -> Desk | None:
    """The desk of a product, told by its points and its maker; None when it has points only."""
    if not isinstance(machine, Meter):
        return None
    if "force_control_enabled" in profile.points:
        return PrepaidDesk(machine)
    if profile.maker.startswith("Schneider"):
        return Mailbox(machine.note)
    return None
