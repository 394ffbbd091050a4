"""What a person should look at among orders and rooms; of those that stand in the audit, a day's worth."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import structlog

from hub.clock import Clock

_KEPT = 1_000
_KEPT_S = 86_400.0
_log = structlog.get_logger("campus")


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """`subject` is an order, `order/PLATFORM/NUMBER`, `metering/BINDING`, `clock` and the like."""

    subject: str
    reason: str


class Alarms:
    """The newest alarm of each subject."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._raised: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def say(self, subject: str, reason: str) -> None:
        """Somebody should look at this; logged when it begins."""
        if subject not in self._raised:
            _log.error("this needs a person", subject=subject, reason=reason)
        self._raised[subject] = (reason, self._clock.monotonic_s())
        self._raised.move_to_end(subject)
        while len(self._raised) > _KEPT:
            self._raised.popitem(last=False)

    def end(self, subject: str) -> None:
        """All is well with this again."""
        self._raised.pop(subject, None)

    def now(self) -> list[Alarm]:
        """Those of the last day, the newest last."""
        since_s = self._clock.monotonic_s() - _KEPT_S
        return [
            Alarm(subject=subject, reason=reason)
            for subject, (reason, time_s) in self._raised.items()
            if time_s >= since_s
        ]
