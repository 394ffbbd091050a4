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
_STAMPS_AHEAD_MS: Final = 1000  # further ahead, and the hub's clock was set back
_POISON_BURST, _POISON_PER_S = 200.0, 5.0
_RETAINED = {"online": "retained by the broker"}


@dataclass(slots=True)
class Allowance:
    """How many messages may still come now. `newest_ms` and `late_ms`: how far the sender's clock has come,
    and how far it has come in what was sent late."""

    left: float
    at_s: float
    newest_ms: int = 0
    late_ms: int = 0

    def take(self, now_s: float, per_s: float, burst: float, time_ms: int = 0) -> bool:
        """Use one, if there is one; the progress of the sender's time counts like seconds passed."""
        passed_s = max(now_s - self.at_s, self._progress_ms(time_ms) / 1000)
        self.left = min(burst, self.left + passed_s * per_s)
        self.at_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def _progress_ms(self, time_ms: int) -> int:
        progress_ms = 0
        if time_ms > self.newest_ms:
            progress_ms, self.newest_ms = time_ms - self.newest_ms, time_ms
        elif time_ms > self.late_ms:
            progress_ms, self.late_ms = time_ms - self.late_ms, time_ms
        return progress_ms


@dataclass(slots=True)
class _Track:
    """What is known of one device since this driver began."""

    allowance: Allowance
    newest_ms: int = 0
    online: bool | None = None
    heartbeat_s: float = float("-inf")
    sequences: dict[str, int] = field(default_factory=dict)
    stamped_ms: int = 0

    def stamp_ms(self, now_ms: int) -> int:
        """When a message without a time of its own came; two of one millisecond are kept apart.

        The journal keeps the first word of a point at a time: without this, the second would be lost.
        """
        ahead = 0 <= self.stamped_ms - now_ms < _STAMPS_AHEAD_MS
        self.stamped_ms = self.stamped_ms + 1 if ahead else now_ms
        return self.stamped_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Now, on both clocks: wall time for stamps, monotonic time for rates."""

    ms: int
    s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Arrival:
    """A message that could be read: who says it, what, when, and whether the broker had kept it."""

    route: Route
    decoded: Decoded
    retained: bool
    now: Moment
    arrived_s: float

    @property
    def time_ms(self) -> int:
        """The device's own time; 0 when it has none that can be believed."""
        time_ms = self.decoded.time_ms
        early_ms, late_ms = self.now.ms - CLOCK_EARLY_MS, self.now.ms + CLOCK_AHEAD_MS
        return time_ms if time_ms is not None and early_ms <= time_ms <= late_ms else 0

    @property
    def online(self) -> bool:
        """Whether it says that the device is there."""
        return self.decoded.values.get("online") is True


class Intake:
    """Judges messages one by one. `counts` holds what was not taken, by (name, reason)."""

    def __init__(self, link: str, settings: MqttSettings, routes: Routes) -> None:
        self._link = link
        self._settings = settings
        self._routes = routes
        self._tracks: dict[str, _Track] = {}
        self._poison = Allowance(left=_POISON_BURST, at_s=float("-inf"))
        self.counts: Counter[tuple[str, str]] = Counter()

    def begin_session(self, now_s: float) -> None:
        """What was not acknowledged before comes again: it is no flood, and known only when stored.

        Message numbers are remembered, because a broker that dies is where messages are lost.
        """
        for track in self._tracks.values():
            track.allowance = self._fresh(now_s)
            track.newest_ms, track.online = 0, None

    def _fresh(self, now_s: float) -> Allowance:
        return Allowance(left=self._settings.burst, at_s=now_s)

    def take(self, message: Message, now: Moment) -> Reading | Poison | None:
        """The reading a message gives, or the poison to keep; None when it was only counted."""
        try:
            if len(message.payload) > self._settings.max_payload_bytes:
                raise Rejected("payload too large")
            route = self._routes.find(message.topic)
            if route is None:
                raise Rejected(self._routes.why_not(message.topic))
            decoded = route.map.decode(route.topic.name, message.payload)
            arrival = _Arrival(
                route=route,
                decoded=decoded,
                retained=message.retained,
                now=now,
                arrived_s=message.arrived_s or now.s,
            )
            return self._reading(arrival)
        except Rejected as error:
            return self._kept(message, str(error), now)

    def _reading(self, arrival: _Arrival) -> Reading | None:
        device, decoded, now = arrival.route.device.id, arrival.decoded, arrival.now
        track = self._tracks.get(device)
        if track is None:
            track = self._tracks[device] = _Track(self._fresh(now.s))
        why_not = _why_not_news(arrival, track)
        if why_not:
            self.counts["skipped", why_not] += 1
            return None
        if not self._allowed(arrival, track):
            self.counts["refused", "flood"] += 1
            return None
        self._note_sequence(arrival, track)
        if decoded.time_ms is None and arrival.route.topic.time is not None:
            self.counts["no device time", arrival.route.topic.name] += 1
        return Reading(
            device=device,
            time_ms=track.stamp_ms(now.ms) if decoded.time_ms is None else decoded.time_ms,
            received_ms=now.ms,
            received_s=arrival.arrived_s,
            values=decoded.values,
            bad=decoded.bad,
            uncertain=_RETAINED if arrival.retained and arrival.online else _NONE,
        )

    def _allowed(self, arrival: _Arrival, track: _Track) -> bool:
        track.newest_ms = max(track.newest_ms, arrival.time_ms)
        settings = self._settings
        return track.allowance.take(
            arrival.now.s, settings.rate_per_s, settings.burst, arrival.time_ms
        )

    def _note_sequence(self, arrival: _Arrival, track: _Track) -> None:
        """A message number that skips is a lost message; one that falls is a restart or a repeat."""
        number, name = arrival.decoded.sequence, arrival.route.topic.name
        late = arrival.decoded.time_ms is not None and arrival.decoded.time_ms < track.newest_ms
        if number is None or late:
            return
        last = track.sequences.get(name)
        if last is not None and number > last + 1:
            self.counts["sequence_gap", ""] += 1
        track.sequences[name] = number

    def _kept(self, message: Message, reason: str, now: Moment) -> Poison | None:
        if not self._poison.take(now.s, _POISON_PER_S, _POISON_BURST):
            self.counts["poison", reason] += 1  # what is kept is counted where it is kept
            self.counts["poison not kept", reason] += 1
            return None
        return Poison(
            time_ms=now.ms,
            link=self._link,
            source=message.topic,
            reason=reason,
            payload=message.payload[:POISON_KEPT_BYTES],
        )


_NONE: dict[str, str] = {}


def _why_not_news(arrival: _Arrival, track: _Track) -> str:
    """Why a message in order tells nothing new; empty when it does. Raises Rejected for a stale one."""
    topic, now_s = arrival.route.topic, arrival.now.s
    if not arrival.decoded.values:
        return "nothing for us"
    if arrival.retained and _is_known(arrival, track):
        return "retained and known"
    if topic.heartbeat:
        if now_s - track.heartbeat_s < arrival.route.device.period_s:
            return "heartbeat"
        track.heartbeat_s = now_s
    if topic.presence:
        track.online = arrival.online
    return ""


def _is_known(arrival: _Arrival, track: _Track) -> bool:
    """Whether a retained message repeats what is known. Raises Rejected when it cannot tell its age."""
    if arrival.route.topic.presence:
        return track.online is arrival.online
    if not arrival.time_ms:
        raise Rejected("retained")
    return arrival.time_ms <= track.newest_ms
