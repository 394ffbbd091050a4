"""`dormhub plan` and `dormhub apply`: what the files would change, and having the hub take them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from hub.cli.hub_client import HubClient
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.cli.plan_text import plan_lines
from hub.cli.sheets import print_json, shown_progress
from hub.config import load_config
from hub.errors import ConfigError, ConfigErrors
from hub.inventory.apply import check_plan
from hub.inventory.installed import find_installed, find_newest, installed_site
from hub.inventory.plan import Plan, empty_plan, make_plan
from hub.plugin import link_mistakes
from hub.sheets.sheet import Progress
from hub.site import site_of
from hub.site_files import read_files

EXIT_DECLINED = 1
EXIT_CHANGES = 3
EXIT_STOPPED = 130
APPLY_TIMEOUT_S = 200.0  # longer than the hub takes to give up


class AppliedInventory(msgspec.Struct, frozen=True):
    """What the hub runs now."""

    number: int
    devices: int


class Applied(msgspec.Struct, frozen=True):
    """The hub's answer, as far as it is shown."""

    inventory: AppliedInventory


def plan(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """What `dormhub apply` would add, change and retire. Beside a running hub, or before its first start.

    Exit code 0: nothing to do; 2: mistakes in the files; 3: there are changes.
    """
    with shown_progress() as progress:
        found = draft(config, progress)
    if json:
        print_json(found)
    else:
        _print(found)
    if not found.is_empty:
        raise typer.Exit(EXIT_CHANGES)


def apply(
    config: ConfigOption = DEFAULT_CONFIG,
    prune: Annotated[
        bool, typer.Option("--prune", help="Retire devices that are not in the files any more.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the plan, ask, and have the running hub take the files: all of them, or nothing.

    With --json it says the plan on one line, as `dormhub plan`, and what the hub runs then on the next.

    Exit code 0: applied, or nothing to do; 1: you said no; 2: mistakes, or refused; 130: stopped.
    """
    try:
        _apply(config, prune=prune, yes=yes, json=json)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("stopped; `dormhub plan` says whether anything is left to do", err=True)
        raise typer.Exit(EXIT_STOPPED) from None


def _apply(folder: Path, *, prune: bool, yes: bool, json: bool) -> None:
    with shown_progress() as progress:
        found = draft(folder, progress)
    if json:
        print_json(found)
    else:
        _print(found)
    if found.is_empty:
        return
    check_plan(found, prune=prune)
    if not yes and not sys.stdin.isatty():
        raise ConfigError(
            file="command line",
            key="--yes",
            found="nobody is here to be asked",
            hint="look at the plan, then say --yes",
        )
    if not yes and not typer.confirm("apply this?", err=json):
        raise typer.Exit(EXIT_DECLINED)
    asked = {"prune": prune, "expect": found.digest()}
    with HubClient(folder, timeout_s=APPLY_TIMEOUT_S) as hub, shown_progress() as progress:
        progress("the hub applies", found.devices)
        done = hub.post("/v1/inventory/apply", Applied, asked)
    if json:
        print_json(done)
        return
    typer.echo(f"applied: inventory {done.inventory.number}, {done.inventory.devices} devices")


def draft(folder: Path, progress: Progress) -> Plan:
    """The plan of the files in this folder; raises ConfigErrors with every mistake, StoreError.

    Files that are what was applied are compared with it and not read any further.
    """
    progress("looking at the files", 0)
    files = read_files(folder)
    ledger = load_config(folder).ledger_place()
    newest = find_newest(ledger)
    if newest.digest == files.digest():
        return empty_plan(newest.number, newest.devices, newest.digest)
    progress("reading devices.csv", files.devices.count(b"\n"))
    site = site_of(files)
    progress("comparing with what is installed", newest.devices)
    installed = find_installed(ledger, folder)
    progress("checking links", len(site.links))
    mistakes = link_mistakes(site.links)
    if mistakes:
        raise ConfigErrors(tuple(mistakes))
    return make_plan(installed, files, site, installed_site(installed))


def _print(found: Plan) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in plan_lines(found)))
