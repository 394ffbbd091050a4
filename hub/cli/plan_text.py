"""A plan as a person reads it: + comes, ~ changes, - goes."""

from __future__ import annotations

from collections.abc import Iterator

from hub.inventory.installed import Row
from hub.inventory.plan import DeviceChange, Fate, Plan, RoomChange

_SIGNS = {Fate.ADDED: "+", Fate.CHANGED: "~", Fate.REMOVED: "-"}
_EMPTY = '""'


def plan_lines(plan: Plan) -> Iterator[str]:
    """Every change on a line of its own, then the sum of them all."""
    for row in plan.added:
        yield f"+ {row.id}: {_where(row)}"
    for item in plan.returned:
        yield f"+ {item.after.id}: comes back, {_where(item.after)}{_cells(item, '; ')}"
    for item in plan.changed:
        yield f"~ {item.after.id}: {_cells(item)}"
    for row in plan.retired:
        yield f"- {row.id}: retired, its history and money stay; was {_where(row)}"
    yield from _section("rooms whose devices change:", map(_room, plan.rooms))
    links = (f"  {_SIGNS[link.fate]} {link.id}" for link in plan.links)
    yield from _section("links that are touched, all others go on:", links)
    yield from _section("files that changed:", (f"  {name}" for name in plan.files))
    yield sum_of(plan)


def sum_of(plan: Plan) -> str:
    """The whole plan in one line."""
    if plan.is_empty:
        return (
            f"nothing to do: inventory {plan.number} is what the files say, {plan.devices} devices"
        )
    return (
        f"{len(plan.added)} to add, {len(plan.changed)} to change, {len(plan.returned)} to come back, "
        f"{len(plan.retired)} to retire; {len(plan.rooms)} rooms change devices, "
        f"{len(plan.links)} links are touched; {plan.devices} devices then"
    )


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield title
        yield from found


def _where(row: Row) -> str:
    place = " ".join(filter(None, (row.building, row.floor, row.room, row.circuit)))
    said = "".join(f", {word}" for word in (place, row.settings) if word)
    return f"{row.profile} at {row.address} on {row.link}{said}"


def _cells(item: DeviceChange, before: str = "") -> str:
    cells = (
        f"{cell.column} {cell.before or _EMPTY} → {cell.after or _EMPTY}" for cell in item.cells
    )
    text = ", ".join(cells)
    return f"{before}{text}" if text else ""


def _room(room: RoomChange) -> str:
    place = " ".join(filter(None, (room.building, room.room, room.circuit)))
    return f"  ~ {place}: {', '.join(room.before)} → {', '.join(room.after) or 'none'}"
