"""Credentials that end while devices are connected, on a real Mosquitto."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiomqtt
import pytest
from sqlalchemy import update

from hub.broker import Issued, Kind
from hub.checkup.broker_door import loaded_finding
from hub.config import BrokerConfig
from hub.ledger.tables import credentials
from tests.broker_site import CLOCK, MARKER, BrokerSite, broker_site, heard, link_of, washer

OTHERS = ("w-2", "w-3", "w-4", "w-5")
KINDS = list(Kind)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BrokerSite]:
    async with broker_site(tmp_path, "w-1", *OTHERS) as made:
        await made.issue(Kind.CERTIFICATE, "w-1", *OTHERS)
        await made.issue(Kind.PASSWORD, "w-1", *OTHERS)
        yield made


@pytest.mark.parametrize("kind", KINDS)
async def test_revoking_disconnects_within_ten_seconds_and_nobody_else(
    site: BrokerSite, kind: Kind
) -> None:
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(site.hub())
        others = [await stack.enter_async_context(site.device(name, kind)) for name in OTHERS]
        for name, client in zip(OTHERS, others, strict=True):
            await client.subscribe(f"dormhub/down/{name}/command", qos=1)
        with pytest.raises(aiomqtt.MqttError):
            await _revoke(site, kind)
        assert await _refused(site.device("w-1", kind))
        for name in OTHERS:
            await hub.publish(f"dormhub/down/{name}/command", MARKER, qos=1)
        assert [await heard(client) for client in others] == [[]] * 4  # the very same connections


@pytest.mark.parametrize("kind", KINDS)
async def test_a_persistent_session_of_the_revoked_is_gone_with_it(
    site: BrokerSite, kind: Kind
) -> None:
    async with site.device("w-1", kind, protocol=aiomqtt.ProtocolVersion.V311) as client:
        await client.subscribe("dormhub/down/w-1/command", qos=1)
    await site.broker.credentials.revoke(["w-1"], "test")
    assert await site.broker.evict()
    found = await site.broker.credentials.find(["w-1"], good=False, after="", limit=10)
    assert [bool(one.revoked_ms and one.evicted_ms) for one in found] == [True, True]


async def test_a_reload_keeps_every_session_and_its_queue(site: BrokerSite) -> None:
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(site.hub())
        clients = [
            await stack.enter_async_context(site.device(name, kind))
            for name, kind in zip(OTHERS, [*KINDS, *KINDS], strict=True)
        ]
        for name, client in zip(OTHERS, clients, strict=True):
            await client.subscribe(f"dormhub/down/{name}/command", qos=1)
        site.keep((await _rotated(site, "w-1", Kind.PASSWORD)).secrets)
        for _ in range(3):
            await _rotated(site, "w-1", Kind.CERTIFICATE, overlap_s=0)
            await site.loaded()
            for name in OTHERS:
                await hub.publish(f"dormhub/down/{name}/command", "told", qos=1)
        for name in OTHERS:
            await hub.publish(f"dormhub/down/{name}/command", MARKER, qos=1)
        found = [await heard(client) for client in clients]
    assert [len(one) for one in found] == [3, 3, 3, 3]


async def test_two_revocations_of_one_second_both_count(site: BrokerSite) -> None:
    for name in ("w-1", "w-2", "w-3"):
        await site.broker.credentials.revoke([name], "test")
        assert await site.broker.evict()
    refused = [await _refused(site.device(name, Kind.CERTIFICATE)) for name in ("w-1", *OTHERS)]
    assert refused == [True, True, True, False, False]


@pytest.mark.parametrize("kind", KINDS)
async def test_in_a_rotation_old_and_new_are_good_and_then_the_new_alone(
    site: BrokerSite, kind: Kind
) -> None:
    old = site.device("w-1", kind)
    async with old:
        issued = await _rotated(site, "w-1", kind, overlap_s=3600)
        await site.loaded()
        await old.publish("dormhub/up/w-1/state", "old", qos=1)
    site.keep(issued.secrets)
    async with site.device("w-1", kind) as new:
        await new.publish("dormhub/up/w-1/state", "new", qos=1)
    site.keep((await _rotated(site, "w-1", kind, overlap_s=0)).secrets)
    await site.loaded()
    assert await site.broker.evict()
    assert not await _refused(site.device("w-1", kind))
    good = await site.broker.credentials.find(["w-1"], good=True, after="", limit=10)
    assert len([one for one in good if one.kind is kind]) == 1


async def test_the_end_of_a_replaced_certificate_leaves_the_session_of_the_new_one(
    site: BrokerSite,
) -> None:
    site.keep((await _rotated(site, "w-1", Kind.CERTIFICATE, overlap_s=1)).secrets)
    async with site.device("w-1", Kind.CERTIFICATE) as new, site.hub() as hub:
        await new.subscribe("dormhub/down/w-1/command", qos=1)
        async with asyncio.timeout(10):
            while not await site.broker.credentials.end_expired():
                await CLOCK.sleep(0.1)
        await site.loaded()
        assert await site.broker.evict()
        await hub.publish("dormhub/down/w-1/command", MARKER, qos=1)
        assert await heard(new) == []  # the very same connection
        with pytest.raises(aiomqtt.MqttError):
            await _revoke(site, Kind.CERTIFICATE)
    found = await site.broker.credentials.find(["w-1"], good=False, after="", limit=10)
    assert all(one.evicted_ms for one in found)


@pytest.mark.parametrize("lost", ["broker/crl.number", "files/crl.pem"])
async def test_after_an_older_ledger_was_restored_the_next_revocation_counts(
    site: BrokerSite, lost: str
) -> None:
    await site.broker.credentials.revoke(["w-1", "w-2"], "test")
    assert await site.broker.evict()
    forget = update(credentials).values(revoked_ms=None, evicted_ms=None)
    await site.ledger.run(lambda connection: connection.execute(forget) and None)
    before = _crl_number(site)
    (site.data / lost).unlink()
    await site.loaded()
    assert not await _refused(site.device("w-2", Kind.CERTIFICATE))
    assert _crl_number(site) > before
    await site.broker.credentials.revoke(["w-3"], "test")
    assert await site.broker.evict()
    assert await _refused(site.device("w-3", Kind.CERTIFICATE))
    assert not await _refused(site.device("w-2", Kind.CERTIFICATE))


def _crl_number(site: BrokerSite) -> int:
    crl = (site.data / "files" / "crl.pem").read_bytes()
    found = site.broker.credentials.authority().numbered(crl)
    assert found is not None
    return found[0]


async def test_doctor_knows_whether_the_broker_runs_the_files(site: BrokerSite) -> None:
    before = await asyncio.to_thread(loaded_finding, site.config)
    pid_file = site.config.pid_file
    assert pid_file is not None
    pid_file.write_text("1\n")  # not the broker's: nobody is told
    await site.broker.credentials.revoke(["w-1"], "test")
    await site.broker.synchronise()
    after = await asyncio.to_thread(loaded_finding, site.config)
    site.server.stop()
    away = await asyncio.to_thread(loaded_finding, site.config)
    none = await asyncio.to_thread(loaded_finding, BrokerConfig())
    assert [one and one.verdict for one in (before, after, away)] == ["well", "wrong", "wrong"]
    assert after is not None
    assert after.to_do == "systemctl reload mosquitto"
    assert none is None


async def test_a_replaced_password_ends_at_its_time_by_itself(site: BrokerSite) -> None:
    old = site.secrets["w-1", Kind.PASSWORD]
    new = (await _rotated(site, "w-1", Kind.PASSWORD, overlap_s=1)).secrets[0]
    looking = asyncio.create_task(site.broker.run())
    async with asyncio.timeout(40):
        while not await _refused(_with(site, old.username, old.password)):
            site.broker.configure([link_of(*map(washer, ("w-1", *OTHERS)))])  # wakes it
            await CLOCK.sleep(0.2)
    looking.cancel()
    await asyncio.wait([looking])
    assert not await _refused(_with(site, new.username, new.password))
    assert (old.username, new.username) == ("w-1", "w-1.2")


async def test_a_device_that_is_installed_no_more_loses_everything(site: BrokerSite) -> None:
    with pytest.raises(aiomqtt.MqttError):
        await _retire(site)
    files = site.config.folder
    assert files is not None
    assert "w-1" not in (files / "acl").read_text() + (files / "passwords").read_text()
    assert await _refused(site.device("w-1", Kind.CERTIFICATE))
    assert not await _refused(site.device("w-2", Kind.CERTIFICATE))


async def test_a_saved_tls_session_does_not_open_the_door_again(site: BrokerSite) -> None:
    context = site.context("w-1")
    port = site.config.certificate_port
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    found = writer.get_extra_info("ssl_object")
    writer.write(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03w-1")
    assert (await reader.readexactly(4))[3] == 0
    saved = found.session
    writer.close()
    await site.broker.credentials.revoke(["w-1"], "test")
    assert await site.broker.evict()
    assert saved.has_ticket
    assert await asyncio.to_thread(_resumed, site, context, saved) == b""


def _resumed(site: BrokerSite, context: object, saved: object) -> bytes:
    assert isinstance(context, ssl.SSLContext)
    assert isinstance(saved, ssl.SSLSession)
    address = ("localhost", site.config.certificate_port)
    try:
        with (
            socket.create_connection(address, timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=saved) as secured,
        ):
            secured.sendall(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03w-1")
            return secured.recv(4)
    except ssl.SSLError:
        return b""


async def _revoke(site: BrokerSite, kind: Kind) -> None:
    """Revoke w-1 while it is connected, and stay until it is thrown out; ten seconds at most."""
    async with site.device("w-1", kind) as revoked, asyncio.timeout(10):
        await site.broker.credentials.revoke(["w-1"], "test")
        assert await site.broker.evict()
        await _listen(revoked)


async def _retire(site: BrokerSite) -> None:
    """The site without w-1, as an apply leaves it, until w-1 is thrown out."""
    async with site.device("w-1", Kind.CERTIFICATE) as gone, asyncio.timeout(10):
        site.broker.configure([link_of(*map(washer, OTHERS))])
        looking = asyncio.create_task(site.broker.run())
        try:
            await _listen(gone)
        finally:
            looking.cancel()
            await asyncio.wait([looking])


async def _rotated(site: BrokerSite, name: str, kind: Kind, overlap_s: int = 60) -> Issued:
    return await site.broker.credentials.rotate([name], kind, "test", overlap_s=overlap_s)


def _with(site: BrokerSite, username: str, password: str) -> aiomqtt.Client:
    trusting = site.context()
    port = site.config.password_port
    return site.client(port, "x", tls_context=trusting, username=username, password=password)


async def _listen(client: aiomqtt.Client) -> None:
    async for _ in client.messages:
        pass


async def _refused(client: aiomqtt.Client) -> bool:
    try:
        async with client:
            return False
    except aiomqtt.MqttError:
        return True


async def test_a_lost_word_to_the_broker_is_said_again(site: BrokerSite) -> None:
    pid_file = site.config.pid_file
    assert pid_file is not None
    process = pid_file.read_text()
    pid_file.write_text("1\n")  # not the broker's: nobody is told
    await site.broker.credentials.revoke(["w-1"], "test")
    evicting = asyncio.create_task(site.broker.evict())
    await CLOCK.sleep(0.5)
    assert not await _refused(site.device("w-1", Kind.CERTIFICATE))
    pid_file.write_text(process)
    assert await evicting
    assert await _refused(site.device("w-1", Kind.CERTIFICATE))


async def test_while_the_broker_is_away_a_revoked_credential_waits_for_it(site: BrokerSite) -> None:
    site.server.stop()
    await site.broker.credentials.revoke(["w-1"], "test")
    evicting = asyncio.create_task(site.broker.evict())
    await asyncio.to_thread(site.server.start)
    assert await evicting
    assert await _refused(site.device("w-1", Kind.CERTIFICATE))
    assert not await _refused(site.device("w-2", Kind.CERTIFICATE))
