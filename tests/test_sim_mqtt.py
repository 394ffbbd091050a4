"""Simulated MQTT devices, heard by aiomqtt through a real Mosquitto."""

import asyncio
import json
from pathlib import Path

import aiomqtt
import pytest

from simulators.faults import FaultKind, Window
from simulators.ledger import Deed, Diary, Ledger
from simulators.machine import HOUR_MS
from simulators.mqtt_device import MqttDevice
from simulators.payload import Role, Stamp, topic_forms
from simulators.pytest_campus import CampusFactory
from tests.servers import Server
from tests.sim_site import NOW_MS, PROFILES, device, machine, write_site

STAMP = Stamp(time_ms=1_707_326_936_250, sequence=9)
WASHERS = [f"washer-{number},generic_washer,broker,washer-{number}" for number in (1, 2)]


def _site(folder: Path, devices: list[str]) -> Path:
    return write_site(folder, {"broker": {"driver": "mqtt", "host": "127.0.0.1"}}, devices)


async def _messages(port: int, topic: str, number: int) -> list[aiomqtt.Message]:
    heard: list[aiomqtt.Message] = []
    async with asyncio.timeout(20), aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(topic, qos=1)
        async for message in client.messages:
            heard.append(message)
            if len(heard) == number:
                break
    return heard


async def test_a_washer_says_what_its_ledger_says_it_said(
    campus: CampusFactory, tmp_path: Path, mosquitto: Server
) -> None:
    site = _site(tmp_path / "site", WASHERS)
    async with campus(site, broker=f"127.0.0.1:{mosquitto.port}") as town:
        (message,) = await _messages(mosquitto.port, "dormhub/up/washer-1/state", 1)
        said = json.loads(bytes(message.payload))
        entry = town.ledger.last("washer-1", Deed.PUBLISHED)
    assert entry is not None
    assert said["state"] == entry.values["washer_state"]
    assert said["cycles"] == entry.values["cycle_count"]
    assert said["seq"] == 1
    assert said["ts"] == entry.time_ms // 1000


async def test_presence_is_retained_and_taken_back_at_the_end(
    campus: CampusFactory, tmp_path: Path, mosquitto: Server
) -> None:
    site = _site(tmp_path / "site", WASHERS)
    async with campus(site, broker=f"127.0.0.1:{mosquitto.port}"):
        await _messages(mosquitto.port, "dormhub/up/+/state", 2)
        there = await _messages(mosquitto.port, "dormhub/up/+/online", 2)
    gone = await _messages(mosquitto.port, "dormhub/up/+/online", 2)
    assert [bytes(message.payload) for message in there] == [b"true", b"true"]
    assert [bytes(message.payload) for message in gone] == [b"false", b"false"]
    assert all(message.retain for message in gone)


async def test_a_reboot_leaves_the_last_will_and_then_comes_back(
    campus: CampusFactory, tmp_path: Path, mosquitto: Server
) -> None:
    site = _site(tmp_path / "site", WASHERS[:1])
    async with campus(site, broker=f"127.0.0.1:{mosquitto.port}") as town:
        window = Window(device="washer-1", kind=FaultKind.REBOOT, to_s=3)
        town.faults.windows.append(window)
        told = await _messages(mosquitto.port, "dormhub/up/washer-1/#", 4)
    texts = [bytes(message.payload) for message in told]
    assert [text for text in texts if text in (b"true", b"false")] == [b"true", b"false", b"true"]
    assert json.loads(texts[-1])["seq"] == 1


async def test_messages_wait_for_a_broker_that_is_away(
    campus: CampusFactory, tmp_path: Path, mosquitto: Server
) -> None:
    site = _site(tmp_path / "site", WASHERS)
    mosquitto.kill()
    async with campus(site, broker=f"127.0.0.1:{mosquitto.port}"):
        mosquitto.start()
        assert await _messages(mosquitto.port, "dormhub/up/+/state", 2)


def _form(product: str, name: str) -> dict[str, object]:
    """The payload of a product's topic, with the values of its simulated device."""
    (form,) = (form for form in topic_forms(PROFILES.example(product)) if form.name == name)
    message, _ = form.message("addr", machine("device", product).show(NOW_MS), STAMP)
    return dict(json.loads(message.payload))


def test_a_shelly_sends_the_fields_of_the_public_fixture() -> None:
    fixture = {"aenergy", "apower", "current", "id", "output", "source", "temperature", "voltage"}
    status = _form("shelly_plus1pm", "status")
    assert fixture <= set(status)
    assert set(dict(status["aenergy"])) == {"total", "by_minute", "minute_ts"}  # type: ignore[call-overload]


