"""`campus-sim`: simulate the devices of a site, here or where its configuration says.

Exit codes: 0 ended by time or by a signal, 1 a port or file could not be used, 2 wrong usage or
configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from hub import ConfigError, Site, load_site
from simulators.campus import Campus, Play
from simulators.conduct import Bearing
from simulators.faults import Window, read_windows
from simulators.ledger import Ledger
from simulators.links import site_toml
from simulators.site_files import write_demo, write_reference

_KEPT = 1000  # nobody reads this process's memory: the file has everything


def main() -> None:
    """The command's entry point."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run `campus-sim` with these arguments; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.write_demo:
            write_demo(options.write_demo, broker_port=options.broker_port)
            return 0
        if options.write_reference:
            write_reference(options.write_reference, broker_port=options.broker_port)
            return 0
        if options.config is None:
            parser.error("--config FOLDER is needed")
        asyncio.run(_simulate(options))
    except (ConfigError, ValueError) as error:
        print(f"campus-sim: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"campus-sim: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="campus-sim", description="Simulate a campus's devices.")
    add = parser.add_argument
    add("--config", type=Path, metavar="FOLDER", help="the site: site.toml and devices.csv")
    add("--seed", type=int, default=1, help="one seed, one campus, one day, one set of faults")
    add("--speed", type=float, default=1.0, help="divides serial times; 0: as fast as asked")
    add("--seconds", type=float, default=0.0, help="end by itself after so long")
    add("--faults", default="", metavar="RATE|FILE", help="share of answers, or a TOML file")
    add("--ledger", type=Path, metavar="FILE", help="write every deed as a JSON line")
    add("--rehearse", type=Path, metavar="FOLDER", help="play all links on this machine, and "
        "write the configuration that reaches them here")  # fmt: skip
    add("--broker", default="", metavar="HOST:PORT", help="use this broker, not the site's")
    add("--shared", action="store_true", help="one MQTT connection for all devices of a link")
    add("--write-demo", type=Path, metavar="FOLDER", help="write the demonstration's site")
    add("--write-reference", type=Path, metavar="FOLDER", help="write the reference campus's site")
    add("--broker-port", type=int, default=1883, help="the broker's port in a written site")
    return parser


async def _simulate(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        file = None
        if options.ledger:
            file = stack.enter_context(options.ledger.open("a", encoding="utf-8"))
        site = load_site(options.config)
        needs_broker = any(link.driver == "mqtt" for link in site.links)
        if options.rehearse and needs_broker and not options.broker:
            raise ValueError("--rehearse needs --broker HOST:PORT: this site has an MQTT link")
        campus = Campus(site, _play(options), ledger=Ledger(file, kept=_KEPT))
        await _serve(campus, options)


def _play(options: argparse.Namespace) -> Play:
    rate = 0.0
    windows: tuple[Window, ...] = ()
    bearings: tuple[Bearing, ...] = ()
    if options.faults:
        try:
            rate = float(options.faults)
        except ValueError:
            windows, bearings = read_windows(Path(options.faults).read_text("utf-8"))
    return Play(
        seed=options.seed,
        speed=options.speed,
        here=options.rehearse is not None,
        broker=options.broker,
        shared=options.shared,
        fault_rate=rate,
        windows=windows,
        bearings=bearings,
    )


async def _serve(campus: Campus, options: argparse.Namespace) -> None:
    """Serve until told to stop; the first thing that goes wrong ends everything."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(campus.run(), name="campus")
            await campus.started.wait()
            if options.rehearse:
                write_rehearsal(campus, options.rehearse)
            devices = sum(1 for _ in campus.site.devices())
            print(f"ready: {devices} devices on {len(campus.site.links)} links", flush=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(options.seconds or None):
                    await stop.wait()
            running.cancel()
    except* (OSError, ConfigError) as group:
        raise _first(group) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def write_rehearsal(campus: Campus, folder: Path) -> None:
    """A copy of the campus's configuration whose links lead to this machine."""
    site: Site = campus.site
    folder.mkdir(parents=True, exist_ok=True)
    links = {
        link.id: {
            "driver": link.driver,
            **({"observe_only": True} if link.observe_only else {}),
            **campus.settings.get(link.id, link.settings),
        }
        for link in site.links
    }
    rules = site.safety
    safety = {
        "fire": [f"{fire.device}.{fire.point}" for fire in rules.fire],
        "brake_percent": rules.brake_percent,
        "brake_devices": rules.brake_devices,
        "approval_s": rules.approval_s,
        "rate_per_minute": rules.rate_per_minute,
        "allow_unproven": rules.allow_unproven,
    }
    text = site_toml(site.name, str(site.timezone), links, safety)
    (folder / "site.toml").write_text(text, "utf-8")
    shutil.copyfile(site.folder / "devices.csv", folder / "devices.csv")
    if (site.folder / "profiles").is_dir():
        shutil.copytree(site.folder / "profiles", folder / "profiles", dirs_exist_ok=True)


if __name__ == "__main__":
    main()
