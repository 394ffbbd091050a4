"""`campus-sim` as an installer meets it: a process of its own."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub import load_site
from simulators.campus import Campus, Play
from simulators.command import run_command
from simulators.ledger import Deed, read_ledger
from simulators.site_files import write_demo, write_reference
from tests.servers import Server, port_answers, wait_until
from tests.sim_site import write_site

SIM = [sys.executable, "-m", "simulators.command"]
BUS: dict[str, object] = {"driver": "modbus", "transport": "tcp", "host": "10.1.2.3", "port": 502}


@contextmanager
def _running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*SIM, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_demonstration_has_two_buildings_four_buses_and_three_gates(tmp_path: Path) -> None:
    write_demo(tmp_path, broker_port=1883)
    site = load_site(tmp_path)
    devices = list(site.devices())
    buses = [link for link in site.links if link.settings.get("baud") == 9600]
    assert [len(link.devices) for link in buses] == [15, 15, 15, 15]
    assert len({device.place.building for link in buses for device in link.devices}) == 2
    assert sum(device.profile.id == "generic_washer" for device in devices) == 12
    assert len(devices) == 75


def test_the_reference_campus_has_the_numbers_of_the_goal(tmp_path: Path) -> None:
    write_reference(tmp_path, broker_port=1883)
    site = load_site(tmp_path)
    meters = [link for link in site.links if link.id.startswith("b") and link.driver == "modbus"]
    kinds = [device.profile.kind for device in site.devices()]
    assert len(meters) == 320
    assert kinds.count("electricity_meter") == 10_000
    assert kinds.count("washing_machine") == 1000
    assert len(kinds) == 11_050


def test_the_same_seed_builds_the_same_campus(tmp_path: Path) -> None:
    write_demo(tmp_path, broker_port=1883)
    site = load_site(tmp_path)
    campuses = [Campus(site, Play(seed=5)) for _ in range(2)]
    now_ms = campuses[1].clock.now_ms()
    shown = [[m.show(now_ms) for m in campus.machines.values()][:60] for campus in campuses]
    assert shown[0] == shown[1]


def test_a_real_sites_configuration_is_rehearsed_on_this_machine(
    tmp_path: Path, mosquitto: Server
) -> None:
    rows = [
        "m-1,eastron_sdm120,bus-1,1",
        "m-2,chint_ddsu666,bus-1,2",
        "w-1,generic_washer,broker,w",
    ]
    broker: dict[str, object] = {"driver": "mqtt", "host": "broker.example", "ca_file": "ca.pem"}
    site = write_site(tmp_path / "site", {"bus-1": BUS, "broker": broker}, rows)
    out = tmp_path / "rehearsal"
    options = ["--config", str(site), "--rehearse", str(out)]
    with _running(*options, "--broker", f"127.0.0.1:{mosquitto.port}") as process:
        assert _first_line(process) == "ready: 3 devices on 2 links\n"
        copy = load_site(out)
        settings = {link.id: link.settings for link in copy.links}
        port = settings["bus-1"]["port"]
        assert isinstance(port, int)
        assert port_answers(port)
        assert settings["broker"] == {"host": "127.0.0.1", "port": mosquitto.port}
        assert [device.id for device in copy.devices()] == ["m-1", "m-2", "w-1"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_the_ledger_is_written_as_json_lines(tmp_path: Path, mosquitto: Server) -> None:
    broker: dict[str, object] = {"driver": "mqtt", "host": "127.0.0.1", "port": mosquitto.port}
    site = write_site(tmp_path / "site", {"broker": broker}, ["w-1,generic_washer,broker,w"])
    file = tmp_path / "ledger.jsonl"
    with _running("--config", str(site), "--ledger", str(file)) as process:
        assert _first_line(process)
        wait_until(lambda: file.exists() and '"published"' in file.read_text("utf-8"))
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    with file.open(encoding="utf-8") as lines:
        entries = read_ledger(lines)
    assert entries[0].deed is Deed.CONNECTED
    assert json.loads(file.read_text("utf-8").splitlines()[-1])["device"] == "w-1"


def test_it_ends_by_itself_after_the_seconds_it_was_given(tmp_path: Path) -> None:
    site = write_site(tmp_path, {"bus-1": {**BUS, "host": "127.0.0.1", "port": 0}}, [])
    assert run_command(["--config", str(site), "--seconds", "0.05"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "nowhere"], "it does not exist"),
        (["--config", "site"], "--rehearse"),
        (["--config", "site", "--rehearse", "out", "--faults", "devices.csv"], "fault file"),
    ],
)
def test_a_mistake_is_told_with_its_remedy_and_code_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_site(tmp_path / "site", {"bus-1": BUS}, [])
    (tmp_path / "devices.csv").write_text("not toml", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_command(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_taken_port_ends_with_code_1(tmp_path: Path, mosquitto: Server) -> None:
    taken = {**BUS, "host": "127.0.0.1", "port": mosquitto.port}
    site = write_site(tmp_path / "site", {"bus-1": taken}, [])
    assert run_command(["--config", str(site)]) == 1