def test_a_shelly_notification_names_its_part_and_its_time() -> None:
    notice = _form("shelly_plus1pm", "events")
    assert notice["method"] == "NotifyStatus"
    assert notice["params"]["ts"] == 1_707_326_936.25  # type: ignore[index]
    assert notice["params"]["switch:0"]["id"] == 0  # type: ignore[index]


def test_a_tasmota_plug_counts_kilowatt_hours_that_add_up() -> None:
    shown = machine("device", "tasmota_plug").show(NOW_MS)
    energy = _form("tasmota_plug", "sensor")["ENERGY"]
    assert energy["Total"] == pytest.approx(int(shown["energy_import"]) / 1000)  # type: ignore[index]
    assert energy["Today"] == pytest.approx(int(shown["energy_today"]) / 1000)  # type: ignore[index]
    assert len(set(energy)) == 11  # type: ignore[call-overload]


def test_a_tasmota_plug_writes_its_relay_and_presence_as_words() -> None:
    plug = PROFILES.get("tasmota_plug", {}, place="")
    forms = {form.name: form for form in topic_forms(plug)}
    power, _ = forms["power"].message("plug", {"relay_closed": True}, STAMP)
    gone, _ = forms["lwt"].message("plug", {"online": False}, STAMP)
    assert (power.topic, power.payload) == ("stat/plug/POWER", b"ON")
    assert (gone.topic, gone.payload, gone.retain) == ("tele/plug/LWT", b"Offline", True)
    assert forms["lwt"].role is Role.PRESENCE


def _camera(ledger: Ledger) -> MqttDevice:
    of = device("camera-1", "zhenshi_lpr", "camera-1")
    return MqttDevice(
        of,
        machine("camera-1", "zhenshi_lpr", ledger=ledger),
        forms=topic_forms(of.profile),
        diary=Diary(device="camera-1", ledger=ledger),
    )


def test_a_camera_sends_its_plate_in_base64_inside_the_makers_envelope() -> None:
    ledger = Ledger()
    camera = _camera(ledger)
    camera.begin(NOW_MS)
    sent = camera.messages(NOW_MS + 12 * HOUR_MS)
    results = [
        json.loads(item.message.payload) for item in sent if b"license" in item.message.payload
    ]
    plates = [
        entry.values["plate"] for entry in ledger.entries(deed=Deed.PUBLISHED) if entry.values
    ]
    plate = results[0]["payload"]["body"]["product_h"]["plate"]["PlateResult"]
    assert results[0]["sn"] == "camera-1"
    assert plate["license"].encode() == _base64(str(plates[0]))
    assert plate["timeStamp"]["Timeval"]["sec"] == results[0]["timestamp"]


def _base64(text: str) -> bytes:
    import base64

    return base64.b64encode(text.encode())


def test_a_printed_plate_is_written_as_printed() -> None:
    form = next(
        f for f in topic_forms(PROFILES.get("zhenshi_lpr", {}, place="")) if f.name == "result"
    )
    message, _ = form.message("camera", {"plate": "粤A12345"}, STAMP)
    assert b"57KkQTEyMzQ1" in message.payload


def test_a_second_notification_holds_only_what_changed() -> None:
    of = device("plug", "shelly_plus1pm", "plug")
    made = MqttDevice(
        of,
        machine("plug", "shelly_plus1pm"),
        forms=topic_forms(of.profile),
        diary=Diary(device="plug", ledger=Ledger()),
    )
    made.begin(NOW_MS)
    first = [item.message for item in made.messages(NOW_MS + 5000)]
    later = [item.message for item in made.messages(NOW_MS + 70_000)]
    whole = json.loads(next(m.payload for m in first if m.topic == "plug/events/rpc"))
    part = json.loads(next(m.payload for m in later if m.topic == "plug/events/rpc"))
    assert "output" in whole["params"]["switch:0"]
    assert "output" not in part["params"]["switch:0"]
    assert "apower" in part["params"]["switch:0"]


def test_the_same_seed_publishes_the_same_day() -> None:
    first, second = _camera(Ledger()), _camera(Ledger())
    first.begin(NOW_MS)
    second.begin(NOW_MS)
    assert first.messages(NOW_MS + HOUR_MS) == second.messages(NOW_MS + HOUR_MS)
