"""The hub is killed at random moments while messages arrive: what it acknowledged is there, once."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.hub_process import HubProcess, hub_process
from tests.publisher import publishing
from tests.servers import Server, wait_until
from tests.site_folder import write_site

DEVICES = 500
RATE_PER_S = 500


def mqtt_site(folder: Path, port: int) -> Path:
    rows = [f"meter-{number},generic_meter,mqtt,meter-{number}\n" for number in range(DEVICES)]
    return write_site(
        folder / "config",
        site=f'[links.mqtt]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {port}\n',
        devices="id,profile,link,address\n" + "".join(rows),
    )


def stored(hub: HubProcess) -> Counter[tuple[str, int, int]]:
    return Counter(
        (
            reading.device,
            int(reading.values["sequence"]),
            round(float(reading.values["active_power_total"])),
        )
        for reading in hub.readings()
    )


@pytest.mark.timeout(1200)
def test_everything_acknowledged_before_a_kill_is_in_the_journal_once(
    mosquitto: Server, tmp_path: Path, rounds: int, seed: int
) -> None:
    chance = random.Random(seed)
    with hub_process(mqtt_site(tmp_path, mosquitto.port)) as hub:
        wait_until(lambda: bool(hub.status and hub.status.links[0].up))
        with publishing(mosquitto.port, devices=DEVICES, rate_per_s=RATE_PER_S) as publisher:
            for _ in range(rounds):
                time.sleep(chance.uniform(0.05, 1.5))  # the moment of the kill is what is drawn
                hub.kill()
                hub.launch()
            publisher.finish()
        wait_until(lambda: len(stored(hub)) >= len(publisher.sent), timeout_s=120)
        assert stored(hub) == Counter(publisher.sent)
        assert hub.stop() == 0
