"""Which device served which room, entered late and corrected; and what a room used."""

from __future__ import annotations

from functools import partial
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Path, Query
from pydantic import Field

from hub.api.parts import ApiParts, Parts
from hub.api.problems import NOT_FOUND, FieldProblem, Problem
from hub.api.rights import EVERYONE, INSTALLERS, Who, allow
from hub.api.shapes import Asked, DeviceId, Given, Shown, TimeMs
from hub.auth import EVERYWHERE
from hub.campus.accounts.accounts import Room, Utility
from hub.inventory.bindings import Binding, Chosen, Figure, find_bindings
from hub.inventory.counts import meter_of, meters_of, unit_of
from hub.inventory.figures import in_turns
from hub.inventory.installed import known_devices
from hub.inventory.late import Entry, Misfit, Overlap, Planned, Wish, end_binding
from hub.inventory.use import By, Use, edges, reckon
from hub.model import Place
from hub.points import INT_MAX

router = APIRouter(prefix="/v1", tags=["rooms"])

DAY_MS = 86_400_000
WINDOW_MAX_MS = 400 * DAY_MS
_WORD = r"^[^\x00-\x1f]*$"

Text = Annotated[str, Field(max_length=200, pattern=_WORD)]
_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=_WORD)]
_Value = Annotated[int, Field(ge=0, le=INT_MAX)]
BindingId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,64}$")]
RoomWord: TypeAlias = Annotated[str, Path(min_length=1, max_length=200, pattern=_WORD)]


class BindingGiven(Given):
    """`device` served this room from `from_ms` until `to_ms`, or still; `first` and `last` its counter then.

    `cut` ends or splits the bindings that are in the way.
    """

    device: DeviceId
    building: _Name
    room: _Name
    circuit: Text = ""
    from_ms: TimeMs
    to_ms: TimeMs | None = None
    first: _Value | None = None
    last: _Value | None = None
    cut: bool = False
    cause: Text = ""


class BindingsAsked(Asked):
    """Which bindings; empty means all."""

    building: Text = ""
    room: Text = ""
    device: Text = ""
    after: Text = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class EndAsked(Asked):
    """When the binding really ended; without it, it is taken back wholly."""

    at_ms: TimeMs | None = None
    cause: Text = ""


class UseAsked(Asked):
    """After which moment and until which, at most 400 days; without them, the last day."""

    since_ms: TimeMs | None = None
    until_ms: TimeMs | None = None
    by: By = By.ALL
    circuit: Text = ""
    utility: Utility = Utility.ELECTRICITY


class FigureShown(Shown):
    """What a counter said, and when."""

    value: int
    time_ms: int


class BindingShown(Shown):
    """A device serves a room from `from_ms` until `to_ms`, or still when that is null."""

    id: str
    device: str
    building: str
    floor: str
    room: str
    circuit: str
    from_ms: int
    to_ms: int | None
    first: FigureShown | None
    last: FigureShown | None
    entered_ms: int
    actor: str


class BindingPage(Shown):
    """Bindings in the order in which they were entered; `next` is the `after` of the next page."""

    bindings: list[BindingShown]
    next: str | None


class EnteredShown(Shown):
    """The new binding, and how those stood that were cut or superseded for it."""

    binding: BindingShown
    superseded: list[BindingShown]


class SliceShown(Shown):
    """What was used after `start_ms` and until `end_ms`."""

    start_ms: int
    end_ms: int
    used: int
    estimated: bool


class PartShown(Shown):
    """What one binding brought: its counter's first and last word in these times."""

    binding: str
    device: str
    circuit: str
    point: str
    from_ms: int
    to_ms: int | None
    used: int
    estimated: bool
    first: FigureShown | None
    last: FigureShown | None


class UseShown(Shown):
    """What a room used. `estimated`: a counter was not read near an edge, fell, jumped or began anew."""

    building: str
    room: str
    unit: str
    used: int
    estimated: bool
    slices: list[SliceShown]
    parts: list[PartShown]


@router.get("/bindings", dependencies=[allow(*EVERYONE)])
async def list_bindings(
    parts: Parts, who: Who, asked: Annotated[BindingsAsked, Query()]
) -> BindingPage:
    """Which device served which room, from when to when."""
    building = asked.building if who.place == EVERYWHERE else who.place
    if asked.building not in ("", building):
        return BindingPage(bindings=[], next=None)
    chosen = Chosen(building=building, room=asked.room, device=asked.device)
    found = await parts.ledger.read(
        lambda connection: find_bindings(
            connection, chosen, after=asked.after, limit=asked.limit + 1
        )
    )
    page = found[: asked.limit]
    return BindingPage(
        bindings=[_binding(binding) for binding in page],
        next=page[-1].id if len(found) > asked.limit else None,
    )


@router.post("/bindings", status_code=201, dependencies=[allow(*INSTALLERS, everywhere=True)])
async def enter_binding(parts: Parts, who: Who, given: BindingGiven) -> EnteredShown:
    """Enter a binding, also long after. Refused (409) where it overlaps with others, unless `cut`.

    One without an end must be what the applied files say.
    """
    entry = Entry(
        Wish(
            device=given.device,
            place=_place(parts, given),
            from_ms=given.from_ms,
            to_ms=given.to_ms,
            first=given.first,
            last=given.last,
            cut=given.cut,
        ),
        actor=who.actor,
        cause=given.cause,
        clock=parts.clock,
        counts=lambda name: _counts(parts, name),
    )
    try:
        entered = await parts.ledger.run(entry.write)
    except (Misfit, Overlap, Planned) as error:
        raise _refused(error, "body") from None
    return EnteredShown(
        binding=_binding(entered.binding),
        superseded=[_binding(binding) for binding in entered.superseded],
    )


