"""How often a room's key may ask: a bucket for each key that fills by itself."""

from __future__ import annotations

from collections import OrderedDict

PER_MINUTE = 60
BURST = 30
_KEPT = 20_000


class Quota:
    """A bucket of thirty for each key, one more each second; keys that asked longest ago are forgotten."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now_s: float) -> bool:
        """Whether this key may ask now."""
        left, since_s = self._left.pop(key, (float(BURST), now_s))
        left = min(float(BURST), left + (now_s - since_s) * PER_MINUTE / 60)
        may = left >= 1
        self._left[key] = (left - may, now_s)
        if len(self._left) > _KEPT:
            self._left.popitem(last=False)
        return may
