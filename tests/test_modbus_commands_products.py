"""Commands against a server that others wrote, and a mailbox that tells later what it did."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymodbus import FramerType

from hub import Answer
from simulators.conduct import Bearing, Conduct
from simulators.ledger import Deed
from simulators.pytest_campus import CampusFactory
from tests.modbus_site import link_of
from tests.modbus_telling import at_work, markable_profile, town_at_work
from tests.sim_site import write_site
from tests.test_modbus_pymodbus import serial_server, tcp_server

WRITES = """
[commands.coil]
meaning = "function 5"
arguments = { on = { type = "bool" } }
writes = [{ function = 5, at = 7, argument = "on" }]
confirm = [{ point = "relay_closed", equals = "@on" }]
repeat = "verify"
[commands.register]
meaning = "function 6"
arguments = { value = { type = "int", minimum = 0, maximum = 65535 } }
writes = [{ function = 6, at = 40, argument = "value" }]
confirm = [{ point = "purchase_count", equals = "@value" }]
repeat = "verify"
[commands.registers]
meaning = "function 16"
arguments = { value = { type = "int", minimum = 0, maximum = 4294967295 } }
writes = [{ function = 16, at = 10, fields = [{ argument = "value", type = "u32" }] }]
confirm = [{ point = "energy_import", equals = "@value" }]
repeat = "verify"
"""


async def written(settings: dict[str, object]) -> dict[str, object]:
    """What the next reading of unit 2 shows, when its coil and registers were written."""
    link = link_of(settings, markable_profile(WRITES), (1, 2, 3), period_s=0.2)
    async with at_work(link) as work:
        told = [
            await work.tell("bus-2", "coil", {"on": False}),
            await work.tell("bus-2", "coil", {"on": True}),
            await work.tell("bus-2", "register", {"value": 4711}),
            await work.tell("bus-2", "registers", {"value": 0xABCD0123}),
        ]
        seen = len(work.host.of("bus-2"))
        work.driver.refresh("bus-2")
        await work.host.wait_until(lambda: len(work.host.of("bus-2")) > seen)
        assert {outcome.answer for outcome in told} == {Answer.ACKNOWLEDGED}
        shown = work.host.of("bus-2")[-1].values
        return {name: shown[name] for name in ("relay_closed", "purchase_count", "energy_import")}


EXPECTED = {"relay_closed": True, "purchase_count": 4711, "energy_import": 0xABCD0123}


@pytest.mark.parametrize(
    ("transport", "framer"), [("tcp", FramerType.SOCKET), ("rtu_over_tcp", FramerType.RTU)]
)
async def test_pymodbus_server_is_written_over_tcp(transport: str, framer: FramerType) -> None:
    async with tcp_server(framer) as port:
        shown = await written({"transport": transport, "host": "127.0.0.1", "port": port})
    assert shown == EXPECTED


async def test_pymodbus_server_is_written_over_a_serial_line() -> None:
    async with serial_server() as port:
        shown = await written({"transport": "rtu", "device": port, "baud": 19200})
    assert shown == EXPECTED


MAILBOX = """
[commands.tariff]
meaning = "choose the tariff"
arguments = { tariff = { type = "int", minimum = 1, maximum = 9 } }
writes = [{ function = 16, at = 5250, fields = [{ value = 2008 }, { argument = "tariff" }] }]
result = { at = 5376, ok = [0], refused = [3000, 3001, 3002, 3007], poll_ms = 100, polls = 8 }
repeat = "never"
confirm = [{ point = "frequency", equals = 50.0 }]
"""


def mailbox_site(folder: Path, transport: str) -> Path:
    """One meter that is told what to do through its mailbox."""
    bus = {"driver": "modbus", "host": "127.0.0.1", "port": 502, "transport": transport}
    write_site(folder, {"bus-1": {**bus, "timeout_s": 0.2}}, ["meter,mailbox_meter,bus-1,1"])
    text = Path("drivers/profiles/schneider_iem3155.toml").read_text("utf-8")
    (folder / "profiles").mkdir()
    (folder / "profiles" / "mailbox_meter.toml").write_text(text + MAILBOX, "utf-8")
    return folder


@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
async def test_a_mailbox_s_own_word_is_the_answer(
    campus: CampusFactory, tmp_path: Path, transport: str
) -> None:
    async with town_at_work(campus, mailbox_site(tmp_path, transport)) as town:
        taken = await town.work.tell("meter", "tariff", {"tariff": 3})
        refused = await town.work.tell("meter", "tariff", {"tariff": 7})
        town.campus.faults.bearings.append(Bearing(device="*", conduct=Conduct.SILENT))
        silent = await town.work.tell("meter", "tariff", {"tariff": 2})
        done = [entry.values for entry in town.campus.ledger.entries("meter", Deed.WRITTEN)]
    assert taken.answer is Answer.ACKNOWLEDGED
    assert len(taken.frames) > 4
    assert (refused.answer, refused.reason) == (Answer.REFUSED, "result 3001")
    assert silent.answer is Answer.SILENT
    assert done == [{"tariff": 3}]
