"""Use compared: who used most, and what feeders measured that no room did."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from hub.api.bindings import Text, span_of
from hub.api.parts import ApiParts, Parts
from hub.api.problems import NOT_FOUND
from hub.api.rights import EVERYONE, RESOLVERS, Who, allow
from hub.api.shapes import Asked, Given, Shown, TimeMs
from hub.auth import EVERYWHERE
from hub.campus.accounts.accounts import Utility
from hub.campus.sharing.report import Scope
from hub.campus.sharing.sharing import By, Posted, Shared
from hub.inventory.bindings import Chosen, find_bindings
from hub.inventory.counts import meters_of, unit_of
from hub.inventory.figures import in_turns
from hub.inventory.installed import known_devices
from hub.inventory.ranking import Level, RoomUse, ranked, use_of_rooms

router = APIRouter(prefix="/v1", tags=["rooms"])

DAYS_MAX = 62
_DAY_MS = 86_400_000
_Month = Annotated[str, Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$")]


class RankingAsked(Asked):
    """After which moment and until which, at most 62 days; without them, the last day. `top` 0: all."""

    building: Text = ""
    of: Level = Level.ROOM
    top: Annotated[int, Field(ge=0, le=100_000)] = 0
    since_ms: TimeMs | None = None
    until_ms: TimeMs | None = None
    utility: Utility = Utility.ELECTRICITY


class SharingAsked(Asked):
    """Which month of which building, or of one floor of it."""

    building: Annotated[Text, Field(min_length=1)]
    floor: Text = ""
    month: _Month
    by: By = By.USE
    utility: Utility = Utility.ELECTRICITY


class SharingGiven(Given):
    """The same, to be charged; `accept` also what a person should look at first."""

    building: Annotated[Text, Field(min_length=1)]
    floor: Text = ""
    month: _Month
    by: Annotated[By, Field(strict=False)] = By.USE
    utility: Annotated[Utility, Field(strict=False)] = Utility.ELECTRICITY
    accept: bool = False


class RankedShown(Shown):
    """A room, floor or building with its place from 1; of its `rooms` so many are `estimated`."""

    rank: int
    building: str
    floor: str
    room: str
    used: int
    rooms: int
    estimated: int


class RankingShown(Shown):
    """Who used most after `start_ms` and until `end_ms`."""

    start_ms: int
    end_ms: int
    unit: str
    ranking: list[RankedShown]


class ShareShown(Shown):
    """A room's part, in the unit and in fen."""

    room: str
    amount: int
    fen: int


class SharingShown(Shown):
    """What was fed, what rooms took, and what is left, with its shares, which add up to it exactly.

    `flag` says why a person should look first; `fen` is null while some of the month has no price.
    """

    building: str
    floor: str
    month: str
    by: By
    unit: str
    feeders: list[str]
    fed: int
    taken: int
    common: int
    common_percent: float
    flag: str
    fen: int | None
    shares: list[ShareShown]


class PostedShown(Shown):
    """The transaction of a share, and what each room was charged; not `fresh`: it was booked before."""

    number: int
    fresh: bool
    fen: dict[str, int]


@router.get("/use/ranking", dependencies=[allow(*EVERYONE)])
async def get_ranking(
    parts: Parts, who: Who, asked: Annotated[RankingAsked, Query()]
) -> RankingShown:
    """Who used most: rooms, floors or buildings; a key for one building sees its own."""
    start_ms, end_ms = span_of(parts, asked.since_ms, asked.until_ms, DAYS_MAX * _DAY_MS)
    building = asked.building if who.place == EVERYWHERE else who.place
    if asked.building not in ("", building):
        raise NOT_FOUND
    chosen = Chosen(building=building, start_ms=start_ms, end_ms=end_ms)
    uses = await _uses(parts, chosen, (start_ms, end_ms), asked.utility)
    found = ranked(uses, asked.of)
    return RankingShown(
        start_ms=start_ms,
        end_ms=end_ms,
        unit=unit_of(asked.utility),
        ranking=[
            RankedShown.model_validate(one, from_attributes=True)
            for one in found[: asked.top or None]
        ],
    )


@router.get("/sharing", dependencies=[allow(*RESOLVERS)])
async def get_sharing(
    parts: Parts, who: Who, asked: Annotated[SharingAsked, Query()]
) -> SharingShown:
    """A month's common use and loss of a building or a floor, and what its rooms' shares would be."""
    scope = _scope(asked)
    if not who.covers(scope.building):
        raise NOT_FOUND
    return _shared(await parts.campus.sharing.tell(scope, _day(asked.month), asked.by))


@router.post("/sharing", dependencies=[allow(*RESOLVERS)])
async def book_sharing(parts: Parts, who: Who, given: SharingGiven) -> PostedShown:
    """Charge a month that is over to its rooms: once for ever, however often this is asked for."""
    scope = _scope(given)
    if not who.covers(scope.building):
        raise NOT_FOUND
    posted = await parts.campus.sharing.book(
        scope, _day(given.month), given.by, actor=who.actor, accept=given.accept
    )
    return _posted(posted)


async def _uses(
    parts: ApiParts, chosen: Chosen, moments: tuple[int, int], utility: Utility
) -> list[RoomUse]:
    bindings = await parts.ledger.read(lambda connection: find_bindings(connection, chosen))
    names = {binding.device for binding in bindings}
    products = partial(known_devices, names=names, profiles=parts.keeper.site.profiles)
    devices = await parts.ledger.read(products)
    meters = meters_of(names, devices, await parts.journal.latest(names), utility)
    buildings = parts.keeper.site.buildings
    work = use_of_rooms(parts.journal.query, bindings, meters, moments, buildings)
    return await in_turns(work)


def _scope(asked: SharingAsked | SharingGiven) -> Scope:
    return Scope(building=asked.building, floor=asked.floor, utility=asked.utility)


def _day(month: str) -> date:
    return date.fromisoformat(f"{month}-01")


def _shared(shared: Shared) -> SharingShown:
    report = shared.report
    return SharingShown(
        building=report.scope.building,
        floor=report.scope.floor,
        month=shared.month,
        by=shared.by,
        unit=unit_of(report.scope.utility),
        feeders=list(report.feeders),
        fed=report.fed,
        taken=report.taken,
        common=report.common,
        common_percent=report.common_percent,
        flag=report.flag,
        fen=shared.fen,
        shares=[ShareShown.model_validate(one, from_attributes=True) for one in shared.shares],
    )


def _posted(posted: Posted) -> PostedShown:
    return PostedShown(number=posted.number, fresh=posted.fresh, fen=dict(posted.fen))
