"""The API of a hub that runs as a process: the first key, the address, and what it never prints."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import httpx2
import pytest

from hub import ConfigError
from hub.api import bind
from tests.hub_process import HubProcess, hub_process
from tests.servers import free_port, wait_until
from tests.site_folder import write_site

SITE = '[links.mqtt]\ndriver = "mqtt"\nhost = "127.0.0.1"\nport = 1\n'
DEVICES = "id,profile,link,address,building\nmeter-1,generic_meter,mqtt,meter-1,B1\n"


def site_of(tmp_path: Path, port: int) -> Path:
    hub = f'[api]\nlisten = "127.0.0.1:{port}"\n'
    return write_site(tmp_path / "config", site=SITE, devices=DEVICES, hub=hub)


def key_of(hub: HubProcess) -> str:
    return (hub.data / "admin.key").read_text("ascii").strip()


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx2.TransportError:
        return False


def test_the_first_start_prints_a_key_that_opens_and_later_starts_do_not(tmp_path: Path) -> None:
    port = free_port()
    with hub_process(site_of(tmp_path, port)) as hub:
        wait_until(lambda: answers(port))
        printed = re.findall(r"dormhub_\w+", hub.log)
        headers = {"Authorization": f"Bearer {key_of(hub)}"}
        devices = httpx2.get(f"http://127.0.0.1:{port}/v1/devices", headers=headers)
        health = httpx2.get(f"http://127.0.0.1:{port}/v1/health", headers=headers)
        assert hub.stop() == 0
        hub.start()
        wait_until(lambda: answers(port))
        again = httpx2.get(f"http://127.0.0.1:{port}/v1/devices", headers=headers)
        assert re.findall(r"dormhub_\w+", hub.log) == printed == [key_of(hub)]
    assert [device["id"] for device in devices.json()["devices"]] == ["meter-1"]
    assert health.json()["links"][0]["id"] == "mqtt"
    assert again.status_code == 200


def test_the_file_of_the_first_key_is_its_owners_alone(tmp_path: Path) -> None:
    with hub_process(site_of(tmp_path, free_port())) as hub:
        wait_until(lambda: (hub.data / "admin.key").exists())
        assert (hub.data / "admin.key").stat().st_mode & 0o777 == 0o600


def test_it_stops_cleanly_while_a_live_stream_is_open(tmp_path: Path) -> None:
    port = free_port()
    with hub_process(site_of(tmp_path, port)) as hub:
        wait_until(lambda: answers(port))
        headers = {"Authorization": f"Bearer {key_of(hub)}"}
        with httpx2.stream("GET", f"http://127.0.0.1:{port}/v1/live", headers=headers) as response:
            assert response.status_code == 200
            assert hub.stop() == 0


def test_an_address_that_is_taken_is_said_in_clear_words() -> None:
    with bind("127.0.0.1:0") as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ConfigError, match=r"api\.listen.*in use"):
            bind(f"127.0.0.1:{port}")


def test_a_connection_that_never_finishes_its_question_is_closed(tmp_path: Path) -> None:
    port = free_port()
    with hub_process(site_of(tmp_path, port)) as hub:
        wait_until(lambda: answers(port))
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\n")
            assert closed(sock)
        assert hub.stop() == 0


def closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1024) == b""
    except ConnectionResetError:
        return True
