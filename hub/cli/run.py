"""`dormhub run`: the daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hub.cli.logs import configure_logs
from hub.cli.options import DEFAULT_CONFIG, ConfigOption
from hub.clock import SystemClock
from hub.config import HubConfig, load_config


def run(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Serve the campus described in the configuration until SIGTERM or Ctrl-C."""
    settings = load_config(config)
    configure_logs(settings.log)
    with asyncio.Runner(loop_factory=_loop_factory(settings)) as runner:
        runner.run(_serve(config))


def _loop_factory(settings: HubConfig) -> type[asyncio.AbstractEventLoop] | None:
    if not settings.uvloop:
        return None
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


async def _serve(folder: Path) -> None:
    from hub.daemon import serve

    await serve(folder, clock=SystemClock(), stop=asyncio.Event())
