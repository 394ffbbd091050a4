"""The time RS-485 takes: characters, silences and answer delays, as arithmetic without a clock.

Source: Modbus over Serial Line V1.02: 3.5 characters of silence part two frames, 1.750 ms above 19200 baud.
"""

from __future__ import annotations

from dataclasses import dataclass

_FAST_BAUD = 19_200
_FAST_SILENCE_S = 0.00175
_SILENCE_CHARACTERS = 3.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A serial line. `speed` divides every time; a baud rate or a speed of 0 means no time passes at all."""

    baud: int
    format: str = "8N1"
    speed: float = 1.0

    @property
    def character_s(self) -> float:
        """One character: a start bit, the data, the parity where there is one, the stop bits."""
        if not self.baud or not self.speed:
            return 0.0
        parity = self.format[1:2] != "N"
        bits = 1 + int(self.format[0]) + parity + int(self.format[2:])
        return bits / self.baud / self.speed

    @property
    def silence_s(self) -> float:
        """The least pause between two frames."""
        if self.baud > _FAST_BAUD and self.speed:
            return _FAST_SILENCE_S / self.speed
        return _SILENCE_CHARACTERS * self.character_s

    def frame_s(self, length: int) -> float:
        """The time a frame of so many bytes is on the wire."""
        return length * self.character_s

    def answer_delay_s(self, turnaround_s: float) -> float:
        """From the request's last bit to the answer's first: never shorter than the silence."""
        if not self.speed:
            return 0.0
        return max(turnaround_s / self.speed, self.silence_s)

    def exchange_s(self, request: int, answer: int, turnaround_s: float) -> float:
        """A whole exchange of so many bytes, from silence to silence: what one answer costs the bus."""
        return (
            self.silence_s
            + self.frame_s(request)
            + self.answer_delay_s(turnaround_s)
            + self.frame_s(answer)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """When one exchange has the line, in seconds of the clock its arrival was read from."""

    start_s: float
    asked_s: float
    answered_s: float


class Schedule:
    """Who has the line when: one talker at a time, each exchange placed by arithmetic, never by waking up.

    What the simulator itself woke too late is given back to the next asker, up to a bound, so that lateness
    does not add up and the spacing stays what the line's arithmetic says.
    """

    _LATE_MAX_S = 0.005

    def __init__(self, line: Line) -> None:
        self.line = line
        self._free_s = 0.0
        self._late_s = 0.0

    def place(self, arrived_s: float, request: int, answer: int, turnaround_s: float) -> Slot:
        """The slot of an exchange that was asked for at `arrived_s`; an answer of 0 bytes is silence."""
        line = self.line
        start_s = max(arrived_s - self._late_s, self._free_s + line.silence_s)
        asked_s = start_s + line.frame_s(request)
        answered_s = asked_s
        if answer:
            answered_s += line.answer_delay_s(turnaround_s) + line.frame_s(answer)
        self._free_s = answered_s
        self._late_s = 0.0
        return Slot(start_s=start_s, asked_s=asked_s, answered_s=answered_s)

    def delivered(self, slot: Slot, now_s: float) -> None:
        """Say when an answer really left, so that the lateness is not charged to the asker."""
        self._late_s = min(max(now_s - slot.answered_s, 0.0), self._LATE_MAX_S)
