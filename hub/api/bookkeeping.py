"""Prices, allowances, held counters and the check of the books: what finance does for all rooms."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from hub.api.accounts import Said, Text
from hub.api.bindings import BindingId
from hub.api.parts import ApiParts, Parts
from hub.api.problems import NOT_FOUND, FieldProblem, Problem
from hub.api.rights import RESOLVERS, Who, allow
from hub.api.shapes import Given, Shown, TimeMs
from hub.campus.accounts import books
from hub.campus.accounts.accounts import BookError, Utility
from hub.campus.accounts.prices import Price, enter_price, list_prices, parse_rate
from hub.campus.prepaid.charge import local_day
from hub.campus.prepaid.metering import Held, list_held, release
from hub.points import INT_MAX

router = APIRouter(prefix="/v1", tags=["accounts"])


class ReleaseGiven(Given):
    """Where the counter of a held metering stood, when (now if not said), and why that is sure."""

    counter: Annotated[int, Field(ge=0, le=INT_MAX)]
    at_ms: TimeMs | None = None
    reason: Said


class PriceGiven(Given):
    """What a kWh or a m³ costs in yuan ("0.5483"), from the midnight of a local day; empty building: all."""

    utility: Annotated[Utility, Field(strict=False)] = Utility.ELECTRICITY
    building: Text = ""
    from_day: Annotated[date, Field(strict=False)]
    yuan: Annotated[str, Field(max_length=20)]


class HeldShown(Shown):
    """A metering that charges nothing until a person says where its counter stood."""

    binding: str
    device: str
    building: str
    room: str
    utility: Utility
    time_ms: int
    counter: int
    reason: str


class HeldList(Shown):
    """All that wait."""

    held: list[HeldShown]


class MismatchShown(Shown):
    """A sum that is not as it must be."""

    subject: str
    unit: str
    booked: int
    found: int


class CheckShown(Shown):
    """Every sum of the books that is wrong; none is well."""

    wrong: list[MismatchShown]


class PriceShown(Shown):
    """A version; `rate` is in millionths of a fen for one Wh or ml."""

    utility: Utility
    building: str
    from_day: date
    rate: int


class PriceList(Shown):
    """Every version ever entered, by building and day."""

    prices: list[PriceShown]


class GrantedShown(Shown):
    """What became of a month's allowances: given now, and passed, because they had it or have none."""

    month: str
    given: int
    passed: int


@router.get("/meterings/held", dependencies=[allow(*RESOLVERS)])
async def list_held_meterings(parts: Parts, who: Who) -> HeldList:
    """Counters that fell or jumped: not charged until they are released."""
    found = await parts.ledger.read(list_held)
    return HeldList(held=[_held(item) for item in found if who.covers(item.room.building)])


@router.post("/meterings/{binding}/release", status_code=204, dependencies=[allow(*RESOLVERS)])
async def release_metering(parts: Parts, who: Who, binding: BindingId, given: ReleaseGiven) -> None:
    """Charge a held metering again, from where its counter stood then. What flowed before is not charged."""
    found = await parts.ledger.read(list_held)
    if not any(item.binding == binding and who.covers(item.room.building) for item in found):
        raise NOT_FOUND
    now_ms = parts.clock.now_ms()
    await parts.ledger.run(
        lambda connection: release(
            connection,
            binding,
            who.actor,
            given.counter,
            reason=given.reason,
            now_ms=now_ms,
            at_ms=given.at_ms,
        )
    )


@router.post("/books/check", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def check_books(parts: Parts) -> CheckShown:
    """Add every balance up anew from its postings, now."""
    wrong = await parts.ledger.read(books.check)
    return CheckShown(
        wrong=[MismatchShown.model_validate(item, from_attributes=True) for item in wrong]
    )


@router.get("/prices", dependencies=[allow(*RESOLVERS)])
async def get_prices(parts: Parts) -> PriceList:
    """Every price ever entered."""
    found = [
        price
        for utility in Utility
        for price in await parts.ledger.read(partial(list_prices, utility=utility))
    ]
    return PriceList(
        prices=[PriceShown.model_validate(price, from_attributes=True) for price in found]
    )


@router.post("/prices", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def add_price(parts: Parts, who: Who, given: PriceGiven) -> PriceShown:
    """Enter a price; said again it changes nothing. One that has begun stays (409)."""
    site = parts.keeper.site
    if given.building and given.building not in _buildings(parts):
        wrong = FieldProblem(field="body.building", reason="there is none of this id")
        raise Problem(422, "invalid", "no such building", (wrong,))
    try:
        rate = parse_rate(given.yuan, given.utility)
    except BookError as error:
        wrong = FieldProblem(field="body.yuan", reason=str(error))
        raise Problem(422, "invalid", str(error), (wrong,)) from None
    price = Price(
        utility=given.utility, building=given.building, from_day=given.from_day, rate=rate
    )
    now_ms = parts.clock.now_ms()
    today = local_day(now_ms, site.timezone)
    await parts.ledger.run(
        lambda connection: enter_price(
            connection, price, today=today, actor=who.actor, time_ms=now_ms
        )
    )
    return PriceShown.model_validate(price, from_attributes=True)


@router.post("/allowance", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def give_allowance(parts: Parts) -> GrantedShown:
    """Give this month's allowances now, where they are still to be given; the rooms are charged before."""
    granted = await parts.campus.bookkeeping.grant()
    if granted is None:
        raise NOT_FOUND
    return GrantedShown.model_validate(granted, from_attributes=True)


def _buildings(parts: ApiParts) -> set[str]:
    site = parts.keeper.site
    return {*site.buildings.known, *(device.place.building for device in site.devices())}


def _held(item: Held) -> HeldShown:
    return HeldShown(
        binding=item.binding,
        device=item.device,
        building=item.room.building,
        room=item.room.room,
        utility=item.room.utility,
        time_ms=item.mark.time_ms,
        counter=item.mark.counter,
        reason=item.reason,
    )
