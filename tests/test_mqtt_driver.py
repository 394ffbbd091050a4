"""The MQTT driver on a real Mosquitto."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiomqtt
import pytest

from drivers.mqtt.driver import open_driver
from drivers.mqtt.session import Session, hold_session
from drivers.mqtt.settings import Broker, read_broker
from hub import Link, LinkError, SystemClock
from tests.mqtt_link import T0_S, device, mqtt_link, say, serving, state, until_up
from tests.recording_host import RecordingHost
from tests.servers import Server, free_port, mosquitto_server, running

UP = "dormhub/up/"
NO_LIMIT = {"rate_per_s": 1000.0, "burst": 100_000}


def powers(host: RecordingHost, name: str = "m-1") -> list[float]:
    return [float(reading.values["active_power_total"]) for reading in host.of(name)]


def log(server: Server) -> str:
    return (server.folder / "server.log").read_text("utf-8")


async def silent_broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts a connection and never says a word."""
    await reader.read()
    writer.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_message_becomes_a_reading(mosquitto: Server, version: str) -> None:
    host = RecordingHost()
    async with serving(mqtt_link(mosquitto.port, [device("m-1")], version=version), host):
        await until_up(host)
        payload = {"ts": T0_S, "seq": 7, "energy_import_wh": 12345, "voltage_l1_v": 229.8}
        await say(mosquitto, {UP + "m-1/state": json.dumps(payload).encode()})
        await host.wait_for(1)
    [reading] = host.readings
    assert (reading.device, reading.time_ms) == ("m-1", T0_S * 1000 + 7)
    assert reading.values == {"energy_import": 12345, "voltage_l1": 229.8, "sequence": 7}
    assert host.link_events == ["up"]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_what_was_not_stored_comes_again_after_a_restart(
    mosquitto: Server, version: str
) -> None:
    link = mqtt_link(mosquitto.port, [device("m-1")], version=version)
    dies = RecordingHost()
    dies.disk.clear()
    async with serving(link, dies):
        await until_up(dies)
        await say(mosquitto, [(UP + "m-1/state", state(n, power_w=n)) for n in range(50)])
    assert dies.readings == []
    lives = RecordingHost()
    async with serving(link, lives):
        await lives.wait_for(50)
    assert powers(lives) == list(range(50))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_what_was_stored_does_not_come_again(mosquitto: Server, version: str) -> None:
    link = mqtt_link(mosquitto.port, [device("m-1")], version=version)
    first, second = RecordingHost(), RecordingHost()
    async with serving(link, first):
        await until_up(first)
        await say(mosquitto, [(UP + "m-1/state", state(n, power_w=n)) for n in range(50)])
        await first.wait_for(50)
        await say(mosquitto, {UP + "nobody/state": b"1"})
        await first.wait_until(lambda: len(first.poison) == 1)
    await first.wait_until(lambda: "dormhub-broker disconnected" in log(mosquitto))
    await say(mosquitto, {UP + "m-1/state": state(99, power_w=99)})
    async with serving(link, second):
        await second.wait_for(1)
    assert powers(second) == [99]


async def cancelled_after(turns: int, link: Link) -> bool:
    """Whether a driver that was cancelled after so many turns of the loop ended soon."""
    task = asyncio.create_task(open_driver(link).run(RecordingHost()), name="driver")
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait((task,), timeout=5)
    task.cancel()
    return bool(done)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_cancelled_in_any_turn_of_its_start_it_ends(mosquitto: Server, version: str) -> None:
    link = mqtt_link(mosquitto.port, [device("m-1")], version=version)
    assert [turns for turns in range(150) if not await cancelled_after(turns, link)] == []


async def test_a_killed_broker_costs_no_message_and_no_order(mosquitto: Server) -> None:
    host = RecordingHost()
    acknowledged: list[int] = []

    async def speak(numbers: range) -> None:
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for number in numbers:
                payload = state(number, power_w=number)
                await client.publish(UP + "m-1/state", payload, qos=1, timeout=1)
                acknowledged.append(number)

    link = mqtt_link(mosquitto.port, [device("m-1")], **NO_LIMIT)
    async with serving(link, host):
        await until_up(host)
        speaking = asyncio.create_task(speak(range(100_000)))
        await host.wait_for(200)
        # Everything acknowledged up to a write of the broker's store is safe; wait for one such write.
        safe = len(acknowledged)
        store = mosquitto.folder / "mosquitto.db"
        await host.wait_until(store.exists)
        await asyncio.to_thread(mosquitto.kill)
        with pytest.raises(aiomqtt.MqttError):
            await speaking
        await asyncio.to_thread(mosquitto.start)
        await until_up(host, 2)
        await speak(range(200_000, 200_100))
        await host.wait_until(lambda: powers(host)[-1:] == [200_099.0], timeout_s=30)
    heard = list(dict.fromkeys(powers(host)))
    assert heard == sorted(heard)
    assert set(heard) >= set(acknowledged[:safe]) | set(range(200_000, 200_100))
    assert [event.partition(":")[0] for event in host.link_events] == ["up", "down", "up"]


