"""The command line against an API of this process: no second process is started."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from typer.testing import CliRunner, Result

from tests.api_site import ApiSite, listening
from tests.command_line import app

WIDE: Mapping[str, str] = {"COLUMNS": "250"}


async def dormhub(site: ApiSite, folder: Path, *arguments: str, who: str = "admin") -> Result:
    """What `dormhub` says to these arguments, with the key of this role.

    `folder` is a configuration folder beside the site's databases; its `hub.toml` is written.
    """
    async with listening(site) as (host, port):
        told = f'data = "{folder.parent}"\n[api]\nlisten = "{host}:{port}"\n'
        (folder / "hub.toml").write_text(told)
        around = {**WIDE, "DORMHUB_CONFIG": str(folder), "DORMHUB_KEY": site.keys[who]}
        return await asyncio.to_thread(_invoke, arguments, around)


def _invoke(arguments: tuple[str, ...], told: Mapping[str, str]) -> Result:
    return CliRunner(env={**os.environ, **told}).invoke(app, list(arguments))
