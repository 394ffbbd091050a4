"""Every command of every shipped profile against its golden case: the bytes that go out, and what comes back.

A case names a command, its arguments and either `frames` (RTU requests with their CRC, and `replies`) or
`published` (topic and payload; of a command in an envelope, the document inside). CRC and signature are
computed by this file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from drivers.modbus.writes import WritePdu, write_plan
from drivers.mqtt.payload import topic_map
from drivers.mqtt.publishes import Message, Stamp, publish_plan, refresh_plan
from drivers.mqtt.topics import TopicTemplate
from hub import Confidence, Hazard, Profile, Value
from tests.test_profiles import CASES, FOLDER, LIBRARY, crc16, shipped

STAMP = Stamp(
    id="01jdvq5m3k8w2x7a9c4e6g0hzy",
    issued_ms=1_795_368_000_250,
    expires_ms=1_795_368_030_999,
    nonce="6f1c0e9b5d3a4c27",
    address="b1-101",
    source="dormhub-north",
)
KEY = b"a key for this test only"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One command of one golden case."""

    profile: Profile
    place: str
    name: str
    arguments: Mapping[str, Value]
    frames: tuple[str, ...]
    replies: tuple[str, ...]
    published: Mapping[str, str]
    heard: tuple[Mapping[str, str], ...]


def read_cases() -> dict[str, Case]:
    found = {}
    for place in CASES:
        document = tomllib.loads((FOLDER / place).read_text("utf-8"))
        product, chosen = place.partition("/")[0], document.get("settings")
        profile = LIBRARY.get(product, chosen, place=place) if chosen else LIBRARY.example(product)
        for number, entry in enumerate(document.get("command", ())):
            found[f"{place}:{number}:{entry['name']}"] = Case(
                profile=profile,
                place=place,
                name=entry["name"],
                arguments=entry.get("arguments", {}),
                frames=tuple(entry.get("frames", ())),
                replies=tuple(entry.get("replies", ())),
                published=entry.get("published", {}),
                heard=tuple(entry.get("heard", ())),
            )
    return found


ALL = read_cases()
ON_A_BUS = [name for name, case in ALL.items() if case.profile.protocol == "modbus"]
BY_BROKER = [name for name, case in ALL.items() if case.profile.protocol == "mqtt"]
HEARD = [(name, place) for name in BY_BROKER for place in range(len(ALL[name].heard))]
CONTROLLED = [name for name in shipped() if LIBRARY.example(name).commands]
OWN = (
    "generic_meter",
    "generic_hot_water_meter",
    "generic_drinking_water_meter",
    "generic_washer",
    "generic_turnstile",
)


def checked(frame: str) -> bytes:
    """The PDU of a printed RTU frame, whose CRC must be right."""
    data = bytes.fromhex(frame)
    assert crc16(data[:-2]) == data[-2:]
    return data[1:-2]


def is_answer(data: bytes, to: WritePdu) -> bool:
    return len(data) == to.answer_size and data.startswith(to.answer_head)


def unwrapped(message: Message) -> str:
    """What a message says, without the envelope, whose signature must be right."""
    text = message.payload.decode()
    document = json.loads(text) if text.startswith("{") else None
    if not isinstance(document, dict) or "body" not in document:
        return text
    signed = hmac.new(KEY, f"{message.topic}\n{document['body']}".encode(), hashlib.sha256)
    assert document["hmac"] == signed.hexdigest()
    return str(document["body"])


@pytest.mark.parametrize("name", ON_A_BUS)
def test_a_command_becomes_the_frames_of_the_manual(name: str) -> None:
    case = ALL[name]
    requests = write_plan(case.profile)[case.name].requests(case.arguments)
    assert [request.pdu.hex(" ") for request in requests] == [
        checked(frame).hex(" ") for frame in case.frames
    ]


