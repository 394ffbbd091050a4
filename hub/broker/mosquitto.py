"""Mosquitto on this box: its files, telling it that they changed, and its door."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from hub.broker.authority import Authority
from hub.broker.crl_number import crl_number, keep_crl_number
from hub.broker.door import knock
from hub.broker.files import (
    CRL,
    MARK,
    Access,
    broker_files,
    renew_server,
    write_files,
    write_mark,
)
from hub.broker.passwords import new_password
from hub.broker.private_file import write_private
from hub.broker.rows import HUB_USERNAME, LOADED_USERNAME, Standing
from hub.clock import Clock
from hub.config import BrokerConfig
from hub.errors import ConfigError

HUB_PASSWORD = "hub.password"
_ASK_AGAIN_S = 0.2
_INSIST_EVERY = 10  # times asked: two seconds
KNOCKS_AT_ONCE = 50

_log = structlog.get_logger("broker")


def hub_password(folder: Path) -> str:
    """The hub's own password, from its file in `folder`; made when there is none. Raises OSError."""
    path = folder / HUB_PASSWORD
    if not path.exists():
        write_private(path, new_password().encode() + b"\n")
    return path.read_text("ascii").strip()


async def runs_files(config: BrokerConfig) -> bool | None:
    """Whether the broker runs the files in the folder; None where there are none. Raises OSError."""
    mark = config.folder / MARK if config.folder else None
    if mark is None or not mark.exists():
        return None
    password = mark.read_text("ascii").strip()
    return await knock(config.hub_port, LOADED_USERNAME, LOADED_USERNAME, password)


class Mosquitto:
    """The broker whose files stand in `config.folder`; `own` is the hub's own folder of keys."""

    def __init__(self, config: BrokerConfig, own: Path, clock: Clock) -> None:
        self._config = config
        self._own = own
        self._clock = clock
        self._mark = "nothing written yet"
        self._loaded = ""  # the mark of files that the broker once said it runs

    def write(self, authority: Authority, standing: Standing, access: Access) -> bool:
        """Write the files that differ; whether any did. Raises OSError, ValueError, ConfigError."""
        folder = self._config.folder
        if folder is None or not folder.is_dir():
            raise ConfigError(
                file="hub.toml",
                key="broker.folder",
                found=f"{folder} is no folder",
                hint="make it as docs/broker.md shows",
            )
        renew_server(self._own, authority, self._config, self._clock.now_ms())
        number = crl_number(self._own, folder / CRL, authority, standing.revoked)
        keep_crl_number(
            self._own, number, standing.revoked
        )  # before the list: never two of one number
        files = broker_files(self._config, authority, self._own, standing, access)
        self._mark = files[MARK].decode().strip()
        return write_files(folder, files)

    def reload(self) -> None:
        """Tell the broker, where this process may; else whoever watches the files does."""
        path = self._config.pid_file
        if path is None:
            return
        try:
            process = int(path.read_text("ascii"))
            if _hears(process):
                os.kill(process, signal.SIGHUP)
        except (OSError, ValueError, KeyError) as error:
            _log.warning("the broker was not told to reload", error=str(error))

    async def loaded(self) -> bool:
        """Whether the broker runs the files as they are; raises OSError when it does not answer."""
        mark, port = self._mark, self._config.hub_port
        runs = await knock(port, LOADED_USERNAME, LOADED_USERNAME, mark)
        self._loaded = mark if runs else ""
        return runs

    async def insist(self) -> None:
        """Tell the broker again when it does not run the present files: a word to it may be lost."""
        if self._loaded == self._mark or self._config.folder is None:
            return
        with suppress(OSError):  # it is not there, and reads its files when it starts
            if not await self.loaded():
                mark = f"{self._mark}\n".encode()
                await asyncio.to_thread(write_mark, self._config.folder, mark)
                self.reload()

    async def run_these(self) -> None:
        """Return when the broker runs the present files; waits without end for one that does not."""
        tries = 0
        while not await self._runs_these():
            tries += 1
            if tries % _INSIST_EVERY == 0:
                await self.insist()
            await self._clock.sleep(_ASK_AGAIN_S)

    async def evict(self, usernames: Sequence[str]) -> None:
        """End the sessions of these names, at most KNOCKS_AT_ONCE. Raises OSError."""
        password = await asyncio.to_thread(hub_password, self._own)
        port = self._config.hub_port
        knocks = (knock(port, name, HUB_USERNAME, password) for name in usernames)
        if not all(await asyncio.gather(*knocks)):
            raise OSError("the broker refuses the hub's own account")

    async def _runs_these(self) -> bool:
        try:
            return await self.loaded()
        except OSError:  # it is being started, or not there at all
            return False


def _hears(process: int) -> bool:
    """Whether this is a broker that takes the signal as it is meant.

    A stale number may be another program's by now, and a broker that has only just begun has no ear for
    it yet: the signal would end both.
    """
    status = Path(f"/proc/{process}/status").read_text("utf-8", "replace")
    words = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    caught = int(words["SigCgt"], 16)
    return words["Name"].strip() == "mosquitto" and bool(caught >> (signal.SIGHUP - 1) & 1)
