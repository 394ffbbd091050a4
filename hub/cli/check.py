"""`dormhub check`: every mistake of the configuration, with its place and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

from hub.campus.policies import read_policies
from hub.campus.supply.switches import cannot_be_armed
from hub.cli.options import DEFAULT_CONFIG, ConfigOption
from hub.confidence import Confidence
from hub.config import HubConfig, load_config
from hub.errors import ConfigError, ConfigErrors
from hub.model import Device
from hub.plugin import link_mistakes, open_sink
from hub.profile import Profile
from hub.safety_rules import SafetyRules, command_name
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
        for line in _unsure(profile, site.safety):
            typer.echo(line)
    for name in cannot_be_armed(site, read_policies(site).rules):
        typer.echo(f"{name} cannot be armed: after a payment a person closes it, or say close")


def _unsure(profile: Profile, rules: SafetyRules) -> Iterator[str]:
    """What nobody has seen on a device: points, commands, doubts; and which commands are refused for it."""
    points = [n for n, spec in profile.points.items() if spec.confidence is not Confidence.HIGH]
    unsure = [spec for spec in profile.commands.values() if spec.confidence is not Confidence.HIGH]
    names = points + [f"command {spec.name}" for spec in unsure]
    if names or profile.doubts:
        yield f"to confirm on a device: {profile.id}: {', '.join(names)}"
    for doubt in profile.doubts:
        yield f"  {doubt}"
    for spec in unsure:
        if spec.confidence is Confidence.LOW:
            name = command_name(profile, spec)
            fate = "allowed" if name in rules.allow_unproven else "refused"
            yield f"  unproven command, {fate} by [safety] allow_unproven: {name}"


def find_mistakes(folder: Path) -> tuple[HubConfig | None, Site | None, list[ConfigError]]:
    """What can be read of the configuration, and every mistake in it. Touches no network."""
    errors: list[ConfigError] = []
    settings: HubConfig | None = None
    site: Site | None = None
    try:
        settings = load_config(folder)
        settings.ledger_place()
    except ConfigError as error:
        errors.extend(_each(error))
    try:
        site = load_site(folder)
    except ConfigError as error:
        errors.extend(_each(error))
    errors += link_mistakes(site.links if site else ())
    errors += _policy_mistakes(site) if site else ()
    for name, sink in (settings.sinks if settings else {}).items():
        file = str(folder / "hub.toml")
        try:
            open_sink(sink.type, sink.settings(), _Nobody(), file=file, key=f"sinks.{name}")
        except ConfigError as error:
            errors.extend(_each(error))
    return settings, site, errors


def _policy_mistakes(site: Site) -> Iterator[ConfigError]:
    try:
        read_policies(site)
    except ConfigError as error:
        yield from _each(error)


def _each(error: ConfigError) -> tuple[ConfigError, ...]:
    return error.errors if isinstance(error, ConfigErrors) else (error,)
