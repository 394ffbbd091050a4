"""Commands over MQTT when the broker, the wire or a stranger misbehaves; judged by the devices' ledger."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest

from hub import Answer
from simulators.campus import Campus, Play, playing
from simulators.conduct import Conduct
from simulators.ledger import Deed
from tests.broker_wire import BrokerWire, Fate
from tests.command_site import Town, command_site, running_driver, town, until_sending
from tests.mqtt_link import say
from tests.recording_host import RecordingHost
from tests.servers import Server

COMMAND = "dormhub/down/gate/command"


def payload_of(outcome_frame: bytes) -> bytes:
    """The payload in a frame, which has its topic in the first line."""
    return outcome_frame.partition(b"\n")[2]


FATES = {
    Fate.CUT_BEFORE: (Answer.SILENT, 0),
    Fate.CUT_BEFORE_PUBACK: (Answer.SILENT, 1),
    Fate.CUT_AFTER_PUBACK: (Answer.SILENT, 1),
    Fate.NO_PUBACK: (Answer.SILENT, 1),
}


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("fate", list(FATES))
async def test_a_connection_lost_at_any_step_sends_nothing_again(
    mosquitto: Server, tmp_path: Path, fate: Fate, version: str
) -> None:
    site = command_site(tmp_path / "site", mosquitto.port, "gate", version=version)
    wire = BrokerWire(mosquitto.port)
    async with wire.listening() as port, town(site, by_port=port) as made:
        made.campus.faults.order("gate", Conduct.ONLY_DOES)
        wire.fate = fate
        outcome = await made.execute(made.open(deadline_s=2.0, confirm_s=0.5))
        wire.fate = Fate.PASSES
        await until_sending(made)
        await made.execute(made.open(confirm_s=0.3))
        effects = FATES[fate][1]
        assert outcome.answer is FATES[fate][0]
        assert made.openings() == effects + 1
        orders = [packet for packet in wire.commands if b"report" not in packet.body]
        assert len(orders) == 2


async def test_without_the_brokers_word_the_connection_is_reset_not_closed(
    mosquitto: Server, tmp_path: Path
) -> None:
    site = command_site(tmp_path / "site", mosquitto.port, "gate")
    wire = BrokerWire(mosquitto.port)
    async with wire.listening() as port, town(site, by_port=port) as made:
        wire.fate = Fate.NO_PUBACK
        made.campus.faults.order("gate", Conduct.SILENT)
        outcome = await made.execute(made.open(deadline_s=2.0))
        await made.host.wait_until(lambda: wire.resets == 1)
        assert (outcome.answer, outcome.reason) == (Answer.SILENT, "no word of the broker")


async def test_every_command_has_qos_1_an_end_and_is_never_retained(
    mosquitto: Server, tmp_path: Path
) -> None:
    site = command_site(tmp_path / "site", mosquitto.port, "gate")
    wire = BrokerWire(mosquitto.port)
    async with wire.listening() as port, town(site, by_port=port) as made:
        await made.execute(made.open(deadline_s=9.5))
        made.driver.refresh("gate")
        await made.host.wait_until(lambda: len(wire.commands) >= 2)
    assert {packet.flags for packet in wire.commands} == {0b0010}
    opening = next(packet for packet in wire.commands if b"open" in packet.body)
    after_number = opening.body[2 + len(COMMAND) + 2 :]
    assert after_number[:2] == b"\x05\x02"
    assert 1 <= int.from_bytes(after_number[2:6], "big") <= 9


async def test_a_broker_killed_before_the_send_leaves_it_not_sent(
    mosquitto: Server, tmp_path: Path
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        await asyncio.to_thread(mosquitto.kill)
        await made.host.wait_until(lambda: made.host.counts["command connection lost", ""] >= 1, 20)
        outcome = await made.execute(made.open())
        assert (outcome.answer, outcome.reason) == (Answer.NOT_SENT, "not connected")
        await asyncio.to_thread(mosquitto.start)
        await until_sending(made)
        assert made.openings() == 0


async def test_a_broker_killed_while_the_device_thinks_brings_no_second_effect(
    mosquitto: Server, tmp_path: Path
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        made.campus.faults.order("gate", Conduct.ONLY_DOES)
        telling = asyncio.create_task(made.execute(made.open(confirm_s=2.0)))
        await made.host.wait_until(lambda: made.openings() == 1)
        await asyncio.to_thread(mosquitto.kill)
        await asyncio.to_thread(mosquitto.start)
        outcome = await telling
        await until_sending(made)
        assert outcome.answer is Answer.SILENT
        assert made.openings() == 1


async def test_a_frozen_broker_that_wakes_after_the_deadline_opens_nothing(
    mosquitto: Server, tmp_path: Path
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        assert mosquitto.process is not None
        command = made.open(deadline_s=2.0)
        mosquitto.process.send_signal(signal.SIGSTOP)
        outcome = await made.execute(command)
        await made.host.wait_until(lambda: made.host.clock.monotonic_s() > command.deadline_s + 0.5)
        mosquitto.process.send_signal(signal.SIGCONT)
        await until_sending(made)
        assert outcome.answer is Answer.SILENT
        assert made.openings() == 0
        assert set(made.verdicts("gate")) <= {"expired"}


@pytest.mark.parametrize(("away_s", "verdicts"), [(0.0, ["done"]), (3.5, [])])
async def test_a_device_that_comes_back_after_the_deadline_finds_nothing(
    mosquitto: Server, tmp_path: Path, away_s: float, verdicts: list[str]
) -> None:
    site = command_site(tmp_path / "site", mosquitto.port, "gate")
    async with town(site, persistent=True):
        pass  # its session stays at the broker
    host = RecordingHost()
    campus = Campus(site, Play(here=True, persistent=True))
    async with running_driver(site.links[0], host) as driver:
        made = Town(campus=campus, driver=driver, host=host)
        await until_sending(made)
        outcome = await made.execute(made.open(deadline_s=3.0, confirm_s=0.2))
        until_s = host.clock.monotonic_s() + away_s
        await host.wait_until(lambda: host.clock.monotonic_s() > until_s)
        async with playing(campus):
            await host.wait_until(
                lambda: bool(list(campus.ledger.entries("gate", Deed.PUBLISHED))), 20
            )
        assert outcome.answer is Answer.SILENT
        assert made.verdicts("gate") == verdicts


async def test_a_captured_command_is_refused_by_its_device(
    mosquitto: Server, tmp_path: Path
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        outcome = await made.execute(made.open(deadline_s=3.0))
        captured = payload_of(outcome.frames[0].data)
        await say(mosquitto, [(COMMAND, captured)])
        await made.host.wait_until(lambda: len(made.heard("gate")) == 2)
        later_s = made.host.clock.monotonic_s() + 3.0
        await made.host.wait_until(lambda: made.host.clock.monotonic_s() > later_s)
        await say(mosquitto, [(COMMAND, captured)])
        await made.host.wait_until(lambda: len(made.heard("gate")) == 3)
        assert made.verdicts("gate") == ["done", "duplicate", "expired"]
        assert made.openings() == 1


async def test_a_forged_command_is_refused_by_its_device(mosquitto: Server, tmp_path: Path) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        outcome = await made.execute(made.open())
        envelope = json.loads(payload_of(outcome.frames[0].data))
        body = {**json.loads(envelope["body"]), "id": "forged", "nonce": "new"}
        forged = {**envelope, "body": json.dumps(body)}
        unsigned = {"body": json.dumps(body)}
        await say(mosquitto, [(COMMAND, json.dumps(text).encode()) for text in (forged, unsigned)])
        await made.host.wait_until(lambda: len(made.heard("gate")) == 3)
        assert made.verdicts("gate") == ["done", "rejected", "rejected"]
        assert made.openings() == 1


async def test_an_answer_on_another_devices_topic_closes_nothing(
    mosquitto: Server, tmp_path: Path
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate", "meter")) as made:
        made.campus.faults.order("gate", Conduct.SILENT)
        command = made.open(confirm_s=1.0)
        telling = asyncio.create_task(made.execute(command))
        await made.host.wait_until(lambda: len(made.heard("gate")) == 1)
        answer = json.dumps({"id": command.id, "code": "done"}).encode()
        strangers = ("dormhub/up/meter/result", "dormhub/up/nobody/result")
        await say(mosquitto, [(topic, answer) for topic in strangers])
        outcome = await telling
        assert outcome.answer is Answer.SILENT
        assert made.host.counts["answer", "foreign device"] == 2
        assert made.host.late_answers == []


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"code":"done"}', b"\xff", b"[" * 9000])
async def test_a_garbled_answer_closes_nothing_and_is_counted(
    mosquitto: Server, tmp_path: Path, payload: bytes
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        made.campus.faults.order("gate", Conduct.SILENT)
        telling = asyncio.create_task(made.execute(made.open(confirm_s=0.7)))
        await made.host.wait_until(lambda: len(made.heard("gate")) == 1)
        await say(mosquitto, [("dormhub/up/gate/result", payload)])
        outcome = await telling
        counted = [number for (name, _), number in made.host.counts.items() if name == "answer"]
        assert outcome.answer is Answer.SILENT
        assert counted == [1]


async def test_an_answer_to_a_command_of_an_earlier_run_is_handed_on(
    mosquitto: Server, tmp_path: Path
) -> None:
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        answer = json.dumps({"id": "of-an-earlier-run", "code": "done"}).encode()
        await say(mosquitto, [("dormhub/up/gate/result", answer)])
        await made.host.wait_until(lambda: bool(made.host.late_answers))
        [(device, number, late)] = made.host.late_answers
        assert (device, number, late.answer) == ("gate", "of-an-earlier-run", Answer.ACKNOWLEDGED)


async def retained(server: Server, topic: str, payload: bytes) -> None:
    async with aiomqtt.Client("127.0.0.1", server.port) as client:
        await client.publish(topic, payload, qos=1, retain=True)


async def test_a_retained_command_of_a_stranger_is_cleared_counted_and_kept(
    mosquitto: Server, tmp_path: Path
) -> None:
    await retained(mosquitto, COMMAND, b"a ghost")
    await retained(mosquitto, "dormhub/down/stranger/command", b"not ours")
    async with town(command_site(tmp_path / "site", mosquitto.port, "gate")) as made:
        await made.host.wait_until(lambda: bool(made.host.poison))
        [poison] = made.host.poison
        assert (poison.source, poison.reason, poison.payload) == (
            COMMAND,
            "retained command",
            b"a ghost",
        )
        assert made.host.counts["retained_command", ""] == 1
        assert made.openings() == 0
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.subscribe("dormhub/down/#", qos=1)
        kept = await anext(client.messages)
        assert str(kept.topic) == "dormhub/down/stranger/command"
        assert len(client.messages) == 0


async def test_a_visit_neither_tells_nor_clears(mosquitto: Server, tmp_path: Path) -> None:
    await retained(mosquitto, COMMAND, b"a ghost")
    site = command_site(tmp_path / "site", mosquitto.port, "gate")
    host = RecordingHost()
    async with running_driver(replace(site.links[0], visit=True), host) as driver:
        made = Town(campus=Campus(site, Play()), driver=driver, host=host)
        await host.wait_until(lambda: "up" in host.link_events)
        outcome = await made.execute(made.open())
    assert (outcome.answer, outcome.reason) == (Answer.NOT_SENT, "not connected")
    assert host.poison == []
