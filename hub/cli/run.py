"""`dormhub run`: the daemon."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Annotated

import typer

from hub.cli.loading import no_garbage
from hub.cli.logs import configure_logs
from hub.cli.options import DEFAULT_CONFIG, ConfigOption
from hub.clock import SystemClock
from hub.config import HubConfig, load_config

# A pass of the garbage collector over ten thousand devices holds every task for 0.2 s. So it leaves alone
# what is there when the start is over, and what the first round of readings has added.
_STARTED_S, _HEARD_ALL_S = 15.0, 65.0


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
    with no_garbage():
        from hub.daemon import serve

    loop = asyncio.get_running_loop()
    loop.call_later(_STARTED_S, gc.collect)
    for moment_s in (_STARTED_S, _HEARD_ALL_S):
        loop.call_later(moment_s, gc.freeze)
    await serve(folder, clock=SystemClock(), stop=asyncio.Event(), take=take)
