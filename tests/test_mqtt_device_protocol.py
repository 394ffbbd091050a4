"""docs/device-protocol.md: every example on the page is what the profiles and the driver understand."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from drivers.mqtt.document import DEPTH_MAX, parse_json
from drivers.mqtt.intake import Intake, Moment
from drivers.mqtt.publishes import Stamp, publish_plan
from drivers.mqtt.routes import Routes
from drivers.mqtt.session import Message
from drivers.mqtt.settings import MqttSettings
from hub import POINTS, Reading
from tests.mqtt_link import PROFILES, T0_S, device, mqtt_link

PAGE = (Path(__file__).parent.parent / "docs" / "device-protocol.md").read_text("utf-8")
BLOCKS = re.findall(r"Topic `([^`]+)`[^\n]*:\n\n```json\n(.*?)\n```", PAGE, re.DOTALL)
SAID = [block for block in BLOCKS if block[0].endswith(("/state", "/event", "/online"))]
OWN = (
    "generic_meter",
    "generic_hot_water_meter",
    "generic_drinking_water_meter",
    "generic_washer",
    "generic_turnstile",
)
DEVICES = [
    device(address, profile)
    for address, profile in zip(("b1-101", "w1-101", "d1-1", "w-3", "gate-n1"), OWN, strict=True)
]


def test_no_block_of_the_page_is_overlooked() -> None:
    assert len(BLOCKS) == PAGE.count("```json")
    assert {topic for topic, _ in SAID} == {
        "dormhub/up/b1-101/online",
        "dormhub/up/b1-101/state",
        "dormhub/up/w1-101/state",
        "dormhub/up/w-3/state",
        "dormhub/up/gate-n1/state",
        "dormhub/up/gate-n1/event",
    }


@pytest.mark.parametrize(("topic", "text"), SAID)
def test_every_example_becomes_a_good_reading(topic: str, text: str) -> None:
    routes = Routes(mqtt_link(1883, DEVICES), ZoneInfo("UTC"))
    intake = Intake("broker", MqttSettings(host="x"), routes)
    now = Moment(ms=T0_S * 1000 + 3_600_000, s=0.0)
    reading = intake.take(Message(topic, text.encode(), False, 1), now)
    assert isinstance(reading, Reading)
    assert reading.bad == {}
    for name, value in reading.values.items():
        point = POINTS[name]
        assert not point.choices or value in point.choices
        assert isinstance(value, str) or point.minimum <= value <= point.maximum


@pytest.mark.parametrize("profile", OWN)
def test_every_key_of_a_profile_stands_on_the_page(profile: str) -> None:
    points = PROFILES.example(profile).points.values()
    keys = {str(spec.where["path"]) for spec in points if "path" in spec.where}
    section = next(
        part for part in PAGE.split("\n## ") if f"`{profile}`" in part.partition("\n")[0]
    )
    assert [key for key in keys - {"seq"} if f"`{key}`" not in section] == []


def test_every_word_of_a_state_stands_on_the_page() -> None:
    for name in ("washer_state", "washer_phase", "door", "gate_mode"):
        assert [word for word in POINTS[name].choices if f"`{word}`" not in PAGE] == []


def test_the_limits_on_the_page_are_the_drivers() -> None:
    settings = MqttSettings(host="x")
    assert f"at most **{DEPTH_MAX}**" in PAGE
    assert f"**{settings.max_payload_bytes // 1024} KiB**" in PAGE
    assert f"{settings.burst} messages at once and {settings.rate_per_s:.0f} a second" in PAGE


def test_the_command_on_the_page_is_signed_as_the_page_says() -> None:
    [(topic, text)] = [block for block in BLOCKS if block[0].endswith("/command")]
    envelope = json.loads(text)
    [key] = re.findall(r"\(here: `([^`]+)`\)", PAGE)
    expected = hmac.new(key.encode(), f"{topic}\n{envelope['body']}".encode(), hashlib.sha256)
    assert envelope["hmac"] == expected.hexdigest()
    assert {"id", "issued", "expires", "nonce", "command", "args"} == set(
        json.loads(envelope["body"])
    )
    assert parse_json(text.encode())


@pytest.mark.parametrize("profile", OWN)
def test_every_command_of_a_profile_stands_on_the_page(profile: str) -> None:
    section = PAGE.partition("## Commands\n")[2]
    assert f"`{profile}`" in section
    for plan in publish_plan(PROFILES.example(profile)).values():
        assert isinstance(plan.publish.payload, dict)
        words = {str(plan.publish.payload["command"]), *plan.publish.payload["args"]}
        assert [word for word in words if f"`{word}`" not in section] == []


def test_the_answers_on_the_page_are_all_understood() -> None:
    [codes] = re.findall(r"^`code` is (.*?);", PAGE, re.MULTILINE)
    for profile in OWN:
        for plan in publish_plan(PROFILES.example(profile)).values():
            assert plan.answer is not None
            known = {*plan.answer.acknowledged, *plan.answer.refused}
            assert known == set(re.findall("`([a-z]+)`", codes))


def test_the_command_on_the_page_is_what_the_hub_would_send() -> None:
    [(topic, text)] = [block for block in BLOCKS if block[0].endswith("/command")]
    body = json.loads(json.loads(text)["body"])
    stamp = Stamp(
        id=body["id"],
        issued_ms=body["issued"] * 1000,
        expires_ms=body["expires"] * 1000,
        nonce=body["nonce"],
        address="w-3",
        source="dormhub",
    )
    args = body["args"]
    arguments = {"order": args["order"], "program": args["program"], "price": args["price_fen"]}
    start = publish_plan(PROFILES.example("generic_washer"))[body["command"]]
    sent = start.publish.message(arguments, stamp)
    assert sent.topic == topic
    assert json.loads(json.loads(sent.payload)["body"]) == body


def test_the_hub_does_not_hear_what_it_says_on_the_page() -> None:
    routes = Routes(mqtt_link(1883, DEVICES), ZoneInfo("UTC"))
    assert routes.find("dormhub/down/w-3/command") is None
    assert {name.split("/")[1] for name in routes.filters} == {"up"}
