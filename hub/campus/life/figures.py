"""The last word of each meter of a room: its own, said after it was asked, or a person's in its stead. Pure.

Money is settled by it, so it must be sure and of now. A meter that keeps money itself must show 0: no product
has a command that takes money away, so a person empties it and says what it showed before.
"""

from __future__ import annotations

from dataclasses import dataclass

from hub.campus.prepaid.meters import Meter
from hub.campus.prepaid.standing import CREDIT_MONEY
from hub.journal import Latest
from hub.plausibility import CLOCK_AHEAD_MS, ROLLED_OVER

METER = "meter"  # who said it


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """What a person read at a meter, and how. `credit_fen` is what it showed before he emptied it."""

    device: str
    counter: int | None = None
    credit_fen: int | None = None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """A person's word, as it stands in the ledger."""

    spoken: Spoken
    actor: str
    time_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """The last word of a meter; `credit_fen` is what stood in it, where it keeps money itself."""

    device: str
    counter: int | None
    credit_fen: int | None = None
    time_ms: int
    by: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """Why there is no last word yet, for whoever could give it."""

    device: str
    why: str


def final_figure(
    meter: Meter, latest: Latest | None, heard: Heard | None, since_ms: int
) -> Figure | Missing:
    """The last word of a meter that was asked at `since_ms`; a person's goes before its own."""
    if meter.holds_credit:
        return _of_purse(meter, latest, heard, since_ms)
    if heard is not None and heard.spoken.counter is not None:
        return _said(heard, heard.spoken.counter)
    doubt = _doubt(latest, meter.register.point, since_ms)
    if latest is None or doubt:
        return Missing(device=meter.device, why=doubt)
    return _shown(meter, latest)


def _of_purse(
    meter: Meter, latest: Latest | None, heard: Heard | None, since_ms: int
) -> Figure | Missing:
    if heard is not None and heard.spoken.credit_fen is not None:
        return _said(heard, heard.spoken.counter)
    doubt = _doubt(latest, CREDIT_MONEY, since_ms)
    if latest is None or doubt:
        return Missing(device=meter.device, why=doubt)
    if latest.values[CREDIT_MONEY] != 0:
        shown = latest.values[CREDIT_MONEY]
        return Missing(
            device=meter.device, why=f"shows {shown} fen; empty it and say what it showed"
        )
    return _shown(meter, latest, credit_fen=0)


def _shown(meter: Meter, latest: Latest, credit_fen: int | None = None) -> Figure:
    counter = latest.values.get(meter.register.point)
    known = counter.__class__ is int
    return Figure(
        device=meter.device,
        counter=int(counter) if known and counter is not None else None,
        credit_fen=credit_fen,
        time_ms=latest.time_of(meter.register.point) if known else latest.time_ms,
        by=METER,
    )


def _said(heard: Heard, counter: int | None) -> Figure:
    return Figure(
        device=heard.spoken.device,
        counter=counter,
        credit_fen=heard.spoken.credit_fen,
        time_ms=heard.time_ms,
        by=heard.actor,
        reason=heard.spoken.reason,
    )


def _doubt(latest: Latest | None, point: str, since_ms: int) -> str:
    """Why this point's value is not sure, or not said after it was asked; empty when it is."""
    if latest is None or latest.values.get(point).__class__ is not int:
        return "was never heard; read it and say what it shows"
    said = latest.bad.get(point) or latest.uncertain.get(point, "")
    if said and said != ROLLED_OVER:
        return f"is in doubt ({said}); read it and say what it shows"
    time_ms = latest.time_of(point)
    is_new = point not in latest.older and latest.received_ms >= since_ms
    # A meter with a clock of its own may be a little behind; an answer that lay somewhere is older.
    if time_ms < since_ms and not (is_new and time_ms >= since_ms - CLOCK_AHEAD_MS):
        return "has not answered yet; read it and say what it shows"
    return ""
