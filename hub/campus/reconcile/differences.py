"""What is not equal: found by a run, somebody's, ended by a person or by a later run that finds it equal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from hub import audit
from hub.campus.accounts.accounts import Unit
from hub.campus.reconcile.results import Finding, Item, Level
from hub.errors import HubError
from hub.ledger.tables import differences

ACTOR = "reconciliation"
NOTE_MAX = 200
_t = differences
_ADD = insert(_t)
_FIGURES = ("unit", "billed", "ordered", "credited", "counted", "detail")
_BY_ITSELF = (
    update(_t)
    .where(_t.c.id == bindparam("of"), _t.c.ended_ms.is_(None))
    .values(ended_ms=bindparam("now_ms"), ended_by=ACTOR, resolution=bindparam("text"))
)
_AGAIN = (
    update(_t)
    .where(_t.c.id == bindparam("of"))
    .values(
        ended_ms=None,
        ended_by="",
        resolution="",
        **{name: bindparam(f"now_{name}") for name in _FIGURES},
    )
)


class DifferenceError(HubError):
    """This cannot become of a difference, for it has ended, or there is none; nothing was changed."""

    def __init__(self, text: str, *, is_ended: bool) -> None:
        self.is_ended = is_ended
        super().__init__(text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """An item that is not equal, with its owner and end; `ended_ms` is None while it is open."""

    id: str
    day: str
    platform: str
    item: Item
    found_ms: int
    owner: str
    ended_ms: int | None = None
    ended_by: str = ""
    resolution: str = ""

    @property
    def key(self) -> tuple[Level, str, Finding]:
        """What it is known by within its day and platform."""
        return self.item.level, self.item.subject, self.item.finding


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """One that a later run does not find any more, and what it found instead."""

    difference: Difference
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What a run changes of a day's differences: new ones, those open again or otherwise, those that end."""

    added: tuple[Difference, ...] = ()
    again: tuple[Difference, ...] = ()
    ended: tuple[Ending, ...] = ()


def changes_of(
    known: Sequence[Difference], items: Sequence[Item], make: Callable[[Item], Difference]
) -> Changes:
    """What becomes of a day's differences by what was found now; `make` gives a new one.

    What a person has ended stays ended, unless its figures are others now.
    """
    there = {one.key: one for one in known}
    now = {(item.level, item.subject): item for item in items}
    added: list[Difference] = []
    again: list[Difference] = []
    for item in now.values():
        if not item.finding.is_difference:
            continue
        old = there.get((item.level, item.subject, item.finding))
        if old is None:
            added.append(make(item))
        elif old.item != item or (old.ended_ms is not None and old.ended_by == ACTOR):
            again.append(replace(old, item=item, ended_ms=None, ended_by="", resolution=""))
    ended = [
        Ending(difference=one, text=_instead(now.get((one.item.level, one.item.subject))))
        for one in known
        if one.ended_ms is None and not _is_still(one, now)
    ]
    return Changes(added=tuple(added), again=tuple(again), ended=tuple(ended))


def _is_still(one: Difference, now: Mapping[tuple[Level, str], Item]) -> bool:
    item = now.get((one.item.level, one.item.subject))
    return item is not None and item.finding is one.item.finding


def _instead(item: Item | None) -> str:
    return "found on no side of this day any more" if item is None else f"found {item.finding}"


def add(connection: Connection, found: Sequence[Difference], now_ms: int) -> None:
    """Keep new ones, with their rows of the audit."""
    connection.execute(_ADD, [_row(one) for one in found])
    _note(connection, [(one, "found", "", _shown(one)) for one in found], ACTOR, "", now_ms)


def open_again(connection: Connection, found: Sequence[Difference], now_ms: int) -> None:
    """Those that are there again, or with other figures."""
    rows = [
        {"of": one.id} | {f"now_{name}": value for name, value in _figures(one.item).items()}
        for one in found
    ]
    connection.execute(_AGAIN, rows)
    _note(connection, [(one, "found again", "", _shown(one)) for one in found], ACTOR, "", now_ms)


def end_by_itself(connection: Connection, found: Sequence[Ending], now_ms: int) -> None:
    """Those that a run does not find any more, unless a person has ended them meanwhile."""
    noted = []
    for one in found:
        values = {"of": one.difference.id, "now_ms": now_ms, "text": one.text}
        if connection.execute(_BY_ITSELF, values).rowcount:
            noted.append((one.difference, "ended", _shown(one.difference), one.text))
    _note(connection, noted, ACTOR, "", now_ms)


def assign(connection: Connection, id: str, owner: str, actor: str, now_ms: int) -> Difference:
    """Give an open one to somebody. Raises DifferenceError."""
    known = _open(connection, id)
    if known.owner == owner:
        return known
    connection.execute(update(_t).where(_t.c.id == id).values(owner=owner))
    after = replace(known, owner=owner)
    _note(connection, [(after, "assigned", known.owner, owner)], actor, "", now_ms)
    return after


