"""The commands that look: at a running hub, at its journal, at one device."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from paho.mqtt import publish

from hub.cli.show import DeviceRow
from hub.model import Reading
from hub.presence import Presence
from hub.status import Health, Status
from tests.hub_process import HubProcess, hub_process
from tests.servers import free_port, mosquitto_server, port_answers, running, wait_until
from tests.site_folder import write_site

HEADER = "id,profile,link,address,building,room,period_s\n"
SIMULATED = (
    "b1-101,eastron_sdm120,gateway,1,B1,101,1\n"
    "b1-102,eastron_sdm120,gateway,2,B1,102,1\n"
    "washer-1,generic_washer,broker,washer-1,B2,laundry,1\n"
)
CAMERA = "camera-1,zhenshi_lpr,broker,9f1b-77,gate,,3600\n"
PLATE, PLATE_TOPIC = "粤A12345", "device/9f1b-77/message/up/ivs_result"
PLATE_RESULT = (
    '{"id":"c1","sn":"9f1b-77","name":"ivs_result","version":"1.0","timestamp":1788220803,'
    '"payload":{"type":"ivs_result","body":{"result":{"PlateResult":{"license":"57KkQTEyMzQ1",'
    '"confidence":98,"colorType":1,"type":1,"direction":4,"triggerType":1,"plateid":20417,'
    '"unique_id":"9f1b-77-20417","isoffline":0,"is_fake_plate":0,'
    '"timeStamp":{"Timeval":{"sec":1788220800,"usec":12}}}}}}}'
)
DEAD = "b1-109,eastron_sdm120,gateway,9,B1,109,1\n"


@dataclass(frozen=True, kw_only=True)
class House:
    """A hub that serves two meters, a dead one and a washer; the same site where no hub runs."""

    hub: HubProcess
    alone: Path
    broker: int


def sited(folder: Path, bus: int, broker: int, devices: str) -> Path:
    site = (
        'name = "North campus"\n'
        '[links.gateway]\ndriver = "modbus"\ntransport = "tcp"\n'
        f'host = "127.0.0.1"\nport = {bus}\n'
        f'[links.broker]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {broker}\n'
    )
    return write_site(folder, site=site, devices=HEADER + devices)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Everything running, every device heard but the dead one, and one poisonous message kept."""
    folder, bus = tmp_path_factory.mktemp("house"), free_port()
    with running(mosquitto_server(folder / "mosquitto")) as broker:
        real = sited(folder / "real", bus, broker.port, SIMULATED)
        config = sited(folder / "hub" / "config", bus, broker.port, SIMULATED + DEAD + CAMERA)
        alone = sited(folder / "alone" / "config", bus, broker.port, SIMULATED + DEAD + CAMERA)
        sim = [sys.executable, "-m", "simulators.command", "--speed", "0", "--config", str(real)]
        with subprocess.Popen(sim, stdout=subprocess.DEVNULL) as campus:
            try:
                wait_until(lambda: port_answers(bus))
                with hub_process(config) as hub:
                    wait_until(lambda: is_up(hub))
                    publish.single(PLATE_TOPIC, PLATE_RESULT, qos=1, port=broker.port)
                    wait_until(lambda: settled(hub))
                    bad = "dormhub/up/washer-1/state"
                    publish.single(bad, "{nonsense", qos=1, port=broker.port)
                    wait_until(lambda: "nonsense" in dormhub(hub.folder, "quarantine").stdout)
                    yield House(hub=hub, alone=alone, broker=broker.port)
            finally:
                campus.kill()


def settled(hub: HubProcess) -> bool:
    """Whether the hub has counted on every link, heard all who live and missed the one who does not."""
    status = hub.status
    return status is not None and (status.online, status.offline) == (4, 1) and counted(hub)


def is_up(hub: HubProcess) -> bool:
    return hub.status is not None and all(link.up for link in hub.status.links)


def counted(hub: HubProcess) -> bool:
    shown = dormhub(hub.folder, "links", "--json").stdout.splitlines()
    return all(msgspec.json.decode(line)["counts"] for line in shown)


