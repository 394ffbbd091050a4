"""Every command of every Modbus profile, judged by the ledger of the simulated device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.modbus.driver import open_driver
from hub import Answer, Reading, Value, load_profiles
from simulators.campus import Campus
from simulators.conduct import Bearing, Conduct
from simulators.ledger import Deed
from simulators.pytest_campus import CampusFactory
from tests.modbus_telling import Town, at_work, command_for, town_at_work
from tests.sim_site import write_site

DEVICES = [
    "meter,acrel_ddsy1352,bus-1,1,,",
    "board,waveshare_relay8,bus-1,2,,",
    'gate,generic_barrier,bus-1,3,0.1,"fail_mode=open; egress=true; open_limit_s=60"',
]
_RELAYS: list[tuple[str, str, Mapping[str, Value], Mapping[str, Value]]] = [
    ("board", f"{name}_{number}", {}, {"relay": number, "on": name == "restore"})
    for name in ("cut", "restore")
    for number in range(1, 9)
]
COMMANDS: list[tuple[str, str, Mapping[str, Value], Mapping[str, Value]]] = [
    *_RELAYS,
    ("meter", "cut", {}, {"forced": True, "relay_closed": False}),
    ("meter", "restore", {}, {"forced": False, "relay_closed": True}),
    ("meter", "force_closed", {}, {"forced": True, "relay_closed": True}),
    ("meter", "power_limit", {"power": 2200}, {"power_limit": 2200.0}),
    ("gate", "open", {"pulse": 700}, {"relay": 1, "on": True, "length_ms": 700}),
    ("gate", "close", {}, {"relay": 2, "on": True, "length_ms": 1000}),
    ("gate", "hold_open", {"duration": 5}, {"relay": 4, "on": True, "length_ms": 5000}),
]  # fmt: skip


def site(folder: Path, **settings: object) -> Path:
    """Every Modbus product that takes commands, on one bus."""
    bus = {"driver": "modbus", "host": "127.0.0.1", "port": 502, "timeout_s": 0.2, **settings}
    write_site(folder, {"bus-1": bus}, [])
    rows = ["id,profile,link,address,period_s,settings", *DEVICES]
    (folder / "devices.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder


def effects(campus: Campus, device: str) -> list[Mapping[str, Value]]:
    """What the device did of what it was told, by its own ledger."""
    deeds = (Deed.WRITTEN, Deed.CREDITED)
    return [entry.values for entry in campus.ledger.entries(device) if entry.deed in deeds]


async def confirmed(town: Town, device: str, name: str, arguments: Mapping[str, Value]) -> Reading:
    """The first reading after a refresh that shows all the command's proof."""
    told = [item for item in town.work.link.devices if item.id == device]
    expects = told[0].profile.commands[name].confirm
    seen = len(town.work.host.of(device))
    town.work.driver.refresh(device)

    def shows(reading: Reading) -> bool:
        wanted = {
            expect.point: [arguments.get(str(value)[1:], value) for value in expect.values]
            for expect in expects
        }
        return all(reading.values.get(point) in values for point, values in wanted.items())

    host = town.work.host
    await host.wait_until(lambda: any(shows(reading) for reading in host.of(device)[seen:]))
    return next(reading for reading in host.of(device)[seen:] if shows(reading))


def test_the_table_names_every_command_of_every_modbus_profile() -> None:
    profiles = load_profiles()
    known = {
        (name, command)
        for name in profiles.ids()
        if profiles.example(name).protocol == "modbus"
        for command in profiles.example(name).commands
    }
    products = {row.split(",")[0]: row.split(",")[1] for row in DEVICES}
    listed = {(products[device], command) for device, command, *_ in COMMANDS}
    assert listed | {("acrel_ddsy1352", "credit")} == known


@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
async def test_each_command_has_its_effect_once_and_an_ordinary_reading_shows_it(
    campus: CampusFactory, tmp_path: Path, transport: str
) -> None:
    async with town_at_work(campus, site(tmp_path, transport=transport)) as town:
        for device, name, arguments, effect in COMMANDS:
            done = len(effects(town.campus, device))
            outcome = await town.work.tell(device, name, arguments)
            assert (outcome.answer, outcome.reason) == (Answer.ACKNOWLEDGED, ""), (device, name)
            assert effects(town.campus, device)[done:] == [effect], (device, name)
            assert await confirmed(town, device, name, arguments)