def end(connection: Connection, id: str, note: str, actor: str, now_ms: int) -> Difference:
    """A person ends an open one, and says how. Raises DifferenceError."""
    known = _open(connection, id)
    after = replace(known, ended_ms=now_ms, ended_by=actor, resolution=note)
    connection.execute(
        update(_t).where(_t.c.id == id).values(ended_ms=now_ms, ended_by=actor, resolution=note)
    )
    _note(connection, [(after, "ended", _shown(known), note)], actor, note, now_ms)
    return after


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Which differences; empty means all, `is_open` None means both."""

    day: str = ""
    platform: str | None = None
    finding: str = ""
    owner: str = ""
    is_open: bool | None = None


def find(
    connection: Connection, chosen: Chosen, *, after: str = "", limit: int = 1_000
) -> list[Difference]:
    """Differences in the order in which they were found; `after` is the id of the last one seen."""
    query = select(_t).where(_t.c.id > after).order_by(_t.c.id).limit(limit)
    for name in ("day", "finding", "owner"):
        if value := getattr(chosen, name):
            query = query.where(_t.c[name] == value)
    if chosen.platform is not None:
        query = query.where(_t.c.platform == chosen.platform)
    if chosen.is_open is not None:
        is_open = _t.c.ended_ms.is_(None)
        query = query.where(is_open if chosen.is_open else ~is_open)
    return [_difference(row) for row in connection.execute(query)]


def by_id(connection: Connection, id: str) -> Difference | None:
    """The difference of this id."""
    row = connection.execute(select(_t).where(_t.c.id == id)).one_or_none()
    return None if row is None else _difference(row)


def of_day(connection: Connection, day: str, platform: str) -> list[Difference]:
    """All that were ever found of a day of a platform."""
    query = select(_t).where(_t.c.day == day, _t.c.platform == platform)
    return [_difference(row) for row in connection.execute(query)]


def open_days(connection: Connection, since: str) -> set[tuple[str, str]]:
    """Days and platforms, from one day on, that have open differences."""
    query = select(_t.c.day, _t.c.platform).where(_t.c.ended_ms.is_(None), _t.c.day >= since)
    return {(row.day, row.platform) for row in connection.execute(query.distinct())}


def open_sum(connection: Connection) -> tuple[int, int]:
    """How many are open, and what the money of them comes to, in fen."""
    query = select(_t).where(_t.c.ended_ms.is_(None))
    number = connection.scalar(select(func.count()).select_from(query.subquery())) or 0
    sides = func.coalesce(_t.c.billed, _t.c.ordered, _t.c.credited, _t.c.counted, 0)
    money = select(func.sum(func.abs(sides))).where(_t.c.ended_ms.is_(None), _t.c.unit == Unit.FEN)
    return number, int(connection.scalar(money) or 0)


def _open(connection: Connection, id: str) -> Difference:
    known = by_id(connection, id)
    if known is None:
        raise DifferenceError("there is no such difference", is_ended=False)
    if known.ended_ms is not None:
        text = f"{known.ended_by} has ended it: {known.resolution}"
        raise DifferenceError(text, is_ended=True)
    return known


def _note(
    connection: Connection,
    said: Sequence[tuple[Difference, str, str, str]],
    actor: str,
    cause: str,
    now_ms: int,
) -> None:
    entries = [
        audit.Entry(subject=f"difference/{one.id}", action=action, before=before, after=after)
        for one, action, before, after in said
    ]
    audit.append_all(connection, entries, actor=actor, cause=cause, time_ms=now_ms)


def _shown(one: Difference) -> str:
    said = {name: value for name, value in _row(one).items() if value not in (None, "")}
    return json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _figures(item: Item) -> dict[str, object]:
    return {name: getattr(item, name) for name in _FIGURES}


def _row(one: Difference) -> dict[str, object]:
    return {
        "id": one.id,
        "day": one.day,
        "platform": one.platform,
        "level": one.item.level,
        "subject": one.item.subject,
        "finding": one.item.finding,
        **_figures(one.item),
        "found_ms": one.found_ms,
        "owner": one.owner,
    }


def _difference(row: Row[tuple[object, ...]]) -> Difference:
    return Difference(
        id=row.id,
        day=row.day,
        platform=row.platform,
        item=Item(
            level=Level(row.level),
            subject=row.subject,
            finding=Finding(row.finding),
            unit=Unit(row.unit),
            billed=row.billed,
            ordered=row.ordered,
            credited=row.credited,
            counted=row.counted,
            detail=row.detail,
        ),
        found_ms=row.found_ms,
        owner=row.owner,
        ended_ms=row.ended_ms,
        ended_by=row.ended_by,
        resolution=row.resolution,
    )
