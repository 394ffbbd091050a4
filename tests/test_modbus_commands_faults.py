"""Reads and writes mixed while everything goes wrong: no wrong value, no wrong word on a write."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

import pytest

from hub import Answer
from tests.modbus_faults import RTU_FAULTS, TCP_FAULTS, FaultyServer, chosen_by, listening
from tests.modbus_site import link_of
from tests.modbus_telling import Work, at_work, markable_profile
from tests.test_modbus_faults import wrong_values

LINKS, UNITS = 12, (1, 2)
WRITES = int(os.environ.get("MODBUS_FAULT_WRITES", "360"))
TIMEOUT_S = 0.05


async def tell_all(work: Work, first: int) -> dict[int, Answer]:
    """Writes with a number of their own each, one after the other; what was said of each."""
    said = {}
    for value in range(first, first + WRITES // LINKS):
        unit = UNITS[value % len(UNITS)]
        outcome = await work.tell(f"{work.link.id}-{unit}", "mark", {"value": value})
        said[value] = outcome.answer
    return said


@pytest.mark.timeout(300)
@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
async def test_under_all_faults_what_is_said_of_a_write_is_true(transport: str) -> None:
    rtu = transport != "tcp"
    faults = RTU_FAULTS if rtu else TCP_FAULTS
    servers, works, asked = [], [], []
    async with AsyncExitStack() as stack:
        for number in range(LINKS):
            server = FaultyServer(UNITS, rtu=rtu, seed=number, timeout_s=TIMEOUT_S)
            server.choose = chosen_by(faults, 0.2)
            servers.append(server)
            port = await stack.enter_async_context(listening(server))
            settings: dict[str, object] = {
                "transport": transport,
                "host": "127.0.0.1",
                "port": port,
                "timeout_s": TIMEOUT_S,
                "baud": 115200,
            }
            link = link_of(settings, markable_profile(), UNITS, link=f"l{number}", period_s=0.02)
            works.append(await stack.enter_async_context(at_work(link)))
        async with asyncio.TaskGroup() as tasks:
            for number, work in enumerate(works):
                asked.append(tasks.create_task(tell_all(work, 1000 * (number + 1))))
    said = {value: answer for task in asked for value, answer in task.result().items()}
    done = [value for server in servers for _, _, value in server.done]
    right_unit = [UNITS[value % 2] for server in servers for _, _, value in server.done]
    assert right_unit == [unit for server in servers for unit, _, _ in server.done]
    assert len(done) == len(set(done))
    assert {value for value, answer in said.items() if answer is Answer.ACKNOWLEDGED} <= set(done)
    assert not {value for value, answer in said.items() if answer is Answer.NOT_SENT} & set(done)
    assert set(said.values()) >= {Answer.ACKNOWLEDGED, Answer.SILENT}
    assert [wrong for work in works for wrong in wrong_values(work.host.readings)] == []
