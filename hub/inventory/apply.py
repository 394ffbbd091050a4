"""Takes a plan into the ledger: inventory, devices, bindings and audit in one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, update

from hub import audit
from hub.clock import Clock
from hub.errors import HubError
from hub.inventory.bindings import Move, rebind
from hub.inventory.installed import COLUMNS, Row, newest_number
from hub.inventory.plan import Plan
from hub.ledger.tables import devices, inventories
from hub.model import Place
from hub.site_files import SiteFiles

KEPT = 20  # inventories whose files are kept
SHOWN_MAX = 8

_ADD = insert(devices)
_CHANGE = (
    update(devices)
    .where(devices.c.id == bindparam("of"))
    .values({name: bindparam(name) for name in COLUMNS if name != "id"} | {"retired_ms": None})
)
_RETIRE = (
    update(devices).where(devices.c.id == bindparam("of")).values(retired_ms=bindparam("now_ms"))
)
_DROP = update(inventories).where(inventories.c.number <= bindparam("last")).values(files=None)


class Refused(HubError):
    """Nothing was applied; the text says why and what to do, `kind` in a word for machines."""

    kind = "refused"


class WouldRetire(Refused):
    """Devices are missing from the files, and nobody said that they may be retired."""

    kind = "would-retire"

    def __init__(self, rows: Iterable[Row]) -> None:
        names = [row.id for row in rows]
        shown = ", ".join(names[:SHOWN_MAX])
        more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
        super().__init__(
            f"{len(names)} devices are not in the files any more: {shown}{more}; put them back, "
            "or retire them: dormhub apply --prune"
        )


class Outdated(Refused):
    """What is to be applied is not what was shown."""

    kind = "outdated"

    def __init__(self) -> None:
        super().__init__("the files, or what is installed, changed since this plan was shown")


class Busy(Refused):
    """Others are being applied, or wait for it."""

    kind = "busy"

    def __init__(self) -> None:
        super().__init__("others are applying now; try again in some seconds")


def check_plan(plan: Plan, *, prune: bool, expect: str = "") -> None:
    """Raise Refused unless this plan may be applied; `expect` is the digest of the plan that was shown."""
    if expect and expect != plan.digest():
        raise Outdated
    if plan.retired and not prune:
        raise WouldRetire(plan.retired)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """What was applied last, and when; `number` counts from 1."""

    number: int
    time_ms: int
    digest: str
    devices: int


class Application:
    """One plan on its way into the ledger: `write` is a work of `Ledger.run`.

    All that can be made before is made before, for the ledger has others waiting.
    """

    def __init__(self, plan: Plan, files: SiteFiles, *, actor: str, clock: Clock) -> None:
        now_ms = clock.now_ms()
        self._packed = files.pack()
        self._actor = actor
        self._now_ms = now_ms
        self._before = plan.number
        self.inventory = Inventory(
            number=plan.number + 1,
            time_ms=now_ms,
            digest=plan.files_digest,
            devices=plan.devices,
        )
        self._added = [row.words() | {"first_ms": now_ms} for row in plan.added]
        self._changed = [
            item.after.words() | {"of": item.after.id} for item in (*plan.changed, *plan.returned)
        ]
        self._retired = [{"of": row.id, "now_ms": now_ms} for row in plan.retired]
        self._moves = tuple(_moves(plan, clock))
        self._entries = [*_entries(plan), _sum(plan, self.inventory)]

    def write(self, connection: Connection) -> None:
        """Everything, in the caller's transaction; raises Outdated when another was applied meanwhile."""
        if newest_number(connection) != self._before:
            raise Outdated
        self._write_inventory(connection)
        for statement, rows in (
            (_ADD, self._added),
            (_CHANGE, self._changed),
            (_RETIRE, self._retired),
        ):
            if rows:
                connection.execute(statement, rows)
        rebind(connection, self._moves, actor=self._actor, now_ms=self._now_ms)
        audit.append_all(
            connection, self._entries, actor=self._actor, cause="apply", time_ms=self._now_ms
        )

    def _write_inventory(self, connection: Connection) -> None:
        connection.execute(
            insert(inventories),
            {
                "number": self.inventory.number,
                "time_ms": self._now_ms,
                "actor": self._actor,
                "digest": self.inventory.digest,
                "files": self._packed,
            },
        )
        connection.execute(_DROP, {"last": self.inventory.number - KEPT})


def _moves(plan: Plan, clock: Clock) -> Iterator[Move]:
    for row in plan.added:
        yield Move(id=clock.new_id(), device=row.id, place=row.place)
    for item in plan.returned:
        yield Move(id=clock.new_id(), device=item.after.id, place=item.after.place)
    for item in plan.changed:
        if item.before.place != item.after.place:
            yield Move(id=clock.new_id(), device=item.after.id, place=item.after.place)
    for row in plan.retired:
        yield Move(id=clock.new_id(), device=row.id, place=Place())


def _entries(plan: Plan) -> Iterator[audit.Entry]:
    for row in plan.added:
        yield _entry(f"device/{row.id}", "added", {}, row.words())
    for action, items in (("changed", plan.changed), ("returned", plan.returned)):
        for item in items:
            before, after = item.before.words(), item.after.words()
            yield _entry(f"device/{item.after.id}", action, before, after)
    for row in plan.retired:
        yield _entry(f"device/{row.id}", "retired", row.words(), {})


def _sum(plan: Plan, inventory: Inventory) -> audit.Entry:
    counts = {
        "added": len(plan.added),
        "changed": len(plan.changed),
        "returned": len(plan.returned),
        "retired": len(plan.retired),
        "files": list(plan.files),
        "digest": plan.files_digest,
    }
    return _entry(f"inventory/{inventory.number}", "applied", {}, counts)


def _entry(
    subject: str, action: str, before: Mapping[str, object], after: Mapping[str, object]
) -> audit.Entry:
    return audit.Entry(
        subject=subject, action=action, before=_canonical(before), after=_canonical(after)
    )


def _canonical(said: Mapping[str, object]) -> str:
    if not said:
        return ""
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
