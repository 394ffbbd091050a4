"""`dormhub demo`: a broker, a simulated campus and the hub, each as the process it is in earnest."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from hub.cli.demo_broker import free_port, running_broker
from hub.cli.show import device_rows, live_table, summary
from hub.config import HUB_FILE, load_config
from hub.errors import HubError
from hub.journal import JournalReader
from hub.site import Site, load_site
from hub.status import read_status

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
REFRESH_S = 0.5
PLAIN_LINE_EVERY_S = 5.0


def demo(
    seconds: Annotated[float, typer.Option(help="End after so many; 0: at Ctrl-C.", min=0)] = 0,
    folder: Annotated[Path, typer.Option(help="Where configuration, data and logs go.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Another seed, another campus day.")] = 1,
) -> None:
    """A simulated campus on real protocols, and its readings arriving. Exit code 0 when all were heard."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        heard_all = asyncio.run(_demo(folder, seconds, seed))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if heard_all else 1)


async def _demo(folder: Path, seconds: float, seed: int) -> bool:
    config = folder / "config"
    port = free_port()
    api = f"127.0.0.1:{free_port()}"
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sim = [sys.executable, "-m", "simulators.command"]
    write = [*sim, "--write-demo", str(config), "--broker-port", str(port), "--seed", str(seed)]
    writer = await asyncio.create_subprocess_exec(*write)
    if await writer.wait():
        raise HubError("the demonstration campus could not be written")
    # There, and not in the hub's environment: whoever tries a command in a second terminal needs it too.
    (config / HUB_FILE).write_text(f'[api]\nlisten = "{api}"\n', "utf-8")
    hub = [sys.executable, "-m", "hub.cli.main", "run", "--apply", "--config", str(config)]
    campus = [*sim, "--config", str(config), "--seed", str(seed)]
    async with (
        running_broker(folder, port) as broker,
        _process(campus, folder / "campus.log"),
        _process(hub, folder / "hub.log") as daemon,
    ):
        print(
            f"broker: {broker}; configuration, data and logs: {folder}/; API: http://{api}",
            flush=True,
        )
        site = load_site(config)
        heard = await _show(site, load_config(config).data, seconds, stop, daemon)
        status = read_status(load_config(config).data)
    silent = sorted({device.id for device in site.devices()} - heard)
    missing = f"not heard: {', '.join(silent[:10])}" if silent else "every device was heard"
    readings = status.store.readings if status else 0
    print(f"{len(heard)} of {len(heard) + len(silent)} devices, {readings} readings: {missing}")
    return not silent


@asynccontextmanager
async def _process(command: list[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that runs as long as the block, its output in a file."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _journal_of(data: Path, daemon: asyncio.subprocess.Process) -> JournalReader:
    """The hub's journal, as soon as there is one; raises HubError when the hub ended instead."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while read_status(data) is None:
            if daemon.returncode is not None:
                raise HubError(f"the hub ended with code {daemon.returncode}; see its log")
            await asyncio.sleep(0.1)
    return JournalReader(data / "journal.db")


async def _show(
    site: Site,
    data: Path,
    seconds: float,
    stop: asyncio.Event,
    daemon: asyncio.subprocess.Process,
) -> set[str]:
    """The live table (plain lines where there is no terminal) until the time is over; who was heard."""
    console = Console()
    began_s = time.monotonic()
    next_line_s = 0.0
    heard: set[str] = set()
    with (
        await _journal_of(data, daemon) as reader,
        Live(console=console, auto_refresh=False, transient=True) as live,
    ):
        ready_s = time.monotonic()  # the hub's own beginning is not counted: a slow box takes long
        while not stop.is_set() and daemon.returncode is None:
            passed_s, shown_s = time.monotonic() - began_s, time.monotonic() - ready_s
            if seconds and shown_s > seconds:
                break
            rows = device_rows(site, reader, building="", link="")
            heard |= {row.id for row in rows if row.age_s is not None and row.age_s < passed_s}
            if console.is_terminal:
                live.update(live_table(site, rows, console), refresh=True)
            elif shown_s >= next_line_s:
                print(summary(rows), flush=True)
                next_line_s += PLAIN_LINE_EVERY_S
            await asyncio.sleep(REFRESH_S)
    return heard
