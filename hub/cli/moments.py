"""Moments as a person reads and writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hub.errors import ConfigError

_AGO = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_HINT = (
    "write 2026-11-22, 2026-11-22T18:00 (the site's time), 2026-11-22T18:00+08:00, or 6h for ago"
)


def when(time_ms: int) -> str:
    """UTC date and time to the millisecond."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time_ms % 1000:03d}"


def local(time_ms: int, zone: ZoneInfo) -> str:
    """Date and time to the second at this zone's clocks, with how far they are from UTC."""
    return datetime.fromtimestamp(time_ms // 1000, zone).isoformat(" ")


def moment_ms(text: str, zone: ZoneInfo, now_ms: int, *, key: str) -> int:
    """UTC ms of a date, a time at this zone's clocks unless it names another, or `6h` before now.

    Raises ConfigError, also for a time that those clocks show twice, or never.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            passed = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return now_ms - round(passed.total_seconds() * 1000)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
            if moment.utcoffset() != moment.replace(fold=1).utcoffset():
                raise _wrong(key, text, "the clocks change then: add how far they are, as +02:00")
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise _wrong(key, text, _HINT) from None


def _wrong(key: str, text: str, hint: str) -> ConfigError:
    return ConfigError(file="command line", key=key, found=f"found {text!r}", hint=hint)
