"""How a simulated device takes what it is told to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Conduct(StrEnum):
    """How a device treats what it is told."""

    OBEYS = "obeys"
    SILENT = "silent"  # neither does nor answers
    REFUSES = "refuses"  # does nothing, and says so
    ONLY_ANSWERS = "only_answers"  # says it does, and does nothing
    ONLY_DOES = "only_does"
    ANSWERS_LATE = "answers_late"
    ANSWERS_TWICE = "answers_twice"
    ANSWERS_FOR_ANOTHER = (
        "answers_for_another"  # with another command's id, or another register's echo
    )
    # Of a device on a bus that sells; any other obeys.
    COUNTS_ONLY = "counts_only"  # answers, counts a purchase, and puts no money on
    CREDITS_ONLY = "credits_only"  # answers, puts the money on, and does not count it
    REBOOTS = "reboots"  # does it, and starts anew before it can answer
    FORGETS = "forgets"  # the same, and the last purchase was not on its chip yet


@dataclass(frozen=True, kw_only=True, slots=True)
class Bearing:
    """A conduct that a person ordered: devices by pattern, from and to seconds after the campus began.

    `exception` is what a Modbus device that refuses answers with.
    """

    device: str
    conduct: Conduct
    exception: int = 3
    from_s: float = 0.0
    to_s: float = 1e9


OF_BUSES = (Conduct.COUNTS_ONLY, Conduct.CREDITS_ONLY, Conduct.REBOOTS, Conduct.FORGETS)
OBEYS = Bearing(device="*", conduct=Conduct.OBEYS)
