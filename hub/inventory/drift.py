"""Whether the files of the folder still are what was applied; said when that changes, and at any time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from hub.clock import Clock
from hub.errors import ConfigError, ConfigErrors
from hub.site import site_of
from hub.site_files import SiteFiles, read_files

LOOK_PERIOD_S = 30.0
_log = structlog.get_logger("inventory")


class Drift:
    """Looks at the files now and then. `how` is in which way they differ, empty when they do not."""

    def __init__(self, *, folder: Path, clock: Clock) -> None:
        self.how = ""
        self._folder = folder
        self._clock = clock
        self._applied = ""
        self._seen = ""

    async def watch(self) -> None:
        """Look every half minute, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_PERIOD_S)
            await self.look(self._applied)

    async def look(self, applied: str) -> None:
        """Compare the files with those of the digest `applied`."""
        how = await self._compare(applied)
        if how == self.how:
            return
        self.how = how
        if how:
            _log.warning("the files are not what was applied", how=how)
        else:
            _log.info("the files are what was applied")

    async def _compare(self, applied: str) -> str:
        before, self._applied = self._applied, applied
        try:
            files = await asyncio.to_thread(read_files, self._folder)
        except ConfigError as error:
            self._seen = ""
            return f"cannot be read: {_first(error)}"
        digest = files.digest()
        known = before == applied and digest == self._seen
        self._seen = digest
        if digest == applied:
            return ""
        # Ten thousand rows take their time: read through once, not every half minute.
        return self.how if known else await asyncio.to_thread(_judge, files)


def _judge(files: SiteFiles) -> str:
    try:
        site_of(files)
    except ConfigError as error:
        return f"cannot be applied: {_first(error)}"
    except Exception as error:  # whatever stands in files that nobody applied, what runs goes on
        _log.exception("the files cannot be judged")
        return f"cannot be applied: {type(error).__name__}"
    return "changed: see dormhub plan"


def _first(error: ConfigError) -> str:
    if not isinstance(error, ConfigErrors):
        return str(error)
    more = len(error.errors) - 1
    return f"{error.errors[0]}" + (f" (and {more} more)" if more else "")
