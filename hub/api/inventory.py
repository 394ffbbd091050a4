"""What is installed, and taking the files of the box: planned, checked and applied as one thing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from hub.api.parts import ApiParts, Parts
from hub.api.problems import FieldProblem, Problem
from hub.api.rights import INSTALLERS, Who, allow
from hub.api.shapes import Given, Shown
from hub.errors import ConfigError, ConfigErrors
from hub.inventory.apply import Busy, Refused
from hub.inventory.plan import Plan

router = APIRouter(prefix="/v1/inventory", tags=["installation"])

LISTED_MAX = 1000
_MISTAKES_MAX = 100


class ApplyGiven(Given):
    """`prune`: devices missing from the files may be retired. `expect`: digest of the plan that was shown."""

    prune: bool = False
    expect: Annotated[str, Field(pattern=r"^$|^[0-9a-f]{64}$")] = ""


class InventoryShown(Shown):
    """What was applied last, `drift` how the files on the box differ from it; empty when they do not."""

    number: int
    time_ms: int
    digest: str
    devices: int
    drift: str


class RoomShown(Shown):
    """A room that had devices and has others, or none."""

    building: str
    room: str
    circuit: str
    before: list[str]
    after: list[str]


class CountsShown(Shown):
    """How many of each."""

    added: int
    changed: int
    returned: int
    retired: int
    rooms: int
    links: int


class AppliedShown(Shown):
    """What was done: ids of devices and links, at most a thousand of each. Counts of 0: there was nothing."""

    inventory: InventoryShown
    counts: CountsShown
    added: list[str]
    changed: list[str]
    returned: list[str]
    retired: list[str]
    rooms: list[RoomShown]
    links: list[str]


@router.get("", dependencies=[allow(*INSTALLERS, everywhere=True)])
async def get_inventory(parts: Parts) -> InventoryShown:
    """What the hub runs, and whether the files still say so."""
    return _inventory(parts)


@router.post("/apply", dependencies=[allow(*INSTALLERS, everywhere=True)])
async def apply_inventory(parts: Parts, who: Who, given: ApplyGiven) -> AppliedShown:
    """Take the files in the box's configuration folder: all, or nothing. Only changed links are touched.

    Refused (409) for mistakes in the files, for a plan that is not the `expect`ed one, and when devices
    are missing from the files without `prune`.
    """
    try:
        plan = await parts.keeper.apply(prune=given.prune, actor=who.actor, expect=given.expect)
    except ConfigError as error:
        raise _mistakes(error) from None
    except Refused as error:
        raise Problem(429 if isinstance(error, Busy) else 409, error.kind, str(error)) from None
    return _applied(parts, plan)


def _mistakes(error: ConfigError) -> Problem:
    found = error.errors if isinstance(error, ConfigErrors) else (error,)
    fields = tuple(
        FieldProblem(field=f"{item.file}: {item.key}", reason=f"{item.found}; {item.hint}")
        for item in found[:_MISTAKES_MAX]
    )
    return Problem(
        409, "mistakes", f"{len(found)} mistakes in the files; nothing was taken", fields
    )


def _inventory(parts: ApiParts) -> InventoryShown:
    inventory = parts.keeper.inventory
    return InventoryShown(
        number=inventory.number,
        time_ms=inventory.time_ms,
        digest=inventory.digest,
        devices=inventory.devices,
        drift=parts.keeper.drift.how,
    )


def _applied(parts: ApiParts, plan: Plan) -> AppliedShown:
    return AppliedShown(
        inventory=_inventory(parts),
        counts=CountsShown(
            added=len(plan.added),
            changed=len(plan.changed),
            returned=len(plan.returned),
            retired=len(plan.retired),
            rooms=len(plan.rooms),
            links=len(plan.links),
        ),
        added=_first(row.id for row in plan.added),
        changed=_first(item.after.id for item in plan.changed),
        returned=_first(item.after.id for item in plan.returned),
        retired=_first(row.id for row in plan.retired),
        rooms=[
            RoomShown(
                building=room.building,
                room=room.room,
                circuit=room.circuit,
                before=list(room.before),
                after=list(room.after),
            )
            for room in plan.rooms[:LISTED_MAX]
        ],
        links=_first(link.id for link in plan.links),
    )


def _first(names: Iterable[str]) -> list[str]:
    return [name for name, _ in zip(names, range(LISTED_MAX), strict=False)]