POISON = {
    "malformed JSON": b'{"power_w": 1',
    "malformed JSON: NaN": b'{"power_w": NaN}',
    "malformed JSON: Infinity": b'{"power_w": -Infinity}',
    "no usable value: text": b'{"power_w": "12.5"}',
    "no usable value: flag": b'{"power_w": true}',
    "no usable value: huge": b'{"energy_import_wh": 10000000000000000}',
    "number too large: digits": b'{"power_w": ' + b"9" * 5000 + b"}",
    "number too large": b'{"power_w": 1e999}',
    "payload too large": b'{"power_w": ' + b" " * 70_000 + b"1}",
    "nested too deep": b'{"power_w":' + b"[" * 30 + b"]" * 30 + b"}",
    "nested too deep: far": b"[" * 30_000 + b"]" * 30_000,
    "not UTF-8": b'{"power_w": "\xff"}',
    "duplicate key": b'{"power_w": 1, "power_w": 2}',
    "empty payload": b"",
    "nothing known in it": b"{}",
    "nothing known in it: list": b"[1]",
}


async def test_a_canary_sings_right_after_each_poison(mosquitto: Server) -> None:
    host = RecordingHost()
    messages = [
        message
        for number, payload in enumerate(POISON.values())
        for message in (
            (UP + "m-1/state", payload),
            (UP + "m-1/state", state(number, power_w=number)),
        )
    ]
    async with serving(mqtt_link(mosquitto.port, [device("m-1")]), host):
        await until_up(host)
        await say(mosquitto, messages)
        await host.wait_until(lambda: len(powers(host)) == len(POISON), timeout_s=20)
        await host.wait_until(lambda: len(host.poison) == len(POISON))
    assert powers(host) == list(range(len(POISON)))
    assert [item.reason for item in host.poison] == [key.partition(":")[0] for key in POISON]
    assert {item.source for item in host.poison} == {UP + "m-1/state"}
    assert max(len(item.payload) for item in host.poison) <= 4096


async def test_an_unknown_device_is_poison(mosquitto: Server) -> None:
    host = RecordingHost()
    async with serving(mqtt_link(mosquitto.port, [device("m-1")]), host):
        await until_up(host)
        await say(mosquitto, {UP + "m-2/state": state(1), UP + "m-1/state": state(1)})
        await host.wait_for(1)
        await host.wait_until(lambda: len(host.poison) == 1)
    [poison] = host.poison
    assert (poison.reason, poison.source) == ("unknown device", UP + "m-2/state")


async def test_one_bad_value_costs_only_itself(mosquitto: Server) -> None:
    host = RecordingHost()
    async with serving(mqtt_link(mosquitto.port, [device("m-1")]), host):
        await until_up(host)
        await say(mosquitto, {UP + "m-1/state": b'{"power_w": "many", "voltage_l1_v": 230}'})
        await host.wait_for(1)
    assert host.readings[0].values == {"voltage_l1": 230.0}
    assert host.readings[0].bad == {"active_power_total": "not a number"}
    assert host.poison == []


async def test_a_flood_of_one_device_starves_no_other(mosquitto: Server) -> None:
    host = RecordingHost()
    flood = [(UP + "m-1/state", b'{"power_w": 1}')] * 300
    async with serving(mqtt_link(mosquitto.port, [device("m-1"), device("m-2")]), host):
        await until_up(host)
        await say(mosquitto, [*flood, (UP + "m-2/state", state(1))])
        await host.wait_until(lambda: len(host.of("m-2")) == 1, timeout_s=20)
    taken, refused = len(host.of("m-1")), host.counts["refused", "flood"]
    assert taken + refused == 300
    assert 20 <= taken < 150
    assert host.link_events == ["up"]


