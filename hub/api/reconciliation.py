"""Days compared, differences with owner and end. The rules are those of `hub.campus.reconcile`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse
from pydantic import BeforeValidator, Field

from hub.api.parts import Parts
from hub.api.problems import NOT_FOUND, Problem
from hub.api.rights import RESOLVERS, Who, allow
from hub.api.shapes import Asked, Given, Shown
from hub.campus.reconcile import differences, runs
from hub.campus.reconcile.bill import BillError
from hub.campus.reconcile.differences import (
    NOTE_MAX,
    Chosen,
    Difference,
    DifferenceError,
)
from hub.campus.reconcile.results import Finding, Result
from hub.campus.reconcile.rules import OWNER_MAX
from hub.sheets.device_export import protected_csv

ROWS_MAX = 1_000
EXPORTED_MAX = 100_000
BILL_MAX = 4 << 20
_METERS = "meters"

router = APIRouter(prefix="/v1/reconciliation", tags=["reconciliation"])


def _day_of(given: object) -> object:
    return date.fromisoformat(given) if isinstance(given, str) else given


_Day = Annotated[date, BeforeValidator(_day_of), Field(description="a local day")]
_DayAsked = Annotated[str, Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$", description="a local day")]
_PlatformAsked = Annotated[
    str, Field(pattern=r"^[a-z0-9-]{0,32}$", description="or `meters`: those of the house")
]
_Owner = Annotated[str, Field(min_length=1, max_length=OWNER_MAX, pattern=r"^[^\x00-\x1f\x7f]*\S$")]
_Note = Annotated[str, Field(min_length=1, max_length=NOTE_MAX, pattern=r"^[^\x00-\x1f\x7f]*\S$")]
DifferenceId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,64}$")]


class RunGiven(Given):
    """Compare this day now, of one platform or of all; `bill` is the text of its CSV, of that platform."""

    day: _Day
    platform: Annotated[str, Field(pattern=r"^[a-z0-9-]{0,32}$")] = ""
    bill: Annotated[str, Field(max_length=BILL_MAX)] | None = None


class OwnerGiven(Given):
    """Whose the difference is from now on."""

    owner: _Owner


class EndGiven(Given):
    """How the difference was put right, or why it is none."""

    note: _Note


class RunsAsked(Asked):
    """Which results; empty means all. `every`: also those that a later one has replaced."""

    day: _DayAsked = ""
    since: _DayAsked = ""
    platform: _PlatformAsked = ""
    every: bool = False
    limit: Annotated[int, Field(ge=1, le=ROWS_MAX)] = 100


class DifferencesAsked(Asked):
    """Which differences; empty means all. `after` is the id of the last one seen."""

    day: _DayAsked = ""
    platform: _PlatformAsked = ""
    finding: Finding | None = None
    owner: Annotated[str, Field(max_length=OWNER_MAX, pattern=r"^[^\x00]*$")] = ""
    open: bool | None = None
    after: Annotated[str, Field(pattern=r"^[0-9a-z]{0,64}$")] = ""
    limit: Annotated[int, Field(ge=1, le=ROWS_MAX)] = 100


class ExportAsked(Asked):
    """Which differences; empty means all."""

    day: _DayAsked = ""
    platform: _PlatformAsked = ""
    finding: Finding | None = None
    owner: Annotated[str, Field(max_length=OWNER_MAX, pattern=r"^[^\x00]*$")] = ""
    open: bool | None = None


class TallyShown(Shown):
    """How many items of a level came to this finding (or kind of entry), and their sum in `unit`."""

    level: str
    what: str
    unit: str
    count: int
    amount: int


class ResultShown(Shown):
    """What a day of a platform came to; `meters` are those of the house. `number` counts the day's results.

    `bill` is where its bill came from, empty when there is none; `pending` items are looked at again.
    """

    day: str
    platform: str
    number: int
    time_ms: int
    bill: str
    digest: str
    pending: int
    tallies: list[TallyShown]


class ResultList(Shown):
    """Results, the newest days first."""

    results: list[ResultShown]


class DifferenceShown(Shown):
    """What is not equal: the figures of the bill, the order, the device ledger and the counter, in `unit`.

    `ended_ms` is null while it is open; `ended_by` is a person, or the run that did not find it any more.
    """

    id: str
    day: str
    platform: str
    level: str
    subject: str
    finding: str
    unit: str
    billed: int | None
    ordered: int | None
    credited: int | None
    counted: int | None
    detail: str
    found_ms: int
    owner: str
    ended_ms: int | None
    ended_by: str
    resolution: str


class DifferencePage(Shown):
    """Differences as they were found; `next` is the `after` of the next page."""

    differences: list[DifferenceShown]
    next: str | None


@router.get("/runs", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def list_runs(parts: Parts, asked: Annotated[RunsAsked, Query()]) -> ResultList:
    """What days came to."""
    wanted = runs.Asked(
        day=asked.day, since=asked.since, platform=_platform(asked.platform), every=asked.every
    )
    found = await parts.ledger.read(
        lambda connection: runs.find(connection, wanted, limit=asked.limit)
    )
    return ResultList(results=[_result(one) for one in found])


@router.post("/runs", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def compare(parts: Parts, who: Who, given: RunGiven) -> ResultList:
    """Compare a day that is over; answers when it is done. The same facts again change nothing.

    Refused (409) for a bill that is not as it must be, with the line; then nothing of it was taken.
    """
    try:
        found = await parts.campus.reconciler.reconcile(
            given.day,
            platform=given.platform,
            bill=given.bill,
            actor=who.actor,
        )
    except BillError as error:
        raise Problem(409, "bill", str(error)) from None
    return ResultList(results=[_result(one) for one in found])


@router.get("/differences", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def list_differences(
    parts: Parts, asked: Annotated[DifferencesAsked, Query()]
) -> DifferencePage:
    """What was found, and how it stands."""
    found = await parts.ledger.read(
        lambda connection: differences.find(
            connection, _chosen(asked), after=asked.after, limit=asked.limit + 1
        )
    )
    page = found[: asked.limit]
    return DifferencePage(
        differences=[_difference(one) for one in page],
        next=page[-1].id if len(found) > asked.limit else None,
    )


@router.get(
    "/differences.csv",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    dependencies=[allow(*RESOLVERS, everywhere=True)],
)
async def export(parts: Parts, asked: Annotated[ExportAsked, Query()]) -> PlainTextResponse:
    """The same as a CSV in which no cell is a formula; at most a hundred thousand."""
    found = await parts.ledger.read(
        lambda connection: differences.find(connection, _chosen(asked), limit=EXPORTED_MAX)
    )
    return PlainTextResponse(_csv(found), media_type="text/csv")


@router.get("/differences/{difference}", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def get_difference(parts: Parts, difference: DifferenceId) -> DifferenceShown:
    """One difference."""
    found = await parts.ledger.read(lambda connection: differences.by_id(connection, difference))
    if found is None:
        raise NOT_FOUND
    return _difference(found)


@router.post("/differences/{difference}/assign", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def assign(
    parts: Parts, who: Who, difference: DifferenceId, given: OwnerGiven
) -> DifferenceShown:
    """Give an open difference to somebody."""
    try:
        return _difference(await parts.campus.reconciler.assign(difference, given.owner, who.actor))
    except DifferenceError as error:
        raise _problem(error) from None


@router.post("/differences/{difference}/end", dependencies=[allow(*RESOLVERS, everywhere=True)])
async def end(parts: Parts, who: Who, difference: DifferenceId, given: EndGiven) -> DifferenceShown:
    """End a difference, and say how; the audit keeps who did."""
    try:
        return _difference(await parts.campus.reconciler.end(difference, given.note, who.actor))
    except DifferenceError as error:
        raise _problem(error) from None


def _problem(error: DifferenceError) -> Problem:
    return Problem(409, "ended", str(error)) if error.is_ended else NOT_FOUND


def _platform(name: str) -> str | None:
    return {"": None, _METERS: ""}.get(name, name)


def _chosen(asked: DifferencesAsked | ExportAsked) -> Chosen:
    return Chosen(
        day=asked.day,
        platform=_platform(asked.platform),
        finding=str(asked.finding or ""),
        owner=asked.owner,
        is_open=asked.open,
    )


def _result(result: Result) -> ResultShown:
    return ResultShown(
        day=result.day,
        platform=result.platform or _METERS,
        number=result.number,
        time_ms=result.time_ms,
        bill=result.bill,
        digest=result.digest,
        pending=result.pending,
        tallies=[TallyShown.model_validate(one, from_attributes=True) for one in result.tallies],
    )


def _difference(one: Difference) -> DifferenceShown:
    item = one.item
    return DifferenceShown(
        id=one.id,
        day=one.day,
        platform=one.platform or _METERS,
        level=item.level,
        subject=item.subject,
        finding=item.finding,
        unit=item.unit,
        billed=item.billed,
        ordered=item.ordered,
        credited=item.credited,
        counted=item.counted,
        detail=item.detail,
        found_ms=one.found_ms,
        owner=one.owner,
        ended_ms=one.ended_ms,
        ended_by=one.ended_by,
        resolution=one.resolution,
    )


def _csv(found: Sequence[Difference]) -> str:
    columns = list(DifferenceShown.model_fields)
    rows = [
        {name: "" if value is None else str(value) for name, value in _difference(one)}
        for one in found
    ]
    return protected_csv(rows, columns).decode()