def dormhub(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`dormhub` with these arguments on a terminal of 200 columns."""
    return subprocess.run(
        [sys.executable, "-m", "hub.cli.main", *arguments, "--config", str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


def row_with(text: str, word: str) -> str:
    """The line of a table that has the word."""
    return next(line for line in text.splitlines() if word in line)


def test_devices_shows_who_is_there_where_and_what_they_said(house: House) -> None:
    said = dormhub(house.hub.folder, "devices")
    assert said.returncode == 0
    meter = row_with(said.stdout, "b1-101")
    assert "eastron_sdm120" in meter
    assert "online" in meter
    assert "energy_import" in meter
    assert "unknown" in row_with(said.stdout, "b1-109")
    assert "washer_state" in row_with(said.stdout, "washer-1")
    assert said.stdout.splitlines()[-1] == "5 devices: 4 online, 0 offline, 1 unknown"


def test_devices_as_json_is_one_object_a_line(house: House) -> None:
    said = dormhub(house.hub.folder, "devices", "--json")
    rows = [msgspec.json.decode(line, type=DeviceRow) for line in said.stdout.splitlines()]
    assert [row.id for row in rows] == ["b1-101", "b1-102", "b1-109", "washer-1", "camera-1"]
    assert rows[0].presence is Presence.ONLINE
    assert rows[0].values["voltage_l1"]
    assert rows[2].values == {}


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        (("--building", "B2"), ["washer-1"]),
        (("--link", "gateway"), ["b1-101", "b1-102", "b1-109"]),
    ],
)
def test_devices_can_be_chosen(house: House, option: tuple[str, str], shown: list[str]) -> None:
    said = dormhub(house.hub.folder, "devices", "--json", *option)
    rows = [msgspec.json.decode(line, type=DeviceRow) for line in said.stdout.splitlines()]
    assert [row.id for row in rows] == shown


def test_links_shows_each_wire_and_its_use(house: House) -> None:
    said = dormhub(house.hub.folder, "links")
    assert said.returncode == 0
    assert " up " in row_with(said.stdout, "gateway")
    assert "%" in row_with(said.stdout, "gateway")
    assert " up " in row_with(said.stdout, "broker")
    assert "fire: not ruled out, nothing closes" in said.stdout
    assert "commands: 0 open" in said.stdout


def test_links_as_json_has_the_counts_and_what_the_hub_says(house: House) -> None:
    said = dormhub(house.hub.folder, "links", "--json")
    rows = {row["id"]: row for row in map(msgspec.json.decode, said.stdout.splitlines())}
    assert rows["gateway"]["counts"]["link_requests"] > 0
    assert rows["gateway"]["live"]["up"] is True
    assert rows["broker"]["counts"]["link_messages"] > 0


@pytest.mark.parametrize("command", ["devices", "links", "quarantine", "watch"])
def test_where_no_hub_ever_ran_there_is_no_journal_to_show(house: House, command: str) -> None:
    refused = dormhub(house.alone, command)
    assert refused.returncode == 2
    assert "journal.db" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_health_is_green_with_exit_code_0(house: House) -> None:
    said = dormhub(house.hub.folder, "health")
    assert said.returncode == 0
    assert said.stdout.startswith("green North campus")
    assert "devices: 4 online, 1 offline, 0 unknown" in said.stdout
    assert "fire: not ruled out, nothing closes" in said.stdout
    assert "commands: 0 open" in said.stdout


def test_health_as_json_is_the_status(house: House) -> None:
    said = dormhub(house.hub.folder, "health", "--json")
    status = msgspec.json.decode(said.stdout, type=Status)
    assert status.health is Health.GREEN
    assert [device.id for device in status.away] == ["b1-109"]


def test_health_without_a_hub_is_not_well(house: House) -> None:
    said = dormhub(house.alone, "health")
    assert said.returncode == 1
    assert said.stderr == "no hub runs here\n"


def test_watch_shows_the_table_and_ends_by_itself(house: House) -> None:
    said = dormhub(house.hub.folder, "watch", "--seconds", "1")
    assert said.returncode == 0
    assert "North campus: 5 devices" in said.stdout
    assert "b1-101" in said.stdout


def test_history_is_a_table(house: House) -> None:
    said = dormhub(house.hub.folder, "history", "b1-101", "energy_import")
    assert said.returncode == 0
    assert "value (Wh)" in said.stdout
    assert "+08:00" in said.stdout


def test_history_is_csv(house: House) -> None:
    said = dormhub(house.hub.folder, "history", "b1-101", "voltage_l1", "--as", "csv")
    head, *rows = csv.reader(said.stdout.splitlines())
    assert head == ["time", "value", "unit"]
    assert len(rows) >= 2
    assert all(200 < float(value) < 260 and unit == "V" for _, value, unit in rows)
    times = [datetime.fromisoformat(time) for time, _, _ in rows]
    assert times == sorted(times)


def test_history_is_a_chart_in_the_terminal(house: House) -> None:
    said = dormhub(house.hub.folder, "history", "b1-101", "voltage_l1", "--as", "chart")
    assert said.returncode == 0
    assert "█" in said.stdout
    assert said.stdout.splitlines()[-1].endswith("values")


def test_history_is_a_picture(house: House, tmp_path: Path) -> None:
    picture = tmp_path / "voltage.png"
    said = dormhub(house.hub.folder, "history", "b1-101", "voltage_l1", "--png", str(picture))
    assert said.returncode == 0, said.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_history_of_no_such_point_is_a_mistake_with_a_remedy(house: House) -> None:
    said = dormhub(house.hub.folder, "history", "b1-101", "no_such")
    assert said.returncode == 2
    assert "docs/points.md" in said.stderr


def test_read_asks_a_meter_now(house: House) -> None:
    folder = house.alone
    said = dormhub(folder, "read", "b1-101")
    assert said.returncode == 0, said.stderr
    assert "Wh" in row_with(said.stdout, "energy_import")
    as_json = dormhub(folder, "read", "b1-101", "--json")
    reading = msgspec.json.decode(as_json.stdout, type=Reading)
    assert reading.device == "b1-101"
    assert reading.bad == {}


def test_read_of_a_silent_device_says_why_with_exit_code_3(house: House) -> None:
    said = dormhub(house.alone, "read", "b1-109", "--timeout", "2")
    assert said.returncode == 3
    assert "b1-109" in said.stderr
    assert said.stdout == ""


def test_read_of_no_such_device_is_a_mistake_with_its_place(house: House) -> None:
    said = dormhub(house.alone, "read", "b1-999")
    assert said.returncode == 2
    assert "devices.csv" in said.stderr


def test_read_of_an_mqtt_device_leaves_the_hubs_session_alone(house: House) -> None:
    said = dormhub(house.hub.folder, "read", "washer-1", "--json")
    assert said.returncode == 0, said.stderr
    assert msgspec.json.decode(said.stdout, type=Reading).device == "washer-1"
    before = washed(house.hub)
    wait_until(lambda: washed(house.hub) > before)
    assert "link is down" not in house.hub.log


def washed(hub: HubProcess) -> int:
    """How many readings of the washer are stored."""
    return sum(reading.device == "washer-1" for reading in hub.readings())


def test_quarantine_shows_where_from_why_and_how_it_began(house: House) -> None:
    said = dormhub(house.hub.folder, "quarantine")
    assert said.returncode == 0
    assert said.stdout.startswith("1 x broker: ")
    assert "{nonsense" in row_with(said.stdout, "dormhub/up/washer-1/state")


def test_quarantine_as_json_is_one_object_a_line(house: House) -> None:
    said = dormhub(house.hub.folder, "quarantine", "--json")
    rows = [msgspec.json.decode(line) for line in said.stdout.splitlines()]
    assert [row["source"] for row in rows] == ["dormhub/up/washer-1/state"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("devices",),
        ("devices", "--json"),
        ("history", "camera-1", "plate"),
        ("history", "camera-1", "plate", "--as", "csv"),
        ("health", "--json"),
        ("links", "--json"),
        ("quarantine",),
    ],
)
def test_no_command_shows_a_number_plate(house: House, arguments: tuple[str, ...]) -> None:
    said = dormhub(house.hub.folder, *arguments)
    assert said.returncode == 0
    assert PLATE not in said.stdout + said.stderr


def test_a_number_plate_that_was_read_is_hidden_and_stays_out_of_the_log(house: House) -> None:
    command = [sys.executable, "-m", "hub.cli.main", "read", "camera-1", "--json", "--timeout"]
    command += ["30", "--config", str(house.hub.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asking:
        wait_until(lambda: car_passes(house) and asking.poll() is not None)
        assert asking.stdout is not None
        said = asking.stdout.read()
    assert msgspec.json.decode(said, type=Reading).values["plate"] == "***"
    stored = [reading for reading in house.hub.readings() if reading.device == "camera-1"]
    assert stored[0].values["plate"] == PLATE
    assert PLATE not in house.hub.log
    assert "***" in dormhub(house.hub.folder, "history", "camera-1", "plate").stdout


def car_passes(house: House) -> bool:
    publish.single(PLATE_TOPIC, PLATE_RESULT, qos=1, port=house.broker)
    return True
