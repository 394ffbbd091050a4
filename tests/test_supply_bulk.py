"""Supply and batches of one hub: many cuts are one question, and neither does what the other forbids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from hub.campus.batches import rows
from hub.campus.batches.batch import Asker, Batch, BatchState, Item, ItemState, Wish
from hub.campus.batches.batches import Batches
from hub.campus.batches.scope import Scope
from hub.campus.supply.desired import Cause, SupplyState
from hub.campus.supply.desk import SupplyDesk
from tests.scripted_device import Behaviour
from tests.supply_dorm import PREPAID, Dorm, DormHub, most_in_a_second, run_patient

ANN, BEA = Asker(actor="key/ann", owner="ann"), Asker(actor="key/bea", owner="bea")
LONG_S = 120.0


@asynccontextmanager
async def serving(dorm: Dorm) -> AsyncIterator[tuple[DormHub, Batches]]:
    """One run of the hub with batches, wired to its supply as the campus wires them."""
    async with dorm.hub() as hub:
        batches = Batches(
            ledger=hub.ledger,
            journal=hub.journal,
            clock=hub.clock,
            commands=hub.control.commands,
            registry=hub.control.registry,
            refresh=lambda link, device: hub.drivers[link].refresh(device),
            alarms=hub.alarms,
            standings=hub.standings,
            pace=hub.pace,
        )
        batches.configure(dorm.site, hub.policies.rules)
        batches.heed(hub.supplies)
        hub.supplies.telling.bulk = batches
        task = asyncio.create_task(batches.run(), name="batches")
        try:
            yield hub, batches
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def proposed(hub: DormHub) -> Batch:
    """The one batch there is, once it waits."""
    async with asyncio.timeout(LONG_S):
        while not (found := await hub.ledger.read(rows.unfinished)):
            await hub.clock.sleep(0.5)
    assert [batch.state for batch in found] == [BatchState.WAITS]
    return found[0]


async def results(hub: DormHub, batch: str) -> dict[str, Item]:
    """What became of each room."""
    found = await hub.ledger.read(lambda connection: rows.items(connection, batch, limit=100))
    return {item.device: item for item in found}


async def told(batches: Batches, action: str, *devices: str) -> str:
    """A batch of these, ended; its id."""
    wish = Wish(action=action, scope=Scope(devices=devices), cause="drill", per_s=20.0)
    batch = await batches.submit(wish, f"{action} {devices[0]}", ANN)
    return (await batches.wait(batch.id, 600)).id


def test_many_cuts_are_one_batch_and_each_room_is_asked_again_once_it_is_approved(
    tmp_path: Path,
) -> None:
    dorm = Dorm(folder=tmp_path, rooms=25, fen=0)

    async def main() -> None:
        async with serving(dorm) as (hub, batches):
            batch = await proposed(hub)
            desk = SupplyDesk(ledger=hub.ledger, clock=hub.clock, supplies=hub.supplies)
            await desk.keep("m-103", hub.clock.now_ms() + 3_600_000, "key/ann", "exams")
            await hub.give(500, room=102)
            await batches.approve(batch.id, BEA)
            await batches.wait(batch.id, 600)
            items = await results(hub, batch.id)
            skipped = {name for name, item in items.items() if item.state is ItemState.SKIPPED}
            assert skipped == {"m-102", "m-103"}
            assert "kept by key/ann" in items["m-103"].reason
            assert len(dorm.effects("cut")) == 23
            await hub.clock.sleep(LONG_S)
            row = await hub.row()
            assert (row.state, row.cause) == (SupplyState.CUT, Cause.ARREARS)
            await hub.pay(500)
            await hub.until(lambda: dorm.told() == ["cut", "restore"])
            assert len(dorm.effects("cut")) == 23
            assert await hub.actions() == ["cut", "restored"]

    run_patient(main())


def test_a_cut_of_a_proposal_that_waits_is_called_off_by_a_payment(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=25, fen=0)
    machine = dorm.machines["m-101"]

    async def main() -> None:
        async with serving(dorm) as (hub, batches):
            batch = await proposed(hub)
            machine.script = [Behaviour.AWAY]
            await batches.approve(batch.id, BEA)
            await hub.until(lambda: len(dorm.effects("cut")) == 24)
            assert hub.control.commands.open_on(["m-101"])
            await hub.pay(500)
            await hub.clock.sleep(2)
            machine.script = [Behaviour.WORKS]
            await hub.clock.sleep(LONG_S)
            assert machine.effects == []

    run_patient(main())


def test_no_batch_restores_what_tripped_or_is_locked_nor_cuts_what_is_held(tmp_path: Path) -> None:
    dorm = Dorm(folder=tmp_path, rooms=3, policy=PREPAID + "trips_max = 2\n")

    async def main() -> None:
        async with serving(dorm) as (hub, batches):
            await hub.clock.sleep(40)
            dorm.machines["m-101"].state |= {"relay_closed": False, "overload_count": 1}
            dorm.machines["m-102"].state |= {"relay_closed": False, "overload_count": 2}
            desk = SupplyDesk(ledger=hub.ledger, clock=hub.clock, supplies=hub.supplies)
            await desk.keep("m-103", hub.clock.now_ms() + 3_600_000, "key/ann", "exams")
            await hub.clock.sleep(60)
            restored = await results(hub, await told(batches, "restore", "m-101", "m-102"))
            cut = await results(hub, await told(batches, "cut", "m-103"))
            assert [item.state for item in (*restored.values(), *cut.values())] == [
                ItemState.SKIPPED
            ] * 3
            assert restored["m-101"].reason == "it tripped: unlock it first"
            assert restored["m-102"].reason == "2 trips by power: unlock it first"
            assert cut["m-103"].reason == "kept by key/ann: exams"
            assert dorm.effects("restore") == []
            assert dorm.told(103) == []

    run_patient(main())


def test_payments_and_a_batch_together_restore_no_more_than_so_many_a_second(
    tmp_path: Path,
) -> None:
    dorm = Dorm(folder=tmp_path, rooms=20)
    theirs, ours = dorm.names[:10], range(111, 121)

    async def main() -> None:
        async with serving(dorm) as (hub, batches):
            await told(batches, "cut", *theirs)
            for room in ours:
                await hub.give(-1_000, room=room)
            await hub.until(lambda: len(dorm.effects("cut")) == 20)
            await hub.clock.sleep(5)
            await asyncio.gather(
                told(batches, "restore", *theirs), *(hub.pay(500, room=room) for room in ours)
            )
            await hub.until(lambda: len(dorm.effects("restore")) == 20)
            assert most_in_a_second(dorm.effects("restore")) <= 5

    run_patient(main())
