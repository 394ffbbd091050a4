"""After a settlement the supply is cut by a command, never against protection, and told to the audit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import update

from hub import Reading, audit
from hub.campus.life.cutting import PATIENCE_MS
from hub.campus.life.jobs import Job, JobState
from hub.ledger.tables import commands
from tests.campus_house import ROOM
from tests.provisioned import METERS
from tests.room_office import ACREL, Office, open_office

GUARDED = '[prepaid]\nprotected_rooms = ["101"]\n'
OPEN = "[prepaid]\nprotected_hours = []\n"


async def settled(office: Office) -> Job:
    """A room that is settled and closed, and whose supply is still to be cut."""
    job = await office.settle(cut=True)
    office.house.clock.advance(60.0)
    now_ms = office.house.clock.now_ms()
    values = {"energy_import": 9_000, "credit_money": 0}
    reading = Reading(device="m-1", time_ms=now_ms, received_ms=now_ms, values=values)
    await office.house.journal.append([reading])
    await office.turn()
    return job


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    rows = (ACREL, METERS["m-2"], METERS["m-3"])
    async with open_office(tmp_path, *rows, policy=OPEN) as made:
        yield made


@pytest.mark.parametrize(
    ("state", "reason", "step"),
    [("confirmed", "", "cut"), ("failed", "no effect", "not_cut")],
)
async def test_a_job_ends_as_its_one_command_has(
    office: Office, state: str, reason: str, step: str
) -> None:
    job = await settled(office)
    assert (await office.job(job)).step == "closed"
    await office.again().turn()
    await office.turn()
    (row,) = await office.house.ask(lambda connection: connection.execute(commands.select()).all())
    assert (row.device, row.name, row.state) == ("m-1", "cut", "queued")
    ended = {"state": state, "reason": reason, "finished_ms": office.house.clock.now_ms()}
    await office.house.ledger.run(
        lambda connection: connection.execute(update(commands).values(**ended)) and None
    )
    await office.turn()
    assert (await office.job(job)).step == step
    assert await office.ended(job) is JobState.DONE
    rows = await office.house.ask(lambda connection: audit.rows(connection, subject="supply/m-1"))
    said = [(row.action, json.loads(row.after)["account"]) for row in rows]
    assert said == [("cut", ROOM.account)] * (step == "cut")
    alarms = [alarm.subject for alarm in office.campus.alarms.now()]
    assert ("supply/m-1" in alarms) is (step == "not_cut")


async def test_a_protected_room_is_not_cut_and_a_person_is_told_after_a_week(
    tmp_path: Path,
) -> None:
    async with open_office(tmp_path, ACREL, METERS["m-2"], METERS["m-3"], policy=GUARDED) as office:
        job = await settled(office)
        assert (await office.job(job)).waits == "m-1 is to be cut: protected room"
        await office.turn(PATIENCE_MS / 1000)
        assert (await office.job(job)).step == "not_cut"
        assert await office.ended(job) is JobState.DONE
        none = await office.house.ask(
            lambda connection: connection.execute(commands.select()).all()
        )
        assert none == []
