"""How a profile says a command over MQTT, how it is signed, what answers mean, and mistakes."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.mqtt.answers import Heard
from drivers.mqtt.publishes import (
    Message,
    PublishPlan,
    Stamp,
    canonical,
    publish_plan,
    refresh_plan,
    stamp_of,
)
from hub import (
    Answer,
    BadValue,
    Command,
    ConfigError,
    ConfigErrors,
    Priority,
    Rejected,
    Value,
    load_profiles,
)
from hub.profile_file import read_profile

HEAD = 'name = "A"\nmaker = "M"\nkind = "k"\nprotocol = "mqtt"\n'
GATE = """[settings]
fail_mode = { required = true, choices = ["open", "closed"] }
egress = { required = true, choices = [true, false] }
open_limit_s = { required = true, minimum = 5, maximum = 3000 }
"""
TOPICS = '[mqtt.topics]\nstate = { topic = "up/{address}/state" }\n'
POINTS = "[points]\nrelay_closed = {}\n"
PROOF = """
[commands.tell]
meaning = "m"
confirm = [{ point = "relay_closed", equals = true }]
repeat = "never"
"""
STAMP = Stamp(
    id="01jdvq5m3k8w2x7a9c4e6g0hzy",
    issued_ms=1_795_368_000_999,
    expires_ms=1_795_368_005_999,
    nonce="6f1c0e9b5d3a4c27",
    address="w-3",
    source="dormhub-north",
)
KEY = b"a key for this test only"
DOWN = 'topic = "down/{address}/command"'
ANSWER = 'topic = "up/{address}/result", code = "code"'


def plan(publish: str, *, answer: str = "", arguments: str = "", gate: bool = False) -> PublishPlan:
    keys = f"publish = {{ {publish} }}\n"
    keys += f"answer = {{ {answer} }}\n" if answer else ""
    keys += f"arguments = {{ {arguments} }}\n" if arguments else ""
    keys += 'hazard = "open"\n' if gate else ""
    text = HEAD + (GATE if gate else "") + TOPICS + POINTS + PROOF + keys
    return publish_plan(read_profile("p", "p.toml", text).example())["tell"]


def message(publish: str, values: dict[str, Value] | None = None, arguments: str = "") -> Message:
    return plan(publish, arguments=arguments).publish.message(values or {}, STAMP)


def heard(keys: str, payload: str) -> Heard | None:
    answer = plan(f'{DOWN}, text = "x"', answer=keys).answer
    assert answer is not None
    return answer.read(payload.encode(), STAMP.address)


def test_a_plain_word_goes_to_the_device_s_own_topic() -> None:
    sent = message('topic = "cmnd/{address}/POWER", text = "ON"')
    assert sent == Message(topic="cmnd/w-3/POWER", payload=b"ON")


@pytest.mark.parametrize(
    ("arguments", "value", "payload"),
    [
        ('x = { type = "int", maximum = 900 }', 800, b"800"),
        ('x = { type = "int", scale = 100, maximum = 900 }', 800, b"8"),
        ('x = { type = "float", maximum = 9 }', 2.5, b"2.5"),
        ('x = { type = "float", scale = 1000, maximum = 9000 }', 2500.0, b"2.5"),
        ('x = { type = "bool" }', True, b"true"),
        ('x = { type = "text" }', "欢迎", "欢迎".encode()),
    ],
)
def test_an_argument_is_said_in_the_device_s_own_words(
    arguments: str, value: Value, payload: bytes
) -> None:
    assert message(f'{DOWN}, text = "@x"', {"x": value}, arguments).payload == payload


def test_whatever_is_known_of_a_command_has_a_place_in_its_payload() -> None:
    names = ("id", "issued", "expires", "nonce", "address", "source")
    inner = ", ".join(f'{name} = "@{name}"' for name in names)
    assert json.loads(message(f"{DOWN}, payload = {{ a = [{{ {inner} }}] }}").payload) == {
        "a": [
            {
                "id": STAMP.id,
                "issued": 1_795_368_000,
                "expires": 1_795_368_005,
                "nonce": STAMP.nonce,
                "address": "w-3",
                "source": "dormhub-north",
            }
        ]
    }


def test_an_end_is_never_rounded_up() -> None:
    sent = json.loads(message(f'{DOWN}, payload = {{ until = "@expires" }}').payload)
    assert sent["until"] * 1000 <= STAMP.expires_ms


def test_the_stamp_of_a_command_is_its_own_at_every_try() -> None:
    spec = load_profiles().example("generic_washer").commands["start"]
    command = Command(
        id=STAMP.id,
        device="washer-3",
        spec=spec,
        arguments={},
        attempt=1,
        issued_ms=STAMP.issued_ms,
        expires_ms=STAMP.expires_ms,
        deadline_s=1.0,
        priority=Priority.PAID,
        nonce=STAMP.nonce,
    )
    assert stamp_of(command, "w-3", "dormhub-north") == STAMP


@pytest.mark.parametrize("values", [{}, {"x": 11}, {"x": "1"}])
def test_an_impossible_argument_makes_no_message(values: dict[str, Value]) -> None:
    with pytest.raises(BadValue, match="x"):
        message(f'{DOWN}, text = "@x"', values, 'x = { type = "int", maximum = 10 }')


# The envelope.

WRAPPED = (
    f'{DOWN}, payload = {{ command = "start", args = {{ order = "@order" }} }}, envelope = true'
)
ORDER = 'order = { type = "text" }'


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=64))
def test_a_signature_covers_topic_and_body_byte_for_byte(order: str) -> None:
    publish = plan(WRAPPED, arguments=ORDER).publish
    document = json.loads(publish.message({"order": order}, STAMP, KEY).payload)
    signed = f"down/w-3/command\n{document['body']}".encode()
    assert document["hmac"] == hmac.new(KEY, signed, hashlib.sha256).hexdigest()
    assert json.loads(document["body"]) == {
        "id": STAMP.id,
        "issued": 1_795_368_000,
        "expires": 1_795_368_005,
        "nonce": STAMP.nonce,
        "command": "start",
        "args": {"order": order},
    }


def test_without_a_key_the_envelope_has_no_signature() -> None:
    publish = plan(WRAPPED, arguments=ORDER).publish
    assert set(json.loads(publish.message({"order": "A"}, STAMP).payload)) == {"body"}


def test_the_same_command_is_always_the_same_bytes() -> None:
    assert canonical({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()


# Answers.

CODES = ', id = "id", acknowledged = ["accepted"], refused = ["rejected"], reason = "reason"'


@pytest.mark.parametrize(
    ("code", "answer", "reason"),
    [
        ("accepted", Answer.ACKNOWLEDGED, ""),
        ("rejected", Answer.REFUSED, "busy"),
        ("thinking", None, "busy"),
    ],
)
def test_a_code_is_yes_no_or_neither(code: str, answer: Answer | None, reason: str) -> None:
    found = heard(ANSWER + CODES, f'{{"id":"01j","code":"{code}","reason":"busy"}}')
    assert found == Heard(id="01j", answer=answer, reason=reason)


def test_a_no_without_a_reason_is_told_by_its_code() -> None:
    found = heard(ANSWER + CODES, '{"id":7,"code":"rejected"}')
    assert found == Heard(id="7", answer=Answer.REFUSED, reason="rejected")


@pytest.mark.parametrize("payload", ['{"code":"accepted"}', "not json", "", '{"id":1,"id":2}'])
def test_an_answer_that_names_no_command_is_poison(payload: str) -> None:
    with pytest.raises(Rejected):
        heard(ANSWER + CODES, payload)


OWN_TOPIC = 'topic = "{source}/rpc", id = "id", from = "src", code = "result", error = "error"'


def test_a_device_may_answer_on_the_asker_s_topic() -> None:
    answer = plan(f'{DOWN}, text = "x"', answer=OWN_TOPIC).answer
    assert answer is not None
    assert answer.topic("w-3", "dormhub-north") == "dormhub-north/rpc"
    found = heard(OWN_TOPIC, '{"id":"01j","src":"w-3","result":null}')
    assert found == Heard(id="01j", answer=Answer.ACKNOWLEDGED, reason="")


def test_another_device_s_answer_on_the_asker_s_topic_is_nobody_s() -> None:
    assert heard(OWN_TOPIC, '{"id":"01j","src":"w-4","result":{}}') is None
    assert heard(OWN_TOPIC, '{"id":"01j","result":{}}') is None


def test_an_error_is_a_no_whatever_else_is_said() -> None:
    found = heard(OWN_TOPIC, '{"id":"01j","src":"w-3","result":{},"error":{"code":-1}}')
    assert found == Heard(id="01j", answer=Answer.REFUSED, reason="error")


def test_a_flag_is_no_number_in_an_answer() -> None:
    keys = ANSWER + ", acknowledged = [true], refused = [0]"
    assert heard(keys, '{"code":1}') == Heard(id=None, answer=None, reason="1")
    assert heard(keys, '{"code":false}') == Heard(id=None, answer=None, reason="False")


def test_a_long_reason_is_cut() -> None:
    found = heard(ANSWER + CODES, json.dumps({"id": "1", "code": "rejected", "reason": "x" * 999}))
    assert found is not None
    assert len(found.reason) == 64


# Mistakes.

MISTAKES = [
    ("", "", "commands.tell.publish", "docs"),
    (DOWN, "", "commands.tell.publish", "payload = { … } or text"),
    (
        f'{DOWN}, text = "x", payload = {{ }}',
        "",
        "commands.tell.publish",
        "payload = { … } or text",
    ),
    (f'{DOWN}, text = "x", qos = 2', "", "commands.tell.qos", "QoS 1"),
    (f'{DOWN}, text = "x", retain = true', "", "commands.tell.retain", "never retained"),
    (f'{DOWN}, text = "x", expiry = 9', "", "commands.tell.publish", "docs"),
    ('topic = "up/{address}/state", text = "x"', "", "publish.topic", "spoken to"),
    ('topic = "cmnd/plug/POWER", text = "x"', "", "publish.topic", "{address} once"),
    ('topic = "cmnd/{address}/+", text = "x"', "", "publish.topic", "wildcards"),
    (f'{DOWN}, text = "@x"', "", "commands.tell.publish", "name an argument"),
    (f'{DOWN}, payload = {{ a = [["@x"]] }}', "", "commands.tell.publish", "name an argument"),
    (f"{DOWN}, payload = {{ a = 1979-05-27 }}", "", "commands.tell.publish", "numbers, texts"),
    (f'{DOWN}, text = "x", envelope = true', "", "publish.envelope", "payload of its own"),
    (f"{DOWN}, payload = {{ id = 1 }}, envelope = true", "", "publish.envelope", "without id"),
    (f'{DOWN}, text = "x", key_file = "k"', "", "publish.key_file", "envelope = true"),
    (f'{DOWN}, text = "x"', 'code = "c"', "commands.tell.answer", "docs"),
    (f'{DOWN}, text = "x"', 'topic = "up/{address}/r"', "answer.code", "device's word"),
    (f'{DOWN}, text = "x"', f'{DOWN}, code = "c"', "answer.topic", "its own commands"),
    (f'{DOWN}, text = "x"', 'topic = "{source}/rpc", code = "c"', "answer.topic", "id = "),
    (f'{DOWN}, text = "x"', 'topic = "up/x/r", code = "c"', "answer.topic", "{address} once"),
    (f'{DOWN}, text = "x"', 'topic = "up/{address}/r", code = "a..b"', "answer.code", "dots"),
    (
        f'{DOWN}, text = "x"',
        f"{ANSWER}, acknowledged = [1], refused = [1]",
        ".refused",
        "yes or no",
    ),
]


def mistake(publish: str, answer: str = "", arguments: str = "") -> ConfigError:
    with pytest.raises(ConfigErrors) as caught:
        plan(publish, answer=answer, arguments=arguments)
    (error,) = caught.value.errors
    return error


@pytest.mark.parametrize(("publish", "answer", "key", "hint"), MISTAKES)
def test_a_mistake_in_a_publish_has_its_place_and_remedy(
    publish: str, answer: str, key: str, hint: str
) -> None:
    error = mistake(publish, answer)
    assert error.file == "p.toml"
    assert error.key.endswith(key)
    assert hint in error.hint
    assert error.found


def test_an_argument_that_is_said_nowhere_is_a_mistake() -> None:
    assert "@level" in mistake(f'{DOWN}, text = "x"', arguments='level = { type = "bool" }').hint


@pytest.mark.parametrize("word", ["closed", "lock", "lockdown", "locked", "hold_closed"])
def test_nothing_that_is_said_to_a_gate_holds_it_closed(word: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        plan(f'{DOWN}, payload = {{ args = {{ mode = "{word}" }} }}', gate=True)
    assert "no command may hold a gate closed" in caught.value.hint


def test_a_gate_may_be_told_to_open() -> None:
    assert plan(f'{DOWN}, payload = {{ mode = "free_both" }}', gate=True).command == "tell"


# Asking for the state.


def test_a_product_may_say_how_it_is_asked_for_its_state() -> None:
    refresh = refresh_plan(load_profiles().example("tasmota_plug"))
    assert refresh is not None
    assert refresh.message({}, STAMP) == Message(topic="cmnd/w-3/POWER", payload=b"")


def test_a_product_may_have_no_way_to_be_asked() -> None:
    assert refresh_plan(load_profiles().example("shelly_plus1pm")) is None


def test_a_mistake_in_asking_has_its_place() -> None:
    text = f'{HEAD}[mqtt]\nrefresh = {{ topic = "up/{{address}}/x", text = "" }}\n{TOPICS}{POINTS}'
    with pytest.raises(ConfigError) as caught:
        refresh_plan(read_profile("p", "p.toml", text).example())
    assert caught.value.key == "mqtt.refresh.topic"