async def test_a_full_disk_acknowledges_nothing_and_heals(mosquitto: Server) -> None:
    host = RecordingHost()
    host.refuses = True
    async with serving(mqtt_link(mosquitto.port, [device("m-1")], **NO_LIMIT), host):
        await until_up(host)
        await say(mosquitto, [(UP + "m-1/state", state(n, power_w=n)) for n in range(50)])
        await host.wait_until(lambda: host.counts["not stored", ""] >= 2)
        assert host.readings == []
        assert host.link_events == ["up", "down: not stored: the test's disk is full"]
        host.refuses = False
        await host.wait_for(50)
        await host.wait_until(lambda: host.link_events[-1] == "up")
    assert powers(host) == list(range(50))


async def test_a_full_disk_keeps_its_messages_in_the_broker(mosquitto: Server) -> None:
    link = mqtt_link(mosquitto.port, [device("m-1")], **NO_LIMIT)
    full, mended = RecordingHost(), RecordingHost()
    full.refuses = True
    async with serving(link, full):
        await until_up(full)
        await say(mosquitto, [(UP + "m-1/state", state(n, power_w=n)) for n in range(50)])
        await full.wait_until(lambda: full.counts["not stored", ""] >= 1)
    async with serving(link, mended):
        await mended.wait_for(50)
    assert powers(mended) == list(range(50))


async def test_a_full_disk_is_not_forgotten_when_the_broker_returns(mosquitto: Server) -> None:
    host = RecordingHost()
    host.refuses = True
    async with serving(mqtt_link(mosquitto.port, [device("m-1")], **NO_LIMIT), host):
        await until_up(host)
        await say(mosquitto, [(UP + "m-1/state", state(n, power_w=n)) for n in range(5)])
        await host.wait_until(lambda: host.counts["not stored", ""] >= 1)
        connected = log(mosquitto).count("as dormhub-broker")
        await asyncio.to_thread(mosquitto.stop)
        await asyncio.to_thread(mosquitto.start)
        await host.wait_until(lambda: log(mosquitto).count("as dormhub-broker") > connected, 20)
        assert host.link_events == ["up", "down: not stored: the test's disk is full"]
        host.refuses = False
        await host.wait_for(5)
        await host.wait_until(lambda: host.link_events[-1] == "up")
    assert powers(host)[-5:] == list(range(5))


async def test_what_waits_for_the_disk_is_bounded(tmp_path: Path) -> None:
    subscribed, told = asyncio.Event(), asyncio.Event()
    taken: list[int] = []

    async def serve(session: Session) -> None:
        subscribed.set()
        await told.wait()
        while sum(taken) < 5000:
            messages = await session.receive(100_000)
            taken.append(len(messages))
            session.acknowledge(messages)

    async def hold(broker: Broker) -> None:
        with pytest.raises(LinkError):  # what it always ends with
            await hold_session(broker, [UP + "+/state"], serve, SystemClock())

    lines = ("max_inflight_messages 0", "autosave_on_changes false")
    with running(mosquitto_server(tmp_path, *lines)) as server:
        link = mqtt_link(server.port, [], max_unstored=1000, receive_maximum=65_535)
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(hold(read_broker(link)))
            await subscribed.wait()
            await say(server, [(UP + "m-1/state", state(n)) for n in range(5000)])
            told.set()
    assert sum(taken) == 5000
    assert max(taken) <= 1000 + 64


async def test_stale_retained_telemetry_is_not_a_fresh_reading(mosquitto: Server) -> None:
    host = RecordingHost()
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        old = json.dumps({"ts": T0_S - 30 * 86_400, "power_w": 666}).encode()
        await client.publish(UP + "m-1/state", b'{"power_w": 666}', qos=1, retain=True)
        await client.publish(UP + "m-2/state", old, qos=1, retain=True)
        await client.publish(UP + "m-3/online", b"false", qos=1, retain=True)
        await client.publish(UP + "m-4/online", b"true", qos=1, retain=True)
    link = mqtt_link(mosquitto.port, [device(f"m-{n}") for n in range(1, 5)])
    async with serving(link, host):
        await host.wait_for(2)
        await host.wait_until(lambda: len(host.poison) == 2)
    assert {item.reason for item in host.poison} == {"retained"}
    assert {r.device: r.values["online"] for r in host.readings} == {"m-3": False, "m-4": True}
    assert host.of("m-4")[0].uncertain == {"online": "retained by the broker"}


