"""Commands over MQTT, judged by the simulated devices' own ledger, on a real Mosquitto."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.mqtt.driver import open_driver
from drivers.mqtt.telling import SHORTEST_S, shares
from hub import Answer, ConfigError
from simulators.campus import Campus, Play
from simulators.conduct import Conduct
from simulators.ledger import Deed
from tests.command_site import Town, command_site, running_driver, town, until_sending
from tests.recording_host import RecordingHost
from tests.servers import Server

ORDER = "A-0007"


async def test_a_start_begins_one_cycle_and_is_acknowledged(
    mosquitto: Server, tmp_path: Path
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "washer")) as made:
        outcome = await made.execute(made.start(ORDER))
        assert outcome.answer is Answer.ACKNOWLEDGED
        assert made.cycles(ORDER) == 1
        assert [frame.outgoing for frame in outcome.frames] == [True, False]


async def test_the_same_order_twice_is_one_cycle(mosquitto: Server, tmp_path: Path) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "washer")) as made:
        first = made.start(ORDER)
        outcomes = [await made.execute(first), await made.execute(replace(first, attempt=2))]
        outcomes.append(await made.execute(made.start(ORDER)))
        assert {outcome.answer for outcome in outcomes} == {Answer.ACKNOWLEDGED}
        assert made.verdicts("washer") == ["accepted", "duplicate", "duplicate"]
        assert made.cycles(ORDER) == 1


async def test_a_refusal_says_why_and_has_no_effect(mosquitto: Server, tmp_path: Path) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "washer")) as made:
        await made.execute(made.start(ORDER))
        outcome = await made.execute(made.start("A-0008"))
        assert (outcome.answer, outcome.reason) == (Answer.REFUSED, "rejected")
        assert made.cycles("A-0008") == 0


SAID = {
    Conduct.OBEYS: (Answer.ACKNOWLEDGED, 1),
    Conduct.SILENT: (Answer.SILENT, 0),
    Conduct.REFUSES: (Answer.REFUSED, 0),
    Conduct.ONLY_ANSWERS: (Answer.ACKNOWLEDGED, 0),
    Conduct.ONLY_DOES: (Answer.SILENT, 1),
    Conduct.ANSWERS_LATE: (Answer.SILENT, 1),
    Conduct.ANSWERS_TWICE: (Answer.ACKNOWLEDGED, 1),
    Conduct.ANSWERS_FOR_ANOTHER: (Answer.SILENT, 1),
}


@pytest.mark.parametrize("conduct", list(SAID))
async def test_whatever_a_device_does_the_outcome_is_what_it_said(
    mosquitto: Server, tmp_path: Path, conduct: Conduct
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        made.campus.faults.order("gate", conduct)
        outcome = await made.execute(made.open(confirm_s=0.5))
        assert (outcome.answer, made.openings()) == SAID[conduct]
        assert len(made.heard("gate")) == 1


async def test_an_answer_that_comes_late_is_handed_on_with_its_command(
    mosquitto: Server, tmp_path: Path
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        made.campus.faults.order("gate", Conduct.ANSWERS_LATE)
        command = made.open(confirm_s=0.2)
        outcome = await made.execute(command)
        await made.host.wait_until(lambda: bool(made.host.late_answers))
        [(device, number, late)] = made.host.late_answers
        assert outcome.answer is Answer.SILENT
        assert (device, number, late.answer) == ("gate", command.id, Answer.ACKNOWLEDGED)


async def test_a_second_answer_is_late_and_closes_nothing(
    mosquitto: Server, tmp_path: Path
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        made.campus.faults.order("gate", Conduct.ANSWERS_TWICE)
        first = made.open()
        await made.execute(first)
        made.campus.faults.order("gate", Conduct.SILENT)
        second = await made.execute(made.open(confirm_s=0.5))
        assert second.answer is Answer.SILENT
        answers = made.host.counts["answer", "again"] + len(made.host.late_answers)
        assert answers == 1
        assert {number for _, number, _ in made.host.late_answers} <= {first.id}


async def test_an_answer_under_an_unknown_id_is_counted_and_closes_nothing(
    mosquitto: Server, tmp_path: Path
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        made.campus.faults.order("gate", Conduct.ANSWERS_FOR_ANOTHER)
        outcome = await made.execute(made.open(confirm_s=0.5))
        assert outcome.answer is Answer.SILENT
        assert made.host.counts["answer", "unknown id"] == 1


@pytest.mark.parametrize("name", ["meter", "shelly", "tasmota"])
async def test_each_makers_relay_is_cut_and_restored(
    mosquitto: Server, tmp_path: Path, name: str
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, name)) as made:
        cut = await made.execute(made.command(name, "cut"))
        await made.host.wait_until(lambda: relay(made, name) is False)
        restored = await made.execute(made.command(name, "restore"))
        await made.host.wait_until(lambda: relay(made, name) is True)
        assert (cut.answer, restored.answer) == (Answer.ACKNOWLEDGED, Answer.ACKNOWLEDGED)


def relay(made: Town, name: str) -> object:
    said = [r.values["relay_closed"] for r in made.host.of(name) if "relay_closed" in r.values]
    return said[-1] if said else None


async def test_two_shellys_that_answer_on_one_topic_are_told_apart(
    mosquitto: Server, tmp_path: Path
) -> None:
    site = command_site(tmp_path / "site", mosquitto.port, "shelly", "shelly-2")
    async with town(site) as made:
        made.campus.faults.order("shelly", Conduct.SILENT)
        outcomes = await asyncio.gather(
            made.execute(made.command("shelly", "cut", confirm_s=0.5)),
            made.execute(made.command("shelly-2", "cut")),
        )
        assert [outcome.answer for outcome in outcomes] == [Answer.SILENT, Answer.ACKNOWLEDGED]


async def test_a_refresh_brings_the_whole_state(mosquitto: Server, tmp_path: Path) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        before = len(made.host.of("gate"))
        made.driver.refresh("gate")
        await made.host.wait_until(lambda: len(made.host.of("gate")) > before)
        assert made.heard("gate") == []


async def test_a_link_that_only_observes_tells_nobody_anything(
    mosquitto: Server, tmp_path: Path
) -> None:
    site = command_site(tmp_path / "site", mosquitto.port, "gate")
    async with town(site) as made:
        observer = RecordingHost()
        link = replace(site.links[0], observe_only=True, id="observer")
        async with running_driver(link, observer) as driver:
            await observer.wait_until(lambda: "up" in observer.link_events)
            outcome = await driver.execute(made.open())
            driver.refresh("gate")
        assert (outcome.answer, outcome.reason) == (Answer.NOT_SENT, "observe only")
        assert made.heard("gate") == []


async def test_after_its_deadline_nothing_is_sent(mosquitto: Server, tmp_path: Path) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        outcome = await made.execute(made.open(deadline_s=0.0))
        assert (outcome.answer, outcome.reason) == (Answer.NOT_SENT, "deadline")
        assert made.heard("gate") == []


async def test_a_value_out_of_its_range_is_not_sent(mosquitto: Server, tmp_path: Path) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        outcome = await made.execute(made.command("gate", "open", {"direction": "up"}))
        assert outcome.answer is Answer.NOT_SENT
        assert made.heard("gate") == []


def test_a_key_file_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    site = command_site(tmp_path, 1883, "gate")
    (tmp_path / "gate.key").unlink()
    with pytest.raises(ConfigError, match=r"gate\.key_file"):
        open_driver(site.links[0])


def ended(server: Server) -> str:
    """The broker's lines about connections that ended."""
    lines = (server.folder / "server.log").read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if "disconnected" in line)


