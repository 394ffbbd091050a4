from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import msgspec
import pytest

from hub.cli.show import control_lines
from hub.errors import HubError
from hub.status import (
    LENT,
    SOCKET_NAME,
    ControlStatus,
    Health,
    InventoryStatus,
    LinkStatus,
    SinkStatus,
    Status,
    StoreStatus,
    is_served,
    judge,
    read_status,
    serve_status,
)

WELL = StoreStatus(healthy=True, reason="", readings=1, size_bytes=1, waiting=0)
FULL = StoreStatus(healthy=False, reason="disk full", readings=1, size_bytes=1, waiting=9)


def link(*, up: bool) -> LinkStatus:
    return LinkStatus(
        id="bus-1",
        driver="modbus",
        up=up,
        reason="" if up else "refused",
        since_ms=0,
        restarts=0,
        devices=3,
        counters={"missed/timeout": 2},
    )


def sink(last_error: str) -> SinkStatus:
    return SinkStatus(
        name="far", lag=0, oldest_ms=None, delivered=1, rejected=0, last_error=last_error
    )


def status() -> Status:
    return Status(
        health=Health.GREEN,
        reasons=[],
        version="0",
        site="test",
        started_ms=0,
        now_ms=1,
        online=1,
        offline=0,
        unknown=0,
        away=[],
        inventory=InventoryStatus(number=1, time_ms=1, digest="", devices=1, drift=""),
        links=[link(up=True)],
        store=WELL,
        sinks=[],
    )


QUIET = ControlStatus(fire_forbids=False)
LATCHED = ControlStatus(
    fire_latched=True, fire_reason="lane-1 says fire_alarm", commands_open=3, commands_held=1
)


@pytest.mark.parametrize(
    ("control", "lines"),
    [
        (QUIET, ("fire: quiet", "commands: 0 open")),
        (
            LATCHED,
            (
                "fire: latched, nothing closes: lane-1 says fire_alarm",
                "commands: 3 open, 1 held for a second person",
            ),
        ),
        (
            ControlStatus(fire_reason="no fire input"),
            ("fire: not ruled out, nothing closes: no fire input", "commands: 0 open"),
        ),
    ],
)
def test_fire_and_open_commands_are_said_in_a_line_each(
    control: ControlStatus, lines: tuple[str, str]
) -> None:
    assert control_lines(control) == lines


@pytest.mark.parametrize(
    ("store", "up", "complaint", "health", "reasons"),
    [
        (WELL, True, "", Health.GREEN, []),
        (WELL, False, "", Health.YELLOW, ["link bus-1: refused"]),
        (WELL, True, "gone", Health.YELLOW, ["sink far: gone"]),
        (FULL, False, "", Health.RED, ["journal: disk full", "link bus-1: refused"]),
    ],
)
def test_health_is_red_only_when_readings_are_not_stored(
    store: StoreStatus, up: bool, complaint: str, health: Health, reasons: list[str]
) -> None:
    assert judge(store, [link(up=up)], [sink(complaint)]) == (health, reasons)


def test_health_is_red_when_commands_cannot_be_stored() -> None:
    found = judge(WELL, [link(up=False)], [], "no server")
    assert found == (Health.RED, ["ledger: no server", "link bus-1: refused"])


def test_a_lent_link_is_said_with_the_moment_since_which_it_is() -> None:
    lent = msgspec.structs.replace(link(up=False), reason=LENT, since_ms=1_700_000_000_000)
    health, reasons = judge(WELL, [lent], [])
    assert health is Health.YELLOW
    assert reasons == [f"link {lent.id} lent since 2023-11-14 22:13:20 UTC"]


async def test_every_caller_of_the_socket_gets_the_status_of_the_moment(tmp_path: Path) -> None:
    serving = asyncio.create_task(serve_status(tmp_path, status))
    async with asyncio.timeout(10):
        while not (tmp_path / SOCKET_NAME).exists():
            await asyncio.sleep(0)
        answers = [await asyncio.to_thread(read_status, tmp_path) for _ in range(3)]
    serving.cancel()
    await asyncio.wait([serving])
    assert answers == [status()] * 3
    assert not (tmp_path / SOCKET_NAME).exists()


async def test_only_the_owner_may_ask(tmp_path: Path) -> None:
    serving = asyncio.create_task(serve_status(tmp_path, status))
    async with asyncio.timeout(10):
        while await asyncio.to_thread(read_status, tmp_path) is None:
            await asyncio.sleep(0)
    assert (tmp_path / SOCKET_NAME).stat().st_mode & 0o077 == 0
    serving.cancel()
    await asyncio.wait([serving])


def test_no_hub_means_no_status(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None


async def test_a_folder_with_a_long_path_is_served_like_any_other(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    serving = asyncio.create_task(serve_status(deep, status))
    async with asyncio.timeout(10):
        while (answer := await asyncio.to_thread(read_status, deep)) is None:
            await asyncio.sleep(0)
    serving.cancel()
    await asyncio.wait([serving])
    assert answer == status()
    assert list(deep.iterdir()) == []


def test_no_hub_and_a_hub_that_cannot_be_asked_are_two_things(tmp_path: Path) -> None:
    assert not is_served(tmp_path / "nowhere")
    assert not is_served(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / SOCKET_NAME))
        assert not is_served(tmp_path)  # left by a hub that was killed
        listening.listen(0)
        assert is_served(tmp_path)
        with pytest.raises(HubError, match="cannot be told"):  # soon it is too busy to be asked
            [is_served(tmp_path) for _ in range(3)]