async def test_a_last_will_says_that_the_device_is_gone(mosquitto: Server) -> None:
    host = RecordingHost()
    plug = device("plug", "tasmota_plug", "pow1")
    will = aiomqtt.Will("tele/pow1/LWT", "Offline", qos=1, retain=True)
    async with serving(mqtt_link(mosquitto.port, [plug]), host):
        await until_up(host)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, will=will) as client:
            await client.publish("tele/pow1/LWT", "Online", qos=1)
            await host.wait_for(1)
            socket = client._client.socket()
            socket.shutdown(2)  # the device loses its power
            with pytest.raises(aiomqtt.MqttError):
                await anext(client.messages)
        await host.wait_for(2)
    assert [reading.values["online"] for reading in host.readings] == [True, False]


async def test_the_link_tells_its_own_counts(mosquitto: Server) -> None:
    host = RecordingHost()
    async with serving(mqtt_link(mosquitto.port, [device("m-1")]), host):
        await until_up(host)
        await say(mosquitto, [(UP + "m-1/state", state(1)), (UP + "m-1/state", b"{")])
        await host.wait_until(lambda: bool(host.of("broker")))
    [counts] = host.of("broker")
    assert counts.values == {
        "link_up": True,
        "link_reconnects": 0,
        "link_messages": 2,
        "link_poison": 1,
        "link_refused": 0,
    }


async def test_a_missing_broker_is_said_once() -> None:
    host = RecordingHost()
    async with serving(mqtt_link(free_port(), [device("m-1")]), host):
        await host.wait_until(lambda: bool(host.link_events))
    assert len(host.link_events) == 1
    assert host.link_events[0].startswith("down: ")


async def test_a_silent_broker_is_left_at_once() -> None:
    server = await asyncio.start_server(silent_broker, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        host = RecordingHost()
        async with serving(mqtt_link(port, [device("m-1")], timeout_s=0.2), host):
            await host.wait_until(lambda: bool(host.link_events))
        async with asyncio.timeout(5), serving(mqtt_link(port, [device("m-1")]), host):
            await asyncio.sleep(0)
    assert host.link_events == ["down: Operation timed out"]


async def test_a_visit_leaves_the_session_of_the_hub_alone(mosquitto: Server) -> None:
    host, guest = RecordingHost(), RecordingHost()
    link = mqtt_link(mosquitto.port, [device("m-1")])
    visit = Link(
        id=link.id, driver=link.driver, settings=link.settings, devices=link.devices, visit=True
    )
    async with serving(link, host):
        await until_up(host)
        async with serving(visit, guest):
            await until_up(guest)
            await say(mosquitto, {UP + "m-1/state": state(1)})
            await guest.wait_for(1)
            await host.wait_for(1)
    assert host.link_events == ["up"]


async def test_poison_in_plenty_is_counted_and_not_all_kept(mosquitto: Server) -> None:
    host = RecordingHost()
    async with serving(mqtt_link(mosquitto.port, [device("m-1")]), host):
        await until_up(host)
        await say(mosquitto, [(UP + "m-1/state", b"{")] * 400)
        await say(mosquitto, {UP + "m-1/state": state(1)})
        await host.wait_for(1, timeout_s=20)
        kept, counted = len(host.poison), host.counts["poison", "malformed JSON"]
    assert kept + counted == 400
    assert kept < 400


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144])
async def test_a_driver_cancelled_at_any_moment_leaves_nothing(
    mosquitto: Server, turns: int
) -> None:
    host = RecordingHost()
    await say(mosquitto, [(UP + "m-1/state", state(n)) for n in range(5)])
    async with asyncio.timeout(5), serving(mqtt_link(mosquitto.port, [device("m-1")]), host):
        for _ in range(turns):
            await asyncio.sleep(0)
    told = len(host.readings)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(0)
    assert len(host.readings) == told


def test_the_private_half_of_aiomqtt_is_where_we_look_for_it() -> None:
    async def look() -> None:
        client = aiomqtt.Client("127.0.0.1")
        paho = client._client
        calls = ("manual_ack_set", "ack", "loop_read", "socket", "disconnect")
        assert [name for name in calls if not callable(getattr(paho, name))] == []
        assert hasattr(paho, "on_message")
        assert client._disconnected.done() is False

    asyncio.run(look())