async def test_to_a_device_that_never_came_nothing_is_sent(
    mosquitto: Server, tmp_path: Path
) -> None:
    site = command_site(tmp_path / "site", mosquitto.port, "gate", "meter")
    only_gate = command_site(tmp_path / "gate", mosquitto.port, "gate")
    async with town(only_gate) as made:
        host = RecordingHost()
        link = replace(site.links[0], id="other")
        async with running_driver(link, host) as driver:
            both = Town(campus=Campus(site, Play()), driver=driver, host=host)
            await until_sending(both)
            # The look for retained commands listens on the same topics while it lasts.
            await host.wait_until(lambda: "dormhub-other-look" in ended(mosquitto))
            outcome = await both.execute(both.command("meter", "cut"))
        assert (outcome.answer, outcome.reason) == (Answer.NOT_SENT, "nobody listens")
        assert made.heard("gate") == []


async def test_a_meter_takes_a_limit_and_hours_and_arms_what_is_open(
    mosquitto: Server, tmp_path: Path
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "meter")) as made:
        told = [
            await made.execute(made.command("meter", name, arguments))
            for name, arguments in (
                ("arm", {}),
                ("power_limit", {"power": 1100}),
                ("schedule", {"hours": "06:30-23:00"}),
                ("cut", {}),
                ("arm", {}),
            )
        ]
        refused, *taken = (outcome.answer for outcome in told)
        assert refused is Answer.REFUSED
        assert set(taken) == {Answer.ACKNOWLEDGED}
        written = [
            dict(entry.values) for entry in made.campus.ledger.entries("meter", Deed.WRITTEN)
        ]
        assert written == [
            {"power_limit": 1100.0},
            {"schedule": "06:30-23:00"},
            {"relay_closed": False},
            {"relay_armed": True},
        ]


@given(left_s=st.floats(SHORTEST_S, 86_400))
def test_the_wait_for_the_broker_and_the_life_of_the_message_end_by_the_deadline(
    left_s: float,
) -> None:
    patience_s, life_s = shares(left_s)
    assert life_s >= 1
    assert patience_s > 0.09
    assert patience_s + life_s <= left_s + 1e-9
