"""Five devices and their topics on a real Mosquitto: what may be said, judged by what is really heard."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from hub.broker import Kind
from hub.broker.authority import open_authority
from hub.broker.door import knock
from tests.broker_site import CLOCK, MARKER, BrokerSite, broker_site, heard

DEVICES = ("w-1", "w-2", "w-3", "w-4", "w-5")
KINDS = list(Kind)
# What each device tries to hear, beside its own: the others, everything, the broker, and by a shared name.
FILTERS = (
    "dormhub/down/{}/command",
    "dormhub/down/+/command",
    "dormhub/#",
    "#",
    "$SYS/#",
    "$share/all/dormhub/#",
    "+/+/+/state",
)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BrokerSite]:
    async with broker_site(tmp_path, *DEVICES) as made:
        await made.issue(Kind.CERTIFICATE, *DEVICES)
        await made.issue(Kind.PASSWORD, *DEVICES)
        yield made


def topics(device: str) -> tuple[str, ...]:
    """Five topics of a device: three it speaks on, two it is spoken to on."""
    up, down = f"dormhub/up/{device}", f"dormhub/down/{device}"
    return (f"{up}/state", f"{up}/online", f"{up}/result", f"{down}/command", f"{down}/other")


ALL_TOPICS = [topic for name in DEVICES for topic in topics(name)]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_device_is_heard_on_its_own_up_topics_only(site: BrokerSite, kind: Kind) -> None:
    spied: list[str] = []
    async with AsyncExitStack() as stack:
        spy = await stack.enter_async_context(site.spy())
        for name in DEVICES:
            client = await stack.enter_async_context(site.device(name, kind))
            for topic in (*ALL_TOPICS, "dormhub/up", "$SYS/broker/x", "elsewhere", f"{name}/x"):
                await client.publish(topic, f"by {name}", qos=1)
        await spy.publish("marker", MARKER, qos=1)
        async for message in spy.messages:
            if message.payload == MARKER.encode():
                break
            spied.append(f"{message.topic} {message.payload.decode()}")
    own = [f"{topic} by {name}" for name in DEVICES for topic in topics(name)[:3]]
    assert sorted(spied) == sorted(own)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_device_hears_its_own_down_topics_only_whatever_it_subscribes_to(
    site: BrokerSite, kind: Kind
) -> None:
    found: dict[str, list[str]] = {}
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(site.hub())
        await hub.publish("dormhub/up/w-1/state", "kept", qos=1, retain=True)
        clients = [await stack.enter_async_context(site.device(name, kind)) for name in DEVICES]
        for client in clients:
            for topic in FILTERS:
                for name in DEVICES:
                    await client.subscribe(topic.format(name), qos=1)
        for name, client in zip(DEVICES, clients, strict=True):
            await client.publish(f"dormhub/up/{name}/state", "said", qos=1)
        for topic in ALL_TOPICS:
            await hub.publish(topic, "told", qos=1)
        for name in DEVICES:
            await hub.publish(f"dormhub/down/{name}/command", MARKER, qos=1)
        for name, client in zip(DEVICES, clients, strict=True):
            found[name] = await heard(client)
    assert {name: set(topics) for name, topics in found.items()} == {
        name: {f"dormhub/down/{name}/command"} for name in DEVICES
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_the_last_will_and_retained_messages_obey_the_same_list(
    site: BrokerSite, kind: Kind
) -> None:
    will = aiomqtt.Will("dormhub/down/w-2/command", "boom", qos=1, retain=True)
    async with site.spy() as spy:
        with pytest.raises(aiomqtt.MqttError):
            await _die(site.device("w-1", kind, will=will))
        async with site.device("w-2", kind) as victim:
            await victim.subscribe("dormhub/down/w-2/command", qos=1)
            await spy.publish("dormhub/down/w-2/command", MARKER, qos=1)
            assert await heard(victim) == []


async def test_the_hub_hears_the_devices_and_the_broker_and_reaches_them(site: BrokerSite) -> None:
    async with site.hub() as hub, site.device("w-1", Kind.CERTIFICATE) as device:
        await hub.subscribe([("dormhub/up/+/state", 1), ("$SYS/broker/version", 1)])
        await device.subscribe("dormhub/down/w-1/command", qos=1)
        await hub.publish("dormhub/down/w-1/command", "start", qos=1)
        order = await _next(device)
        await device.publish("dormhub/up/w-1/state", "running", qos=1)
        said = [await _next(hub), await _next(hub)]
    assert order.payload == b"start"
    assert {f"{message.topic}" for message in said} == {
        "$SYS/broker/version",
        "dormhub/up/w-1/state",
    }


async def test_what_waits_for_the_hub_survives_a_power_cut_of_the_broker(site: BrokerSite) -> None:
    keeping = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    keeping.SessionExpiryInterval = 3600
    options = {"clean_start": False, "properties": keeping}
    async with site.hub("keeper", **options) as hub:
        await hub.subscribe("dormhub/up/+/state", qos=1)
    async with site.device("w-1", Kind.CERTIFICATE) as device:
        for number in range(20):
            await device.publish("dormhub/up/w-1/state", f"{number}", qos=1)
    await _next_turn(site)
    await asyncio.to_thread(site.server.kill)
    await asyncio.to_thread(site.server.start)
    async with site.device("w-2", Kind.PASSWORD) as device:
        await device.publish("dormhub/up/w-2/state", MARKER, qos=1)
    async with site.hub("keeper", **options) as hub:
        assert await heard(hub) == ["dormhub/up/w-1/state"] * 20


@pytest.mark.parametrize("kind", KINDS)
async def test_another_credential_cannot_take_a_client_id(site: BrokerSite, kind: Kind) -> None:
    async with site.device("w-1", kind) as victim:
        for name in DEVICES[1:]:
            async with site.device(name, kind, identifier="w-1") as thief:
                await thief.publish("dormhub/up/w-1/state", "stolen", qos=1)
        await victim.subscribe("dormhub/down/w-1/command", qos=1)
        async with site.hub() as hub:
            await hub.publish("dormhub/down/w-1/command", MARKER, qos=1)
        assert await heard(victim) == []  # still the one who gets it


async def test_a_certificate_is_its_own_name_whatever_username_is_said(site: BrokerSite) -> None:
    lies = {"username": "dormhub-hub", "password": site.password}
    async with site.spy() as spy:
        async with site.device("w-1", Kind.CERTIFICATE, **lies) as client:
            await client.publish("dormhub/down/w-2/command", "open", qos=1)
        await spy.publish("marker", MARKER, qos=1)
        assert await heard(spy) == []


async def test_nobody_gets_in_without_a_credential(site: BrokerSite) -> None:
    config, trusting = site.config, site.context()
    anonymous = [
        site.client(config.hub_port, "anyone"),
        site.client(config.password_port, "anyone", tls_context=trusting),
        site.client(config.certificate_port, "anyone", tls_context=trusting),
        site.client(config.password_port, "anyone"),  # without TLS
    ]
    wrong = [
        site.client(config.hub_port, "w-1", username="w-1", password="wrong"),
        site.client(config.hub_port, "w-1", username="w-1", password=""),
        site.client(config.password_port, "+", username="+", password="+", tls_context=trusting),
    ]
    assert [await _refused(client) for client in (*anonymous, *wrong)] == [True] * 7


async def test_old_versions_of_tls_are_refused(site: BrokerSite) -> None:
    old = site.context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection("localhost", site.config.password_port, ssl=old)
    assert "unsupported protocol" in (site.server.folder / "server.log").read_text()


async def test_certificates_of_others_and_expired_ones_are_refused(
    site: BrokerSite, tmp_path: Path
) -> None:
    own = open_authority(site.data / "broker", CLOCK.now_ms())
    foreign = open_authority(tmp_path / "foreign", CLOCK.now_ms())
    long_ago_ms = CLOCK.now_ms() - 3 * 365 * 86_400_000
    for name, made in (
        ("foreign", foreign.issue_device("w-1", CLOCK.now_ms())),
        ("expired", own.issue_device("w-1", long_ago_ms)),
        ("good", own.issue_device("w-1", CLOCK.now_ms())),
    ):
        (site.data / f"{name}.pem").write_text(made.certificate + made.key)
    port = site.config.certificate_port
    refused = {
        name: await _refused(site.client(port, "w-1", tls_context=site.context(name)))
        for name in ("foreign", "expired", "good")
    }
    assert refused == {"foreign": True, "expired": True, "good": False}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_message_beyond_64_kib_ends_its_sender_and_reaches_nobody(
    site: BrokerSite, kind: Kind
) -> None:
    async with site.spy() as spy:
        with pytest.raises(aiomqtt.MqttError):
            await _send_too_much(site.device("w-1", kind, protocol=aiomqtt.ProtocolVersion.V311))
        async with site.device("w-1", kind) as client:
            await client.publish("dormhub/up/w-1/state", bytes(65_000), qos=1)
        await spy.publish("marker", MARKER, qos=1)
        assert await heard(spy) == ["dormhub/up/w-1/state"]


@pytest.mark.parametrize(
    "name", ["+", "#", "../x", "w-1/#", "", "W-1", "w 1", "x" * 65, "w-1\nuser w-2"]
)
async def test_an_id_that_is_no_id_gets_no_certificate(site: BrokerSite, name: str) -> None:
    with pytest.raises(ValueError, match="no id of a device"):
        open_authority(site.data / "broker", 0).issue_device(name, CLOCK.now_ms())


async def _die(client: aiomqtt.Client) -> None:
    """Leave something where it does not belong, then go without a goodbye, so that the will speaks."""
    async with client:
        await client.publish("dormhub/down/w-2/command", "kept", qos=1, retain=True)
        socket = client._client.socket()
        assert isinstance(socket, ssl.SSLSocket)
        socket.shutdown(2)
        await _next(client)


async def _send_too_much(client: aiomqtt.Client) -> None:
    async with client:
        await client.publish("dormhub/up/w-1/state", bytes(65_536), qos=1)
        await _next(client)


async def _next_turn(site: BrokerSite) -> None:
    """Let the broker come round: it writes what it has just acknowledged at the end of each turn."""
    assert await knock(site.config.hub_port, "knock", "dormhub-hub", site.password)


async def _next(client: aiomqtt.Client) -> aiomqtt.Message:
    async with asyncio.timeout(10):
        async for message in client.messages:
            return message
    raise AssertionError("nothing came")


async def _refused(client: aiomqtt.Client) -> bool:
    try:
        async with client:
            return False
    except aiomqtt.MqttError:
        return True
