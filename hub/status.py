"""What the running hub says of itself, over a socket in its data folder: one JSON document for each caller.

A socket, not a file, because the moment it matters most is when the disk is full.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from hub.errors import HubError

LENT = "lent"  # why a link is down whose driver makes room for somebody else
SOCKET_NAME = "hub.sock"
ANSWER_TIMEOUT_S = 5.0
_ANSWER_MAX_BYTES = 16 * 1024 * 1024


class Health(StrEnum):
    """green: all well; yellow: something is away but nothing is lost; red: readings or commands are not
    being stored.
    """

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One link: whether it works, since when, and everything counted on it as `name/reason`."""

    id: str
    driver: str
    up: bool
    reason: str
    since_ms: int
    restarts: int
    devices: int
    counters: dict[str, int]


class OfflineDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that is away."""

    id: str
    link: str
    room: str
    reason: str


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The journal: whether it stores, why not, and how full it is."""

    healthy: bool
    reason: str
    readings: int
    size_bytes: int
    waiting: int


class SinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One destination: how far behind it is, since when its oldest reading waits, and its last complaint."""

    name: str
    lag: int
    oldest_ms: int | None
    delivered: int
    rejected: int
    last_error: str


class InventoryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What was applied last; `drift` says how the files differ from it now, empty when they do not."""

    number: int
    time_ms: int
    digest: str
    devices: int
    drift: str


class ControlStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub may tell devices: the fire latch, and the commands that have not ended.

    `fire_forbids` closing; `fire_latched` until a person resets it; `fire_reason` says why, for a person.
    """

    fire_forbids: bool = True
    fire_latched: bool = False
    fire_reason: str = ""
    commands_open: int = 0
    commands_held: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole hub at one moment. `ledger` says why commands cannot be stored, empty when they can."""

    health: Health
    reasons: list[str]
    version: str
    site: str
    started_ms: int
    now_ms: int
    online: int
    offline: int
    unknown: int
    away: list[OfflineDevice]
    inventory: InventoryStatus
    links: list[LinkStatus]
    store: StoreStatus
    ledger: str = ""
    sinks: list[SinkStatus]
    control: ControlStatus = ControlStatus()


def judge(
    store: StoreStatus, links: list[LinkStatus], sinks: list[SinkStatus], ledger: str = ""
) -> tuple[Health, list[str]]:
    """The health that follows from the parts, worst first, each with what is wrong."""
    red = [] if store.healthy else [f"journal: {store.reason}"]
    red += [f"ledger: {ledger}"] if ledger else []
    yellow = [_away(link) for link in links if not link.up]
    yellow += [f"sink {sink.name}: {sink.last_error}" for sink in sinks if sink.last_error]
    if red:
        return Health.RED, red + yellow
    return (Health.YELLOW if yellow else Health.GREEN), yellow


def _away(link: LinkStatus) -> str:
    if link.reason != LENT:
        return f"link {link.id}: {link.reason}"
    since = datetime.fromtimestamp(link.since_ms / 1000, UTC)
    return f"link {link.id} lent since {since:%Y-%m-%d %H:%M:%S} UTC"


@contextmanager
def _short(data: Path) -> Iterator[str]:
    """The socket's address, through the open folder: the system takes no more than 107 bytes of path."""
    folder = os.open(data, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET_NAME}"
    finally:
        os.close(folder)


def _listening(data: Path) -> socket.socket:
    """A socket of this user alone, in the place of one that a killed hub has left."""
    (data / SOCKET_NAME).unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    try:
        with _short(data) as address:
            sock.bind(address)
        (data / SOCKET_NAME).chmod(0o600)
    except BaseException:
        sock.close()
        raise
    return sock


async def serve_status(data: Path, snapshot: Callable[[], Status]) -> None:
    """Answer every caller with the status of that moment, until cancelled."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                writer.write(msgspec.json.encode(snapshot()))
                await writer.drain()
        except (TimeoutError, OSError):
            pass  # the caller went away; there is nobody left to tell
        finally:
            writer.close()

    server = await asyncio.start_unix_server(answer, sock=_listening(data))
    try:
        await server.serve_forever()
    finally:
        (data / SOCKET_NAME).unlink(missing_ok=True)


def is_served(data: Path) -> bool:
    """Whether a hub keeps its data in this folder now, however busy it is.

    Raises HubError when that cannot be told: to take "may not ask" for "none" would put a second master on
    a bus.
    """
    try:
        with socket.socket(socket.AF_UNIX) as sock, _short(data) as address:
            sock.settimeout(ANSWER_TIMEOUT_S)
            sock.connect(address)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return False
    except OSError as error:
        raise HubError(
            f"{data / SOCKET_NAME}: {error.strerror or error}: whether a hub runs cannot be told; "
            "ask as the user the hub runs as"
        ) from None
    return True


def read_status(data: Path) -> Status | None:
    """The status of the hub that keeps its data in this folder; None when none runs there."""
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as sock, _short(data) as address:
            sock.settimeout(ANSWER_TIMEOUT_S)
            sock.connect(address)
            while (chunk := sock.recv(65536)) and len(answer) < _ANSWER_MAX_BYTES:
                answer += chunk
    except OSError:
        return None
    try:
        return msgspec.json.decode(bytes(answer), type=Status)
    except msgspec.DecodeError:
        return None
