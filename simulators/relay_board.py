"""A board of relays and inputs, after Waveshare's wiki: relays that the board itself can switch back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hub import Value
from simulators.ledger import Deed
from simulators.machine import Birth, Happening, plain_value

CHANNELS = 8
RelayWatcher = Callable[[int, int, bool], None]


class RelayBoard:
    """Eight relays, off after power-up. `watcher` is told (time, channel, on) of every change."""

    def __init__(self, birth: Birth, watcher: RelayWatcher | None = None) -> None:
        self.channels = CHANNELS
        self.relays = [False] * CHANNELS
        self._birth = birth
        self._watcher = watcher
        self._back_ms: dict[int, int] = {}

    @property
    def board(self) -> RelayBoard:
        """The board itself."""
        return self

    def step(self, now_ms: int) -> None:
        """Let pulses that are over end, each at its own time."""
        ended = [(time, channel) for channel, time in self._back_ms.items() if time <= now_ms]
        for time_ms, channel in sorted(ended):
            del self._back_ms[channel]
            self._set(time_ms, channel, not self.relays[channel])

    def switch(self, now_ms: int, channel: int, on: bool) -> None:
        """Switch a relay for good; a running pulse of it is forgotten."""
        self.step(now_ms)
        self._back_ms.pop(channel, None)
        relay = {"relay": channel + 1, "on": on}
        self._birth.diary.record(now_ms, Deed.WRITTEN, relay)
        self._set(now_ms, channel, on)

    def flash(self, now_ms: int, channel: int, on: bool, length_ms: int) -> None:
        """Switch a relay for `length_ms`; the board switches it back, whatever becomes of the line."""
        self.step(now_ms)
        order = {"relay": channel + 1, "on": on, "length_ms": length_ms}
        self._birth.diary.record(now_ms, Deed.WRITTEN, order)
        self._set(now_ms, channel, on)
        self._back_ms[channel] = now_ms + length_ms

    def show(self, now_ms: int) -> Mapping[str, Value]:
        """The relays, and whatever else the product lists at rest."""
        self.step(now_ms)
        shown = {name: plain_value(name, self._birth, now_ms) for name in self._birth.points}
        for channel, on in enumerate(self.relays):
            shown[f"relay_{channel + 1}"] = on
        return shown

    def happenings(self, now_ms: int) -> Sequence[Happening]:
        """A board has no events."""
        return ()

    def write(self, now_ms: int, point: str, value: Value) -> bool:
        """A board has no registers to write."""
        return False

    def _set(self, now_ms: int, channel: int, on: bool) -> None:
        if self.relays[channel] == on:
            return
        self.relays[channel] = on
        self._birth.diary.record(now_ms, Deed.MOVED, {"relay": channel + 1, "on": on})
        if self._watcher:
            self._watcher(now_ms, channel, on)