@router.delete(
    "/bindings/{binding}",
    status_code=204,
    dependencies=[allow(*INSTALLERS, everywhere=True)],
)
async def remove_binding(
    parts: Parts, who: Who, binding: BindingId, asked: Annotated[EndAsked, Query()]
) -> None:
    """End a binding at an earlier moment, or take it back wholly. The audit keeps how it stood."""
    now_ms = parts.clock.now_ms()
    try:
        before = await parts.ledger.run(
            lambda connection: end_binding(
                connection,
                binding,
                asked.at_ms,
                actor=who.actor,
                cause=asked.cause,
                now_ms=now_ms,
            )
        )
    except (Misfit, Planned) as error:
        raise _refused(error, "query") from None
    if before is None:
        raise NOT_FOUND


@router.get("/rooms/{building}/{room}/use", dependencies=[allow(*EVERYONE)])
async def get_use(
    parts: Parts,
    who: Who,
    building: RoomWord,
    room: RoomWord,
    asked: Annotated[UseAsked, Query()],
) -> UseShown:
    """What a room used, from the devices bound to it; by the hour, or by the site's day or month."""
    if not who.covers(building):
        raise NOT_FOUND
    chosen = Chosen(building=building, room=room, circuit=asked.circuit)
    use = await use_of(parts, chosen, asked)
    return _use(Room(building=building, room=room, utility=asked.utility), use)


async def use_of(parts: ApiParts, chosen: Chosen, asked: UseAsked) -> Use:
    """What a room used; raises Problem for one that nothing ever served, and for no span of time."""
    found = await parts.ledger.read(lambda connection: find_bindings(connection, chosen))
    if not found:
        raise NOT_FOUND
    start_ms, end_ms = span_of(parts, asked.since_ms, asked.until_ms, WINDOW_MAX_MS)
    moments = edges(start_ms, end_ms, asked.by, parts.keeper.site.timezone)
    names = {binding.device for binding in found}
    products = partial(known_devices, names=names, profiles=parts.keeper.site.profiles)
    devices = await parts.ledger.read(products)
    meters = meters_of(names, devices, await parts.journal.latest(names), asked.utility)
    return await in_turns(reckon(parts.journal.query, found, meters, moments))


def _place(parts: ApiParts, given: BindingGiven) -> Place:
    buildings = parts.keeper.site.buildings
    place = Place(building=given.building, room=given.room, circuit=given.circuit)
    mistake = buildings.mistake(place)
    if mistake:
        column, found, hint = mistake
        wrong = FieldProblem(field=f"body.{column}", reason=f"{found}; {hint}")
        raise Problem(422, "invalid", "no such place", (wrong,))
    known = buildings.known.get(given.building)
    floor = known.floor_of(given.room) if known else None
    return Place(building=given.building, floor=floor or "", room=given.room, circuit=given.circuit)


def _counts(parts: ApiParts, name: str) -> bool:
    """Whether a device has a counter; one that is gone is held to have had one."""
    device = parts.registry.device(name)
    return device is None or meter_of(name, device, None) is not None


def _refused(error: Misfit | Overlap | Planned, where: str) -> Problem:
    match error:
        case Misfit():
            wrong = FieldProblem(field=f"{where}.{error.field}", reason=str(error))
            return Problem(422, "invalid", str(error), (wrong,))
        case Overlap():
            return Problem(409, "overlap", str(error))
        case _:
            return Problem(409, "planned", str(error))


def span_of(
    parts: ApiParts, since_ms: int | None, until_ms: int | None, longest_ms: int
) -> tuple[int, int]:
    """The span that was asked for, until now at the latest; the last day, where none was."""
    now_ms = parts.clock.now_ms()
    end_ms = now_ms if until_ms is None else min(now_ms, until_ms)
    start_ms = max(0, end_ms - DAY_MS) if since_ms is None else since_ms
    if not start_ms < end_ms <= start_ms + longest_ms:
        reason = f"must lie before until_ms and now, at most {longest_ms // DAY_MS} days"
        wrong = FieldProblem(field="query.since_ms", reason=reason)
        raise Problem(422, "invalid", "no such span of time", (wrong,))
    return start_ms, end_ms


def _use(room: Room, use: Use) -> UseShown:
    return UseShown(
        building=room.building,
        room=room.room,
        unit=unit_of(room.utility),
        used=use.used,
        estimated=use.estimated,
        slices=[SliceShown.model_validate(one, from_attributes=True) for one in use.slices],
        parts=[
            PartShown(
                binding=one.binding.id,
                device=one.binding.device,
                circuit=one.binding.place.circuit,
                point=one.point,
                from_ms=one.binding.from_ms,
                to_ms=one.binding.to_ms,
                used=one.used,
                estimated=one.estimated,
                first=_figure(one.first),
                last=_figure(one.last),
            )
            for one in use.parts
        ],
    )


def _binding(binding: Binding) -> BindingShown:
    place = binding.place
    return BindingShown(
        id=binding.id,
        device=binding.device,
        building=place.building,
        floor=place.floor,
        room=place.room,
        circuit=place.circuit,
        from_ms=binding.from_ms,
        to_ms=binding.to_ms,
        first=_figure(binding.first),
        last=_figure(binding.last),
        entered_ms=binding.entered_ms,
        actor=binding.actor,
    )


def _figure(figure: Figure | None) -> FigureShown | None:
    return FigureShown(value=figure.value, time_ms=figure.time_ms) if figure else None
