"""What a feeder measured beyond its rooms: the common use of a building or a floor, and its loss.

A feeder is a meter with a building, perhaps a floor, and no room. Several of one place are added up. What a
floor with a feeder of its own took is taken off the building's as that feeder says, so that nothing is
shared twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub.campus.accounts.accounts import Utility
from hub.errors import HubError
from hub.inventory.bindings import Binding
from hub.inventory.counts import COUNTERS_OF, counter_of
from hub.inventory.ranking import RoomUse
from hub.inventory.use import Slice, Use
from hub.model import Device, Place
from hub.site import Site

LOSS_ALARM_PERCENT = 15.0  # of what was fed; more is worth a look at bindings, counters and cables
_BEFORE_MS = 31 * 86_400_000  # how far before a span a feeder's last word is looked for


class NoFeeder(HubError):
    """Nothing measures what this place takes; the text says what would."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """A building, or one floor of it."""

    building: str
    floor: str = ""
    utility: Utility = Utility.ELECTRICITY


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """What was fed and what rooms, and floors with their own feeders, took of it, in one span."""

    start_ms: int
    end_ms: int
    fed: int
    taken: int

    @property
    def common(self) -> int:
        """Common use and loss; below 0 where more was taken than fed."""
        return self.fed - self.taken


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All of it, in the utility's unit. `doubts` say why it is not sure, `rooms` are those that may share."""

    scope: Scope
    feeders: tuple[str, ...]
    spans: tuple[Span, ...]
    rooms: Mapping[str, int]
    doubts: tuple[str, ...]

    @property
    def fed(self) -> int:
        """What came in."""
        return sum(span.fed for span in self.spans)

    @property
    def taken(self) -> int:
        """What rooms took."""
        return sum(span.taken for span in self.spans)

    @property
    def common(self) -> int:
        """What is left."""
        return sum(span.common for span in self.spans)

    @property
    def common_percent(self) -> float:
        """What is left, of what came in."""
        return round(100 * self.common / self.fed, 2) if self.fed else 0.0

    @property
    def flag(self) -> str:
        """Why a person should look before anything is shared; empty when all is as usual."""
        if self.common < 0:
            return f"the rooms took {-self.common} more than was fed"
        if self.common_percent > LOSS_ALARM_PERCENT:
            return f"{self.common_percent} % is in no room, more than {LOSS_ALARM_PERCENT:g} %"
        return "; ".join(self.doubts)


def feeders_in(site: Site, scope: Scope) -> dict[str, list[Device]]:
    """The feeders of a building by floor, the building's own under the empty one."""
    found: dict[str, list[Device]] = {}
    for device in site.devices():
        place = device.place
        counter = counter_of(device.profile.points)
        if (
            place.building == scope.building
            and not place.room
            and counter in COUNTERS_OF[scope.utility]
        ):
            found.setdefault(place.floor, []).append(device)
    return found


def as_binding(device: Device, start_ms: int) -> Binding:
    """A feeder as if it had served its place all the time: it has no room to be bound to."""
    return Binding(
        id="",
        device=device.id,
        place=Place(building=device.place.building, floor=device.place.floor),
        from_ms=max(0, start_ms - _BEFORE_MS),
        entered_ms=start_ms,
        actor="",
    )


def report_of(
    scope: Scope,
    feeds: Mapping[str, Sequence[tuple[str, Use]]],
    rooms: Sequence[RoomUse],
    sharing: frozenset[str],
) -> Report:
    """The report, of what the feeders of each floor and the rooms of the building used in the same spans.

    `sharing` are the rooms that may be charged. Raises NoFeeder.
    """
    own = feeds.get(scope.floor, ())
    if not own:
        where = f"{scope.building}/{scope.floor}" if scope.floor else scope.building
        raise NoFeeder(f"no meter feeds {where}: give a device this place, and no room")
    below = {} if scope.floor else {floor: feeds[floor] for floor in feeds if floor}
    here = [use for use in rooms if scope.floor in ("", use.floor)]
    parts = [use.slices for use in here if use.floor not in below]
    parts += [use.slices for group in below.values() for _, use in group]
    return Report(
        scope=scope,
        feeders=tuple(name for name, _ in own),
        spans=_spans([use.slices for _, use in own], parts),
        rooms={use.room: use.used for use in here if use.room in sharing},
        doubts=tuple(_doubts(own, below, here)),
    )


def _spans(own: Sequence[Sequence[Slice]], parts: Sequence[Sequence[Slice]]) -> tuple[Span, ...]:
    """What came in and what was taken, span by span."""
    return tuple(
        Span(
            start_ms=slices[0].start_ms,
            end_ms=slices[0].end_ms,
            fed=sum(one.used for one in slices),
            taken=sum(part[place].used for part in parts),
        )
        for place, slices in enumerate(zip(*own, strict=True))
    )


def _doubts(
    own: Sequence[tuple[str, Use]],
    below: Mapping[str, Sequence[tuple[str, Use]]],
    rooms: Sequence[RoomUse],
) -> list[str]:
    known = [*own, *(pair for group in below.values() for pair in group)]
    found = [f"{name} is estimated" for name, use in known if not use.parts or use.estimated]
    vague = [use.room for use in rooms if use.floor not in below and use.estimated]
    if vague:
        found.append(f"{len(vague)} rooms are estimated, the first {vague[0]}")
    return found
