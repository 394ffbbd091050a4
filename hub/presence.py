"""Who is there: each device's presence from its readings, its last will and the polls it missed. Pure.

A device is online once it gave a usable reading, offline after three of its periods without one or when
its last will says so, and unknown until either. It is told once when it goes and once when it returns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from hub.model import Device, Reading

MISSED_PERIODS = 3
ONLINE = "online"


class Presence(StrEnum):
    """Whether a device can be believed to be reachable now."""

    ONLINE = "online"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A device went away, or came back; `reason` is a short word."""

    device: Device
    presence: Presence
    reason: str


class Track(msgspec.Struct):
    """What is known of one device."""

    device: Device
    presence: Presence = Presence.UNKNOWN
    reason: str = "not heard yet"
    heard_s: float = 0.0
    last_miss: str = ""
    misses: int = 0


def is_stale(age_s: float, period_s: float) -> bool:
    """Whether a value this old says nothing about now: three of its periods have passed."""
    return age_s > MISSED_PERIODS * period_s


class PresenceBoard:
    """The presence of every configured device; times are monotonic seconds, given by the caller."""

    def __init__(self) -> None:
        self._tracks: dict[str, Track] = {}

    def configure(self, devices: Iterable[Device], now_s: float) -> None:
        """Know exactly these devices; what is known of those that stay is kept."""
        before = self._tracks
        self._tracks = {}
        for device in devices:
            track = before.get(device.id) or Track(device, heard_s=now_s)
            track.device = device
            self._tracks[device.id] = track

    def heard(self, reading: Reading, now_s: float) -> Change | None:
        """A reading came; returns the change it makes, if any."""
        track = self._tracks.get(reading.device)
        if track is None:
            return None
        if reading.values.get(ONLINE) is False:
            return self._move(track, Presence.OFFLINE, "says it is offline")
        if not reading.values:
            track.last_miss = next(iter(reading.bad.values()), track.last_miss)
            return None
        track.heard_s, track.misses = now_s, 0
        if track.presence is Presence.ONLINE:
            return None
        return self._move(track, Presence.ONLINE, "answers")

    def missed(self, device: str, reason: str) -> None:
        """A device was asked and gave nothing; it goes offline by silence, this says why."""
        track = self._tracks.get(device)
        if track is not None:
            track.last_miss = reason
            track.misses += 1

    def sweep(self, now_s: float) -> list[Change]:
        """Every device that has been silent too long; call it every few seconds."""
        changes = []
        for track in self._tracks.values():
            silent_s = now_s - track.heard_s
            if track.presence is not Presence.OFFLINE and is_stale(silent_s, track.device.period_s):
                reason = track.last_miss or f"silent for {silent_s:.0f} s"
                changes.append(self._move(track, Presence.OFFLINE, reason))
        return [change for change in changes if change is not None]

    def excuse(self, now_s: float, devices: Iterable[str] | None = None) -> None:
        """The silence of these up to now does not count; without names, nobody's.

        They were not asked, or what they said could not be stored.
        """
        names = self._tracks if devices is None else devices
        for name in names:
            if name in self._tracks:
                self._tracks[name].heard_s = now_s

    def of(self, device: str) -> Track | None:
        """What is known of a device."""
        return self._tracks.get(device)

    def counts(self) -> dict[Presence, int]:
        """How many devices are in each state."""
        totals = dict.fromkeys(Presence, 0)
        for track in self._tracks.values():
            totals[track.presence] += 1
        return totals

    def offline(self, limit: int) -> list[Track]:
        """Up to `limit` devices that are offline."""
        found = (track for track in self._tracks.values() if track.presence is Presence.OFFLINE)
        return [track for track, _ in zip(found, range(limit), strict=False)]

    def _move(self, track: Track, presence: Presence, reason: str) -> Change | None:
        track.reason = reason
        if track.presence is presence:
            return None
        track.presence = presence
        return Change(device=track.device, presence=presence, reason=reason)
