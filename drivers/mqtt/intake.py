"""What becomes of one message: a reading, poison, or a count. Pure: time is an argument.

Rules of the intake, beside what `payload` checks:

- A retained message is older than it looks. It is believed where it tells presence, or tells a time of
  its own newer than what its device said last; else it is poison.
- One device may send `burst` messages at once and `rate_per_s` on average. What it kept while it or the
  hub was away is not a flood: the allowance also grows with the device's own clock, as far as that can
  be believed.
- A heartbeat becomes a reading at most once in the device's period.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from drivers.mqtt.payload import Decoded
from drivers.mqtt.routes import Route, Routes
from drivers.mqtt.session import Message
from drivers.mqtt.settings import MqttSettings
from hub import POISON_KEPT_BYTES, Poison, Reading, Rejected

CLOCK_EARLY_MS: Final = 7 * 86_400_000
CLOCK_AHEAD_MS: Final = 120_000
_POISON_BURST, _POISON_PER_S = 200.0, 5.0
_RETAINED = {"online": "retained by the broker"}


@dataclass(slots=True)
class Allowance:
    """How many messages may still come now."""

    left: float
    at_s: float

    def take(self, now_s: float, extra_s: float, per_s: float, burst: float) -> bool:
        """Use one, if there is one; `extra_s` of the sender's own time count like seconds passed."""
        self.left = min(burst, self.left + max(now_s - self.at_s, extra_s) * per_s)
        self.at_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(slots=True)
class _Track:
    """What is known of one device since this driver began."""

    allowance: Allowance
    newest_ms: int = 0
    late_ms: int = 0  # how far what came late has come
    online: bool | None = None
    heartbeat_s: float = float("-inf")
    sequences: dict[str, int] = field(default_factory=dict)


class Intake:
    """Judges messages one by one. `counts` holds what was not taken, by (name, reason)."""

    def __init__(self, link: str, settings: MqttSettings, routes: Routes) -> None:
        self._link = link
        self._settings = settings
        self._routes = routes
        self._tracks: dict[str, _Track] = {}
        self._poison = Allowance(left=_POISON_BURST, at_s=float("-inf"))
        self.counts: Counter[tuple[str, str]] = Counter()

    def take(self, message: Message, now_ms: int, now_s: float) -> Reading | Poison | None:
        """The reading a message gives, or the poison to keep; None when it was only counted."""
        route = self._routes.find(message.topic)
        try:
            if len(message.payload) > self._settings.max_payload_bytes:
                raise Rejected("payload too large")
            if route is None:
                raise Rejected(self._routes.why_not(message.topic))
            decoded = route.map.decode(route.topic.name, message.payload)
            return self._reading(route, message, decoded, now_ms, now_s)
        except Rejected as error:
            return self._kept(message, str(error), now_ms, now_s)

    def _reading(
        self, route: Route, message: Message, decoded: Decoded, now_ms: int, now_s: float
    ) -> Reading | None:
        device = route.device.id
        track = self._tracks.get(device)
        if track is None:
            allowance = Allowance(left=self._settings.burst, at_s=now_s)
            track = self._tracks[device] = _Track(allowance)
        why_not = _why_not_news(route, message, decoded, track, now_ms, now_s)
        if why_not:
            self.counts["skipped", why_not] += 1
            return None
        if not self._allowed(track, decoded, now_ms, now_s):
            self.counts["refused", "flood"] += 1
            return None
        self._note_sequence(route, decoded, track)
        time_ms = decoded.time_ms
        if time_ms is None:
            time_ms = now_ms
            if route.topic.time is not None:
                self.counts["no device time", route.topic.name] += 1
        doubt = message.retained and decoded.values.get("online") is True
        return Reading(
            device=device,
            time_ms=time_ms,
            received_ms=now_ms,
            values=decoded.values,
            bad=decoded.bad,
            uncertain=_RETAINED if doubt else _NONE,
        )

    def _allowed(self, track: _Track, decoded: Decoded, now_ms: int, now_s: float) -> bool:
        time_ms, extra_s = decoded.time_ms, 0.0
        if time_ms is not None and _believable(time_ms, now_ms):
            if time_ms > track.newest_ms:
                extra_s = (time_ms - track.newest_ms) / 1000
                track.newest_ms = time_ms
            elif time_ms > track.late_ms:
                extra_s = (time_ms - track.late_ms) / 1000
                track.late_ms = time_ms
        settings = self._settings
        return track.allowance.take(now_s, extra_s, settings.rate_per_s, settings.burst)

    def _note_sequence(self, route: Route, decoded: Decoded, track: _Track) -> None:
        """A message number that skips is a lost message; one that falls is a restart or a repeat."""
        number, name = decoded.sequence, route.topic.name
        if number is None or (decoded.time_ms or track.newest_ms) < track.newest_ms:
            return  # not numbered, or late
        last = track.sequences.get(name)
        if last is not None and number > last + 1:
            self.counts["sequence_gap", ""] += 1
        track.sequences[name] = number

    def _kept(self, message: Message, reason: str, now_ms: int, now_s: float) -> Poison | None:
        if not self._poison.take(now_s, 0.0, _POISON_PER_S, _POISON_BURST):
            self.counts["poison", reason] += 1  # what is kept is counted where it is kept
            self.counts["poison not kept", reason] += 1
            return None
        return Poison(
            time_ms=now_ms,
            link=self._link,
            source=message.topic,
            reason=reason,
            payload=message.payload[:POISON_KEPT_BYTES],
        )


_NONE: dict[str, str] = {}


def _believable(time_ms: int, now_ms: int) -> bool:
    return -CLOCK_EARLY_MS <= time_ms - now_ms <= CLOCK_AHEAD_MS


def _why_not_news(
    route: Route, message: Message, decoded: Decoded, track: _Track, now_ms: int, now_s: float
) -> str:
    """Why a message in order tells nothing new; empty when it does. Raises Rejected for a stale one."""
    if not decoded.values:
        return "nothing for us"
    if message.retained:
        if not route.topic.presence and not _believable(decoded.time_ms or 0, now_ms):
            raise Rejected("retained")
        known = track.online == decoded.values.get("online")
        if known if route.topic.presence else (decoded.time_ms or 0) <= track.newest_ms:
            return "retained and known"
    if route.topic.heartbeat:
        if now_s - track.heartbeat_s < route.device.period_s:
            return "heartbeat"
        track.heartbeat_s = now_s
    if route.topic.presence:
        track.online = decoded.values.get("online") is True
    return ""
