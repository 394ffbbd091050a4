"""Whether rooms were cut and came back as they must: in arrears, by day, and back soon after payment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, time

from sqlalchemy import Connection, text

from hub.campus.orders.orders import Order
from tests.month_meter import CLOSINGS, Deed, DormMeter, Entry
from tests.month_people import HOLIDAYS, ZONE, Household
from tests.month_reckoning import Purse, is_charged
from tests.month_town import PROTECTED, Town

RESTORED_WITHIN_MS = 60_000
_LOST_WITHIN_MS = 1_200_000  # where an answer or a hub was lost meanwhile
_NIGHT = time(22, 30), time(7)
_PER_S = 5
_TRIPS_MAX = 3
_UNSURE_FEN = 1
_BY_HUB = (Deed.RESTORED, Deed.ARMED)


def supply_complaints(
    connection: Connection, town: Town, known: Sequence[Order], purses: Mapping[str, Purse]
) -> Iterator[str]:
    """Every promise about the supply of rooms that was broken, in words."""
    yield from _too_fast(town)
    for home in town.homes:
        purse = purses.get(home.room.account, Purse(course=[], moved=[]))
        for name in home.served:
            meter = town.meters[name]
            yield from _cut_wrongly(town, home, meter, purse)
            yield from _closed_after_trip(town, meter)
            yield from _unwritten(connection, meter)
            if is_charged(home):
                yield from _not_cut(town, home, meter, purse)
                yield from _not_restored(town, home, meter, known, purse)


def protection(home: Household, now_ms: int) -> str:
    """Why the hub may not cut this room then; empty when it may."""
    local = datetime.fromtimestamp(now_ms / 1000, ZONE)
    if (home.room.building, home.room.room) == PROTECTED:
        return "a protected room"
    if local.date() in HOLIDAYS:
        return "a holiday"
    return "a night" if local.time() >= _NIGHT[0] or local.time() < _NIGHT[1] else ""


def _cut_wrongly(town: Town, home: Household, meter: DormMeter, purse: Purse) -> Iterator[str]:
    trips = 0
    for entry in meter.diary:
        trips += entry.deed is Deed.TRIPPED
        if entry.deed is not Deed.CUT or _is_locked(town, meter, trips, entry.time_ms):
            continue
        said = f"{meter.id} was cut at {_clock(entry.time_ms)}"
        if why := protection(home, entry.time_ms):
            yield f"{said}: {why}"
        if not is_charged(home):
            yield f"{said}, and the hub does not charge it"
        elif entry.time_ms < purse.closed_ms and not purse.is_used_up(entry.time_ms, _UNSURE_FEN):
            yield f"{said} with {purse.left(entry.time_ms)} left"
        if not _is_sure(town, meter, entry.time_ms):
            yield f"{said}, and its last word was old, or doubtful"


def _is_locked(town: Town, meter: DormMeter, trips: int, now_ms: int) -> bool:
    """Whether so many trips keep it off until staff say otherwise; roughly: since it was mounted."""
    return trips >= _TRIPS_MAX and bool(meter.trips)


def _is_sure(town: Town, meter: DormMeter, now_ms: int) -> bool:
    said = [one for one in meter.said if one.time_ms <= now_ms]
    fresh = bool(said) and now_ms - said[-1].time_ms <= 3_000 * town.plan.period_s + 60_000
    return fresh and said[-1].sound


def _not_cut(town: Town, home: Household, meter: DormMeter, purse: Purse) -> Iterator[str]:
    """A room that is used up is dark before long, where nothing stands in the way."""
    for said in meter.said:
        end_ms = said.time_ms + town.plan.notice_ms
        whole = range(said.time_ms, end_ms, 600_000)
        if (
            said.sound
            and said.relay_closed
            and end_ms < min(town.end_ms, purse.closed_ms)
            and all(purse.is_used_up(at_ms, -_UNSURE_FEN) for at_ms in whole)
            and not any(protection(home, at_ms) or _is_dead(town, at_ms) for at_ms in whole)
            and all(_is_closed(meter, at_ms) for at_ms in whole)
            and not any(meter.is_away(at_ms) for at_ms in whole)
            and _is_sure(town, meter, end_ms)
        ):
            yield f"{meter.id} is used up since {_clock(said.time_ms)} and was not cut"
            return


def _not_restored(
    town: Town, home: Household, meter: DormMeter, known: Sequence[Order], purse: Purse
) -> Iterator[str]:
    """A room that was cut has power, or is armed, within a minute of its payment."""
    for begun_ms, ended_ms, deed in meter.off_periods(town.end_ms):
        if (
            deed is not Deed.CUT
            or ended_ms > purse.closed_ms
            or purse.is_used_up(ended_ms, -_UNSURE_FEN)
        ):
            continue
        paid = [
            order
            for order in known
            if order.account == home.room.account
            and begun_ms < order.received_ms < ended_ms
            and not purse.is_used_up(order.changed_ms, -_UNSURE_FEN)
        ]
        if not paid or meter.is_away(paid[0].received_ms):
            continue
        since_ms = paid[0].received_ms
        back = [e.time_ms for e in meter.diary if e.deed in _BY_HUB and e.time_ms > since_ms]
        until_ms = since_ms + RESTORED_WITHIN_MS
        hindered = any(
            since_ms - RESTORED_WITHIN_MS <= e.time_ms <= until_ms
            for e in meter.diary
            if e.deed is Deed.LOST
        )
        if hindered or any(_is_dead(town, at) for at in range(since_ms, until_ms, 1_000)):
            until_ms = since_ms + _LOST_WITHIN_MS
        if not back or back[0] > until_ms:
            late_s = (back[0] - since_ms) / 1000 if back else None
            yield f"{meter.id} was paid at {_clock(since_ms)} and came back after {late_s} s"


def _closed_after_trip(town: Town, meter: DormMeter) -> Iterator[str]:
    """What opened for too much power is not closed by the hub until staff have said so."""
    tripped: Entry | None = None
    for entry in meter.diary:
        if entry.deed is Deed.TRIPPED:
            tripped = entry
        elif entry.deed is Deed.PRESSED:
            tripped = None
        elif entry.deed is Deed.CUT and tripped is not None:
            since, until = tripped.time_ms, entry.time_ms
            # Cut before the meter had said a word since: from then on it is open for the cut.
            tripped = tripped if any(since < one.time_ms < until for one in meter.said) else None
        elif entry.deed in _BY_HUB and tripped is not None and not meter.rate:
            told = any(
                device == meter.id and tripped.time_ms < at_ms <= entry.time_ms
                for device, at_ms in town.unlocked
            )
            if not told:
                yield f"{meter.id} tripped at {_clock(tripped.time_ms)} and was {entry.deed}"
            tripped = None


def _unwritten(connection: Connection, meter: DormMeter) -> Iterator[str]:
    """Whatever the hub did to a supply stands in its audit, and nothing else does."""
    query = text("SELECT action, count(*) FROM audit WHERE subject = :of GROUP BY action")
    rows = connection.execute(query, {"of": f"supply/{meter.id}"})
    written: dict[str, int] = {action: number for action, number in rows}
    cuts = sum(deed is Deed.CUT for _, _, deed in meter.off_periods(10**15))
    if written.get("cut", 0) < cuts:
        yield f"{meter.id} was cut {cuts} times, the audit has {written}"


def _too_fast(town: Town) -> Iterator[str]:
    """At most five a second of one feeder: a floor."""
    told: dict[tuple[str, str], list[int]] = {}
    for home in town.homes:
        for name in home.served:
            moments = [e.time_ms for e in town.meters[name].diary if e.deed in _BY_HUB]
            told.setdefault((home.room.building, home.room.room[:-2]), []).extend(moments)
    for feeder, moments in told.items():
        moments.sort()
        for first, sixth in zip(moments, moments[_PER_S:], strict=False):
            if sixth - first < 1_000:
                yield f"{feeder} had six restores within a second at {_clock(first)}"


def _is_closed(meter: DormMeter, now_ms: int) -> bool:
    return meter.state_at(now_ms) in CLOSINGS


def _is_dead(town: Town, now_ms: int) -> bool:
    return any(since <= now_ms < until + 30_000 for since, until in town.down)


def _clock(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, ZONE).strftime("%d %b %H:%M:%S")
