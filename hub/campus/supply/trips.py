"""What a device says of its supply that the hub did not do: a trip, a hand, a return. Trips are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, insert, select

from hub.campus.supply.desired import Act, SupplyState
from hub.campus.supply.record import Supply
from hub.campus.supply.switches import OVERLOADS, Word
from hub.journal import Journal
from hub.ledger import tables

BEFORE_MS = 900_000  # how far back the power before a trip is looked for
_t = tables.trips


class Sight(StrEnum):
    """What is seen."""

    NOTHING = "nothing"
    FIRST = "first"  # the device's own count of trips, from which on they are counted
    TRIP = "trip"
    OPEN = "open"  # not by the hub's command, and the device does not say that it tripped
    CLOSED = "closed"  # the hub has not closed it


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a word shows; of a trip its point, and how many there were."""

    sight: Sight = Sight.NOTHING
    kind: str = ""
    trips: int = 0


def look(row: Supply, word: Word) -> Seen:
    """What this word shows beside what is known; a word from before the last change shows nothing."""
    is_new = word.closed is not None and word.time_ms > row.since_ms
    rose = 0
    if word.overloads is not None:
        if row.overloads is None or word.overloads < row.overloads:
            return Seen(sight=Sight.FIRST)
        rose = word.overloads - row.overloads
    if rose:
        return Seen(sight=Sight.TRIP, kind=OVERLOADS, trips=rose)
    # A restore that did nothing, on a device that says it tripped: it did so as it closed.
    is_retry = row.wish in (Act.RESTORE, Act.ARM) and row.tries > 1
    if is_new and not word.closed and word.flag and (is_retry or row.state is SupplyState.ON):
        return Seen(sight=Sight.TRIP, kind=word.flag, trips=1)
    if is_new and not word.closed and row.state is SupplyState.ON:
        return Seen(sight=Sight.OPEN)
    if is_new and word.closed and row.state is not SupplyState.ON:
        return Seen(sight=Sight.CLOSED)
    return Seen()


@dataclass(frozen=True, kw_only=True, slots=True)
class Trip:
    """One trip: when, which since staff unlocked the device, and the power around it where it is known."""

    id: str
    device: str
    account: str
    kind: str
    time_ms: int
    number: int
    power_before_w: int | None
    power_after_w: int | None


async def power_around(
    journal: Journal, device: str, points: Sequence[str], time_ms: int
) -> tuple[int | None, int | None]:
    """The highest power of the quarter of an hour before this moment, and the first after it, in W."""
    for point in points:
        series = await journal.history(device, point, time_ms - BEFORE_MS, time_ms + BEFORE_MS)
        pairs = list(zip(series.times, series.values, strict=True))
        before = [float(value) for at, value in pairs if at < time_ms]
        after = [float(value) for at, value in pairs if at >= time_ms]
        if before or after:
            return (
                round(max(before)) if before else None,
                round(after[0]) if after else None,
            )
    return None, None


def add(connection: Connection, trip: Trip) -> None:
    """Keep a trip, for ever."""
    connection.execute(insert(_t).values({name: getattr(trip, name) for name in Trip.__slots__}))


def newest(connection: Connection, device: str, limit: int) -> list[Trip]:
    """The trips of a device, the newest first."""
    query = select(_t).where(_t.c.device == device).order_by(_t.c.id.desc()).limit(limit)
    return [Trip(**row._mapping) for row in connection.execute(query)]
