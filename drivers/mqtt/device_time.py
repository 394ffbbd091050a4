"""A device's own time as UTC milliseconds. Pure; the unit is the profile's, never guessed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

TimeUnit: TypeAlias = Literal["s", "ms", "iso", "iso_local"]
_TIME_MAX_MS = 2**48  # far beyond every calendar, far below what breaks a store


def device_time_ms(
    raw: object, unit: TimeUnit, zone: ZoneInfo, sequence: int | None = None
) -> int | None:
    """The time `raw` says, None when it says none.

    Where the clock ticks in whole seconds and messages are numbered, `sequence % 1000` milliseconds are
    added: the messages of one second keep apart, and a message that comes again is still the same.
    """
    if unit in ("iso", "iso_local"):
        moment = _moment(raw, zone if unit == "iso_local" else None)
        if moment is None:
            return None
        time_ms = round(moment.timestamp() * 1000)
        whole = moment.microsecond == 0
    else:
        if isinstance(raw, bool) or not isinstance(raw, int | float) or abs(raw) > _TIME_MAX_MS:
            return None
        time_ms = round(raw * 1000) if unit == "s" else round(raw)
        whole = unit == "s" and isinstance(raw, int)
    if whole and sequence is not None:
        time_ms += sequence % 1000
    return time_ms if 0 <= time_ms <= _TIME_MAX_MS else None


def _moment(raw: object, zone: ZoneInfo | None) -> datetime | None:
    if not isinstance(raw, str):
        return None
    try:
        # Older Tasmota firmware writes 2017.02.16 10:13:52.
        moment = datetime.fromisoformat(raw[:10].replace(".", "-") + raw[10:])
        if moment.tzinfo is None:
            if zone is None:
                return None
            moment = moment.replace(tzinfo=zone)
        moment.timestamp()
    except (ValueError, OverflowError):
        return None
    return moment
