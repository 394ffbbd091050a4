"""The daemon from outside: started, told, stopped, refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_process import HubProcess, hub_process
from tests.publisher import publishing
from tests.servers import Server, free_port, wait_until
from tests.site_folder import write_site

HEADER = "id,profile,link,address\n"


def mqtt_link(name: str, port: int) -> str:
    return f'[links.{name}]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {port}\n'


def site_of(tmp_path: Path, port: int, *, devices: int = 3, links: str = "") -> Path:
    rows = [f"meter-{number},generic_meter,mqtt,meter-{number}\n" for number in range(devices)]
    return write_site(
        tmp_path / "config", site=mqtt_link("mqtt", port) + links, devices=HEADER + "".join(rows)
    )


STUBBORN = """
import asyncio

class Stubborn:
    async def run(self, host):
        host.link_up()
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

def open_driver(link):
    return Stubborn()
"""


def install_stranger(folder: Path) -> None:
    """A driver of somebody else's, found by its entry point alone; this one cannot be cancelled."""
    known = folder / "stranger-1.0.dist-info"
    known.mkdir(parents=True)
    (folder / "stranger.py").write_text(STUBBORN, "utf-8")
    (known / "METADATA").write_text("Name: stranger\nVersion: 1.0\n", "utf-8")
    points = "[dormhub.drivers]\nstubborn = stranger:open_driver\n"
    (known / "entry_points.txt").write_text(points, "utf-8")


