"""`dormhub credentials` against a running hub and the Mosquitto that runs its files."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import shlex
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiomqtt
import pytest

from hub.cli.interrupt import Interrupt
from hub.config import BrokerConfig, load_config
from tests.broker_site import guarded_server
from tests.hub_process import HubProcess, hub_process
from tests.servers import Server, free_port, running, wait_until
from tests.site_folder import write_site

HEADER = "id,profile,link,address,building,period_s\n"
ROWS = [f"w-{number},generic_washer,broker,w-{number},B1,5\n" for number in range(1, 7)]
STATE = b'{"ts": %d, "seq": 1, "state": "idle", "cycles": 7}'


@dataclass(kw_only=True)
class Guarded:
    """A hub, the broker that runs its files, and the command line beside them."""

    hub: HubProcess
    broker: BrokerConfig
    server: Server

    @property
    def speakers(self) -> set[str]:
        return {reading.device for reading in self.hub.readings()}

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.launch(*words).communicate(timeout=60)
        made = subprocess.CompletedProcess(words, self.process.returncode, *done)
        assert made.returncode == code, (made.stdout, made.stderr)
        return made

    def launch(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "hub.cli.main", "credentials", *words]
        self.process = subprocess.Popen(
            [*command, "--config", str(self.hub.folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def device(self, name: str, folder: Path) -> aiomqtt.Client:
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
        port = self.broker.certificate_port
        return aiomqtt.Client("localhost", port, identifier=name, tls_context=context, timeout=5)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    ports = [free_port() for _ in range(4)]
    files = tmp_path / "files"
    files.mkdir()
    site = (
        f'[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {ports[0]}\n'
        'username = "dormhub-hub"\npassword_file = "../data/broker/hub.password"\n'
    )
    hub = (
        f'[api]\nlisten = "127.0.0.1:{ports[3]}"\n'
        f'[broker]\nfolder = "{files}"\npid_file = "{tmp_path}/mosquitto.pid"\n'
        f"hub_port = {ports[0]}\ncertificate_port = {ports[1]}\npassword_port = {ports[2]}\n"
    )
    folder = write_site(tmp_path / "config", site=site, devices=HEADER + "".join(ROWS), hub=hub)
    with hub_process(folder) as process:
        wait_until((files / "loaded").exists)
        broker = load_config(folder).broker
        with running(guarded_server(tmp_path, broker)) as server:
            yield Guarded(hub=process, broker=broker, server=server)


def link_up(hub: HubProcess) -> bool:
    status = hub.status
    return status is not None and all(link.up for link in status.links)


def test_from_nothing_to_readings_over_certificates_and_out_again(
    guarded: Guarded, tmp_path: Path
) -> None:
    out = tmp_path / "secrets"
    guarded.run("issue", "--all", "--kind", "certificate", "--out", str(out))
    wait_until(lambda: link_up(guarded.hub))
    asyncio.run(_speak_and_be_thrown_out(guarded, out))
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}
    assert out.stat().st_mode & 0o777 == 0o700
    assert guarded.run("files").stdout == f"{guarded.broker.folder}: as ledger and site say\n"


async def _speak_and_be_thrown_out(guarded: Guarded, out: Path) -> None:
    async with AsyncExitStack() as stack:
        others = [
            await stack.enter_async_context(guarded.device(f"w-{number}", out))
            for number in range(2, 6)
        ]
        with pytest.raises(aiomqtt.MqttError):
            await _speak(guarded, out)
        for number, client in zip(range(2, 6), others, strict=True):
            await client.publish(f"dormhub/up/w-{number}/online", b"true", qos=1)
    with pytest.raises(aiomqtt.MqttError):
        await guarded.device("w-1", out).__aenter__()


async def _speak(guarded: Guarded, out: Path) -> None:
    now_s = guarded.hub.status.now_ms // 1000 if guarded.hub.status else 0
    async with guarded.device("w-1", out) as client:
        await client.publish("dormhub/up/w-1/state", STATE % now_s, qos=1)
        await asyncio.to_thread(wait_until, lambda: "w-1" in guarded.speakers)
        async with asyncio.timeout(10):
            words = ("revoke", "w-1", "--cause", "stolen")
            told = await asyncio.to_thread(guarded.run, *words)
            assert told.stdout == "1 credentials ended\n"
            async for _ in client.messages:
                pass


def test_passwords_go_to_a_private_csv_and_nowhere_else(guarded: Guarded, tmp_path: Path) -> None:
    out = tmp_path / "secrets.csv"
    said = guarded.run("issue", "--building", "B1", "--out", str(out))
    rows = list(csv.DictReader(out.read_text().splitlines()))
    listed = guarded.run("list", "--json")
    audit = subprocess.run(
        [sys.executable, "-m", "hub.cli.main", "audit", "list", "--config", guarded.hub.folder],
        capture_output=True,
        text=True,
        check=True,
    )
    log = (guarded.server.folder / "server.log").read_text() + guarded.hub.log
    everywhere = said.stdout + said.stderr + listed.stdout + audit.stdout + audit.stderr + log
    assert len(rows) == 6
    assert out.stat().st_mode & 0o777 == 0o600
    assert [row["password"] for row in rows if row["password"] in everywhere] == []
    kept = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    markers = [row["password"].encode() for row in rows]
    assert [one for one in kept for marker in markers if marker in one] == []


def test_the_command_goes_on_where_it_stopped(guarded: Guarded, tmp_path: Path) -> None:
    out = tmp_path / "secrets.csv"
    guarded.run("issue", "w-1", "w-2", "--out", str(out))
    again = guarded.run("issue", "--all", "--out", str(out))
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["device"] for row in rows] == [f"w-{number}" for number in range(1, 7)]
    assert "2 devices: has one already: w-1, w-2" in again.stderr
    guarded.run("issue", "w-1", "--out", str(out), code=1)


def test_what_was_made_and_never_kept_is_named_with_the_command_that_replaces_it(
    guarded: Guarded, tmp_path: Path
) -> None:
    out = tmp_path / "secrets.csv"
    guarded.run("issue", "--all", "--out", str(out))
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:4]) + lines[4][:20])  # killed in the middle of a page
    said = guarded.run("issue", "--all", "--out", str(out), "--json", code=1)
    told = json.loads(said.stdout)
    assert (told["new"], told["lost"]) == (0, ["w-4", "w-5", "w-6"])
    assert f"if it is lost: {told['command']}\n" in said.stderr
    command = shlex.split(told["command"])
    words = command[2 : command.index("--config")]
    guarded.run(*words)
    kept = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["device"] for row in kept if row["id"]] == [f"w-{place}" for place in range(1, 7)]
    out.write_text("".join(lines[:7]))
    said = guarded.run("rotate", "--all", "--out", str(out), "--json", code=1)
    assert json.loads(said.stdout)["lost"] == ["w-4", "w-5", "w-6"]
    assert "rotate --kind password --again --devices-from" in said.stderr


def test_a_certificate_without_its_key_is_named(guarded: Guarded, tmp_path: Path) -> None:
    out = tmp_path / "secrets"
    words = ("issue", "--all", "--kind", "certificate", "--out", str(out))
    guarded.run(*words)
    guarded.run(*words)
    (out / "w-2.key").unlink()
    (out / "w-3.crt").write_bytes((out / "w-4.crt").read_bytes())
    said = guarded.run(*words, code=1)
    assert f"2 devices: has one already, not in {out}: w-2, w-3" in said.stderr


def test_one_password_is_shown_once_on_the_terminal(guarded: Guarded) -> None:
    first = guarded.run("issue", "w-1").stdout.splitlines()
    second = guarded.run("rotate", "w-1", "--overlap-days", "0").stdout.splitlines()
    assert (first[0], second[0]) == ("username w-1", "username w-1.2")
    assert first[1] != second[1]


def test_where_others_could_read_them_no_secrets_are_written(
    guarded: Guarded, tmp_path: Path
) -> None:
    out = tmp_path / "open.csv"
    out.touch(0o644)
    out.chmod(0o644)
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "elsewhere")
    assert "others may read it" in guarded.run("issue", "--all", "--out", str(out), code=2).stderr
    guarded.run("issue", "--all", "--out", str(link), code=2)
    guarded.run("issue", "--all", code=2)
    guarded.run("issue", code=2)
    assert guarded.run("list", "--json").stdout.count("\n") == 1  # the hub's own
    assert out.read_text() == ""


def test_the_hubs_own_account_can_be_renewed_while_it_is_used(guarded: Guarded) -> None:
    wait_until(lambda: link_up(guarded.hub))
    path = guarded.hub.data / "broker" / "hub.password"
    before = path.read_text()
    said = guarded.run("issue", "--hub").stdout
    assert said == f'username = "dormhub-hub"\npassword_file = "{path}"\n'
    assert path.read_text() != before
    assert path.read_text().strip() not in said
    wait_until(lambda: "not authorised" in guarded.hub.log or link_up(guarded.hub))
    wait_until(lambda: link_up(guarded.hub))


def test_a_hub_killed_in_the_middle_finishes_at_its_next_start(
    guarded: Guarded, tmp_path: Path
) -> None:
    guarded.run("issue", "--all", "--out", str(tmp_path / "secrets.csv"))
    guarded.hub.kill()
    for name in ("passwords", "acl"):
        (tmp_path / "files" / name).write_text("")
    assert "not what ledger and site say" in guarded.run("files", code=1).stderr
    guarded.hub.start()
    wait_until(lambda: "w-6:" in (tmp_path / "files" / "passwords").read_text())
    guarded.run("files")


def test_a_device_that_an_apply_retires_loses_account_and_list(
    guarded: Guarded, tmp_path: Path
) -> None:
    guarded.run("issue", "--all", "--out", str(tmp_path / "secrets.csv"))
    rows = HEADER + "".join(ROWS[1:])
    (guarded.hub.folder / "devices.csv").write_text(rows, "utf-8")
    guarded.run("files")  # what was not applied changes nothing
    applying = [sys.executable, "-m", "hub.cli.main", "apply", "--prune", "--yes"]
    subprocess.run([*applying, "--config", guarded.hub.folder], check=True, capture_output=True)
    files = tmp_path / "files"
    wait_until(lambda: "w-1:" not in (files / "passwords").read_text())
    assert "user w-1\n" not in (files / "acl").read_text()
    assert "w-2:" in (files / "passwords").read_text()
    guarded.run("issue", "w-1", code=2)


def test_ctrl_c_is_noted_and_the_running_step_goes_on() -> None:
    with Interrupt() as interrupt:
        asked = [interrupt.asked]
        os.kill(os.getpid(), signal.SIGINT)
        asked.append(interrupt.asked)
    assert asked == [False, True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
