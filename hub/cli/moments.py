"""Moments as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime


def when(time_ms: int) -> str:
    """UTC date and time to the millisecond."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time_ms % 1000:03d}"
