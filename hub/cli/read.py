"""`dormhub read DEVICE`: ask one device now; through the hub where one runs, else by a visit."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from hub.cli.borrow import borrowed, must_not_visit
from hub.cli.hub_client import Answered, HubClient, hub_runs
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, DeviceArgument, JsonOption
from hub.cli.plain import plain
from hub.cli.show import public, shown
from hub.cli.visit import VISIT_PERIOD_S, Visit, find_device, pay, visiting
from hub.errors import ConfigError, HubError
from hub.model import Device, Link, Reading
from hub.points import POINTS
from hub.site import load_site

EXIT_SILENT = 3
NO_API = "the hub runs, but its API does not answer: asking by a visit of its own"
_WAIT_MAX_S = 20.0


async def ask(link: Link, device: Device, timeout_s: float) -> tuple[Reading | None, list[str]]:
    """The device's first reading within the time, or None; and what went wrong on the way."""
    visit = Visit((device,))
    period_s = min(device.period_s, VISIT_PERIOD_S)
    await pay(visit, visiting(link, (device,), period_s), timeout_s)
    return visit.first.get(device.id), visit.troubles


def ask_hub(config: Path, device: str, timeout_s: float) -> tuple[Reading | None, list[str]]:
    """The same by the running hub's own driver. Raises HubError when it does not answer."""
    end_s = time.monotonic() + timeout_s
    with HubClient(config) as hub:
        while True:
            wait_s = max(0.1, min(end_s - time.monotonic(), _WAIT_MAX_S))
            try:
                path = f"/v1/devices/{device}/read"
                return hub.post(path, Reading, query={"wait_s": wait_s}), []
            except Answered as error:
                if error.kind != "silent":
                    raise
                if time.monotonic() >= end_s:
                    return None, [str(error)]


def _asked(
    config: Path, link: Link, device: Device, timeout_s: float
) -> tuple[Reading | None, list[str]]:
    if hub_runs(config):
        try:
            return ask_hub(config, device.id, timeout_s)
        except Answered as error:
            if error.kind != "not-found":
                raise
            return asyncio.run(_ask_borrowed(config, link, device, timeout_s))
        except ConfigError:
            raise
        except HubError:
            if refusal := must_not_visit(link):
                raise refusal from None
            typer.echo(NO_API, err=True)
    return asyncio.run(ask(link, device, timeout_s))


async def _ask_borrowed(
    config: Path, link: Link, device: Device, timeout_s: float
) -> tuple[Reading | None, list[str]]:
    """Ask a device that the hub does not know yet."""
    async with borrowed(config, link, force=False, cause=f"read {device.id}"):
        return await ask(link, device, timeout_s)


def read(
    device: DeviceArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0.1, max=3600)] = 10.0,
    json: JsonOption = False,
) -> None:
    """Ask one device now and show every point; a running hub asks it itself. Exit code 3: it is silent."""
    installed, link = find_device(load_site(config), device)
    reading, troubles = _asked(config, link, installed, timeout)
    if reading is None:
        for trouble in dict.fromkeys(troubles or [f"nothing heard within {timeout:g} s"]):
            typer.echo(trouble if device in trouble else f"{device}: {trouble}", err=True)
        raise typer.Exit(EXIT_SILENT)
    values = public(reading.values)
    if json:
        shown_reading = msgspec.structs.replace(reading, values=values)
        sys.stdout.write(msgspec.json.encode(shown_reading).decode() + "\n")
        return
    table = Table("point", "value", "unit", "", title=f"{device} ({installed.profile.name})")
    for name, value in values.items():
        unit = POINTS[name].unit.replace("1", "")
        table.add_row(name, shown(value), unit, reading.uncertain.get(name, ""))
    for name, reason in reading.bad.items():
        table.add_row(name, "-", "", reason)
    plain().print(table)
