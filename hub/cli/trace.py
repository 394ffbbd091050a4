"""`dormhub trace DEVICE`: its frames as they travel, each with what it says."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from hub.cli.borrow import borrowed, must_not_visit
from hub.cli.hub_client import Answered, HubClient, hub_runs
from hub.cli.moments import when
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, DeviceArgument, JsonOption
from hub.cli.read import NO_API
from hub.cli.visit import VISIT_PERIOD_S, Visit, find_device, pay, visiting
from hub.errors import ConfigError, HubError
from hub.model import Device, Link, Trace
from hub.points import POINTS
from hub.site import load_site

EXIT_STOPPED = 130
_LOOK_MAX_S = 600.0
_HIDDEN = "hidden: this product tells plates or credentials; look through the hub, as administrator"


class FrameRow(msgspec.Struct, frozen=True):
    """One frame, its bytes as hexadecimal text."""

    time_ms: int
    device: str
    outgoing: bool
    data: str
    text: str


Show = Callable[[FrameRow], None]


def trace(
    device: DeviceArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    seconds: Annotated[float, typer.Option(help="How long to look.", min=1, max=3600)] = 60.0,
    json: JsonOption = False,
) -> None:
    """A device's frames, live and with their decoding; a running hub goes on with its work."""
    installed, link = find_device(load_site(config), device)
    show = _show_json if json else _show_line
    try:
        if not hub_runs(config) or not _through_hub(config, link, installed, seconds, show):
            asyncio.run(_by_visit(link, installed, seconds, show))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_STOPPED) from None


def _through_hub(config: Path, link: Link, device: Device, seconds: float, show: Show) -> bool:
    """Whether the hub answered; it shows frames until the time is over."""
    end_s = time.monotonic() + seconds
    try:
        with HubClient(config) as hub:
            while (left_s := end_s - time.monotonic()) > 0:
                query = {"seconds": max(1.0, min(left_s, _LOOK_MAX_S))}
                for name, data in hub.events(f"/v1/devices/{device.id}/trace", query):
                    if name == "frame":
                        show(msgspec.json.decode(data, type=FrameRow))
                    elif name == "skipped":
                        typer.echo(f"too fast to be shown: {data.decode()}", err=True)
    except Answered as error:
        if error.kind != "not-found":
            raise
        asyncio.run(_by_borrowed(config, link, device, seconds, show))
    except ConfigError:
        raise
    except HubError:
        if refusal := must_not_visit(link):
            raise refusal from None
        typer.echo(NO_API, err=True)
        return False
    return True


async def _by_borrowed(
    config: Path, link: Link, device: Device, seconds: float, show: Show
) -> None:
    """Look at a device that the hub does not know yet."""
    async with borrowed(config, link, force=False, cause=f"trace {device.id}"):
        await _by_visit(link, device, seconds, show)


async def _by_visit(link: Link, device: Device, seconds: float, show: Show) -> None:
    secret = any(POINTS[name].secret for name in device.profile.points)

    def row(found: Trace) -> None:
        show(
            FrameRow(
                time_ms=found.time_ms,
                device=found.device,
                outgoing=found.outgoing,
                data="" if secret else found.data.hex(),
                text=_HIDDEN if secret else found.text,
            )
        )

    looks_at = frozenset((device.id,))
    visit = Visit((device,), enough=lambda _: False, looks_at=looks_at, show=row)
    period_s = min(device.period_s, VISIT_PERIOD_S)
    await pay(visit, visiting(link, (device,), period_s), seconds)
    for trouble in dict.fromkeys(one for one in visit.troubles if device.id not in one):
        typer.echo(trouble, err=True)


def _show_json(row: FrameRow) -> None:
    sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
    sys.stdout.flush()


def _show_line(row: FrameRow) -> None:
    arrow = "->" if row.outgoing else "<-"
    typer.echo(f"{when(row.time_ms)} {arrow} {_readable(row.data)}")
    typer.echo(f"{'':{len(when(0))}}    {row.text}")


def _readable(data: str) -> str:
    """A frame of bytes as hexadecimal pairs; a message as its text."""
    raw = bytes.fromhex(data)
    text = raw.decode("utf-8", "replace").replace("\n", " ")
    return text if b"\n" in raw and text.isprintable() else raw.hex(" ").upper()