def started(folder: Path) -> subprocess.CompletedProcess[str]:
    """A hub that is expected to end by itself, and what it said."""
    command = [sys.executable, "-m", "hub.cli.main", "run", "--config", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def is_up(hub: HubProcess, link: str = "mqtt") -> bool:
    return any(item.id == link and item.up for item in hub.status.links) if hub.status else False


def test_it_stops_cleanly_when_told_to(mosquitto: Server, tmp_path: Path) -> None:
    with hub_process(site_of(tmp_path, mosquitto.port)) as hub:
        wait_until(lambda: is_up(hub))
        assert hub.stop() == 0
        assert not (hub.data / "hub.sock").exists()


def test_it_stops_cleanly_while_its_links_are_away(tmp_path: Path) -> None:
    with hub_process(site_of(tmp_path, free_port())) as hub:
        assert hub.stop() == 0


def test_a_changed_file_touches_the_changed_links_only(mosquitto: Server, tmp_path: Path) -> None:
    other = mqtt_link("other", mosquitto.port)
    folder = site_of(tmp_path, mosquitto.port, links=other)
    with hub_process(folder) as hub:
        wait_until(lambda: is_up(hub) and is_up(hub, "other"))
        assert hub.status is not None
        before = {link.id: link.since_ms for link in hub.status.links}
        devices = (folder / "devices.csv").read_text("utf-8") + "meter-9,generic_meter,other,x\n"
        (folder / "devices.csv").write_text(devices, "utf-8")
        hub.reload()
        wait_until(lambda: bool(hub.status) and hub.status.unknown == 4)
        wait_until(lambda: is_up(hub, "other"))
        after = {link.id: link.since_ms for link in hub.status.links}
        assert after["mqtt"] == before["mqtt"]
        assert after["other"] > before["other"]


def test_files_may_change_faster_than_a_link_can_close(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a broker that never says a word
        folder = site_of(tmp_path, silent.getsockname()[1])
        with hub_process(folder) as hub:
            table = folder / "devices.csv"

            def taken() -> bool:
                number = len(table.read_text("utf-8").splitlines())
                with table.open("a", encoding="utf-8") as file:
                    file.write(f"meter-{number},generic_meter,mqtt,x-{number}\n")
                hub.reload()
                return hub.log.count("configuration taken") > 2

            wait_until(taken)
            assert hub.status is not None
            assert hub.status.unknown > 4
            assert hub.stop() == 0


def test_a_change_told_while_it_starts_is_taken_when_it_has_started(tmp_path: Path) -> None:
    hub = HubProcess(folder=site_of(tmp_path, free_port()))
    slow = hub.folder / "profiles" / "own_meter.toml"
    slow.parent.mkdir()
    os.mkfifo(slow)
    hub.launch()
    with slow.open(
        "w"
    ) as reading:  # opens when the hub reads it: it waits here in the midst of its start
        hub.reload()
        reading.write(Path("drivers/profiles/generic_meter.toml").read_text("utf-8"))
        slow.unlink()
    wait_until(lambda: "configuration taken" in hub.log)
    assert hub.stop() == 0


def test_a_driver_that_does_not_end_is_left_behind_within_the_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_stranger(tmp_path / "stranger")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stranger"))
    site = '[links.odd]\ndriver = "stubborn"\n'
    with hub_process(write_site(tmp_path / "config", site=site, devices=HEADER)) as hub:
        wait_until(lambda: is_up(hub, "odd"))
        assert hub.stop() == 1
        assert "left behind" in hub.log
        assert "link odd" in hub.log


@pytest.mark.parametrize("data", ["/proc/nowhere", "/dev/null"])
def test_a_data_folder_that_cannot_be_made_is_said_in_clear_words(
    tmp_path: Path, data: str
) -> None:
    folder = site_of(tmp_path, free_port())
    (folder / "hub.toml").write_text(f'data = "{data}"\n', "utf-8")
    refused = started(folder)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"dormhub: {folder}/hub.toml: data: {data}: ")


def test_a_mistake_in_a_changed_file_is_said_and_the_old_one_stays(
    mosquitto: Server, tmp_path: Path
) -> None:
    folder = site_of(tmp_path, mosquitto.port)
    with hub_process(folder) as hub:
        wait_until(lambda: is_up(hub))
        (folder / "devices.csv").write_text(HEADER + "meter-0,no_such,mqtt,1\n", "utf-8")
        hub.reload()
        wait_until(lambda: "configuration refused" in hub.log)
        assert "line 2" in hub.log
        assert hub.status is not None
        assert hub.status.unknown == 3


def test_a_second_hub_on_the_same_data_is_refused_in_clear_words(
    mosquitto: Server, tmp_path: Path
) -> None:
    folder = site_of(tmp_path, mosquitto.port)
    with hub_process(folder) as hub:
        second = started(folder)
        assert second.returncode == 2
        assert "journal.db" in second.stderr
        assert hub.status is not None


def test_a_damaged_journal_is_said_at_start_and_left_as_it_is(tmp_path: Path) -> None:
    folder = site_of(tmp_path, free_port())
    journal = tmp_path / "data" / "journal.db"
    journal.parent.mkdir()
    journal.write_bytes(b"this was a journal once " * 1000)
    refused = started(folder)
    assert refused.returncode == 2
    assert "journal.db" in refused.stderr
    assert journal.read_bytes().startswith(b"this was a journal once")


def test_nothing_starts_with_a_mistake_in_any_file(tmp_path: Path) -> None:
    folder = site_of(tmp_path, free_port(), links='[links.bad]\ndriver = "modbus"\nport = 1\n')
    refused = started(folder)
    assert refused.returncode == 2
    assert "links.bad.host" in refused.stderr


def test_the_service_manager_is_told_when_it_is_ready_alive_and_stopping(
    mosquitto: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tmp_path / "notify.sock"
    monkeypatch.setenv("NOTIFY_SOCKET", str(address))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(address))
        told.settimeout(20)
        with hub_process(site_of(tmp_path, mosquitto.port)) as hub:
            words = [told.recv(256).decode() for _ in range(3)]
            assert hub.stop() == 0
            words.append(_until(told, "STOPPING=1"))
    assert words == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def _until(told: socket.socket, word: str) -> str:
    return next(text for text in iter(lambda: told.recv(256).decode(), "") if text == word)


def test_one_line_is_said_when_a_link_goes_and_one_when_it_returns(
    mosquitto: Server, tmp_path: Path
) -> None:
    with hub_process(site_of(tmp_path, mosquitto.port)) as hub:
        wait_until(lambda: is_up(hub))
        mosquitto.kill()
        wait_until(lambda: "link is down" in hub.log)
        mosquitto.start()
        wait_until(lambda: hub.log.count("link is up") == 2)
        assert hub.log.count("link is down") == 1


def test_readings_arrive_through_the_whole_house(mosquitto: Server, tmp_path: Path) -> None:
    with hub_process(site_of(tmp_path, mosquitto.port)) as hub:
        wait_until(lambda: is_up(hub))
        with publishing(mosquitto.port, devices=3, rate_per_s=30) as publisher:
            wait_until(lambda: len(publisher.sent) >= 10)
        wait_until(lambda: len(hub.readings()) == len(publisher.sent))
        assert hub.status is not None
        assert hub.status.online == 3
