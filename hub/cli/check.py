"""`dormhub check`: every mistake of the configuration, with its place and the remedy."""

from __future__ import annotations

from pathlib import Path

import typer

from hub.cli.options import DEFAULT_CONFIG, ConfigOption
from hub.confidence import Confidence
from hub.config import HubConfig, load_config
from hub.errors import ConfigError, ConfigErrors
from hub.model import Device
from hub.plugin import link_mistakes, open_sink
from hub.site import Site, load_site


class _Nobody:
    """A directory without devices: enough to try a sink's settings."""

    def device(self, name: str) -> Device | None:
        """Nobody is known."""
        del name
        return None


def check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check every file; exit code 0 when the hub would start with them."""
    settings, site, errors = find_mistakes(config)
    for error in errors:
        typer.echo(f"{error}", err=True)
    if settings is None or site is None or errors:
        typer.echo(f"{len(errors)} to mend; nothing would start", err=True)
        raise typer.Exit(1)
    devices = list(site.devices())
    profiles = {device.profile.id: device.profile for device in devices}
    typer.echo(
        f"{site.name}: {len(devices)} devices on {len(site.links)} links, "
        f"{len(profiles)} products, {len(settings.sinks)} sinks: all well"
    )
    for profile in profiles.values():
        unsure = [
            name for name, spec in profile.points.items() if spec.confidence is not Confidence.HIGH
        ]
        if unsure or profile.doubts:
            typer.echo(f"to confirm on a device: {profile.id}: {', '.join(unsure)}")
        for doubt in profile.doubts:
            typer.echo(f"  {doubt}")


def find_mistakes(folder: Path) -> tuple[HubConfig | None, Site | None, list[ConfigError]]:
    """What can be read of the configuration, and every mistake in it. Touches no network."""
    errors: list[ConfigError] = []
    settings: HubConfig | None = None
    site: Site | None = None
    try:
        settings = load_config(folder)
    except ConfigError as error:
        errors.extend(_each(error))
    try:
        site = load_site(folder)
    except ConfigError as error:
        errors.extend(_each(error))
    errors += link_mistakes(site.links if site else ())
    for name, sink in (settings.sinks if settings else {}).items():
        file = str(folder / "hub.toml")
        try:
            open_sink(sink.type, sink.settings(), _Nobody(), file=file, key=f"sinks.{name}")
        except ConfigError as error:
            errors.extend(_each(error))
    return settings, site, errors


def _each(error: ConfigError) -> tuple[ConfigError, ...]:
    return error.errors if isinstance(error, ConfigErrors) else (error,)
