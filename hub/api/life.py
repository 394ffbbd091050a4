"""Settlements, transfers and credits of the desk: begun, shown, answered. See `hub.campus.life`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse
from pydantic import Field

from hub.api.bindings import RoomWord
from hub.api.parts import ApiParts, Parts
from hub.api.payments import OrderShown
from hub.api.problems import NOT_FOUND
from hub.api.rights import RESOLVERS, Who, allow
from hub.api.shapes import Asked, DeviceId, Given, Shown
from hub.auth import EVERYWHERE, Caller
from hub.campus.accounts.accounts import Room, Unit, Utility
from hub.campus.life import jobs
from hub.campus.life.figures import Spoken
from hub.campus.life.jobs import Job, JobKind, JobState, StepName
from hub.campus.life.life import Leaving, Moving, Whole
from hub.campus.life.sheet import Sheet, read_sheet, sheet_csv
from hub.campus.orders.desk import Credit, Source
from hub.campus.orders.notices import NUMBER_PATTERN
from hub.points import INT_MAX

router = APIRouter(prefix="/v1", tags=["settlements"])

_FEN_MAX = 10**9
_WORD = r"^[^\x00-\x1f]*$"
JobId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,64}$")]
_Name = Annotated[str, Field(min_length=1, max_length=64, pattern=_WORD)]
_Text = Annotated[str, Field(max_length=200, pattern=_WORD)]
_Reason = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x20][^\x00-\x1f]*$")]
_Utility = Annotated[Utility, Field(strict=False)]


class RoomGiven(Given):
    """A room and what it buys."""

    building: _Name
    room: _Name
    utility: _Utility = Utility.ELECTRICITY

    @property
    def named(self) -> Room:
        """The same as its accounts are named."""
        return Room(building=self.building, room=self.room, utility=self.utility)


class SettlementGiven(RoomGiven):
    """`cut`: its supply is cut at the end. `give_back`: orders of which no meter was told are given back."""

    cut: bool = False
    give_back: bool = False
    payee: _Text = ""
    reason: _Reason


class TransferGiven(RoomGiven):
    """What the room has goes to `to_room`; with `swap`, what that has comes back."""

    to_building: _Name
    to_room: _Name
    swap: bool = False
    give_back: bool = False
    reason: _Reason


class WordGiven(Given):
    """What a person read: the counter, or what a meter that keeps money showed before he emptied it."""

    device: DeviceId
    counter: Annotated[int, Field(ge=0, le=INT_MAX)] | None = None
    credit_fen: Annotated[int, Field(ge=-_FEN_MAX, le=_FEN_MAX)] | None = None
    reason: _Reason


class ReasonGiven(Given):
    """Why, or how."""

    reason: _Reason


class ReopenGiven(ReasonGiven):
    """Why, and which account of the room."""

    utility: _Utility = Utility.ELECTRICITY


class CreditGiven(RoomGiven):
    """So much for a room, from the house, its old meter, or what the hub keeps for it."""

    number: Annotated[str, Field(pattern=NUMBER_PATTERN)]
    amount_fen: Annotated[int, Field(ge=1, le=_FEN_MAX)]
    source: Annotated[Source, Field(strict=False)] = Source.STAFF
    reason: _Reason


class JobsAsked(Asked):
    """Which jobs; the newest come first."""

    kind: JobKind | None = None
    state: JobState | None = None
    building: Annotated[str, Field(max_length=64, pattern=_WORD)] = ""
    before: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-z]*$")] = ""
    limit: Annotated[int, Field(ge=1, le=jobs.SHOWN_MAX)] = 100


class JobShown(Shown):
    """A job as it stands: `step` is the last one done, `waits` for what it waits."""

    id: str
    kind: JobKind
    state: JobState
    step: StepName
    account: str
    other: str
    cut: bool
    give_back: bool
    payee: str
    reason: str
    waits: str
    actor: str
    opened_ms: int
    ended_ms: int | None


class StepShown(Shown):
    """A step as it was done; `said` is what was noted with it, as JSON."""

    place: int
    name: StepName
    time_ms: int
    actor: str
    said: str


class JobDetail(Shown):
    """A job with its steps."""

    job: JobShown
    steps: list[StepShown]


class JobList(Shown):
    """The newest jobs first."""

    jobs: list[JobShown]


class FigureShown(Shown):
    """The last word of a meter, by itself or a person."""

    device: str
    counter: int | None
    credit_fen: int | None
    time_ms: int
    by: str
    reason: str


class RateShown(Shown):
    """A price in millionths of a fen, from a local day on."""

    from_day: str
    rate: int


class ItemShown(Shown):
    """Something booked for the room."""

    time_ms: int
    kind: str
    key: str
    unit: Unit
    amount: int
    note: str


class TotalShown(Shown):
    """All of one kind in one unit."""

    kind: str
    unit: Unit
    amount: int


class SheetShown(Shown):
    """The settlement sheet of a room; `used` is in `unit`."""

    settlement: str
    building: str
    room: str
    utility: Utility
    unit: Unit
    since_ms: int
    closed_ms: int
    actor: str
    reason: str
    payee: str
    readings: list[FigureShown]
    used: int
    estimated: bool
    rates: list[RateShown]
    items: list[ItemShown]
    totals: list[TotalShown]
    used_fen: int
    meter_fen: int
    lapsed: int
    payout_fen: int
    debt_fen: int
    paid_ms: int | None


@router.post("/settlements", status_code=201, dependencies=[allow(*RESOLVERS)])
async def settle(parts: Parts, who: Who, given: SettlementGiven) -> JobShown:
    """Begin the settlement of a room that somebody leaves; it goes on by itself."""
    _check_place(who, given.building)
    leaving = Leaving(
        room=given.named,
        cut=given.cut,
        give_back=given.give_back,
        payee=given.payee,
        reason=given.reason,
    )
    return _job(await parts.campus.office.life.settle(leaving, who.actor))


@router.post("/transfers", status_code=201, dependencies=[allow(*RESOLVERS)])
async def transfer(parts: Parts, who: Who, given: TransferGiven) -> JobShown:
    """Begin to move what a room has to another room."""
    _check_place(who, given.building, given.to_building)
    moving = Moving(
        room=given.named,
        other=Room(building=given.to_building, room=given.to_room, utility=given.utility),
        swap=given.swap,
        give_back=given.give_back,
        reason=given.reason,
    )
    return _job(await parts.campus.office.life.transfer(moving, who.actor))


@router.get("/jobs", dependencies=[allow(*RESOLVERS)])
async def list_jobs(parts: Parts, who: Who, asked: Annotated[JobsAsked, Query()]) -> JobList:
    """Settlements and transfers, the newest first."""
    building = asked.building if who.place == EVERYWHERE else who.place
    if asked.building not in ("", building):
        return JobList(jobs=[])
    found = await parts.ledger.read(
        lambda connection: jobs.recent(
            connection,
            kind=asked.kind,
            state=asked.state,
            building=building,
            only_there=who.place != EVERYWHERE,
            before=asked.before,
            limit=asked.limit,
        )
    )
    return JobList(jobs=[_job(job) for job in found])


@router.get("/jobs/{job}", dependencies=[allow(*RESOLVERS)])
async def get_job(parts: Parts, who: Who, job: JobId) -> JobDetail:
    """One job with its steps."""
    whole = await _mine(parts, who, job)
    return JobDetail(
        job=_job(whole.job),
        steps=[StepShown.model_validate(step, from_attributes=True) for step in whole.steps],
    )


@router.post("/jobs/{job}/word", dependencies=[allow(*RESOLVERS)])
async def say(parts: Parts, who: Who, job: JobId, given: WordGiven) -> JobShown:
    """Say what a meter shows, in its stead."""
    await _mine(parts, who, job)
    spoken = Spoken(
        device=given.device,
        counter=given.counter,
        credit_fen=given.credit_fen,
        reason=given.reason,
    )
    return _found(await parts.campus.office.life.say(job, spoken, who.actor))


@router.post("/jobs/{job}/resume", dependencies=[allow(*RESOLVERS)])
async def resume(parts: Parts, who: Who, job: JobId) -> JobShown:
    """Have a job that waits looked at now."""
    await _mine(parts, who, job)
    return _found(await parts.campus.office.life.resume(job))


@router.post("/jobs/{job}/cancel", dependencies=[allow(*RESOLVERS)])
async def cancel(parts: Parts, who: Who, job: JobId, given: ReasonGiven) -> JobShown:
    """End a job before anything of it is booked."""
    await _mine(parts, who, job)
    return _found(await parts.campus.office.life.cancel(job, given.reason, who.actor))


@router.post("/jobs/{job}/paid", dependencies=[allow(*RESOLVERS)])
async def pay(parts: Parts, who: Who, job: JobId, given: ReasonGiven) -> JobShown:
    """Say that what a settlement left was paid out, or that its debt was paid."""
    await _mine(parts, who, job)
    return _found(await parts.campus.office.life.pay(job, given.reason, who.actor))


@router.get("/jobs/{job}/sheet", dependencies=[allow(*RESOLVERS)])
async def get_sheet(parts: Parts, who: Who, job: JobId) -> SheetShown:
    """The settlement sheet, once the room is closed."""
    sheet = await _sheet(parts, who, job)
    room = sheet.room
    shown = {name: getattr(sheet, name) for name in Sheet.__slots__}
    shown |= {"building": room.building, "room": room.room, "utility": room.utility}
    return SheetShown.model_validate(shown | {"unit": room.utility.unit}, from_attributes=True)


@router.get(
    "/jobs/{job}/sheet.csv", response_class=PlainTextResponse, dependencies=[allow(*RESOLVERS)]
)
async def get_sheet_csv(parts: Parts, who: Who, job: JobId) -> PlainTextResponse:
    """The same as a table."""
    text = sheet_csv(await _sheet(parts, who, job), parts.keeper.site.timezone)
    return PlainTextResponse(text)


@router.post("/rooms/{building}/{room}/reopen", status_code=204, dependencies=[allow(*RESOLVERS)])
async def reopen(
    parts: Parts, who: Who, building: RoomWord, room: RoomWord, given: ReopenGiven
) -> None:
    """Open the account of a room anew: somebody moves in."""
    _check_place(who, building)
    named = Room(building=building, room=room, utility=given.utility)
    await parts.campus.office.life.reopen(named, given.reason, who.actor)


@router.post("/credits", status_code=201, dependencies=[allow(*RESOLVERS)])
async def give(parts: Parts, who: Who, given: CreditGiven) -> OrderShown:
    """Give credit to a room by an order of the desk; the same again gives the first one."""
    _check_place(who, given.building)
    credit = Credit(
        number=given.number,
        room=given.named,
        amount_fen=given.amount_fen,
        source=given.source,
        reason=given.reason,
    )
    order = await parts.campus.office.desk.give(credit, who.actor)
    return OrderShown.model_validate(order, from_attributes=True)


def _check_place(who: Caller, *buildings: str) -> None:
    if not all(map(who.covers, buildings)):
        raise NOT_FOUND


async def _mine(parts: ApiParts, who: Caller, job: str) -> Whole:
    """The job, if this key may know of all its rooms."""
    whole = await parts.campus.office.life.whole(job)
    if whole is None or not all(who.covers(room.building) for room in whole.job.rooms):
        raise NOT_FOUND
    return whole


async def _sheet(parts: ApiParts, who: Caller, job: str) -> Sheet:
    await _mine(parts, who, job)
    timezone = parts.keeper.site.timezone
    sheet = await parts.ledger.read(lambda connection: read_sheet(connection, job, timezone))
    if sheet is None:
        raise NOT_FOUND
    return sheet


def _found(job: Job | None) -> JobShown:
    if job is None:
        raise NOT_FOUND
    return _job(job)


def _job(job: Job) -> JobShown:
    return JobShown.model_validate(job, from_attributes=True)
