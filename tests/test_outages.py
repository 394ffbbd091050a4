"""The broker and the long-term store go away and come back beside the running hub: everything arrives."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.hub_process import HubProcess, hub_process
from tests.publisher import Publisher, publishing
from tests.servers import Server, http_get, wait_until
from tests.site_folder import write_site

METERS = 100
RATE_PER_S = 100
OUTAGES = 2
CATCH_UP_TIMEOUT_S = 60.0


def site_of(tmp_path: Path, broker: int, hub: str = "") -> Path:
    rows = [f"meter-{number},generic_meter,mqtt,meter-{number}\n" for number in range(METERS)]
    return write_site(
        tmp_path / "config",
        site=f'[links.mqtt]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = {broker}\n',
        devices="id,profile,link,address\n" + "".join(rows),
        hub=hub,
    )


def is_up(hub: HubProcess) -> bool:
    return hub.status is not None and hub.status.links[0].up


def stored(hub: HubProcess) -> list[tuple[str, int]]:
    """Device and message number of everything in the journal, in the order of commits."""
    return [(item.device, int(item.values["sequence"])) for item in hub.readings()]


def more(publisher: Publisher) -> None:
    """Return when a second's worth of messages more was sent."""
    until = len(publisher.sent) + RATE_PER_S
    wait_until(lambda: len(publisher.sent) >= until)


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_the_broker_goes_and_returns_and_every_message_is_stored_once_in_order(
    mosquitto: Server, tmp_path: Path, sig: signal.Signals
) -> None:
    with hub_process(site_of(tmp_path, mosquitto.port)) as hub:
        wait_until(lambda: is_up(hub))
        with publishing(mosquitto.port, devices=METERS, rate_per_s=RATE_PER_S) as publisher:
            for _ in range(OUTAGES):
                more(publisher)
                mosquitto.stop(sig)
                more(publisher)
                mosquitto.start()
                wait_until(lambda: is_up(hub))
            publisher.finish()
        sent = [(device, number) for device, number, _ in publisher.sent]
        wait_until(lambda: len(stored(hub)) >= len(sent), timeout_s=CATCH_UP_TIMEOUT_S)
        assert Counter(stored(hub)) == Counter(sent)
        assert in_order(stored(hub))
        assert hub.log.count("link is down") == OUTAGES


def in_order(messages: list[tuple[str, int]]) -> bool:
    """Whether each device's messages stand in the order of their numbers."""
    numbers: dict[str, list[int]] = {}
    for device, number in messages:
        numbers.setdefault(device, []).append(number)
    return all(row == sorted(row) for row in numbers.values())


def long_term(server: Server, point: str) -> Counter[tuple[str, int]]:
    """Device and value of every sample of a point that the long-term store holds."""
    http_get(server.port, "/internal/force_flush")
    rows = http_get(server.port, f"/api/v1/export?match[]=electricity_meter_{point}").splitlines()
    series = [json.loads(row) for row in rows]
    return Counter(
        (item["metric"]["device"], round(value)) for item in series for value in item["values"]
    )


def test_the_long_term_store_goes_and_returns_and_gets_everything(
    mosquitto: Server, victoria_metrics: Server, tmp_path: Path
) -> None:
    sink = (
        '[sinks.longterm]\ntype = "influxdb"\nbucket = "campus"\n'
        f'url = "http://127.0.0.1:{victoria_metrics.port}"\n'
    )
    with hub_process(site_of(tmp_path, mosquitto.port, sink)) as hub:
        wait_until(lambda: is_up(hub))
        with publishing(mosquitto.port, devices=METERS, rate_per_s=RATE_PER_S) as publisher:
            for _ in range(OUTAGES):
                more(publisher)
                victoria_metrics.stop()
                wait_until(lambda: behind(hub) > RATE_PER_S and complaint(hub) != "")
                victoria_metrics.start()
            publisher.finish()
        sent = [(device, number) for device, number, _ in publisher.sent]
        wait_until(lambda: len(stored(hub)) >= len(sent), timeout_s=CATCH_UP_TIMEOUT_S)
        wait_until(lambda: behind(hub) == 0, timeout_s=CATCH_UP_TIMEOUT_S)
        # The meters' clocks run up to a second ahead, and the store shows nothing of the future.
        wait_until(lambda: set(long_term(victoria_metrics, "sequence")) == set(sent))
        assert Counter(stored(hub)) == Counter(sent)
        assert complaint(hub) == ""


def behind(hub: HubProcess) -> int:
    """How many readings the sink has still to deliver."""
    return hub.status.sinks[0].lag if hub.status else 0


def complaint(hub: HubProcess) -> str:
    """What the sink says is wrong."""
    return hub.status.sinks[0].last_error if hub.status else ""
