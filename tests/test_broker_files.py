"""The files the hub writes for the broker: of the ledger and the site alone, whatever happened in between."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import Connection

from hub import Device, Link, LinkTopics, Place, Topics, load_profiles
from hub.broker import BROKER_FOLDER, Broker, Issued, Kind, drift, ending_soon, rows
from hub.broker.access import access_list
from hub.broker.files import configuration
from hub.broker.mosquitto import Mosquitto
from hub.broker.passwords import is_password
from hub.broker.rows import LOADED_USERNAME
from hub.config import BrokerConfig, HubConfig, load_config
from hub.ledger import Ledger, open_ledger
from hub.ledger.books import open_reader
from hub.plugin import link_topics
from tests.broker_site import CLOCK, link_of, washer
from tests.servers import find_program

PROFILES = load_profiles()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with open_ledger(tmp_path / "ledger.db", clock=CLOCK) as made:
        yield made


def broker(folder: Path, ledger: Ledger, *devices: str, hub_port: int = 1883) -> Broker:
    files = folder / "files"
    files.mkdir(exist_ok=True)
    config = BrokerConfig(folder=files, hub_port=hub_port)
    made = Broker(ledger=ledger, clock=CLOCK, data=folder, config=config)
    made.configure([link_of(*map(washer, devices))])
    return made


async def issue(made: Broker, *devices: str, kind: Kind = Kind.PASSWORD) -> Issued:
    return await made.credentials.issue(devices, kind, "test")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "files").iterdir()}


async def test_the_same_ledger_and_site_give_the_same_bytes(tmp_path: Path, ledger: Ledger) -> None:
    made = broker(tmp_path, ledger, "w-1", "w-2")
    await made.renew_hub("test")
    await issue(made, "w-2", "w-1")
    await issue(made, "w-1", "w-2", kind=Kind.CERTIFICATE)
    await made.credentials.revoke(["w-2"], "test")
    await made.synchronise()
    first = contents(tmp_path)
    for path in (tmp_path / "files").iterdir():
        path.unlink()
    await broker(tmp_path, ledger, "w-2", "w-1").synchronise()
    assert contents(tmp_path) == first


async def test_files_that_are_right_are_not_written_again(tmp_path: Path, ledger: Ledger) -> None:
    made = broker(tmp_path, ledger, "w-1")
    await issue(made, "w-1")
    await made.synchronise()
    before = {path: path.stat().st_ino for path in (tmp_path / "files").iterdir()}
    await made.synchronise()
    assert {path: path.stat().st_ino for path in (tmp_path / "files").iterdir()} == before
    (tmp_path / "files" / "acl").write_text("topic readwrite #\n")
    await made.synchronise()
    changed = {path.name for path, inode in before.items() if path.stat().st_ino != inode}
    assert changed == {"acl", "loaded"}


async def test_a_hub_killed_between_ledger_and_files_makes_them_at_its_start(
    tmp_path: Path, ledger: Ledger
) -> None:
    made = broker(tmp_path, ledger, "w-1", "w-2")
    await issue(made, "w-1")
    await made.synchronise()
    await issue(made, "w-2")  # and no more: killed
    await made.credentials.revoke(["w-1"], "test")
    looking = asyncio.create_task(broker(tmp_path, ledger, "w-1", "w-2").run())
    async with asyncio.timeout(20):
        while "w-2:" not in (tmp_path / "files" / "passwords").read_text():
            await asyncio.sleep(0.02)
    looking.cancel()
    await asyncio.wait([looking])
    assert "w-1:" not in (tmp_path / "files" / "passwords").read_text()


async def test_drift_names_what_is_not_in_step(tmp_path: Path, ledger: Ledger) -> None:
    made = broker(tmp_path, ledger, "w-1", "w-2")
    assert drifting(tmp_path) == [
        f"{tmp_path / BROKER_FOLDER} holds no authority yet: start the hub"
    ]
    await issue(made, "w-1", "w-2")
    await made.synchronise()
    assert drifting(tmp_path) == []
    (tmp_path / "files" / "acl").unlink()
    await made.credentials.revoke(["w-2"], "test")
    first, second, third = drifting(tmp_path)
    assert "passwords is not what ledger and site say" in first
    assert "acl is not what ledger and site say" in second
    assert third == "revoked and perhaps still connected: w-2"


def drifting(folder: Path) -> list[str]:
    config = HubConfig(data=folder, broker=BrokerConfig(folder=folder / "files"))
    links = (link_of(washer("w-1"), washer("w-2")),)
    with open_reader(folder / "ledger.db") as connection:
        return drift(connection, config, links, CLOCK.now_ms())


async def test_what_is_kept_of_a_secret_opens_nothing(tmp_path: Path, ledger: Ledger) -> None:
    made = broker(tmp_path, ledger, "w-1")
    await made.renew_hub("test")
    password = (await issue(made, "w-1")).secrets[0].password
    key = (await issue(made, "w-1", kind=Kind.CERTIFICATE)).secrets[0].key
    await made.synchronise()
    middle = key.splitlines()[1]
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    found = [one for one in kept if password.encode() in one or middle.encode() in one]
    assert found == []
    assert len(password) == 32
    hashed = (tmp_path / "files" / "passwords").read_text().split("w-1:")[1].splitlines()[0]
    assert is_password(password, hashed)
    assert hashed.startswith("$7$101$")
    assert "PRIVATE" not in repr(await issue(made, "w-1"))


async def test_nobody_else_can_read_keys_and_hashes(tmp_path: Path, ledger: Ledger) -> None:
    made = broker(tmp_path, ledger, "w-1")
    mask = os.umask(0)
    await made.renew_hub("test")
    os.umask(mask)
    own = {path.name: path.stat().st_mode for path in (tmp_path / BROKER_FOLDER).iterdir()}
    files = {path.name: path.stat().st_mode for path in (tmp_path / "files").iterdir()}
    assert {stat.S_IMODE(mode) for mode in own.values()} == {0o600}
    assert {stat.S_IMODE(mode) for mode in files.values()} == {0o640}
    assert stat.S_IMODE((tmp_path / BROKER_FOLDER).stat().st_mode) == 0o700


async def test_a_folder_that_is_not_there_is_said_and_mended_later(
    tmp_path: Path, ledger: Ledger
) -> None:
    made = broker(tmp_path, ledger, "w-1")
    (tmp_path / "files").rmdir()
    await made.synchronise()
    assert "is no folder" in made.reason
    (tmp_path / "files").mkdir()
    await made.synchronise()
    assert made.reason == ""


def test_the_folder_of_the_broker_is_absolute_as_the_broker_needs_it(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "hub.toml").write_text('[broker]\nfolder = "files"\n')
    assert load_config(config).broker.folder == tmp_path / "files"
    assert f"acl_file {tmp_path}/files/acl" in configuration(load_config(config).broker)


async def test_reserved_names_are_no_devices(tmp_path: Path, ledger: Ledger) -> None:
    made = broker(tmp_path, ledger, "dormhub-hub")
    with pytest.raises(Exception, match="none of dormhub-hub"):
        await issue(made, "dormhub-hub", kind=Kind.CERTIFICATE)


async def test_the_authority_is_made_once_and_a_half_of_it_is_not_replaced(
    tmp_path: Path, ledger: Ledger
) -> None:
    await broker(tmp_path, ledger, "w-1").synchronise()
    path = tmp_path / BROKER_FOLDER / "ca.crt"
    first = path.read_bytes()
    await broker(tmp_path, ledger, "w-1").synchronise()
    assert path.read_bytes() == first
    path.unlink()
    made = broker(tmp_path, ledger, "w-1")
    await made.synchronise()
    assert "restore ca.key and ca.crt" in made.reason
    assert not path.exists()


async def test_a_device_certificate_says_just_its_id_for_two_years(
    tmp_path: Path, ledger: Ledger
) -> None:
    secret = (await issue(broker(tmp_path, ledger, "w-1"), "w-1", kind=Kind.CERTIFICATE)).secrets[0]
    made = x509.load_pem_x509_certificate(secret.certificate.encode())
    left_days = (made.not_valid_after_utc.timestamp() - CLOCK.now_ms() / 1000) / 86_400
    assert made.subject.rfc4514_string() == "CN=w-1"
    assert 729 < left_days <= 730
    assert secret.expires_ms == int(made.not_valid_after_utc.timestamp()) * 1000


async def test_certificates_that_end_soon_are_named_until_they_are_replaced(
    tmp_path: Path, ledger: Ledger
) -> None:
    made = broker(tmp_path, ledger, "w-1", "w-2")
    await issue(made, "w-1", "w-2", kind=Kind.CERTIFICATE)
    await issue(made, "w-1", "w-2")
    later_ms = CLOCK.now_ms() + 701 * 86_400_000
    now = await ledger.read(lambda connection: ending_soon(connection, CLOCK.now_ms()))
    later = await ledger.read(lambda connection: ending_soon(connection, later_ms))
    assert now == []
    assert "end within 30 days: w-1, w-2:" in later[0]


async def test_others_come_to_the_ledger_between_the_parts_of_a_mass_revocation(
    tmp_path: Path, ledger: Ledger
) -> None:
    names = [f"w-{number}" for number in range(1000)]
    made = broker(tmp_path, ledger, *names)
    for start in range(0, 1000, 250):
        await issue(made, *names[start : start + 250])
    revoking = asyncio.create_task(made.credentials.revoke(names, "test"))
    seen = {await ledger.run(_good)}
    while not revoking.done():
        seen.add(await ledger.run(_good))
    assert len(await revoking) == 1000
    assert seen & {250, 500, 750}


async def test_an_overrun_goes_on_after_the_names_that_were_done(
    tmp_path: Path, ledger: Ledger
) -> None:
    names = [f"w-{number:03}" for number in range(120)]
    door = Door(patience=60)
    async with await asyncio.start_server(door.answer, "127.0.0.1", 0) as server:
        made = broker(tmp_path, ledger, *names, hub_port=server.sockets[0].getsockname()[1])
        await issue(made, *names)
        await made.credentials.revoke(names, "test")
        first, door.patience = await made.evict(), 1000
        door.knocked.clear()
        assert (first, await made.evict()) == (False, True)
    assert sorted(door.knocked) == names[50:]


@dataclass(kw_only=True)
class Door:
    """A broker that lets in who knocks, as long as it has patience; it runs any files."""

    patience: int
    knocked: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, size = await reader.readexactly(2)
        packet = await reader.readexactly(size)
        name = packet[12 : 12 + packet[11]].decode()
        if name != LOADED_USERNAME:
            self.knocked.append(name)
        writer.write(bytes((0x20, 2, 0, 5 if len(self.knocked) > self.patience else 0)))
        await reader.read()  # until it goes
        writer.close()


async def test_of_what_has_come_to_its_end_250_are_ended_at_once(
    tmp_path: Path, ledger: Ledger
) -> None:
    names = [f"w-{number}" for number in range(500)]
    made = broker(tmp_path, ledger, *names)
    for start in (0, 250):
        part = names[start : start + 250]
        await issue(made, *part)
        await made.credentials.rotate(part, Kind.PASSWORD, "test", overlap_s=60)
    later_ms = CLOCK.now_ms() + 61_000
    first = await ledger.run(lambda connection: rows.end_expired(connection, later_ms, 250))
    assert (first, await ledger.run(_good)) == (250, 750)


def _good(connection: Connection) -> int:
    return len(rows.find(connection, devices=None, good=True, after="", limit=2000))


@pytest.mark.parametrize("topic", ["a\nuser dormhub-hub", " a", "a ", "", "a\x00b", "x" * 2000])
def test_a_topic_that_would_break_a_line_is_refused(topic: str) -> None:
    wrong = {"w-1": Topics(writes=(topic,))}
    with pytest.raises(ValueError):
        access_list([("w-1", "w-1")], wrong, Topics())


def test_a_makers_device_gets_the_topics_of_its_profile_and_the_hub_its_filters() -> None:
    def device(name: str, profile: str) -> Device:
        known = PROFILES.get(profile, {}, place="test")
        return Device(id=name, profile=known, link="m", address=name, place=Place())

    devices = (device("t-1", "tasmota_plug"), device("s-1", "shelly_plus1pm"))
    link = Link(id="m", driver="mqtt", settings={"host": "x"}, devices=devices)
    found = link_topics(link)
    assert found == LinkTopics(
        devices={
            "t-1": Topics(
                writes=("stat/t-1/POWER", "stat/t-1/RESULT", "tele/t-1/LWT", "tele/t-1/SENSOR"),
                reads=("cmnd/t-1/MaxPower", "cmnd/t-1/POWER"),
            ),
            "s-1": Topics(
                writes=(
                    "dormhub-m/rpc",
                    "s-1/events/rpc",
                    "s-1/online",
                    "s-1/status/switch:0",
                ),
                reads=("s-1/rpc",),
            ),
        },
        hub=found.hub if found else Topics(),
    )
    assert found is not None
    assert "cmnd/+/POWER" in found.hub.writes
    assert {"dormhub-m/rpc", "tele/+/SENSOR", "cmnd/+/POWER"} <= set(found.hub.reads)


def test_a_broker_that_has_only_just_begun_is_not_ended_by_a_word_to_it(tmp_path: Path) -> None:
    program = (
        tmp_path / "mosquitto"
    )  # by its name; it has no ear for the signal, like one that begins
    shutil.copy(find_program("sleep"), program)
    begins = subprocess.Popen([str(program), "30"])
    pid_file = tmp_path / "pid"
    pid_file.write_text(f"{begins.pid}\n")
    config = BrokerConfig(folder=tmp_path, pid_file=pid_file)
    Mosquitto(config, tmp_path, CLOCK).reload()
    with pytest.raises(subprocess.TimeoutExpired):
        begins.wait(0.2)
    begins.kill()
    begins.wait()
