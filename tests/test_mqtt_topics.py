"""Topic templates: filters hear their devices, addresses come back, and our own commands are never heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from drivers.mqtt.driver import open_driver
from drivers.mqtt.topics import ADDRESS, address_mistake, parse_template
from hub import ConfigError
from tests.mqtt_link import PROFILES, device, mqtt_link

LEVEL = st.text("abcxyz0189:-_ 粤", min_size=1, max_size=8)
LEVELS = st.lists(LEVEL, min_size=1, max_size=4)
ADDRESSES = LEVELS.map("/".join)
TEMPLATES = st.tuples(LEVELS, st.lists(LEVEL, max_size=3)).map(
    lambda parts: "/".join([*parts[0], ADDRESS, *parts[1]])
)
TO_DEVICE = (
    "dormhub/down/b1-101/command",
    "cmnd/b1-101/POWER",
    "b1-101/command/switch:0",
    "b1-101/rpc",
    "zigbee2mqtt/b1-101/set",
    "device/b1-101/message/down/gpio_out",
    "indicate/server/key/b1-101",
)


@given(template=TEMPLATES, address=ADDRESSES)
def test_an_address_comes_back_from_its_topic(template: str, address: str) -> None:
    parsed = parse_template(template)
    assert parsed.address(parsed.topic(address)) == address


@given(template=TEMPLATES, address=ADDRESSES)
def test_a_filter_hears_its_topic(template: str, address: str) -> None:
    parsed = parse_template(template)
    assert topic_matches_sub(parsed.filter(address), parsed.topic(address))


@given(template=TEMPLATES, topic=ADDRESSES)
def test_a_topic_has_an_address_only_where_the_template_makes_it(template: str, topic: str) -> None:
    parsed = parse_template(template)
    address = parsed.address(topic)
    assert address is None or parsed.topic(address) == topic


@pytest.mark.parametrize("topic", TO_DEVICE)
def test_no_shipped_profile_hears_what_is_said_to_devices(topic: str) -> None:
    speaking = [
        device(f"d-{number}", name, "b1-101")
        for number, name in enumerate(PROFILES.ids())
        if PROFILES.example(name).protocol == "mqtt" and not name.startswith("generic")
    ]
    speaking.append(device("own", "generic_washer", "b1-101"))
    filters = open_driver(mqtt_link(1883, speaking))._routes.filters  # type: ignore[attr-defined]
    assert [name for name in filters if topic_matches_sub(name, topic)] == []


@pytest.mark.parametrize(
    "template",
    [
        "dormhub/down/{address}/command",
        "dormhub/{address}/state",
        "cmnd/{address}/POWER",
        "{address}/cmnd/POWER",
        "{address}/rpc",
        "{address}/command/switch:0",
        "zigbee2mqtt/{address}/set",
        "{address}",
        "a/{address}/#",
        "a/+/{address}",
        "a//{address}",
        "a/x{address}",
        "a/b",
        "{address}/{address}",
    ],
)
def test_a_template_that_would_hear_commands_or_too_much_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"^(write|name) "):
        parse_template(template)


@pytest.mark.parametrize(
    "address", ["", "a//b", "a/", "+", "a/#", "$SYS", "dormhub/down/x", "cmnd"]
)
def test_an_address_that_would_hear_commands_or_too_much_is_refused(address: str) -> None:
    assert address_mistake(address)


@pytest.mark.parametrize("address", ["../x", "x/..", "x/../y", ".", "./x", "..", "a\\b"])
def test_an_address_is_no_path_out_of_its_tree(address: str) -> None:
    assert "no level . or .." in address_mistake(address)
    assert not address_mistake("b1/v1.2..3")


def test_ten_thousand_devices_need_few_subscriptions() -> None:
    devices = [device(f"m-{number}") for number in range(10_000)]
    driver = open_driver(mqtt_link(1883, devices))
    assert driver._routes.filters == ("dormhub/up/+/online", "dormhub/up/+/state")  # type: ignore[attr-defined]


def test_two_devices_on_one_topic_are_a_mistake() -> None:
    devices = [device("a", address="x"), device("b", "generic_washer", "x")]
    with pytest.raises(ConfigError, match="a speaks on dormhub/up/x/state too"):
        open_driver(mqtt_link(1883, devices))


def test_a_device_address_with_a_wildcard_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="device a"):
        open_driver(mqtt_link(1883, [device("a", address="+")]))