@pytest.mark.parametrize("name", ON_A_BUS)
def test_the_reply_of_the_manual_is_taken_for_the_answer(name: str) -> None:
    case = ALL[name]
    requests = write_plan(case.profile)[case.name].requests(case.arguments)
    answers = [checked(reply) for reply in case.replies]
    assert [is_answer(*pair) for pair in zip(answers, requests, strict=True)] == [True] * len(
        answers
    )


@pytest.mark.parametrize("name", BY_BROKER)
def test_a_command_becomes_the_message_that_the_device_expects(name: str) -> None:
    case = ALL[name]
    plan = publish_plan(case.profile)[case.name]
    key = KEY if plan.publish.envelope else b""
    message = plan.publish.message(case.arguments, STAMP, key)
    expected = case.published["payload"]
    parse = json.loads if expected.startswith("{") else str
    assert message.topic == case.published["topic"]
    assert parse(unwrapped(message)) == parse(expected)


@pytest.mark.parametrize(("name", "place"), HEARD)
def test_an_answer_means_what_the_case_says(name: str, place: int) -> None:
    case = ALL[name]
    answer = publish_plan(case.profile)[case.name].answer
    assert answer is not None
    said = case.heard[place]
    heard = answer.read(said["payload"].encode(), STAMP.address)
    assert answer.topic(STAMP.address, STAMP.source) == said["topic"]
    assert heard is not None
    assert heard.id == said.get("id")
    assert ("none" if heard.answer is None else heard.answer) == said["answer"]


@pytest.mark.parametrize("name", CONTROLLED)
def test_every_command_of_a_profile_stands_in_its_golden_folder(name: str) -> None:
    shown = {case.name for case in ALL.values() if case.profile.id == name}
    assert set(LIBRARY.example(name).commands) - shown == set()


@pytest.mark.parametrize("name", CONTROLLED)
def test_a_profile_s_commands_are_complete_for_its_driver(name: str) -> None:
    profile = LIBRARY.example(name)
    plan = write_plan if profile.protocol == "modbus" else publish_plan
    assert set(plan(profile)) == set(profile.commands)


@pytest.mark.parametrize("name", OWN)
def test_a_device_of_our_own_convention_can_be_asked_for_its_state(name: str) -> None:
    refresh = refresh_plan(LIBRARY.example(name))
    assert refresh is not None
    document = json.loads(unwrapped(refresh.message({}, STAMP, KEY)))
    assert (document["command"], document["args"]) == ("report", {})


@pytest.mark.parametrize("name", [name for name in shipped() if name not in CONTROLLED])
def test_a_profile_without_commands_has_nothing_that_can_be_written(name: str) -> None:
    profile = LIBRARY.example(name)
    plan = write_plan if profile.protocol == "modbus" else publish_plan
    assert plan(profile) == {}


@pytest.mark.parametrize("name", [name for name in CONTROLLED if name in OWN])
def test_the_hub_does_not_hear_what_it_says(name: str) -> None:
    profile = LIBRARY.example(name)
    said = {plan.publish.topic for plan in publish_plan(profile).values()}
    heard: set[TopicTemplate] = {
        template for topic in topic_map(profile).topics.values() for template in topic.templates
    }
    assert not said & heard


def test_gates_and_machines_are_never_told_twice() -> None:
    specs = [spec for name in CONTROLLED for spec in LIBRARY.example(name).commands.values()]
    once = {spec.repeat for spec in specs if spec.hazard in (Hazard.OPEN, Hazard.START)}
    assert once == {"never"}


ASSUMED = {("acrel_ddsy1352", "credit"), ("acrel_ddsy1352", "power_limit")}


def test_what_is_only_assumed_says_so() -> None:
    profiles = [LIBRARY.example(name) for name in CONTROLLED]
    low = {
        (profile.id, spec.name)
        for profile in profiles
        for spec in profile.commands.values()
        if spec.confidence is Confidence.LOW
    }
    assert low == ASSUMED
    assert all(LIBRARY.example(name).commands[command].note for name, command in ASSUMED)
