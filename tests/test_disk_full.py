"""The disk fills up while readings arrive: refused, said, counted, healed without a restart."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub.status import Health
from tests.hub_process import HubProcess, hub_process
from tests.publisher import publishing
from tests.servers import Server, free_port, port_answers, wait_until
from tests.site_folder import write_site
from tests.small_disk import fill, mounted_disk

HEADER = "id,profile,link,address,period_s\n"
METERS = 300
RATE_PER_S = 300
PERIODS = 5  # of the polled meters, with nothing stored: longer than a device may be silent
HEAL_TIMEOUT_S = 60.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk") as folder:
        yield folder


@contextmanager
def gateway(folder: Path, port: int) -> Iterator[None]:
    """Three simulated meters behind a Modbus TCP gateway."""
    rows = "".join(f"bus-{unit},eastron_sdm120,gateway,{unit},1\n" for unit in (1, 2, 3))
    site = write_site(folder, site=gateway_link(port), devices=HEADER + rows)
    command = [sys.executable, "-m", "simulators.command", "--config", str(site), "--speed", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: port_answers(port))
            yield
        finally:
            process.kill()


def gateway_link(port: int) -> str:
    return (
        '[links.gateway]\ndriver = "modbus"\ntransport = "tcp"\n'
        f'host = "127.0.0.1"\nport = {port}\n'
    )


def site_on(disk: Path, folder: Path, broker: int, bus: int) -> Path:
    rows = "".join(f"bus-{unit},eastron_sdm120,gateway,{unit},1\n" for unit in (1, 2, 3))
    rows += "".join(f"meter-{n},generic_meter,mqtt,meter-{n},60\n" for n in range(METERS))
    mqtt = f'[links.mqtt]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {broker}\n'
    return write_site(
        folder,
        site=gateway_link(bus) + mqtt,
        devices=HEADER + rows,
        hub=f'data = "{disk}"\n[log]\nlevel = "info"\n',
    )


def health_of(hub: HubProcess) -> Health | None:
    return hub.status.health if hub.status else None


def counter(hub: HubProcess, link: str, name: str) -> int:
    links = hub.status.links if hub.status else []
    return sum(item.counters.get(name, 0) for item in links if item.id == link)


def numbers(hub: HubProcess) -> Counter[tuple[str, int]]:
    """How often each message is in the journal."""
    return Counter(
        (reading.device, int(reading.values["sequence"]))
        for reading in hub.readings()
        if "sequence" in reading.values
    )


def ask_health(hub: HubProcess) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hub.cli.main", "health", "--config", str(hub.folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_full_disk_is_said_and_healed_without_a_restart(
    mosquitto: Server, small_disk: Path, tmp_path: Path
) -> None:
    port = free_port()
    config = site_on(small_disk, tmp_path / "config", mosquitto.port, port)
    with gateway(tmp_path / "gateway", port), hub_process(config) as hub:
        wait_until(lambda: health_of(hub) is Health.GREEN)
        with publishing(mosquitto.port, devices=METERS, rate_per_s=RATE_PER_S) as publisher:
            wait_until(lambda: hub.count() > METERS)
            ballast = fill(small_disk)
            wait_until(lambda: health_of(hub) is Health.RED)
            said = ask_health(hub)
            wait_until(lambda: counter(hub, "gateway", "readings_refused/store") >= PERIODS * 3)
            wait_until(lambda: counter(hub, "mqtt", "not stored") > 0)
            ballast.unlink()
            wait_until(lambda: health_of(hub) is Health.GREEN, timeout_s=HEAL_TIMEOUT_S)
            publisher.finish()
        wait_until(lambda: len(numbers(hub)) >= len(publisher.sent), timeout_s=HEAL_TIMEOUT_S)
        assert said.returncode == 1
        assert "red" in said.stdout
        assert "journal" in said.stdout
        assert numbers(hub) == Counter((device, number) for device, number, _ in publisher.sent)
        assert ask_health(hub).returncode == 0
        assert hub.status is not None
        assert all(link.restarts == 0 for link in hub.status.links)
        wait_until(lambda: hub.log.count("journal stores again") == 1)
        assert hub.log.count("journal refuses readings") == 1
        assert "device is offline" not in hub.log


def test_what_a_full_disk_refused_is_still_with_the_broker(
    mosquitto: Server, small_disk: Path, tmp_path: Path
) -> None:
    config = site_on(small_disk, tmp_path / "config", mosquitto.port, free_port())
    with hub_process(config) as hub:
        wait_until(lambda: hub.status is not None and any(link.up for link in hub.status.links))
        with publishing(mosquitto.port, devices=METERS, rate_per_s=RATE_PER_S) as publisher:
            wait_until(lambda: hub.count() > METERS)
            ballast = fill(small_disk)
            wait_until(lambda: health_of(hub) is Health.RED)
            stuck = len(publisher.sent)
            wait_until(lambda: len(publisher.sent) > stuck + RATE_PER_S)
            hub.kill()  # what it held in memory is gone
            ballast.unlink()
            publisher.finish()
        hub.start()
        wait_until(lambda: len(numbers(hub)) >= len(publisher.sent), timeout_s=HEAL_TIMEOUT_S)
        assert numbers(hub) == Counter((device, number) for device, number, _ in publisher.sent)