async def test_a_device_that_a_reload_took_from_the_bus_is_told_and_asked_nothing(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with town_at_work(campus, site(tmp_path)) as town:
        (board,) = (item for item in town.work.link.devices if item.id == "board")
        gone = command_for(replace(board, id="board-2"), "cut_1")
        outcome = await town.work.driver.execute(gone)
        town.work.driver.refresh("board-2")
    assert (outcome.answer, outcome.reason) == (Answer.NOT_SENT, "no such unit")


async def test_money_is_credited_once_for_each_purchase_count(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with town_at_work(campus, site(tmp_path)) as town:
        await town.work.host.wait_until(lambda: bool(town.work.host.of("meter")))
        before = town.work.host.of("meter")[-1].values
        count = int(before["purchase_count"]) + 1
        arguments: Mapping[str, Value] = {"amount": 5000, "count": count}
        first = await town.work.tell("meter", "credit", arguments)
        again = await town.work.tell("meter", "credit", arguments)
        shown = await confirmed(town, "meter", "credit", arguments)
    assert (first.answer, again.answer) == (Answer.ACKNOWLEDGED, Answer.REFUSED)
    assert again.reason == "illegal value"
    assert effects(town.campus, "meter") == [{"fen": 5000, "count": count}]
    assert shown.values["credit_money"] == pytest.approx(int(before["credit_money"]) + 5000, abs=56)


async def test_both_directions_of_the_wire_are_in_the_outcome(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with town_at_work(campus, site(tmp_path, transport="rtu_over_tcp")) as town:
        outcome = await town.work.tell("board", "restore_2")
    frames = [(frame.outgoing, frame.data.hex(" ")) for frame in outcome.frames]
    assert frames == [(True, "02 05 00 01 ff 00 dd c9"), (False, "02 05 00 01 ff 00 dd c9")]
    assert outcome.frames[0].time_ms <= outcome.frames[1].time_ms


async def test_a_pulse_is_ended_by_the_board_when_the_hub_is_gone(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with campus(site(tmp_path)) as town:
        link = town.reachable().links[0]
        async with at_work(link) as work:
            await work.tell("gate", "open", {"pulse": 500})
        gate = town.machines["gate"]
        assert gate.board is not None
        gate.show(town.clock.now_ms() + 400)
        during = gate.board.relays[0]
        gate.show(town.clock.now_ms() + 600)
        assert (during, gate.board.relays[0]) == (True, False)


CONDUCTS = [
    (Conduct.OBEYS, Answer.ACKNOWLEDGED, "", 1),
    (Conduct.SILENT, Answer.SILENT, "timeout", 0),
    (Conduct.ONLY_ANSWERS, Answer.ACKNOWLEDGED, "", 0),
    (Conduct.ONLY_DOES, Answer.SILENT, "timeout", 1),
    (Conduct.ANSWERS_LATE, Answer.SILENT, "timeout", 1),
    (Conduct.REFUSES, Answer.REFUSED, "illegal value", 0),
]


@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
@pytest.mark.parametrize(("conduct", "answer", "reason", "done"), CONDUCTS)
async def test_what_is_said_of_a_try_fits_what_the_device_did(
    campus: CampusFactory,
    tmp_path: Path,
    transport: str,
    conduct: Conduct,
    answer: Answer,
    reason: str,
    done: int,
) -> None:
    async with town_at_work(campus, site(tmp_path, transport=transport)) as town:
        town.campus.faults.bearings.append(Bearing(device="board", conduct=conduct))
        outcome = await town.work.tell("board", "restore_3")
        assert (outcome.answer, outcome.reason) == (answer, reason)
        assert len(effects(town.campus, "board")) == done
        town.campus.faults.bearings.clear()
        healed = await town.work.tell("board", "restore_4")
    assert healed.answer is Answer.ACKNOWLEDGED


@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
@pytest.mark.parametrize("conduct", [Conduct.ANSWERS_TWICE, Conduct.ANSWERS_FOR_ANOTHER])
async def test_an_answer_too_many_or_another_s_never_acknowledges_what_was_not_done(
    campus: CampusFactory, tmp_path: Path, transport: str, conduct: Conduct
) -> None:
    async with town_at_work(campus, site(tmp_path, transport=transport)) as town:
        town.campus.faults.bearings.append(Bearing(device="board", conduct=conduct))
        spoilt = await town.work.tell("board", "restore_3")
        town.campus.faults.bearings[:] = [Bearing(device="board", conduct=Conduct.SILENT)]
        after = await town.work.tell("board", "restore_4")
    assert spoilt.answer in (Answer.ACKNOWLEDGED, Answer.SILENT)
    assert after.answer in (Answer.SILENT, Answer.NOT_SENT)
    assert effects(town.campus, "board") == [{"relay": 3, "on": True}]


EXCEPTIONS = [
    (1, Answer.REFUSED, "illegal function"),
    (2, Answer.REFUSED, "illegal address"),
    (3, Answer.REFUSED, "illegal value"),
    (4, Answer.SILENT, "device failure"),
    (5, Answer.ACKNOWLEDGED, ""),
    (6, Answer.NOT_SENT, "busy"),
    (8, Answer.SILENT, "memory parity"),
    (10, Answer.NOT_SENT, "no gateway path"),
    (11, Answer.SILENT, "gateway target silent"),
]


async def test_an_exception_is_what_it_says(campus: CampusFactory, tmp_path: Path) -> None:
    async with town_at_work(campus, site(tmp_path)) as town:
        for exception, answer, reason in EXCEPTIONS:
            town.campus.faults.bearings[:] = [
                Bearing(device="board", conduct=Conduct.REFUSES, exception=exception)
            ]
            outcome = await town.work.tell("board", "restore_3")
            assert (outcome.answer, outcome.reason) == (answer, reason)
    assert effects(town.campus, "board") == []


async def test_nothing_is_told_through_a_link_that_only_observes(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with town_at_work(campus, site(tmp_path, observe_only=True)) as town:
        told = [
            await town.work.tell(device, name, arguments) for device, name, arguments, _ in COMMANDS
        ]
    assert {(outcome.answer, outcome.reason) for outcome in told} == {
        (Answer.NOT_SENT, "observe_only")
    }
    assert not any(outcome.frames for outcome in told)
    assert not any(effects(town.campus, device) for device in ("meter", "board", "gate"))


async def test_before_and_after_its_run_a_driver_sends_nothing(
    campus: CampusFactory, tmp_path: Path
) -> None:
    async with campus(site(tmp_path)) as town:
        link = town.reachable().links[0]
        driver = open_driver(link)
        outcome = await driver.execute(command_for(link.devices[1], "cut_1"))
        driver.refresh("board")
    assert (outcome.answer, outcome.reason) == (Answer.NOT_SENT, "not running")
    assert effects(town, "board") == []
