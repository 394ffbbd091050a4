"""Which meters have been silent too long, and where it is the whole link. Pure.

A link is out when none of its meters was heard for the set time and half of them are known to be away; then
its rooms are not told one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hub.campus.alerts.kinds import (
    OFFLINE_DEVICE,
    OFFLINE_LINK,
    RESTORED_BACK,
    Alert,
    Fact,
    Kind,
    Subject,
)
from hub.model import Device


@dataclass(frozen=True, kw_only=True, slots=True)
class Presence:
    """What is known of a meter now: whether it is away, or there, and since when it said nothing."""

    device: Device
    is_away: bool
    is_there: bool
    heard_ms: int

    @property
    def subject(self) -> Subject:
        """As alerts know it."""
        place = self.device.place
        return Subject(id=f"device/{self.device.id}", building=place.building, room=place.room)


def silent(links: Mapping[str, Sequence[Presence]], now_ms: int, limit_ms: int) -> Iterator[Fact]:
    """What is away for longer than the limit: a link as one, else its meters."""
    for link, meters in links.items():
        quiet = [meter for meter in meters if now_ms - meter.heard_ms > limit_ms]
        away = sum(meter.is_away for meter in meters)
        if len(meters) > 1 and len(quiet) == len(meters) and away * 2 >= len(meters):
            heard_ms = max(meter.heard_ms for meter in meters)
            args = {"silent_s": (now_ms - heard_ms) // 1000, "devices": len(meters)}
            subject = Subject(id=f"link/{link}")
            yield Fact(kind=Kind.OFFLINE, subject=subject, level=OFFLINE_LINK, args=args)
            continue
        for meter in quiet:
            if meter.is_away:
                args = {"silent_s": (now_ms - meter.heard_ms) // 1000}
                yield Fact(
                    kind=Kind.OFFLINE, subject=meter.subject, level=OFFLINE_DEVICE, args=args
                )


def heard_again(
    links: Mapping[str, Sequence[Presence]], known: Sequence[Alert]
) -> Iterator[tuple[Alert, bool]]:
    """Open alerts that are over, each with whether its subject is there, and not just configured no more."""
    there = {meter.subject.id for group in links.values() for meter in group if meter.is_there}
    there |= {f"link/{link}" for link, group in links.items() if any(one.is_there for one in group)}
    exist = {meter.subject.id for group in links.values() for meter in group}
    exist |= {f"link/{link}" for link in links}
    for alert in known:
        if alert.subject.id in there or alert.subject.id not in exist:
            yield alert, alert.subject.id in there


def back(alert: Alert) -> Fact:
    """That what this alert missed is there again."""
    return Fact(kind=Kind.RESTORED, subject=alert.subject, level=RESTORED_BACK, is_event=True)
