"""`dormhub run`: the daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from hub.cli.logs import configure_logs
from hub.cli.options import DEFAULT_CONFIG, ConfigOption
from hub.clock import SystemClock
from hub.config import HubConfig, load_config


def run(
    config: ConfigOption = DEFAULT_CONFIG,
    take: Annotated[
        bool, typer.Option("--apply", help="Apply the files first, if they changed.")
    ] = False,
) -> None:
    """Serve the campus that was applied last (the very first time: the files) until SIGTERM or Ctrl-C."""
    settings = load_config(config)
    configure_logs(settings.log)
    with asyncio.Runner(loop_factory=_loop_factory(settings)) as runner:
        runner.run(_serve(config, take))


def _loop_factory(settings: HubConfig) -> type[asyncio.AbstractEventLoop] | None:
    if not settings.uvloop:
        return None
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


async def _serve(folder: Path, take: bool) -> None:
    from hub.daemon import serve

    await serve(folder, clock=SystemClock(), stop=asyncio.Event(), take=take)
